use std::collections::{BTreeMap, BTreeSet};

use http::Method;
use serde_json::Value;

use crate::harness::TestAdmin;

/// Every call of the contract that this release has, and nothing else.
const CALLS: &[&str] = &[
    "GET /audit",
    "GET /budgets",
    "POST /budgets",
    "GET /budgets/{budget}",
    "PATCH /budgets/{budget}",
    "DELETE /budgets/{budget}",
    "GET /budgets/{budget}/increases",
    "POST /budgets/{budget}/increases",
    "DELETE /budgets/{budget}/increases/{increase}",
    "GET /catalog/models",
    "POST /config/apply",
    "GET /config/export",
    "GET /end-users",
    "GET /defaults",
    "PATCH /defaults",
    "GET /keys/{key}",
    "PATCH /keys/{key}",
    "DELETE /keys/{key}",
    "POST /keys/{key}/block",
    "POST /keys/{key}/rotate",
    "POST /keys/{key}/unblock",
    "GET /ledger/drift",
    "POST /ledger/drift",
    "GET /ledger/verify",
    "POST /ledger/verify",
    "GET /models",
    "POST /models",
    "GET /models/{model}",
    "PATCH /models/{model}",
    "DELETE /models/{model}",
    "GET /holds",
    "GET /nodes",
    "GET /prices",
    "POST /prices",
    "GET /prices/{price}",
    "DELETE /prices/{price}",
    "GET /margins",
    "POST /margins",
    "GET /margins/{margin}",
    "DELETE /margins/{margin}",
    "GET /projects/{project}",
    "PATCH /projects/{project}",
    "DELETE /projects/{project}",
    "GET /projects/{project}/keys",
    "POST /projects/{project}/keys",
    "GET /providers",
    "POST /providers",
    "GET /providers/{provider}",
    "PATCH /providers/{provider}",
    "DELETE /providers/{provider}",
    "POST /providers/{provider}/test",
    "GET /requests",
    "GET /requests/{request}",
    "GET /tenants",
    "POST /tenants",
    "GET /tenants/{tenant}",
    "PATCH /tenants/{tenant}",
    "DELETE /tenants/{tenant}",
    "GET /tenants/{tenant}/balance",
    "GET /tenants/{tenant}/credits",
    "POST /tenants/{tenant}/credits",
    "GET /tenants/{tenant}/ledger",
    "GET /tenants/{tenant}/projects",
    "POST /tenants/{tenant}/projects",
    "GET /tenants/{tenant}/statement",
    "GET /usage",
    "GET /webhooks",
    "POST /webhooks",
    "GET /webhooks/{webhook}",
    "PATCH /webhooks/{webhook}",
    "DELETE /webhooks/{webhook}",
    "GET /webhooks/{webhook}/deliveries",
    "POST /webhooks/{webhook}/test",
];

async fn document(admin: &TestAdmin) -> Value {
    let answer = admin.nobody.get(&admin.url("/openapi.json")).await.unwrap();
    answer.expect_status(200).unwrap().json().unwrap()
}

/// `(method, path below the prefix, operation)` of every operation.
fn operations(document: &Value) -> Vec<(Method, String, &Value)> {
    let paths = document["paths"].as_object().unwrap();
    let of_path = |(path, item): (&String, &'_ Value)| -> Vec<(Method, String)> {
        let path = path.strip_prefix("/api/v1").unwrap().to_owned();
        let methods = item.as_object().unwrap().keys().filter(|key| *key != "parameters");
        methods.map(|method| (method.to_uppercase().parse().unwrap(), path.clone())).collect()
    };
    paths
        .iter()
        .flat_map(of_path)
        .map(|(method, path)| {
            let operation = &paths[&format!("/api/v1{path}")][method.as_str().to_lowercase()];
            (method, path, operation)
        })
        .collect()
}

#[tokio::test]
async fn the_contract_s_calls_and_no_others_are_described() {
    let admin = TestAdmin::start().await;
    let document = document(&admin).await;
    let described: BTreeSet<String> =
        operations(&document).iter().map(|(method, path, _)| format!("{method} {path}")).collect();
    let expected: BTreeSet<String> = CALLS.iter().map(|call| (*call).to_owned()).collect();
    assert_eq!(described, expected);
}

