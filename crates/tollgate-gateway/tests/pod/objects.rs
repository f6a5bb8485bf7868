//! Files and batches: whose they are, and what a batch costs.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use http::Method;
use serde_json::{Value, json};
use tollgate_domain::{Meter, NanoUsd, Surface, Usage};
use tollgate_testkit::http::{Answer, HttpClient};
use tollgate_testkit::mock_provider::{ReceivedRequest, Script};
use tollgate_testkit::wait::eventually;

use crate::harness::{INPUT_PRICE, OTHER_KEY, OUTPUT_PRICE, Pod, Setup};

/// What a provider keeps: files by their number, and one batch.
#[derive(Default)]
pub(crate) struct Kept {
    files: Vec<(String, Vec<u8>)>,
    batch: Option<Value>,
}

fn keep(pod: &Pod) -> Arc<Mutex<Kept>> {
    let kept = Arc::new(Mutex::new(Kept::default()));
    let shared = Arc::clone(&kept);
    pod.mock.set_responder(move |request| Some(answer(&mut shared.lock().unwrap(), request)));
    kept
}

fn file(number: usize, name: &str) -> Value {
    json!({"id": format!("file-{number}"), "object": "file", "bytes": 1, "created_at": 1, "filename": name, "purpose": "batch"})
}

pub(crate) fn answer(kept: &mut Kept, request: &ReceivedRequest) -> Script {
    let path = request.path().split('?').next().unwrap().to_owned();
    let number = || path.split('/').nth(3).and_then(|id| id.strip_prefix("file-")?.parse::<usize>().ok());
    match (request.method(), path.as_str()) {
        ("POST", "/v1/files") => {
            let text = String::from_utf8(request.body().to_vec()).unwrap();
            let name = text.split("filename=\"").nth(1).unwrap().split('"').next().unwrap().to_owned();
            let content = text.split("\r\n\r\n").nth(1).unwrap().split("\r\n--").next().unwrap().to_owned();
            kept.files.push((name.clone(), content.into_bytes()));
            Script::new().json(&file(kept.files.len(), &name))
        }
        ("GET", "/v1/files") => {
            let data: Vec<Value> =
                kept.files.iter().enumerate().map(|(n, (name, _))| file(n + 1, name)).collect();
            Script::new().json(&json!({"object": "list", "data": data, "has_more": false}))
        }
        ("GET", path) if path.ends_with("/content") => {
            let content = kept.files[number().unwrap() - 1].1.clone();
            Script::new().body("application/octet-stream", content)
        }
        ("GET", path) if path.starts_with("/v1/files/") => {
            let number = number().unwrap();
            Script::new().json(&file(number, &kept.files[number - 1].0))
        }
        ("DELETE", _) => {
            Script::new().json(&json!({"id": format!("file-{}", number().unwrap()), "deleted": true}))
        }
        ("POST", "/v1/batches") => {
            let mut batch = request.json().unwrap();
            batch["id"] = json!("batch_1");
            batch["status"] = json!("validating");
            kept.batch = Some(batch.clone());
            Script::new().json(&batch)
        }
        ("GET", "/v1/batches") => {
            let foreign = json!({"id": "batch_0", "status": "completed", "metadata": {"tollgate_owner": "0011223344556677"}});
            Script::new().json(&json!({"object": "list", "data": [foreign, kept.batch], "has_more": false}))
        }
        ("GET", "/v1/batches/batch_1") => Script::new().json(kept.batch.as_ref().unwrap()),
        ("POST", "/v1/batches/batch_1/cancel") => {
            kept.batch.as_mut().unwrap()["status"] = json!("cancelling");
            Script::new().json(kept.batch.as_ref().unwrap())
        }
        _ => Script::error(404, "no such thing"),
    }
}

pub(crate) async fn upload(pod: &Pod, name: &str, content: &str) -> Answer {
    let body = format!(
        "--X\r\nContent-Disposition: form-data; name=\"file\"; filename=\"{name}\"\r\n\r\n{content}\r\n\
         --X\r\nContent-Disposition: form-data; name=\"purpose\"\r\n\r\nbatch\r\n--X--\r\n"
    );
    let mut request = pod.http.request(Method::POST, &pod.url("/v1/files?provider=mock"), body).unwrap();
    request.headers_mut().insert("content-type", "multipart/form-data; boundary=X".parse().unwrap());
    pod.http.send(request).await.unwrap()
}

