//! Models on Amazon's and Google's clouds: signed requests, tokens that are bought, other framings.

use serde_json::{Value, json};
use tollgate_domain::{AttemptOutcome, NanoUsd, Secret, SettlementBasis};
use tollgate_policy::Dialect;
use tollgate_testkit::mock_provider::{MockProvider, ReceivedRequest, Script};
use tollgate_upstream::sigv4::{Signable, Signer, authorization};
use tollgate_wire::bedrock::event_stream::encode;
use tollgate_wire::neutral::ChatDialect;
use tollgate_wire::translate::read_answer;

use crate::dialects::{COST, check_said, question, vendor};
use crate::harness::{NOW, Pod, Setup, hello, streamed};

const KEY: &str = include_str!("../../../tollgate-upstream/testdata/service-account-test-key.pem");
const EVENT_STREAM: &str = "application/vnd.amazon.eventstream";
/// The clock's moment as signatures write it.
const DATE: &str = "20260101T000000Z";

/// Bedrock's words for the answer that every vendor gives.
pub(crate) fn bedrock(path: &str) -> Option<Script> {
    let (_, call) = path.strip_prefix("/model/")?.split_once('/')?;
    Some(match call {
        "converse" => Script::new().body("application/json", whole().to_string()),
        _ => Script::new().body(EVENT_STREAM, framed(&events())),
    })
}

fn whole() -> Value {
    json!({"output": {"message": {"role": "assistant", "content": [{"text": "Hello"},
        {"toolUse": {"toolUseId": "t1", "name": "f", "input": {"a": 1}}}]}}, "stopReason": "tool_use",
        "usage": {"inputTokens": 6, "outputTokens": 7, "totalTokens": 13}, "metrics": {"latencyMs": 5}})
}

fn events() -> Vec<(&'static str, Value)> {
    vec![
        ("messageStart", json!({"role": "assistant"})),
        ("contentBlockDelta", json!({"contentBlockIndex": 0, "delta": {"text": "Hel"}})),
        ("contentBlockDelta", json!({"contentBlockIndex": 0, "delta": {"text": "lo"}})),
        ("contentBlockStop", json!({"contentBlockIndex": 0})),
        (
            "contentBlockStart",
            json!({"contentBlockIndex": 1, "start": {"toolUse": {"toolUseId": "t1", "name": "f"}}}),
        ),
        ("contentBlockDelta", json!({"contentBlockIndex": 1, "delta": {"toolUse": {"input": "{\"a\":1}"}}})),
        ("contentBlockStop", json!({"contentBlockIndex": 1})),
        ("messageStop", json!({"stopReason": "tool_use"})),
        ("metadata", json!({"usage": {"inputTokens": 6, "outputTokens": 7, "totalTokens": 13}})),
    ]
}

fn framed(events: &[(&str, Value)]) -> Vec<u8> {
    events.iter().flat_map(|(name, payload)| encode(name, false, payload.to_string().as_bytes())).collect()
}

/// Where a vendor serves on its own what it serves on Vertex, and whether it streams.
pub(crate) fn as_at_home(path: &str, is_stream: bool) -> (&str, bool) {
    match path.split_once("/publishers/") {
        Some((_, rest)) if rest.starts_with("google/") && rest.ends_with("alt=sse") => {
            ("/v1beta/streamGenerateContent?alt=sse", true)
        }
        Some((_, rest)) if rest.starts_with("google/") => ("/v1beta/generateContent", false),
        Some((_, rest)) => ("/v1/messages", rest.ends_with(":streamRawPredict")),
        None => (path, is_stream),
    }
}

// === Bedrock ===

fn keys(token: Option<&str>) -> String {
    json!({"access_key_id": "AKIDEXAMPLE", "secret_access_key": "canary-secret", "session_token": token})
        .to_string()
}

fn on_bedrock(credential: Option<String>) -> Setup {
    Setup {
        dialect: Dialect::Bedrock,
        credential,
        region: Some("eu-west-1".to_owned()),
        model: "eu.anthropic.claude-haiku-4-5-v1:0".to_owned(),
        ..Setup::default()
    }
}

