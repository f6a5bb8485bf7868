//! Every operation of OpenAI's published document under our paths: each parameter arrives at the provider as it was
//! sent, or stands here with the reason why it does not.
//!
//! The listing of operations is written by `cargo xtask openai-openapi`, which also runs this with a newer one.

use bytes::Bytes;
use http::Method;
use serde_json::{Map, Value, json};
use tollgate_domain::Meter;
use tollgate_testkit::mock_provider::Script;

use crate::harness::{Pod, Setup};

const KEPT: &str = include_str!("openai_operations.json");
const VARIABLE: &str = "TOLLGATE_OPENAI_OPERATIONS";
const BOUNDARY: &str = "=X=";

struct Operation {
    method: String,
    path: String,
    content: Option<String>,
    parameters: Vec<Parameter>,
}

struct Parameter {
    name: String,
    required: bool,
    sample: Value,
}

/// Parameters that do not arrive as they are: the path, the name, and why.
const EXCEPTIONS: &[(&str, &str, &str)] = &[
    ("*", "model", "the provider's own name for the model is sent"),
    ("/chat/completions", "max_completion_tokens", "moves to the name that the target obeys"),
    ("/chat/completions", "web_search_options", "refused: searches have no bound and no price"),
];

/// Operations that are no request to a model, or one in another dialect: the method, the path, and why.
const APART: &[(&str, &str, &str)] = &[
    (
        "*",
        "/responses",
        "passed where the provider serves it, else translated: the pod's responses and dialects",
    ),
    ("*", "/responses/", "stored responses belong to their tenant: answered by the gateway"),
    ("*", "/models", "the gateway's own models"),
    ("*", "/models/", "the gateway's own models; none can be deleted by an application"),
    ("*", "/files", "ids are sealed with their owner: the pod's objects"),
    ("*", "/files/", "ids are sealed with their owner: the pod's objects"),
    ("*", "/batches", "held and settled line by line, ids are sealed: the pod's objects"),
    ("*", "/batches/", "held and settled line by line, ids are sealed: the pod's objects"),
    ("GET", "/chat/completions", "not served: the vendor's list holds every project's completions"),
    ("*", "/chat/completions/", "not served: a kept completion has no owner at the vendor"),
    ("*", "/audio/voice_consents", "not served: voices have no owner at the vendor"),
    ("*", "/audio/voice_consents/", "not served: voices have no owner at the vendor"),
    ("*", "/audio/voices", "not served: voices have no owner at the vendor"),
];

fn apart(operation: &Operation) -> Option<&'static str> {
    let is_it = |(method, path, _): &&(&str, &str, &str)| {
        let below = path.ends_with('/') && operation.path.starts_with(path);
        (*method == "*" || *method == operation.method) && (operation.path == *path || below)
    };
    APART.iter().find(is_it).map(|(_, _, reason)| *reason)
}

fn exception(path: &str, name: &str) -> Option<&'static str> {
    let is_it = |(of, member, _): &&(&str, &str, &str)| {
        (*of == "*" || *of == path) && (*member == "*" || *member == name)
    };
    EXCEPTIONS.iter().find(is_it).map(|(_, _, reason)| *reason)
}

fn read_operation(operation: &Value) -> Operation {
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    let parameters = operation["parameters"].as_array().unwrap().iter();
    let parameters = parameters.map(|parameter| Parameter {
        name: text(&parameter["name"]),
        required: parameter["required"] == true,
        sample: parameter["sample"].clone(),
    });
    Operation {
        method: text(&operation["method"]),
        path: text(&operation["path"]),
        content: operation["content"].as_str().map(str::to_owned),
        parameters: parameters.collect(),
    }
}

fn listing() -> Vec<Operation> {
    let text = match std::env::var(VARIABLE) {
        Ok(path) => std::fs::read_to_string(path).unwrap(),
        Err(_) => KEPT.to_owned(),
    };
    let listing: Vec<Value> = serde_json::from_str(&text).unwrap();
    listing.iter().map(read_operation).collect()
}