async fn get(http: &HttpClient, pod: &Pod, path: &str) -> Answer {
    http.get(&pod.url(path)).await.unwrap()
}

#[tokio::test]
async fn files_belong_to_their_project() {
    let pod = Pod::start(Setup::default()).await;
    let kept = keep(&pod);
    let uploaded = upload(&pod, "a.jsonl", "{}").await;
    assert_eq!(uploaded.status.as_u16(), 200, "{}", uploaded.text());
    let uploaded = uploaded.json().unwrap();
    let id = uploaded["id"].as_str().unwrap().to_owned();
    assert_eq!((uploaded["filename"].as_str(), id.starts_with("file-tg")), (Some("a.jsonl"), true));
    assert!(kept.lock().unwrap().files[0].0.starts_with("tg-"));
    kept.lock().unwrap().files.push(("of somebody else".to_owned(), Vec::new()));
    assert_eq!(pod.mock.last_request().unwrap().bearer(), Some("upstream-secret-1"));
    let event = pod.next_event().await;
    assert_eq!(
        (event.surface, event.cost, event.usage),
        (Surface::Files, NanoUsd::ZERO, Usage::ZERO.with(Meter::Request, 1))
    );

    let shown = get(&pod.http, &pod, &format!("/v1/files/{id}")).await.json().unwrap();
    assert_eq!((&shown["id"], &shown["filename"]), (&json!(id), &json!("a.jsonl")));
    let content = get(&pod.http, &pod, &format!("/v1/files/{id}/content")).await;
    assert_eq!((content.status.as_u16(), content.text()), (200, "{}".to_owned()));
    let list = get(&pod.http, &pod, "/v1/files?provider=mock&limit=5").await.json().unwrap();
    assert_eq!((list["data"].as_array().unwrap().len(), &list["data"][0]["id"]), (1, &json!(id)), "{list}");

    // another tenant's key finds nothing
    let stranger = HttpClient::new().with_bearer(OTHER_KEY);
    for path in [
        format!("/v1/files/{id}"),
        format!("/v1/files/{id}/content"),
        "/v1/files/file-1".to_owned(),
        format!("/v1/files/{id}x"),
    ] {
        let answer = get(&stranger, &pod, &path).await;
        assert_eq!(
            (answer.status.as_u16(), answer.json().unwrap()["error"]["code"].clone()),
            (404, json!("not_found")),
            "{path}"
        );
    }
    let gone = stranger.delete(&pod.url(&format!("/v1/files/{id}"))).await.unwrap();
    assert_eq!(gone.status.as_u16(), 404);
    let list = get(&stranger, &pod, "/v1/files?provider=mock").await.json().unwrap();
    assert_eq!(list["data"], json!([]));
    let gone = pod.http.delete(&pod.url(&format!("/v1/files/{id}"))).await.unwrap().json().unwrap();
    assert_eq!((&gone["id"], &gone["deleted"]), (&json!(id), &json!(true)));
    for (method, path) in
        [(Method::PUT, "/v1/files"), (Method::POST, "/v1/files/x"), (Method::GET, "/v1/batches/x/cancel")]
    {
        let answer = pod.http.send(pod.http.request(method, &pod.url(path), "").unwrap()).await.unwrap();
        assert_eq!(answer.status.as_u16(), 405, "{path}");
    }
    assert_eq!(get(&pod.http, &pod, "/v1/files").await.status.as_u16(), 400);
    pod.wait_until_nothing_is_held().await;
}

fn line(name: &str, body: &Value) -> String {
    json!({"custom_id": name, "method": "POST", "url": "/v1/chat/completions", "body": body}).to_string()
}

fn ask(n: u64) -> Value {
    json!({"model": "m", "messages": [{"role": "user", "content": "hello"}], "max_tokens": n})
}

async fn make(pod: &Pod, lines: &str) -> Answer {
    let id = upload(pod, "b.jsonl", lines).await.json().unwrap()["id"].clone();
    let body = json!({"input_file_id": id, "endpoint": "/v1/chat/completions", "completion_window": "24h", "metadata": {"mine": "1"}});
    pod.http.post_json(&pod.url("/v1/batches"), &body).await.unwrap()
}

