//! Embeddings at providers of other dialects, and what vendors of Chat Completions do otherwise.

use serde_json::{Value, json};
use tollgate_catalog::Catalog;
use tollgate_domain::{NanoUsd, SettlementBasis};
use tollgate_policy::Dialect;
use tollgate_testkit::mock_provider::{ReceivedRequest, Script};

use crate::harness::{INPUT_PRICE, Pod, Setup, hello, streamed};

/// A provider that embeds: its dialect, its model, the path it is asked at, its words for two vectors, a member of what
/// it is asked, and whether it counts.
struct Embedder {
    dialect: Dialect,
    model: &'static str,
    path: &'static str,
    answer: Value,
    member: &'static str,
    counts: bool,
}

fn embedders() -> Vec<Embedder> {
    vec![
        Embedder {
            dialect: Dialect::Gemini,
            model: "gemini-embedding-m",
            path: "/v1beta/models/gemini-embedding-m:batchEmbedContents",
            answer: json!({"embeddings": [{"values": [0.5, 1]}, {"values": [2, 3]}]}),
            member: "requests",
            counts: false,
        },
        Embedder {
            dialect: Dialect::Vertex,
            model: "text-embedding-m",
            path: "/v1/projects/p/locations/l/publishers/google/models/text-embedding-m:predict",
            answer: json!({"predictions": [
                {"embeddings": {"values": [0.5, 1], "statistics": {"token_count": 4}}},
                {"embeddings": {"values": [2, 3], "statistics": {"token_count": 3}}}]}),
            member: "instances",
            counts: true,
        },
        Embedder {
            dialect: Dialect::Cohere,
            model: "embed-m",
            path: "/v2/embed",
            answer: json!({"id": "i", "embeddings": {"float": [[0.5, 1], [2, 3]]},
                "meta": {"billed_units": {"input_tokens": 7}}}),
            member: "texts",
            counts: true,
        },
        Embedder {
            dialect: Dialect::Bedrock,
            model: "cohere.embed-m-v3:0",
            path: "/model/cohere.embed-m-v3%3A0/invoke",
            answer: json!({"embeddings": [[0.5, 1], [2, 3]], "id": "i", "response_type": "embeddings_floats"}),
            member: "texts",
            counts: true,
        },
    ]
}

#[tokio::test]
async fn every_provider_that_embeds_answers_openais_clients() {
    for embedder in embedders() {
        let name = embedder.model;
        let setup = Setup { dialect: embedder.dialect, model: name.to_owned(), ..Setup::default() };
        let pod = Pod::start(setup).await;
        let script = Script::new().header("x-amzn-bedrock-input-token-count", "7");
        pod.mock.set_default(script.body("application/json", embedder.answer.to_string()));
        let body = json!({"model": "one", "input": ["hello", "there"]});
        let answer = pod.http.post_json(&pod.url("/v1/embeddings"), &body).await.unwrap();
        assert_eq!(answer.status.as_u16(), 200, "{name}: {}", answer.text());
        let said = answer.json().unwrap();
        assert_eq!(said["object"], "list", "{name}");
        assert_eq!(
            (&said["data"][0]["embedding"], &said["data"][1]["index"]),
            (&json!([0.5, 1]), &json!(1)),
            "{name}"
        );
        let asked = pod.mock.last_request().unwrap();
        assert_eq!(asked.path(), embedder.path, "{name}");
        assert!(asked.json().unwrap().get(embedder.member).is_some(), "{name}");
        let event = pod.next_event().await;
        if embedder.counts {
            assert_eq!(
                (event.cost, event.basis),
                (NanoUsd(7 * INPUT_PRICE), SettlementBasis::Provider),
                "{name}"
            );
            assert_eq!(said["usage"]["prompt_tokens"], 7, "{name}");
        } else {
            assert!(event.cost > NanoUsd::ZERO && event.basis == SettlementBasis::Counted, "{name}");
        }
        pod.wait_until_nothing_is_held().await;
    }
}

