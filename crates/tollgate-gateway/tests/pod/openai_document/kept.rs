//! What a provider keeps: responses, files and batches, asked for by the names that the gateway gave.

use std::sync::{Arc, Mutex};

use http::Method;
use serde_json::{Map, Value, json};
use tollgate_testkit::http::Answer;
use tollgate_testkit::vendors::KeptResponses;

use super::Arrived;
use super::bodies::{arrived, members_with, post};
use super::listing::{Operation, Parameter};
use crate::harness::{Pod, Setup};
use crate::objects;

/// Operations with bodies that this provider is asked for, too.
const BODIES: [&str; 5] =
    ["/responses", "/responses/compact", "/responses/input_tokens", "/files", "/batches"];
/// A line that a batch may have.
const LINE: &str = r#"{"custom_id":"a","method":"POST","url":"/v1/chat/completions","body":{"model":"m","messages":[{"role":"user","content":"hi"}],"max_tokens":9}}"#;

/// A pod whose provider speaks Responses itself, keeps them, files and batches, and obeys the newer name of the cap.
pub(super) struct Keeping(Pod);

impl Keeping {
    pub(super) async fn start() -> Self {
        let model = json!({"name": "m", "surfaces": ["chat", "responses"], "context_tokens": 5_000,
            "max_output_tokens": 900, "prices": {"input": "1", "output": "2"}, "source": "s", "as_of": "2026-11-22"});
        let page = json!(["https://example.com"]);
        let quirks = json!({"output_cap": "max_completion_tokens",
            "sources": [{"url": page[0], "as_of": "2026-11-22", "facts": ["output_cap"]}]});
        let vendor = json!([{"name": "mock", "dialect": "openai", "base_url": "", "quirks": quirks,
            "responses": {"stored": true, "sources": page}, "models": [model]}]);
        let catalog = tollgate_catalog::Catalog::from_json(&vendor.to_string()).unwrap();
        let pod = Pod::start(Setup { catalog: Some(catalog), ..Setup::default() }).await;
        let (responses, things) = (KeptResponses::new(), Arc::new(Mutex::new(objects::Kept::default())));
        pod.mock.set_responder(move |request| {
            if request.path().starts_with("/v1/chat/") {
                return None;
            }
            let of_response = responses.answer(request);
            of_response.or_else(|| Some(objects::answer(&mut things.lock().unwrap(), request)))
        });
        Self(pod)
    }

    pub(super) fn serves(&self, operation: &Operation, parameter: &Parameter) -> bool {
        let is_newer_cap = parameter.name == "max_completion_tokens";
        let has_body = operation.method == "POST" && parameter.place == "body";
        is_newer_cap || !has_body || BODIES.contains(&operation.path.as_str())
    }

    /// What is not served says so itself, and asks nobody.
    pub(super) async fn is_refused(&self, operation: &Operation) {
        let before = self.0.mock.counts().n_received;
        let path = operation.path.replace('{', "a").replace('}', "b");
        let answer = self.ask(&operation.method, &path, "").await;
        assert!(matches!(answer.status.as_u16(), 404 | 405), "{path}: {}", answer.text());
        assert_eq!(self.0.mock.counts().n_received, before, "{path}");
    }

    /// An operation without parameters: the gateway's own answer.
    pub(super) async fn answers(&self, operation: &Operation) {
        assert_eq!((operation.method.as_str(), operation.path.as_str()), ("GET", "/models"));
        let answer = self.ask("GET", "/models", "").await.json().unwrap();
        let ids: Vec<&Value> = answer["data"].as_array().unwrap().iter().map(|one| &one["id"]).collect();
        assert!(ids.contains(&&json!("one")), "{answer}");
    }

    pub(super) async fn drive(
        &self,
        operation: &Operation,
        parameter: &Parameter,
    ) -> Result<Arrived, String> {
        match (operation.path.as_str(), parameter.place.as_str()) {
            (_, "body") => self.with_body(operation, parameter).await,
            ("/models/{model}", "path") => {
                let answer = self.ask("GET", "/models/one", "").await.json().unwrap();
                (answer["id"] == "one").then_some(Arrived::Answered).ok_or_else(|| answer.to_string())
            }
            (_, "path") => self.by_name(operation).await,
            ("/files" | "/batches", "query") => self.listed(operation, parameter).await,
            (_, "query") => self.with_query(operation, parameter).await,
            (path, other) => Err(format!("{path} has a parameter in its {other}: say how it is sent")),
        }
    }

    async fn ask(&self, method: &str, path: &str, query: &str) -> Answer {
        let method: Method = method.parse().unwrap();
        let url = self.0.url(&format!("/v1{path}{query}"));
        self.0.http.send(self.0.http.request(method, &url, "").unwrap()).await.unwrap()
    }

    async fn post(&self, path: &str, body: &Value) -> Value {
        let answer = self.0.http.post_json(&self.0.url(&format!("/v1{path}")), body).await.unwrap();
        assert_eq!(answer.status.as_u16(), 200, "{path}: {}", answer.text());
        answer.json().unwrap()
    }

    /// A new thing of the kind that a path is about: our name for it and the provider's.
    async fn made(&self, path: &str) -> (String, String) {
        let made = if path.starts_with("/responses") {
            let is_background = path.ends_with("/cancel");
            self.post("/responses", &json!({"model": "one", "input": "hi", "background": is_background}))
                .await
        } else if path.starts_with("/files") {
            objects::upload(&self.0, "a.jsonl", LINE).await.json().unwrap()
        } else {
            let file = self.file().await.0;
            let batch = json!({"input_file_id": file, "endpoint": "/v1/chat/completions", "completion_window": "24h"});
            self.post("/batches", &batch).await
        };
        let name = made["id"].as_str().unwrap().to_owned();
        let (base, _) = path.split_once('{').unwrap_or((path, ""));
        let base = base.trim_end_matches('/');
        let shown = self.ask("GET", &format!("{base}/{name}"), "").await;
        assert_eq!(shown.status.as_u16(), 200, "{}", shown.text());
        let there = self.0.mock.last_request().unwrap().path().rsplit('/').next().unwrap().to_owned();
        assert_ne!(name, there);
        (name, there)
    }

