//! Vendors' refusals in their own words: told to each client in its dialect, with the vendor's message and without its
//! secrets.

use serde_json::{Value, json};
use tollgate_catalog::{Catalog, ErrorShape};
use tollgate_testkit::mock_provider::Script;

use crate::harness::{Pod, Setup, hello};

/// What looks like a key in a message.
const SECRET: &str = "sk-proj-abcDEF1234567890abcDEF";

/// A refusal: whose, its status, its body with `%` where the message ends, the message's beginning, and where such a
/// body was shown in public.
struct Refusal {
    vendor: &'static str,
    status: u16,
    body: &'static str,
    message: &'static str,
    #[expect(dead_code, reason = "for people")]
    source: &'static str,
}

const REFUSALS: [Refusal; 8] = [
    Refusal {
        vendor: "openai",
        status: 400,
        body: r#"{"error":{"message":"Unsupported parameter: 'max_tokens' is not supported with this model. Use 'max_completion_tokens' instead.%","type":"invalid_request_error","param":"max_tokens","code":"unsupported_parameter"}}"#,
        message: "Unsupported parameter: 'max_tokens' is not supported with this model.",
        source: "https://github.com/openai/openai-python/issues/2046",
    },
    Refusal {
        vendor: "xai",
        status: 400,
        body: r#"{"code":"Client specified an invalid argument","error":"Argument not supported on this model: presencePenalty%"}"#,
        message: "Argument not supported on this model: presencePenalty",
        source: "https://github.com/yym68686/uni-api/issues/105",
    },
    Refusal {
        vendor: "deepseek",
        status: 422,
        body: r#"{"error":{"message":"Failed to deserialize the JSON body into the target type: messages[1].role: unknown variant `developer`, expected one of `system`, `user`, `assistant`, `tool`%","type":"invalid_request_error","param":null,"code":"invalid_request_error"}}"#,
        message: "Failed to deserialize the JSON body into the target type",
        source: "https://github.com/BenedictKing/ccx/issues/149",
    },
    Refusal {
        vendor: "cerebras",
        status: 400,
        body: r#"{"code":"wrong_api_format","param":"validation_error","type":"invalid_request_error","message":"store: property 'store' is unsupported%"}"#,
        message: "store: property 'store' is unsupported",
        source: "https://github.com/looplj/axonhub/issues/1777",
    },
    Refusal {
        vendor: "dashscope",
        status: 400,
        body: r#"{"error":{"code":"invalid_parameter_error","param":null,"message":"developer is not one of ['system', 'assistant', 'user', 'tool', 'function'] - 'messages.[0].role'%"}}"#,
        message: "developer is not one of",
        source: "https://github.com/ChatLab/ChatLab/issues/480",
    },
    Refusal {
        vendor: "mistral",
        status: 422,
        body: r#"{"object":"error","message":{"detail":[{"type":"extra_forbidden","loc":["body","stream_options","include_usage"],"msg":"Extra inputs are not permitted%","input":true}]},"type":"invalid_request_error","param":null,"code":null}"#,
        message: "Extra inputs are not permitted",
        source: "https://github.com/vectorize-io/hindsight/issues/852",
    },
    Refusal {
        vendor: "together",
        status: 400,
        body: r#"{"message":"Input validation error: `inputs` tokens must be fewer%"}"#,
        message: "Input validation error",
        source: "https://github.com/SWE-agent/SWE-agent/issues/135",
    },
    Refusal {
        vendor: "cohere",
        status: 400,
        body: r#"{"message":"invalid request%"}"#,
        message: "invalid request",
        source: "https://app.unpkg.com/@ai-toolkit/cohere@1.1.13/files/dist/index.mjs",
    },
];

/// The clients: a path, a request, and where its errors say their message.
fn clients() -> [(&'static str, Value, &'static str); 4] {
    let messages = json!([{"role": "user", "content": "hi"}]);
    [
        ("/v1/chat/completions", hello("one"), "/error/message"),
        ("/v1/responses", json!({"model": "one", "input": "hi"}), "/error/message"),
        ("/v1/messages", json!({"model": "one", "max_tokens": 9, "messages": messages}), "/error/message"),
        (
            "/v1beta/models/one:generateContent",
            json!({"contents": [{"role": "user", "parts": [{"text": "hi"}]}]}),
            "/error/message",
        ),
    ]
}

#[tokio::test]
async fn every_vendors_refusal_reaches_every_client_in_its_shape() {
    let pod = Pod::start(Setup::default()).await;
    for refusal in &REFUSALS {
        let body = refusal.body.replace('%', &format!(" (key {SECRET})"));
        pod.mock.set_default(Script::new().status(refusal.status).body("application/json", body));
        for (path, request, place) in clients() {
            let answer = pod.http.post_json(&pod.url(path), &request).await.unwrap();
            let name = refusal.vendor;
            assert_eq!(answer.status.as_u16(), refusal.status, "{name} {path}: {}", answer.text());
            let said = answer.json().unwrap();
            let message = said.pointer(place).and_then(Value::as_str).unwrap_or_default();
            assert!(message.starts_with(refusal.message), "{name} {path}: {said}");
            assert!(!answer.text().contains(SECRET), "{name} {path}: {said}");
            assert!(message.contains("***"), "{name} {path}: {said}");
            match path {
                "/v1/messages" => assert_eq!(said["type"], "error", "{name}: {said}"),
                "/v1beta/models/one:generateContent" => {
                    assert_eq!(said["error"]["code"], refusal.status, "{name}: {said}");
                }
                _ => assert!(said["error"]["type"].is_string(), "{name}: {said}"),
            }
        }
    }
}

#[test]
fn every_vendor_with_a_shape_of_its_own_is_in_the_table() {
    for vendor in Catalog::embedded().unwrap().vendors() {
        if vendor.quirks.error_shape != ErrorShape::Openai {
            let is_there = REFUSALS.iter().any(|refusal| refusal.vendor == vendor.name);
            assert!(is_there, "{}: {:?}", vendor.name, vendor.quirks.error_shape);
        }
    }
}