#[tokio::test]
async fn googles_clients_embed_at_every_provider() {
    let content = json!({"parts": [{"text": "hello"}]});
    let one = ("/v1beta/models/one:embedContent", json!({"content": content}));
    let many = (
        "/v1/models/one:batchEmbedContents",
        json!({"requests": [{"model": "models/one", "content": content}]}),
    );
    let openai = json!({"object": "list", "data": [{"object": "embedding", "index": 0, "embedding": [0.5, 1]}],
        "model": "m", "usage": {"prompt_tokens": 7, "total_tokens": 7}});
    let google = json!({"embeddings": [{"values": [0.5, 1]}], "usageMetadata": {"promptTokenCount": 7}});
    for (dialect, answer, asked_at) in [
        (Dialect::Openai, openai, "/v1/embeddings"),
        (Dialect::Gemini, google, "/v1beta/models/m:batchEmbedContents"),
    ] {
        let pod = Pod::start(Setup { dialect, ..Setup::default() }).await;
        pod.mock.set_default(Script::new().json(&answer));
        for (path, body) in [&one, &many] {
            let answer = pod.http.post_json(&pod.url(path), body).await.unwrap();
            assert_eq!(answer.status.as_u16(), 200, "{path}: {}", answer.text());
            let said = answer.json().unwrap();
            let place = if path.contains("batch") { "/embeddings/0/values" } else { "/embedding/values" };
            assert_eq!(said.pointer(place), Some(&json!([0.5, 1])), "{path}: {said}");
            assert_eq!(pod.mock.last_request().unwrap().path(), asked_at);
            let event = pod.next_event().await;
            assert_eq!(
                (event.cost, event.basis),
                (NanoUsd(7 * INPUT_PRICE), SettlementBasis::Provider),
                "{path}"
            );
        }
        let (path, mut body) = one.clone();
        body["taskType"] = json!("CLUSTERING");
        let answer = pod.http.post_json(&pod.url(path), &body).await.unwrap();
        if dialect == Dialect::Gemini {
            assert_eq!(answer.status.as_u16(), 200, "{}", answer.text());
            let asked = sent(&pod.mock.last_request().unwrap());
            assert_eq!(asked["requests"][0]["taskType"], "CLUSTERING", "{asked}");
            assert_eq!(asked["requests"][0]["model"], "models/m", "{asked}");
        } else {
            assert_eq!(answer.status.as_u16(), 400, "{}", answer.text());
            let error = answer.json().unwrap()["error"].clone();
            assert_eq!(error["status"], "INVALID_ARGUMENT", "{error}");
            assert!(error["message"].as_str().unwrap().contains("taskType"), "{error}");
        }
        pod.wait_until_nothing_is_held().await;
    }
}