    async fn file(&self) -> (String, String) {
        Box::pin(self.made("/files")).await
    }

    /// A body, with names of things that are there.
    async fn with_body(&self, operation: &Operation, parameter: &Parameter) -> Result<Arrived, String> {
        let (ours, there) = match (operation.path.as_str(), parameter.name.as_str()) {
            (_, "previous_response_id") => self.made("/responses").await,
            ("/batches", _) => self.file().await,
            _ => Default::default(),
        };
        let instead = ["previous_response_id", "input_file_id"].map(|name| (name.to_owned(), json!(ours)));
        let instead = if ours.is_empty() { Map::new() } else { Map::from_iter(instead) };
        let (members, value) = members_with(operation, parameter, &instead);
        let before = self.0.mock.counts().n_received;
        let query = if operation.path == "/files" { "?provider=mock" } else { "" };
        let answer = post(&self.0, operation, query, &members).await;
        if self.0.mock.counts().n_received == before {
            return Err(format!("not sent: {}", answer.text()));
        }
        if !answer.status.is_success() {
            return Err(answer.text());
        }
        if (operation.path.as_str(), parameter.name.as_str()) == ("/files", "file") {
            return self.uploaded(&answer);
        }
        let expected = match parameter.name.as_str() {
            "model" => json!("m"),
            "previous_response_id" | "input_file_id" => json!(there),
            _ => value.clone(),
        };
        arrived(&self.0, operation, parameter, &value, &expected)
    }

    /// A file's name has its owner's mark at the provider, and only there.
    fn uploaded(&self, answer: &Answer) -> Result<Arrived, String> {
        let text = String::from_utf8_lossy(self.0.mock.last_request().unwrap().body()).into_owned();
        let is_whole = text.contains("-a.bin\"\r\n\r\nbinary\r\n");
        let is_named = answer.json().unwrap()["filename"] == "a.bin";
        (is_whole && is_named).then_some(Arrived::Opened).ok_or_else(|| format!("{text} {}", answer.text()))
    }

    /// A path with a name in it.
    async fn by_name(&self, operation: &Operation) -> Result<Arrived, String> {
        let (name, there) = self.made(&operation.path).await;
        let (base, rest) = operation.path.split_once('{').unwrap();
        let rest = rest.split_once('}').unwrap().1;
        let answer = self.ask(&operation.method, &format!("{base}{name}{rest}"), "").await;
        if !answer.status.is_success() {
            return Err(answer.text());
        }
        let received = self.0.mock.last_request().unwrap();
        let got = (received.method().to_owned(), received.path().to_owned());
        let expected = (operation.method.clone(), format!("/v1{base}{there}{rest}"));
        if got == expected { Ok(Arrived::Opened) } else { Err(format!("{got:?} is not {expected:?}")) }
    }

    /// A query beside a name.
    async fn with_query(&self, operation: &Operation, parameter: &Parameter) -> Result<Arrived, String> {
        let (name, _) = self.made(&operation.path).await;
        let path = operation.path.replace("{response_id}", &name);
        let pair = pair_of(parameter);
        let answer = self.ask("GET", &path, &format!("?{pair}")).await;
        if !answer.status.is_success() {
            return Err(answer.text());
        }
        let received = self.0.mock.last_request().unwrap().path().to_owned();
        let query = received.split_once('?').map_or("", |(_, query)| query);
        if query == pair { Ok(Arrived::Intact) } else { Err(format!("{pair} arrived as `{query}`")) }
    }

    /// A query of a list, in which only the owner's things are shown.
    async fn listed(&self, operation: &Operation, parameter: &Parameter) -> Result<Arrived, String> {
        let (name, there) = self.made(&operation.path).await;
        self.made(&operation.path).await;
        let (pair, expected) = match parameter.name.as_str() {
            "after" => (format!("after={name}"), format!("after={there}")),
            "limit" => ("limit=1".to_owned(), String::new()),
            _ => (pair_of(parameter), pair_of(parameter)),
        };
        let answer = self.ask("GET", &operation.path, &format!("?provider=mock&{pair}")).await;
        let list = answer.json().map_err(|_| answer.text())?;
        let received = self.0.mock.last_request().unwrap().path().to_owned();
        if parameter.name == "limit" {
            let of = |name: &str| list[name] == list["data"][0]["id"];
            let is_one = list["data"].as_array().is_some_and(|data| data.len() == 1);
            return (is_one && of("first_id") && of("last_id"))
                .then_some(Arrived::Answered)
                .ok_or_else(|| list.to_string());
        }
        let query = received.split_once('?').map_or("", |(_, query)| query);
        match query.split('&').any(|one| one == expected) {
            true if pair == expected => Ok(Arrived::Intact),
            true => Ok(Arrived::Opened),
            false => Err(format!("{pair} arrived as `{query}`")),
        }
    }
}

/// A value as a query has it.
fn pair_of(parameter: &Parameter) -> String {
    let text = |value: &Value| value.as_str().map_or_else(|| value.to_string(), str::to_owned);
    let values = match &parameter.sample {
        Value::Array(all) => all.iter().map(text).collect::<Vec<_>>(),
        one => vec![text(one)],
    };
    let pairs: Vec<String> = values.iter().map(|value| format!("{}={value}", parameter.name)).collect();
    pairs.join("&")
}