/// What is sent beside the parameter that is looked at.
fn base(operation: &Operation) -> Map<String, Value> {
    let mut base = Map::new();
    for parameter in operation.parameters.iter().filter(|parameter| parameter.required) {
        base.insert(parameter.name.clone(), value_of(operation, parameter));
    }
    base.insert("model".to_owned(), json!("one"));
    base
}

/// The value made from the schema, or one that fits better to the others.
fn value_of(operation: &Operation, parameter: &Parameter) -> Value {
    match (operation.path.as_str(), parameter.name.as_str()) {
        (_, "model") => json!("one"),
        ("/chat/completions", "messages") => json!([{"role": "user", "content": "hi"}]),
        ("/chat/completions", "modalities") => json!(["text"]),
        (_, "prompt") => json!("a picture"),
        _ => parameter.sample.clone(),
    }
}

#[derive(Debug, Default)]
struct Counts {
    operations: usize,
    parameters: usize,
    intact: usize,
    exceptions: usize,
}

#[tokio::test]
async fn every_parameter_arrives_or_is_an_exception() {
    let prices = Meter::ALL.iter().map(|meter| (Some(*meter), 1_000_000)).collect();
    let pod = Pod::start(Setup { prices, ..Setup::default() }).await;
    let mut counts = Counts::default();
    let mut wrong = Vec::new();
    for operation in listing() {
        counts.operations += 1;
        counts.parameters += operation.parameters.len();
        if let Some(reason) = apart(&operation) {
            counts.exceptions += operation.parameters.len();
            println!("apart: {} {}: {reason}", operation.method, operation.path);
            continue;
        }
        assert_eq!(operation.method, "POST", "{}: say why it is apart", operation.path);
        answer_like(&pod, &operation.path);
        for parameter in &operation.parameters {
            let place = format!("{} {}", operation.path, parameter.name);
            let arrived = send(&pod, &operation, parameter).await;
            match (arrived, exception(&operation.path, &parameter.name)) {
                (Ok(()), None) => counts.intact += 1,
                (Err(_), Some(reason)) => {
                    counts.exceptions += 1;
                    println!("exception: {place}: {reason}");
                }
                (Err(why), None) => wrong.push(format!("{place}: {why}")),
                (Ok(()), Some(_)) => wrong.push(format!("{place} arrives: it is no exception any more")),
            }
        }
    }
    println!("{counts:?}");
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert!(counts.operations >= 30 && counts.intact >= 90, "{counts:?}");
}

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
async fn send(pod: &Pod, operation: &Operation, parameter: &Parameter) -> Result<(), String> {
    let mut members = base(operation);
    let value = value_of(operation, parameter);
    members.insert(parameter.name.clone(), value.clone());
    let is_form = operation.content.as_deref() == Some("multipart/form-data");
    let (kind, body) = match is_form {
        true => (format!("multipart/form-data; boundary=\"{BOUNDARY}\""), form(&members)),
        false => ("application/json".to_owned(), Value::Object(members).to_string().into_bytes()),
    };
    let before = pod.mock.counts().n_received;
    let url = pod.url(&format!("/v1{}", operation.path));
    let mut request = pod.http.request(Method::POST, &url, Bytes::from(body)).unwrap();
    request.headers_mut().insert("content-type", kind.parse().unwrap());
    let answer = pod.http.send(request).await.unwrap();
    if pod.mock.counts().n_received == before {
        return Err(format!("not sent: {}", answer.text()));
    }
    let received = pod.mock.last_request().unwrap();
    if is_form {
        let text = String::from_utf8_lossy(received.body()).into_owned();
        let missing =
            fields(&parameter.name, &value).into_iter().find(|field| !text.contains(field.as_str()));
        return missing.map_or(Ok(()), |field| Err(format!("the form has no {field:?}")));
    }
    let got = received.json().unwrap().get(&parameter.name).cloned();
    if got.as_ref() == Some(&value) { Ok(()) } else { Err(format!("{value} arrived as {got:?}")) }
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
