//! A running admin API and a client of it.

use std::sync::Arc;

use http::Method;
use serde_json::{Value, json};
use tollgate_admin::{AdminState, ProviderProbe, ProviderTest};
use tollgate_control::{App, Control, ControlConfig, MasterKey, ProviderView};
use tollgate_domain::{ManualClock, Secret, UnixMillis};
use tollgate_ledger::Ledger;
use tollgate_store::Store;
use tollgate_testkit::http::{Answer, HttpClient};

use crate::conformance::Contract;

/// The bootstrap admin's token.
pub(crate) const TOKEN: &str = "canary-admin-token";
/// The moment all tests happen at.
pub(crate) const NOW: &str = "2026-11-22T12:00:00Z";

/// A running admin API.
pub(crate) struct TestAdmin {
    pub(crate) base: String,
    pub(crate) admin: HttpClient,
    pub(crate) nobody: HttpClient,
    pub(crate) store: Store,
    contract: Contract,
    _control: Control,
    server: tokio::task::JoinHandle<()>,
}

impl Drop for TestAdmin {
    fn drop(&mut self) {
        self.server.abort();
    }
}

impl TestAdmin {
    pub(crate) async fn start() -> Self {
        let clock = Arc::new(ManualClock::new(UnixMillis::parse_rfc3339(NOW).unwrap()));
        let store = Store::connect("sqlite::memory:").await.unwrap();
        store.migrate().await.unwrap();
        let ledger = Ledger::memory(clock.clone());
        let control = start_control(store.clone(), ledger, clock).await;
        let app: App = control.app().clone();
        let router = tollgate_admin::router(AdminState::new(app, Some(probe())));
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let base = format!("http://{}/api/v1", listener.local_addr().unwrap());
        let server = tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
        let nobody = HttpClient::new();
        let document = nobody.get(&format!("{base}/openapi.json")).await.unwrap();
        let contract = Contract::new(document.expect_status(200).unwrap().json().unwrap());
        Self { base, admin: nobody.with_bearer(TOKEN), nobody, store, contract, _control: control, server }
    }

    pub(crate) fn url(&self, path: &str) -> String {
        format!("{}{path}", self.base)
    }

    /// Any call, held against the document; `Value::Null` sends no body.
    pub(crate) async fn call(&self, method: &str, path: &str, body: &Value) -> Answer {
        let text = if body.is_null() { String::new() } else { body.to_string() };
        let verb: Method = method.parse().unwrap();
        let request = self.admin.request(verb, &self.url(path), text).unwrap();
        let answer = self.admin.send(request).await.unwrap();
        self.contract.check(method, path, body, &answer);
        answer
    }

    pub(crate) async fn get(&self, path: &str) -> Value {
        self.call("GET", path, &Value::Null).await.expect_status(200).unwrap().json().unwrap()
    }

    pub(crate) async fn post(&self, path: &str, body: Value) -> Value {
        self.call("POST", path, &body).await.expect_status(201).unwrap().json().unwrap()
    }

    pub(crate) async fn patch(&self, path: &str, body: Value) -> Value {
        self.call("PATCH", path, &body).await.expect_status(200).unwrap().json().unwrap()
    }

    pub(crate) async fn delete(&self, path: &str) -> Value {
        self.call("DELETE", path, &Value::Null).await.expect_status(200).unwrap().json().unwrap()
    }

    /// A call that must be refused with `status`; answers the `error` object.
    pub(crate) async fn refused(&self, status: u16, method: &str, path: &str, body: Value) -> Value {
        let answer = self.call(method, path, &body).await.expect_status(status).unwrap();
        assert_eq!(answer.header("content-type"), Some("application/json"), "{method} {path}");
        let error = answer.json().unwrap()["error"].clone();
        assert!(
            error["code"].is_string() && error["message"].is_string() && error["fields"].is_array(),
            "{error}"
        );
        error
    }

    /// A tenant `acme` with project `bot`, key `prod`, an OpenAI-like provider and a model over it.
    pub(crate) async fn populate(&self) -> Populated {
        let tenant = self.post("/tenants", json!({"name": "acme", "billing": "prepaid"})).await;
        let project = self.post("/tenants/acme/projects", json!({"name": "bot"})).await;
        let key = self.post("/projects/bot/keys", json!({"name": "prod"})).await;
        let provider = self.post("/providers", provider_body()).await;
        let target = json!({"provider": "openai", "model": "gpt-5-mini"});
        let model = self.post("/models", json!({"name": "chat-default", "targets": [target]})).await;
        Populated { tenant, project, key, provider, model }
    }
}

/// What [`TestAdmin::populate`] made.
pub(crate) struct Populated {
    pub(crate) tenant: Value,
    pub(crate) project: Value,
    pub(crate) key: Value,
    pub(crate) provider: Value,
    pub(crate) model: Value,
}

pub(crate) fn provider_body() -> Value {
    json!({
        "name": "openai", "dialect": "openai", "base_url": "https://api.openai.com/v1",
        "credentials": [{"name": "main", "secret": "sk-canary-credential-0123456789"}],
    })
}

async fn start_control(store: Store, ledger: Ledger, clock: Arc<ManualClock>) -> Control {
    let config = ControlConfig { admin_token: Some(Secret::new(TOKEN)), ..ControlConfig::default() };
    Control::start(config, store, ledger, clock, MasterKey::new([7; 32])).await.unwrap()
}

/// Answers as a provider that is up, and repeats what it was asked to reach.
fn probe() -> ProviderProbe {
    Arc::new(|provider: ProviderView| {
        Box::pin(async move {
            let message =
                format!("reached {} with Bearer sk-canary-credential-0123456789", provider.base_url);
            ProviderTest { ok: true, status: Some(200), latency_ms: 12, message }
        })
    })
}

/// The ids of a list's objects.
pub(crate) fn ids(list: &Value) -> Vec<String> {
    list["data"].as_array().unwrap().iter().map(|object| object["id"].as_str().unwrap().to_owned()).collect()
}

/// The paths of an error's fields.
pub(crate) fn paths(error: &Value) -> Vec<&str> {
    error["fields"].as_array().unwrap().iter().map(|field| field["path"].as_str().unwrap()).collect()
}