/// What the request's signature must be, worked out from what arrived.
fn expected_signature(asked: &ReceivedRequest, token: Option<&Secret>) -> String {
    let secret = Secret::new("canary-secret");
    let signer = Signer {
        access_key_id: "AKIDEXAMPLE",
        secret_access_key: &secret,
        session_token: token,
        region: "eu-west-1",
        service: "bedrock",
    };
    let mut headers = vec![
        ("host", asked.header("host").unwrap()),
        ("content-type", asked.header("content-type").unwrap()),
        ("x-amz-date", asked.header("x-amz-date").unwrap()),
    ];
    headers.extend(token.map(|token| ("x-amz-security-token", token.expose())));
    let request =
        Signable { method: "POST", path: asked.path(), query: "", headers: &headers, body: asked.body() };
    authorization(&signer, &request, DATE)
}

#[tokio::test]
async fn bedrock_gets_signed_requests() {
    for token in [None, Some("session-token")] {
        let pod = Pod::start(on_bedrock(Some(keys(token)))).await;
        pod.mock.set_responder(vendor);
        for (body, call) in [(hello("one"), "converse"), (streamed("one"), "converse-stream")] {
            let answer = pod.chat(&body).await;
            assert_eq!(answer.status.as_u16(), 200, "{}", answer.text());
            let asked = pod.mock.last_request().unwrap();
            assert_eq!(asked.path(), format!("/model/eu.anthropic.claude-haiku-4-5-v1%3A0/{call}"));
            assert_eq!(asked.header("x-amz-date"), Some(DATE));
            assert_eq!(asked.header("x-amz-security-token"), token);
            let token = token.map(Secret::new);
            let expected = expected_signature(&asked, token.as_ref());
            assert_eq!(asked.header("authorization"), Some(expected.as_str()));
            assert!(
                !String::from_utf8_lossy(asked.head_bytes()).contains("canary"),
                "the secret is not sent"
            );
            assert!(!asked.body().is_empty() && asked.json().unwrap().get("model").is_none());
            assert_eq!(pod.next_event().await.cost, COST);
        }
        pod.wait_until_nothing_is_held().await;
    }
}

#[tokio::test]
async fn a_client_of_bedrocks_stream_reads_server_sent_events() {
    let pod = Pod::start(on_bedrock(None)).await;
    pod.mock.set_responder(vendor);
    let answer = pod.chat(&streamed("one")).await;
    assert_eq!(answer.header("content-type"), Some("text/event-stream"));
    assert!(
        answer.text().starts_with("data: {") && answer.text().ends_with("data: [DONE]\n\n"),
        "{}",
        answer.text()
    );
    let asked = pod.mock.last_request().unwrap();
    assert_eq!(
        asked.header("authorization"),
        Some("Bearer upstream-secret-1"),
        "an API key is sent as it is"
    );
}

#[tokio::test]
async fn bedrocks_refusals_are_the_requests_the_rates_or_the_credentials() {
    let pod = Pod::start(on_bedrock(Some(keys(None)))).await;
    let cases = [
        (400, "ValidationException", 400, "ValidationException"),
        (404, "ResourceNotFoundException", 404, "ResourceNotFoundException"),
        (429, "ThrottlingException", 429, "rate_limit_error"),
        (403, "ExpiredTokenException", 502, "api_error"),
        (424, "ModelErrorException", 502, "api_error"),
        (503, "ServiceUnavailableException", 502, "api_error"),
    ];
    for (status, name, expected, error_type) in cases {
        let body = json!({"message": format!("vendor's words for {name}")}).to_string();
        let header = format!("{name}:http://internal.amazon.com/coral/com.amazon.bedrock/");
        let refusal = Script::new().status(status).header("x-amzn-errortype", &header);
        pod.mock.set_default(refusal.body("application/json", body));
        let answer = pod.chat(&hello("one")).await;
        assert_eq!(answer.status.as_u16(), expected, "{name}: {}", answer.text());
        let error = answer.json().unwrap()["error"].clone();
        assert_eq!(error["type"], error_type, "{name}: {error}");
        assert_eq!(
            error["message"].as_str().unwrap().contains("vendor's words"),
            status != 403,
            "{name}: {error}"
        );
        assert_eq!(pod.next_event().await.cost, NanoUsd::ZERO, "{name}");
    }
    pod.wait_until_nothing_is_held().await;
}

