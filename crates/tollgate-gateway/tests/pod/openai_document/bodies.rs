//! Bodies: one parameter of an operation beside what must be there.

use bytes::Bytes;
use http::Method;
use serde_json::{Map, Value, json};
use tollgate_testkit::http::Answer;
use tollgate_testkit::mock_provider::Script;

use super::Arrived;
use super::listing::{Operation, Parameter, base, value_of};
use crate::harness::Pod;

const BOUNDARY: &str = "=X=";

/// What the provider says on that path, where the mock has no words of its own.
fn answer_like(pod: &Pod, path: &str) {
    let answer = match path {
        "/moderations" => json!({"id": "m", "results": []}),
        "/audio/transcriptions" | "/audio/translations" => json!({"text": "hi"}),
        path if path.starts_with("/images/") => json!({"created": 1, "data": [{"b64_json": "aGk="}]}),
        "/audio/speech" => return pod.mock.set_default(Script::new().body("audio/mpeg", "sound")),
        _ => return pod.mock.set_default(Script::new()),
    };
    pod.mock.set_default(Script::new().json(&answer));
}

/// Sends one parameter beside what must be there; says why it did not arrive.
pub(super) async fn send(pod: &Pod, operation: &Operation, parameter: &Parameter) -> Result<Arrived, String> {
    assert_eq!(operation.method, "POST", "{}: say why it is apart", operation.path);
    assert_eq!(parameter.place, "body", "{}: say how {} is sent", operation.path, parameter.name);
    answer_like(pod, &operation.path);
    let (members, value) = members_with(operation, parameter, &Map::new());
    let before = pod.mock.counts().n_received;
    let answer = post(pod, operation, "", &members).await;
    if pod.mock.counts().n_received == before {
        return Err(format!("not sent: {}", answer.text()));
    }
    arrived(pod, operation, parameter, &value, &expected(&parameter.name, &value))
}

/// The members of a body, with `instead` of what the schema says; and the value that is looked at.
pub(super) fn members_with(
    operation: &Operation,
    parameter: &Parameter,
    instead: &Map<String, Value>,
) -> (Map<String, Value>, Value) {
    let mut members = base(operation);
    members.insert(parameter.name.clone(), value_of(operation, parameter));
    for (name, value) in instead {
        if let Some(member) = members.get_mut(name) {
            *member = value.clone();
        }
    }
    let value = members[&parameter.name].clone();
    (members, value)
}

pub(super) async fn post(
    pod: &Pod,
    operation: &Operation,
    query: &str,
    members: &Map<String, Value>,
) -> Answer {
    let (kind, body) = match is_form(operation) {
        true => (format!("multipart/form-data; boundary=\"{BOUNDARY}\""), form(members)),
        false => ("application/json".to_owned(), Value::Object(members.clone()).to_string().into_bytes()),
    };
    let url = pod.url(&format!("/v1{}{query}", operation.path));
    let mut request = pod.http.request(Method::POST, &url, Bytes::from(body)).unwrap();
    request.headers_mut().insert("content-type", kind.parse().unwrap());
    pod.http.send(request).await.unwrap()
}

/// What is to arrive of a value: the model by its name at the provider.
fn expected(name: &str, value: &Value) -> Value {
    if name == "model" { json!("m") } else { value.clone() }
}

/// How the last request that the provider got has the value.
pub(super) fn arrived(
    pod: &Pod,
    operation: &Operation,
    parameter: &Parameter,
    value: &Value,
    expected: &Value,
) -> Result<Arrived, String> {
    let received = pod.mock.last_request().unwrap();
    if is_form(operation) {
        let text = String::from_utf8_lossy(received.body()).into_owned();
        let missing =
            fields(&parameter.name, expected).into_iter().find(|field| !text.contains(field.as_str()));
        if let Some(field) = missing {
            return Err(format!("the form has no {field:?}"));
        }
    } else {
        let got = received.json().unwrap().get(&parameter.name).cloned();
        if !got.as_ref().is_some_and(|got| has_all_of(got, expected)) {
            return Err(format!("{value} arrived as {got:?}"));
        }
    }
    Ok(if value == expected { Arrived::Intact } else { Arrived::Opened })
}

/// Whether it is the same, or an object with members of the gateway's own beside.
fn has_all_of(got: &Value, expected: &Value) -> bool {
    let is_own = |name: &String| name.starts_with("tollgate_");
    match (got, expected) {
        (Value::Object(got), Value::Object(expected)) => {
            let others = got.iter().filter(|(name, _)| !is_own(name));
            others.collect::<Vec<_>>() == expected.iter().collect::<Vec<_>>()
        }
        _ => got == expected,
    }
}

fn is_form(operation: &Operation) -> bool {
    operation.content.as_deref() == Some("multipart/form-data")
}

/// How a form carries a value: lists and objects as OpenAI's clients write them.
fn fields(name: &str, value: &Value) -> Vec<String> {
    let field = |name: String, file: &str, text: &str| format!("name=\"{name}\"{file}\r\n\r\n{text}\r\n");
    let text = |value: &Value| value.as_str().map_or_else(|| value.to_string(), str::to_owned);
    match value {
        _ if matches!(name, "file" | "image" | "mask") => {
            vec![field(name.to_owned(), "; filename=\"a.bin\"", "binary")]
        }
        Value::Array(items) => items.iter().map(|item| field(format!("{name}[]"), "", &text(item))).collect(),
        Value::Object(members) => {
            members.iter().map(|(key, value)| field(format!("{name}[{key}]"), "", &text(value))).collect()
        }
        other => vec![field(name.to_owned(), "", &text(other))],
    }
}

fn form(members: &Map<String, Value>) -> Vec<u8> {
    let mut out = String::new();
    for (name, value) in members {
        for field in fields(name, value) {
            out.push_str(&format!("--{BOUNDARY}\r\nContent-Disposition: form-data; {field}"));
        }
    }
    out.push_str(&format!("--{BOUNDARY}--\r\n"));
    out.into_bytes()
}