/// The provider's batch ends with such a file of answers.
fn end_with(kept: &Mutex<Kept>, answers: &str) {
    let mut kept = kept.lock().unwrap();
    kept.files.push(("out".to_owned(), answers.as_bytes().to_vec()));
    let output = format!("file-{}", kept.files.len());
    let batch = kept.batch.as_mut().unwrap();
    batch["status"] = json!("completed");
    batch["output_file_id"] = json!(output);
}

#[tokio::test]
async fn a_batch_is_held_for_until_its_end_is_seen() {
    let pod = Pod::start(Setup::default()).await;
    let kept = keep(&pod);
    let lines = [line("a", &ask(100)), line("b", &ask(50))].join("\n");
    let made = make(&pod, &lines).await;
    assert_eq!(made.status.as_u16(), 200, "{}", made.text());
    let made = made.json().unwrap();
    let id = made["id"].as_str().unwrap().to_owned();
    assert!(id.starts_with("batch_tg") && made["input_file_id"].as_str().unwrap().starts_with("file-tg"));
    assert_eq!(made["metadata"]["mine"], "1");
    assert_eq!(kept.lock().unwrap().batch.as_ref().unwrap()["input_file_id"], "file-1");
    // 150 answer tokens and two prompts at most; nothing of it is open on this pod
    let (settled, held) = pod.spent_and_held().await;
    assert!(settled == NanoUsd::ZERO && held > NanoUsd(150 * OUTPUT_PRICE), "{held}");
    assert_eq!(pod.gateway.open_holds(), 0);
    // the upload and the reading of its lines
    for _ in 0..2 {
        assert_eq!(pod.next_event().await.surface, Surface::Files);
    }
    let running = get(&pod.http, &pod, &format!("/v1/batches/{id}")).await;
    assert_eq!((running.status.as_u16(), running.header("x-tollgate-cost-usd").is_some()), (200, true));
    pod.next_event().await;
    assert_eq!(pod.spent_and_held().await.1, held);
    let stranger = HttpClient::new().with_bearer(OTHER_KEY);
    assert_eq!(get(&stranger, &pod, &format!("/v1/batches/{id}")).await.status.as_u16(), 404);

    // it ends, and its answers tell no usage: that is not free, it stays held
    end_with(&kept, r#"{"response": {"body": {}}}"#);
    let silent = get(&pod.http, &pod, &format!("/v1/batches/{id}")).await;
    assert_eq!((silent.status.as_u16(), silent.header("x-tollgate-cost-usd")), (200, Some("0")));
    for _ in 0..2 {
        assert_eq!(pod.next_event().await.cost, NanoUsd::ZERO);
    }
    assert_eq!(pod.spent_and_held().await, (NanoUsd::ZERO, held));

    // it ends: what its answers tell is charged, at the price of batches or else the usual one
    let answers = [(3, 4), (5, 6)].map(|(input, output)| {
        json!({"response": {"body": {"usage": {"prompt_tokens": input, "completion_tokens": output}}}})
            .to_string()
    });
    end_with(&kept, &answers.join("\n"));
    kept.lock().unwrap().batch.as_mut().unwrap()["request_counts"] =
        json!({"total": 2, "completed": 2, "failed": 0});
    let cost = NanoUsd(8 * INPUT_PRICE + 10 * OUTPUT_PRICE);
    let mut settled = Vec::new();
    for _ in 0..2 {
        let ended = get(&pod.http, &pod, &format!("/v1/batches/{id}")).await;
        assert_eq!(ended.header("x-tollgate-cost-usd"), Some(cost.to_string().as_str()));
        assert!(ended.json().unwrap()["output_file_id"].as_str().unwrap().starts_with("file-tg"));
        // the look, the reading of the answers, and the first time the batch itself
        for _ in 0..2 {
            settled.push(pod.next_event().await);
        }
    }
    settled.push(pod.next_event().await);
    settled.retain(|event| event.cost > NanoUsd::ZERO);
    assert_eq!(settled.len(), 1, "{settled:?}");
    let event = &settled[0];
    assert_eq!(
        (event.surface, event.cost, event.held, event.model.as_str()),
        (Surface::Batches, cost, held, "m")
    );
    assert_eq!((event.usage.get(Meter::Request), event.usage.get(Meter::Input)), (2, 8));
    assert_eq!(pod.spent_and_held().await, (cost, NanoUsd::ZERO));

    let list = get(&pod.http, &pod, "/v1/batches?provider=mock").await.json().unwrap();
    assert_eq!(list["data"].as_array().unwrap().len(), 1, "{list}");
    let listed = list["data"][0]["id"].as_str().unwrap();
    assert_eq!(get(&pod.http, &pod, &format!("/v1/batches/{listed}")).await.status.as_u16(), 200);
    let cancelled =
        pod.http.post_json(&pod.url(&format!("/v1/batches/{id}/cancel")), &json!({})).await.unwrap();
    assert_eq!(cancelled.json().unwrap()["status"], "cancelling");
    // a claim out of the metadata is no name
    let claim = list["data"][0]["metadata"]["tollgate_claim"].as_str().unwrap();
    assert_eq!(get(&pod.http, &pod, &format!("/v1/batches/{claim}")).await.status.as_u16(), 404);
}

#[tokio::test]
async fn batches_that_cannot_be_bounded_or_paid_are_not_made() {
    let pod = Pod::start(Setup { budget: Some(NanoUsd(100 * OUTPUT_PRICE)), ..Setup::default() }).await;
    let kept = keep(&pod);
    let uncapped = json!({"model": "m", "messages": [{"role": "user", "content": "hello"}]});
    let other = json!({"model": "n", "messages": [{"role": "user", "content": "hello"}], "max_tokens": 1});
    let streamed = json!({"model": "m", "messages": [{"role": "user", "content": "hello"}], "max_tokens": 1, "stream": true});
    let cases = [
        (line("a", &ask(5_000)), 402, "budget"),
        (line("a", &uncapped), 400, "line 1 of the batch: nothing bounds its answer"),
        (format!("{}\n{}", line("a", &ask(1)), line("b", &other)), 422, "line 2 of the batch"),
        (line("a", &streamed), 400, "`body.stream`"),
        (line("a", &ask(1)).replace("/v1/chat", "/v1/other"), 400, "`url` must be"),
        ("{".to_owned(), 400, "line 1 of the batch"),
        ("\n".to_owned(), 400, "has no lines"),
    ];
    for (lines, status, message) in cases {
        let answer = make(&pod, &lines).await;
        assert_eq!(answer.status.as_u16(), status, "{lines}: {}", answer.text());
        assert!(answer.text().contains(message), "{lines}: {}", answer.text());
    }
    assert!(kept.lock().unwrap().batch.is_none());
    let unknown = json!({"input_file_id": "file-1", "endpoint": "/v1/chat/completions"});
    let answer = pod.http.post_json(&pod.url("/v1/batches"), &unknown).await.unwrap();
    assert_eq!(
        (answer.status.as_u16(), answer.json().unwrap()["error"]["param"].clone()),
        (404, json!("input_file_id"))
    );
    pod.wait_until_nothing_is_held().await;
}

#[tokio::test]
async fn a_batch_is_settled_though_nobody_looks_at_it() {
    let mut setup = Setup::default();
    setup.config.look_at_batches_every = Duration::from_millis(50);
    let pod = Pod::start(setup).await;
    let kept = keep(&pod);
    let made = make(&pod, &[line("a", &ask(100)), line("b", &ask(50))].join("\n")).await;
    assert_eq!(made.status.as_u16(), 200, "{}", made.text());
    // the upload and the reading of its lines
    for _ in 0..2 {
        assert_eq!(pod.next_event().await.surface, Surface::Files);
    }
    let held = pod.spent_and_held().await.1;
    assert!(held > NanoUsd::ZERO);
    let n_received = pod.mock.counts().n_received;
    pod.mock.wait_for_requests(n_received + 2).await.unwrap();
    assert_eq!(pod.spent_and_held().await, (NanoUsd::ZERO, held), "it is looked at, and runs");
    let answers = json!({"response": {"body": {"usage": {"prompt_tokens": 3, "completion_tokens": 4}}}});
    end_with(&kept, &answers.to_string());
    let event = pod.next_event().await;
    let cost = NanoUsd(3 * INPUT_PRICE + 4 * OUTPUT_PRICE);
    assert_eq!((event.surface, event.cost, event.held), (Surface::Batches, cost, held));
    assert_eq!(pod.spent_and_held().await, (cost, NanoUsd::ZERO));
    assert_eq!(pod.mock.last_request().unwrap().bearer(), Some("upstream-secret-1"));
}

/// A list shows the answers' file no sooner than they are paid for.
#[tokio::test]
async fn a_list_settles_what_it_shows() {
    let pod = Pod::start(Setup::default()).await;
    let kept = keep(&pod);
    make(&pod, &line("a", &ask(100))).await.expect_status(200).unwrap();
    let listed = async || {
        let list = get(&pod.http, &pod, "/v1/batches?provider=mock").await.expect_status(200).unwrap();
        list.json().unwrap()["data"][0]["output_file_id"].clone()
    };
    let held = pod.spent_and_held().await.1;
    assert_eq!(listed().await, Value::Null, "it runs");
    end_with(&kept, r#"{"response": {"body": {}}}"#);
    assert_eq!(listed().await, Value::Null, "nobody knows what it cost");
    assert_eq!(pod.spent_and_held().await, (NanoUsd::ZERO, held));
    let answers = json!({"response": {"body": {"usage": {"prompt_tokens": 3, "completion_tokens": 4}}}});
    end_with(&kept, &answers.to_string());
    assert!(listed().await.as_str().is_some_and(|name| name.starts_with("file-tg")));
    let cost = NanoUsd(3 * INPUT_PRICE + 4 * OUTPUT_PRICE);
    eventually(Duration::from_secs(10), "the batch to be settled", async || {
        (pod.spent_and_held().await == (cost, NanoUsd::ZERO)).then_some(())
    })
    .await
    .unwrap();
}

#[tokio::test]
async fn lines_of_responses_go_to_providers_that_speak_them() {
    let responses = Some(tollgate_policy::ResponsesMode::Native);
    let pod = Pod::start(Setup { responses, ..Setup::default() }).await;
    let kept = keep(&pod);
    let line = |body: Value| {
        json!({"custom_id": "a", "method": "POST", "url": "/v1/responses", "body": body}).to_string()
    };
    let make = async |pod: &Pod, lines: String| {
        let file = upload(pod, "b.jsonl", &lines).await.json().unwrap()["id"].clone();
        let batch = json!({"input_file_id": file, "endpoint": "/v1/responses", "completion_window": "24h"});
        pod.http.post_json(&pod.url("/v1/batches"), &batch).await.unwrap()
    };
    for (more, message) in [
        (json!({"max_output_tokens": 9, "background": true}), "`body.background`"),
        (json!({}), "nothing bounds its answer"),
    ] {
        let mut body = json!({"model": "m", "input": "hello"});
        body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        let answer = make(&pod, line(body)).await;
        assert_eq!(answer.status.as_u16(), 400);
        assert!(answer.text().contains(message), "{}", answer.text());
    }
    let made = make(&pod, line(json!({"model": "m", "input": "hello", "max_output_tokens": 100}))).await;
    assert_eq!(made.status.as_u16(), 200, "{}", made.text());
    let held = pod.spent_and_held().await.1;
    assert!(held > NanoUsd(100 * OUTPUT_PRICE), "{held}");
    // without metadata of its own, too, it is found in lists
    let list = get(&pod.http, &pod, "/v1/batches?provider=mock").await.json().unwrap();
    assert_eq!(list["data"].as_array().unwrap().len(), 1, "{list}");
    assert_eq!((&list["first_id"], &list["last_id"]), (&list["data"][0]["id"], &list["data"][0]["id"]));
    let usage = json!({"response": {"body": {"usage": {"input_tokens": 3, "output_tokens": 4}}}});
    end_with(&kept, &usage.to_string());
    let id = made.json().unwrap()["id"].as_str().unwrap().to_owned();
    let ended = get(&pod.http, &pod, &format!("/v1/batches/{id}")).await;
    let cost = NanoUsd(3 * INPUT_PRICE + 4 * OUTPUT_PRICE);
    assert_eq!(ended.header("x-tollgate-cost-usd"), Some(cost.to_string().as_str()), "{}", ended.text());
    let pod_of_chat = Pod::start(Setup::default()).await;
    keep(&pod_of_chat);
    let answer = make(&pod_of_chat, line(json!({"model": "m", "input": "x", "max_output_tokens": 9}))).await;
    assert!(answer.text().contains("use /v1/chat/completions"), "{}", answer.text());
}