#[tokio::test]
async fn an_exception_before_the_content_fails_over_or_is_told() {
    let throttled = encode("throttlingException", true, br#"{"message":"Too many requests"}"#);
    let invalid = encode("validationException", true, br#"{"message":"maxTokens is too large"}"#);
    let failed = encode("internalServerException", true, br#"{"message":"oops"}"#);
    let cases = [
        (&throttled, 429, AttemptOutcome::RateLimited, true),
        (&invalid, 400, AttemptOutcome::Refused, false),
        (&failed, 502, AttemptOutcome::ServerError, true),
    ];
    for (exception, status, outcome, is_retried) in cases {
        let pod = Pod::start(on_bedrock(None)).await;
        let start = encode("messageStart", false, br#"{"role":"assistant"}"#);
        let bytes = [start, exception.clone()].concat();
        pod.mock.set_default(Script::new().body(EVENT_STREAM, bytes));
        let answer = pod.chat(&streamed("one")).await;
        assert_eq!(answer.status.as_u16(), status, "{}", answer.text());
        assert_eq!(pod.next_event().await.attempts[0].outcome, outcome);
        let both = pod.chat(&streamed("both")).await;
        assert_eq!(both.status.as_u16(), if is_retried { 200 } else { status }, "{}", both.text());
        pod.wait_until_nothing_is_held().await;
    }
}

#[tokio::test]
async fn an_exception_amid_the_answer_is_an_error_event_of_the_clients_dialect() {
    for client in [ChatDialect::OpenAiChat, ChatDialect::Anthropic, ChatDialect::Gemini] {
        let pod = Pod::start(on_bedrock(None)).await;
        let mut bytes = framed(&events()[..3]);
        bytes.extend(encode("modelStreamErrorException", true, br#"{"message":"it fell over"}"#));
        pod.mock.set_default(Script::new().body(EVENT_STREAM, bytes));
        let (path, body) = question(client, true);
        let mut stream = pod.http.post_stream(&pod.url(&path), &body).await.unwrap();
        let last = stream.collect_data().await.unwrap().pop().unwrap();
        assert!(last.contains("it fell over") && last.contains("error"), "{client:?}: {last}");
        let event = pod.next_event().await;
        assert!(event.cost > NanoUsd::ZERO && event.basis == SettlementBasis::Counted, "{client:?}");
        pod.wait_until_nothing_is_held().await;
    }
}

#[tokio::test]
async fn a_credential_that_cannot_sign_is_the_operators_matter() {
    let without_region = Setup { region: None, ..on_bedrock(Some(keys(None))) };
    let half = on_bedrock(Some(r#"{"access_key_id":"AKIDEXAMPLE"}"#.to_owned()));
    for setup in [without_region, half] {
        let pod = Pod::start(setup).await;
        let answer = pod.chat(&hello("one")).await;
        assert_eq!(answer.status.as_u16(), 502, "{}", answer.text());
        assert_eq!(answer.json().unwrap()["error"]["code"], "upstream_credentials_exhausted");
        assert!(!answer.text().contains("AKID") && !answer.text().contains("canary"), "{}", answer.text());
        assert_eq!(pod.mock.counts().n_received, 0);
        pod.wait_until_nothing_is_held().await;
    }
}

// === Vertex ===

fn on_vertex(tokens: &MockProvider, model: &str) -> Setup {
    let account = json!({
        "type": "service_account", "project_id": "p", "private_key_id": "k1", "private_key": KEY,
        "client_email": "bot@p.iam.gserviceaccount.com", "token_uri": format!("http://{}/token", tokens.address()),
    });
    Setup {
        dialect: Dialect::Vertex,
        credential: Some(account.to_string()),
        model: model.to_owned(),
        ..Setup::default()
    }
}

fn token(text: &str) -> Script {
    let body = json!({"access_token": text, "expires_in": 3_600, "token_type": "Bearer"});
    Script::new().body("application/json", body.to_string())
}

#[tokio::test]
async fn vertex_is_asked_with_a_token_that_is_bought_once() {
    let tokens = MockProvider::start().await.unwrap();
    tokens.push(token("ya29.first"));
    let pod = Pod::start(on_vertex(&tokens, "gemini-m")).await;
    pod.mock.set_responder(vendor);
    for _ in 0..3 {
        let answer = pod.chat(&hello("one")).await;
        assert_eq!(answer.status.as_u16(), 200, "{}", answer.text());
        assert_eq!(pod.next_event().await.cost, COST);
    }
    let asked = pod.mock.last_request().unwrap();
    assert_eq!(asked.header("authorization"), Some("Bearer ya29.first"));
    assert_eq!(asked.path(), "/v1/projects/p/locations/l/publishers/google/models/gemini-m:generateContent");
    assert_eq!(tokens.counts().n_received, 1);
    // shortly before its end it is bought anew
    tokens.push(token("ya29.second"));
    pod.clock.set(NOW.plus_ms(3_400_000));
    assert_eq!(pod.chat(&hello("one")).await.status.as_u16(), 200);
    assert_eq!(pod.mock.last_request().unwrap().header("authorization"), Some("Bearer ya29.second"));
}

#[tokio::test]
async fn claude_on_vertex_has_its_version_in_the_body_and_no_model() {
    let tokens = MockProvider::start().await.unwrap();
    tokens.set_default(token("ya29.x"));
    let pod = Pod::start(on_vertex(&tokens, "claude-m@20251001")).await;
    pod.mock.set_responder(vendor);
    let path = "/v1/projects/p/locations/l/publishers/anthropic/models/claude-m@20251001";
    for client in [ChatDialect::Anthropic, ChatDialect::OpenAiChat] {
        for (is_stream, call) in [(false, "rawPredict"), (true, "streamRawPredict")] {
            let (at, mut body) = question(client, is_stream);
            if !is_stream {
                body.as_object_mut().unwrap().remove("stream_options");
            }
            let answer = pod.http.post_json(&pod.url(&at), &body).await.unwrap();
            assert_eq!(answer.status.as_u16(), 200, "{client:?}: {}", answer.text());
            let asked = pod.mock.last_request().unwrap();
            assert_eq!(asked.path(), format!("{path}:{call}"), "{client:?}");
            assert_eq!(asked.header("anthropic-version"), None, "{client:?}");
            let sent = asked.json().unwrap();
            assert_eq!(sent["anthropic_version"], "vertex-2023-10-16", "{client:?}: {sent}");
            assert_eq!((sent.get("model"), &sent["max_tokens"]), (None, &json!(100)), "{client:?}: {sent}");
            assert_eq!(sent["stream"] == true, is_stream, "{client:?}: {sent}");
            if !is_stream {
                check_said(&read_answer(client, &answer.body, "", "").unwrap(), "claude on vertex");
            }
            assert_eq!(pod.next_event().await.cost, COST, "{client:?}");
        }
    }
    pod.wait_until_nothing_is_held().await;
}

#[tokio::test]
async fn other_publishers_speak_chat_completions_there() {
    let tokens = MockProvider::start().await.unwrap();
    tokens.set_default(token("ya29.x"));
    let pod = Pod::start(on_vertex(&tokens, "meta/llama-m")).await;
    pod.mock.set_responder(vendor);
    let answer = pod.chat(&hello("one")).await;
    assert_eq!(answer.status.as_u16(), 200, "{}", answer.text());
    let asked = pod.mock.last_request().unwrap();
    assert_eq!(asked.path(), "/v1/projects/p/locations/l/endpoints/openapi/chat/completions");
    assert_eq!(asked.json().unwrap()["model"], "meta/llama-m");
}

#[tokio::test]
async fn without_a_token_nothing_is_sent_and_nothing_is_paid() {
    let refusal = json!({"error": "invalid_grant", "error_description": "canary"}).to_string();
    let cases = [
        (Script::new().status(400).body("application/json", refusal), "upstream_credentials_exhausted"),
        (Script::new().status(503).body("text/html", "canary"), "upstream_error"),
    ];
    for (answer_of_tokens, code) in cases {
        let tokens = MockProvider::start().await.unwrap();
        tokens.set_default(answer_of_tokens);
        let pod = Pod::start(on_vertex(&tokens, "gemini-m")).await;
        let answer = pod.chat(&hello("one")).await;
        assert_eq!(answer.status.as_u16(), 502, "{}", answer.text());
        assert_eq!(answer.json().unwrap()["error"]["code"], code);
        let text = answer.text();
        assert!(!text.contains("canary") && !text.contains("PRIVATE") && text.contains("`mock`"), "{text}");
        assert_eq!(pod.next_event().await.cost, NanoUsd::ZERO);
        assert_eq!(pod.mock.counts().n_received, 0);
        // another candidate takes it
        assert_eq!(pod.chat(&hello("both")).await.status.as_u16(), 200);
        pod.wait_until_nothing_is_held().await;
    }
}