#[tokio::test]
async fn titan_embeds_one_text_at_a_time() {
    let model = "amazon.titan-embed-text-v2:0".to_owned();
    let pod = Pod::start(Setup { dialect: Dialect::Bedrock, model, ..Setup::default() }).await;
    pod.mock.set_default(
        Script::new().body("application/json", r#"{"embedding":[0.5,-1],"inputTextTokenCount":3}"#),
    );
    let ask = async |body: Value| pod.http.post_json(&pod.url("/v1/embeddings"), &body).await.unwrap();
    let answer = ask(json!({"model": "one", "input": "hello", "encoding_format": "base64"})).await;
    assert_eq!(answer.status.as_u16(), 200, "{}", answer.text());
    assert_eq!(answer.json().unwrap()["data"][0]["embedding"], "AAAAPwAAgL8=");
    assert_eq!(pod.next_event().await.cost, NanoUsd(3 * INPUT_PRICE));
    for input in [json!(["a", "b"]), json!([1, 2])] {
        let refused = ask(json!({"model": "one", "input": input})).await;
        assert_eq!(refused.status.as_u16(), 400, "{}", refused.text());
    }
    assert_eq!(pod.mock.counts().n_received, 1, "what cannot be asked is not sent");
}

#[tokio::test]
async fn an_answer_without_vectors_is_a_bad_answer() {
    let pod = Pod::start(Setup { dialect: Dialect::Cohere, ..Setup::default() }).await;
    pod.mock.set_default(Script::new().body("application/json", r#"{"id":"i"}"#));
    let body = json!({"model": "one", "input": "hello"});
    let answer = pod.http.post_json(&pod.url("/v1/embeddings"), &body).await.unwrap();
    assert_eq!(answer.status.as_u16(), 502, "{}", answer.text());
    pod.wait_until_nothing_is_held().await;
}

// === quirks ===

/// A pod whose first provider's vendor has these quirks.
async fn with_quirks(quirks: &Value) -> Pod {
    let vendors =
        json!([{"name": "mock", "dialect": "openai", "base_url": "", "quirks": quirks, "models": []}]);
    let catalog = Some(Catalog::from_json(&vendors.to_string()).unwrap());
    Pod::start(Setup { catalog, ..Setup::default() }).await
}

fn sent(request: &ReceivedRequest) -> Value {
    request.json().unwrap()
}

#[tokio::test]
async fn requests_are_written_as_their_vendor_knows_them() {
    let pod = with_quirks(&json!({"takes_stream_options": false,
        "renamed": {"max_completion_tokens": "max_tokens", "seed": "random_seed"}}))
    .await;
    let mut body = streamed("one");
    body["seed"] = json!(7);
    body["stream_options"] = json!({"include_usage": true});
    let limit = body.as_object_mut().unwrap().remove("max_tokens").unwrap();
    body["max_completion_tokens"] = limit;
    pod.mock.set_default(Script::new().force_usage_chunk());
    let answer = pod.chat(&body).await;
    assert_eq!(answer.status.as_u16(), 200, "{}", answer.text());
    let asked = sent(&pod.mock.last_request().unwrap());
    assert_eq!((&asked["random_seed"], &asked["max_tokens"]), (&json!(7), &json!(100)), "{asked}");
    for gone in ["seed", "stream_options", "max_completion_tokens"] {
        assert_eq!(asked.get(gone), None, "{gone}");
    }
    // the vendor's unasked count is the one that is charged
    assert!(answer.text().contains("\"usage\""), "{}", answer.text());
    assert_eq!(pod.next_event().await.basis, SettlementBasis::Provider);
}

#[tokio::test]
async fn what_a_vendor_refuses_is_refused_before_it_is_sent() {
    let quirks = json!({"refused": ["logprobs"], "single_choice": true});
    let pod = with_quirks(&quirks).await;
    for (member, value) in [("logprobs", json!(true)), ("n", json!(2))] {
        let mut body = hello("one");
        body[member] = value;
        let answer = pod.chat(&body).await;
        assert_eq!(answer.status.as_u16(), 400, "{member}: {}", answer.text());
        let error = answer.json().unwrap()["error"].clone();
        assert_eq!(error["param"], member, "{error}");
        assert!(error["message"].as_str().unwrap().contains("provider `mock`"), "{error}");
        // another provider takes it
        body["model"] = json!("both");
        assert_eq!(pod.chat(&body).await.status.as_u16(), 200, "{member}");
    }
    assert_eq!((pod.mock.counts().n_received, pod.second.counts().n_received), (0, 2));
    let mut body = hello("one");
    body["logprobs"] = json!(false);
    body["n"] = json!(1);
    assert_eq!(pod.chat(&body).await.status.as_u16(), 200);
    let asked = sent(&pod.mock.last_request().unwrap());
    assert_eq!((asked.get("logprobs"), asked.get("n")), (None, None), "what says nothing is left out");
}

#[tokio::test]
async fn the_cap_has_the_name_that_the_vendor_obeys() {
    for (name, other) in [("max_completion_tokens", "max_tokens"), ("max_tokens", "max_completion_tokens")] {
        let pod = with_quirks(&json!({"output_cap": name})).await;
        let mut body = hello("one");
        body.as_object_mut().unwrap().remove("max_tokens");
        assert_eq!(pod.chat(&body).await.status.as_u16(), 200);
        let asked = sent(&pod.mock.last_request().unwrap());
        assert!(asked[name].is_u64() && asked.get(other).is_none(), "{name}: {asked}");
    }
}
