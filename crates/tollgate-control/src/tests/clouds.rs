//! Providers of Bedrock and Vertex: where they are, and what they are asked with.

use serde_json::{Value, json};
use tollgate_policy::PolicyObject;

use super::harness::{World, paths};
use crate::{CreateProvider, UpdateProvider};

fn provider(value: Value) -> CreateProvider {
    serde_json::from_value(value).unwrap()
}

fn account(project: Option<&str>) -> String {
    let account = json!({
        "type": "service_account", "project_id": project, "client_email": "a@p.iam",
        "private_key": "-----BEGIN PRIVATE KEY-----\ncanary\n-----END PRIVATE KEY-----\n",
        "token_uri": "https://oauth2.googleapis.com/token",
    });
    serde_json::to_string_pretty(&account).unwrap()
}

/// What pods are told of the one provider: its URL and its credential.
async fn told(world: &World) -> (String, String) {
    world.control.policy_is_current().await.unwrap();
    let version = world.control.policy().borrow().clone();
    let found = version.set.iter().find_map(|object| match object {
        PolicyObject::Provider(provider) => {
            Some((provider.base_url.clone(), provider.credentials[0].secret.expose().to_owned()))
        }
        _ => None,
    });
    found.unwrap()
}

#[tokio::test]
async fn a_region_is_place_enough_and_keys_are_kept_as_one() {
    let world = World::new().await;
    let (app, admin) = (world.app(), &world.admin);
    let body = provider(json!({"name": "aws", "dialect": "bedrock", "region": "eu-west-1", "credentials": [
        {"name": "main", "access_key_id": "AKID", "secret": "canary/secret", "session_token": "canary-token"}]}));
    let view = app.create_provider(admin, body).await.unwrap();
    assert_eq!(view.base_url, "https://bedrock-runtime.eu-west-1.amazonaws.com");
    assert!(!serde_json::to_string(&view).unwrap().contains("canary"));
    let (_, secret) = told(&world).await;
    let kept: Value = serde_json::from_str(&secret).unwrap();
    let keys = json!({"access_key_id": "AKID", "secret_access_key": "canary/secret", "session_token": "canary-token"});
    assert_eq!(kept, keys);
    let renewed: UpdateProvider = serde_json::from_value(json!({"credentials": [
        {"name": "main", "access_key_id": "AKID2", "secret": "other", "session_token": ""}]}))
    .unwrap();
    app.update_provider(admin, "aws", renewed).await.unwrap();
    let (_, secret) = told(&world).await;
    assert!(secret.contains("AKID2") && !secret.contains("canary"), "{secret}");
}

#[tokio::test]
async fn a_service_accounts_file_is_kept_as_it_is() {
    let world = World::new().await;
    let body = provider(json!({"name": "gcp", "dialect": "vertex", "region": "us-east5",
        "credentials": [{"name": "main", "secret": account(Some("p"))}]}));
    world.app().create_provider(&world.admin, body).await.unwrap();
    let expected = ("https://us-east5-aiplatform.googleapis.com".to_owned(), account(Some("p")));
    assert_eq!(told(&world).await, expected);
}

#[tokio::test]
async fn what_cannot_work_is_refused_where_it_stands() {
    let world = World::new().await;
    let bedrock = |credential: Value| json!({"name": "x", "dialect": "bedrock", "region": "us-east-1", "credentials": [credential]});
    let vertex = |secret: &str| json!({"name": "x", "dialect": "vertex", "region": "us", "credentials": [{"name": "a", "secret": secret}]});
    let openai = |credential: Value| json!({"name": "x", "dialect": "openai", "base_url": "https://a.example/v1", "credentials": [credential]});
    let local = json!({"name": "x", "dialect": "bedrock", "base_url": "http://127.0.0.1:1"});
    let cases = [
        (json!({"name": "x", "dialect": "bedrock"}), "base_url"),
        (json!({"name": "x", "dialect": "vertex"}), "base_url"),
        (local, "region"),
        (bedrock(json!({"name": "a", "access_key_id": "AKID"})), "credentials[0].secret"),
        (bedrock(json!({"name": "a", "secret": "{\"access_key_id\":\"A\"}"})), "credentials[0].secret"),
        (bedrock(json!({"name": "a", "secret": "s", "session_token": "t"})), "credentials[0].access_key_id"),
        (vertex("ya29.token"), "credentials[0].secret"),
        (vertex("{}"), "credentials[0].secret"),
        (vertex(&account(None)), "credentials[0].secret"),
        (openai(json!({"name": "a", "secret": account(Some("p"))})), "credentials[0].secret"),
        (openai(json!({"name": "a", "access_key_id": "A", "secret": "s"})), "credentials[0].access_key_id"),
    ];
    for (body, path) in cases {
        let error = world.app().create_provider(&world.admin, provider(body.clone())).await.unwrap_err();
        assert_eq!(paths(&error).first(), Some(&path), "{body}: {error}");
        assert!(!error.to_string().contains("canary"), "{error}");
    }
}