/// Walks the document: without a token, and with a wrong one, every operation is 401 before anything else is
/// looked at.
#[tokio::test]
async fn no_operation_answers_without_a_token() {
    let admin = TestAdmin::start().await;
    let document = document(&admin).await;
    let wrong = admin.nobody.with_bearer("canary-admin-tokeN");
    let mut n_operations = 0;
    for (method, path, operation) in operations(&document) {
        assert!(!operation["security"].as_array().unwrap().is_empty(), "{method} {path}");
        let url = admin.url(&path.replace(['{', '}'], ""));
        for client in [&admin.nobody, &wrong] {
            let request = client.request(method.clone(), &url, "{not json").unwrap();
            let answer = client.send(request).await.unwrap();
            assert_eq!(answer.status, 401, "{method} {path}");
            assert_eq!(answer.json().unwrap()["error"]["code"], "unauthenticated");
            assert_eq!(answer.header("www-authenticate"), Some("Bearer"));
        }
        n_operations += 1;
    }
    assert_eq!(n_operations, CALLS.len());
}

/// A method that a path does not take is answered with those it takes.
#[tokio::test]
async fn every_path_lists_its_methods() {
    let admin = TestAdmin::start().await;
    let document = document(&admin).await;
    let mut methods = BTreeMap::<String, BTreeSet<String>>::new();
    for (method, path, _) in operations(&document) {
        methods.entry(path).or_default().insert(method.to_string());
    }
    methods.insert("/openapi.json".to_owned(), BTreeSet::from(["GET".to_owned()]));
    for (path, methods) in methods {
        let url = admin.url(&path.replace(['{', '}'], ""));
        for method in [Method::PUT, Method::OPTIONS, Method::TRACE, Method::POST] {
            if methods.contains(method.as_str()) {
                continue;
            }
            for client in [&admin.nobody, &admin.admin] {
                let request = client.request(method.clone(), &url, "").unwrap();
                let answer = client.send(request).await.unwrap();
                assert_eq!(answer.status, 405, "{method} {path}");
                let allow = answer.header("allow").unwrap_or_else(|| panic!("{method} {path}: no allow"));
                let mut allowed: BTreeSet<String> =
                    allow.split(',').map(|name| name.trim().to_owned()).collect();
                allowed.remove("HEAD");
                assert_eq!(allowed, methods, "{method} {path}");
            }
        }
    }
}

#[tokio::test]
async fn operations_describe_every_answer_and_parameter() {
    let admin = TestAdmin::start().await;
    let document = document(&admin).await;
    assert_eq!(document["components"]["securitySchemes"]["admin_token"]["scheme"], "bearer");
    let mut operation_ids = BTreeSet::new();
    for (method, path, operation) in operations(&document) {
        let call = format!("{method} {path}");
        assert!(operation_ids.insert(operation["operationId"].to_string()), "{call}");
        assert!(operation["summary"].is_string(), "{call}");
        let answers: BTreeMap<String, Value> =
            serde_json::from_value(operation["responses"].clone()).unwrap();
        let mut expected = vec!["400", "401", "403", "500", "503"];
        if path.contains('{') {
            expected.push("404");
        }
        if method != Method::GET {
            expected.extend(["409", "413", "422"]);
        }
        if operation["requestBody"].is_object() {
            expected.push("415");
        }
        assert!(expected.iter().all(|status| answers.contains_key(*status)), "{call}: {:?}", answers.keys());
        let parameters = operation["parameters"].as_array().cloned().unwrap_or_default();
        let described = |place: &str| -> Vec<String> {
            let of_place = parameters.iter().filter(|parameter| parameter["in"] == place);
            of_place.map(|parameter| parameter["name"].as_str().unwrap().to_owned()).collect()
        };
        let in_path: Vec<String> =
            path.split('{').skip(1).map(|rest| rest.split('}').next().unwrap().to_owned()).collect();
        assert_eq!(described("path"), in_path, "{call}");
        assert_eq!(
            described("header").contains(&"idempotency-key".to_owned()),
            method != Method::GET,
            "{call}"
        );
    }
}

/// No schema is missing, none is made up.
#[tokio::test]
async fn every_reference_leads_somewhere() {
    let admin = TestAdmin::start().await;
    let document = document(&admin).await;
    let mut references = BTreeSet::new();
    collect_references(&document, &mut references);
    assert!(references.len() > 20, "{references:?}");
    for reference in &references {
        let pointer = reference.strip_prefix('#').unwrap();
        assert!(document.pointer(pointer).is_some(), "{reference} leads nowhere");
    }
}

fn collect_references(value: &Value, references: &mut BTreeSet<String>) {
    match value {
        Value::Object(members) => {
            if let Some(Value::String(reference)) = members.get("$ref") {
                references.insert(reference.clone());
            }
            members.values().for_each(|member| collect_references(member, references));
        }
        Value::Array(items) => items.iter().for_each(|item| collect_references(item, references)),
        _ => {}
    }
}
