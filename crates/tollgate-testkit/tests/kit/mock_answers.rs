//! The mock provider's whole and healthy answers.

use serde_json::{Value, json};
use tollgate_testkit::http::{Answer, HttpClient};
use tollgate_testkit::mock_provider::{MockProvider, Script, Usage};

async fn post(mock: &MockProvider, path: &str, body: &Value) -> anyhow::Result<Answer> {
    HttpClient::new().post_json(&format!("{}{path}", mock.base_url()), body).await
}

/// The payloads of a streamed answer, `[DONE]` as a string.
async fn post_stream(mock: &MockProvider, path: &str, body: &Value) -> anyhow::Result<Vec<Value>> {
    let url = format!("{}{path}", mock.base_url());
    let mut stream = HttpClient::new().post_stream(&url, body).await?;
    let payloads = stream.collect_data().await?;
    Ok(payloads.iter().map(|payload| serde_json::from_str(payload).unwrap_or(json!(payload))).collect())
}

fn chat(extra: &Value) -> Value {
    let mut body = json!({ "model": "m-1", "messages": [{ "role": "user", "content": "twelve bytes" }] });
    for (name, value) in extra.as_object().into_iter().flatten() {
        body[name] = value.clone();
    }
    body
}

/// The text of a stream's choice 0.
fn streamed_text(payloads: &[Value]) -> String {
    payloads.iter().filter_map(|payload| payload["choices"][0]["delta"]["content"].as_str()).collect()
}

#[tokio::test]
async fn plain_chat_follows_the_documented_formula() -> anyhow::Result<()> {
    let mock = MockProvider::start().await?;
    let answer = post(&mock, "/chat/completions", &chat(&json!({}))).await?.expect_status(200)?;
    assert_eq!(answer.header("content-type"), Some("application/json"));
    assert_eq!(answer.header("x-request-id"), Some("mock-1"));
    let body = answer.json()?;
    assert_eq!(body["object"], "chat.completion");
    assert_eq!(body["model"], "m-1");
    assert_eq!(body["choices"][0]["message"]["content"], "token ".repeat(8));
    assert_eq!(body["choices"][0]["finish_reason"], "stop");
    let usage = Usage { prompt_tokens: 3, completion_tokens: 8, ..Usage::default() };
    assert_eq!(body["usage"], usage.to_json());
    assert_eq!(body["usage"]["total_tokens"], 11);
    Ok(())
}

#[tokio::test]
async fn caps_and_choices_count() -> anyhow::Result<()> {
    let mock = MockProvider::start().await?;
    for (extra, completion_tokens, finish_reason) in [
        (json!({ "max_tokens": 5 }), 5, "length"),
        (json!({ "max_completion_tokens": 3, "max_tokens": 5 }), 3, "length"),
        (json!({ "max_tokens": 8 }), 8, "stop"),
        (json!({ "n": 2, "max_tokens": 4 }), 8, "length"),
        (json!({ "n": 3 }), 24, "stop"),
    ] {
        let body = post(&mock, "/chat/completions", &chat(&extra)).await?.json()?;
        assert_eq!(body["usage"]["completion_tokens"], completion_tokens, "{extra}");
        assert_eq!(body["choices"][0]["finish_reason"], finish_reason, "{extra}");
        assert_eq!(body["choices"].as_array().unwrap().len() as u64, extra["n"].as_u64().unwrap_or(1));
    }
    Ok(())
}

#[tokio::test]
async fn streams_carry_usage_only_when_asked() -> anyhow::Result<()> {
    let mock = MockProvider::start().await?;
    mock.set_default(Script::new().text("one two three"));
    let without = post_stream(&mock, "/chat/completions", &chat(&json!({ "stream": true }))).await?;
    // Role, three words, finish, [DONE].
    assert_eq!(without.len(), 6);
    assert_eq!(without[0]["choices"][0]["delta"]["role"], "assistant");
    assert_eq!(streamed_text(&without), "one two three");
    assert_eq!(without[4]["choices"][0]["finish_reason"], "stop");
    assert_eq!(without[5], "[DONE]");
    assert!(without.iter().all(|payload| payload.get("usage").is_none()));

    let asked = chat(&json!({ "stream": true, "stream_options": { "include_usage": true } }));
    let with = post_stream(&mock, "/chat/completions", &asked).await?;
    assert_eq!(with.len(), 7);
    assert!(with[..5].iter().all(|payload| payload["usage"].is_null() && payload.get("usage").is_some()));
    assert_eq!(with[5]["choices"], json!([]));
    assert_eq!(with[5]["usage"]["prompt_tokens"], 3);
    assert_eq!(with[5]["usage"]["completion_tokens"], 3);
    Ok(())
}

#[tokio::test]
async fn usage_is_what_the_script_says() -> anyhow::Result<()> {
    let mock = MockProvider::start().await?;
    let usage = Usage { prompt_tokens: 100, completion_tokens: 50, cached_tokens: 40, reasoning_tokens: 30 };
    mock.push(Script::new().usage(usage));
    mock.push(Script::new().usage_json(json!({ "prompt_tokens": -1 })));
    mock.push(Script::new().usage_json(Value::Null));
    mock.push(Script::new().no_usage());
    let mut usages = Vec::new();
    for _ in 0..4 {
        let body = post(&mock, "/chat/completions", &chat(&json!({}))).await?.json()?;
        usages.push(body.get("usage").cloned());
    }
    assert_eq!(usages[0], Some(usage.to_json()));
    assert_eq!(usages[0].as_ref().unwrap()["prompt_tokens_details"]["cached_tokens"], 40);
    assert_eq!(usages[0].as_ref().unwrap()["completion_tokens_details"]["reasoning_tokens"], 30);
    assert_eq!(usages[1..], [Some(json!({ "prompt_tokens": -1 })), Some(Value::Null), None]);

    let streamed = chat(&json!({ "stream": true }));
    mock.push(Script::new().usage(usage).force_usage_chunk());
    let forced = post_stream(&mock, "/chat/completions", &streamed).await?;
    assert_eq!(forced[forced.len() - 2]["usage"], usage.to_json());

    mock.push(Script::new().no_usage().without_done());
    let asked = chat(&json!({ "stream": true, "stream_options": { "include_usage": true } }));
    let missing = post_stream(&mock, "/chat/completions", &asked).await?;
    assert_eq!(missing.last().unwrap()["choices"][0]["finish_reason"], "stop");
    Ok(())
}

#[tokio::test]
async fn tools_come_back_as_calls() -> anyhow::Result<()> {
    let mock = MockProvider::start().await?;
    // A number that a float cannot hold: the arguments are the request's own bytes.
    let parameters = r#"{"type":"object","limit":9007199254740993}"#;
    let tools = format!(
        r#"[{{"type":"function","function":{{"name":"one","parameters":{parameters}}}}},
            {{"type":"function","function":{{"name":"two"}}}}]"#
    );
    let url = format!("{}/chat/completions", mock.base_url());
    let script = Script::new().echo_tools().n_chunks(4);
    mock.set_default(script);
    let body = format!(r#"{{"messages":[],"tools":{tools}}}"#);
    let answer = HttpClient::new().post_bytes(&url, body).await?.json()?;
    let choice = &answer["choices"][0];
    assert_eq!(choice["finish_reason"], "tool_calls");
    assert_eq!(choice["message"]["content"], Value::Null);
    let calls = choice["message"]["tool_calls"].as_array().unwrap();
    assert_eq!(calls.len(), 2);
    assert_eq!(calls[0]["function"], json!({ "name": "one", "arguments": parameters }));
    assert_eq!(calls[1]["function"], json!({ "name": "two", "arguments": "{}" }));

    let body = format!(r#"{{"stream":true,"messages":[],"tools":{tools}}}"#);
    let client = HttpClient::new();
    let request = client.request(http::Method::POST, &url, body)?;
    let payloads = client.send_stream(request).await?.collect_data().await?;
    let payloads = payloads.iter().map(|payload| serde_json::from_str(payload).unwrap_or_default());
    let payloads = payloads.collect::<Vec<Value>>();
    let deltas = payloads.iter().map(|payload| &payload["choices"][0]["delta"]["tool_calls"][0]);
    let of_first = deltas.filter(|delta| delta["index"] == 0).collect::<Vec<_>>();
    assert_eq!(of_first.len(), 5, "a start and four pieces");
    assert_eq!(of_first[0]["function"]["name"], "one");
    let arguments = of_first.iter().filter_map(|delta| delta["function"]["arguments"].as_str());
    assert_eq!(arguments.collect::<String>(), parameters);
    Ok(())
}

#[tokio::test]
async fn completions_plain_and_streamed() -> anyhow::Result<()> {
    let mock = MockProvider::start().await?;
    mock.set_default(Script::new().text("one two").n_chunks(2));
    let body = json!({ "model": "m", "prompt": ["abcd", "efgh"] });
    let plain = post(&mock, "/completions", &body).await?.expect_status(200)?.json()?;
    assert_eq!(plain["object"], "text_completion");
    assert_eq!(plain["choices"][0]["text"], "one two");
    assert_eq!(
        (&plain["usage"]["prompt_tokens"], &plain["usage"]["completion_tokens"]),
        (&json!(2), &json!(2))
    );

    let body = json!({ "prompt": "x", "stream": true, "stream_options": { "include_usage": true } });
    let payloads = post_stream(&mock, "/completions", &body).await?;
    let text =
        payloads.iter().filter_map(|payload| payload["choices"][0]["text"].as_str()).collect::<String>();
    assert_eq!(text, "one two");
    assert_eq!(payloads[payloads.len() - 2]["usage"]["total_tokens"], 3);
    Ok(())
}

#[tokio::test]
async fn embeddings_in_both_formats() -> anyhow::Result<()> {
    use base64::Engine as _;

    let mock = MockProvider::start().await?;
    let body = json!({ "model": "e", "input": ["abcd", "efghi"], "dimensions": 3 });
    let floats = post(&mock, "/embeddings", &body).await?.expect_status(200)?.json()?;
    assert_eq!(floats["data"].as_array().unwrap().len(), 2);
    assert_eq!(floats["data"][1]["index"], 1);
    assert_eq!(floats["data"][1]["embedding"], json!([0.121_093_75, 0.125, 0.128_906_25]));
    assert_eq!(floats["usage"], json!({ "prompt_tokens": 3, "total_tokens": 3 }));

    let body = json!({ "input": [1, 2, 3], "encoding_format": "base64" });
    let encoded = post(&mock, "/embeddings", &body).await?.json()?;
    assert_eq!(encoded["data"].as_array().unwrap().len(), 1);
    let bytes = base64::engine::general_purpose::STANDARD
        .decode(encoded["data"][0]["embedding"].as_str().unwrap())?;
    assert_eq!(bytes.len(), 8 * 4);
    assert_eq!(bytes[4..8], (1.0_f32 / 256.0).to_le_bytes());
    assert_eq!(encoded["usage"]["prompt_tokens"], 3);
    Ok(())
}

#[tokio::test]
async fn lists_models_without_taking_a_script() -> anyhow::Result<()> {
    let mock = MockProvider::start().await?;
    mock.set_models(&["a", "b"]);
    mock.push(Script::error(500, "for the POST"));
    let client = HttpClient::new();
    let list = client.get(&format!("{}/models", mock.base_url())).await?.json()?;
    assert_eq!((&list["data"][0]["id"], &list["data"][1]["id"]), (&json!("a"), &json!("b")));
    let one = client.get(&format!("{}/models/b", mock.base_url())).await?.expect_status(200)?;
    assert_eq!(one.json()?["id"], "b");
    client.get(&format!("{}/models/c", mock.base_url())).await?.expect_status(404)?;
    client.get(&format!("{}/elsewhere", mock.base_url())).await?.expect_status(404)?;
    assert_eq!(mock.n_queued_scripts(), 1);
    Ok(())
}

#[tokio::test]
async fn errors_bodies_and_headers() -> anyhow::Result<()> {
    let mock = MockProvider::start().await?;
    mock.push(Script::error(429, "slow down").header("retry-after", "7"));
    mock.push(Script::new().status(503));
    mock.push(Script::new().html("<h1>Bad Gateway</h1>").status(502));
    mock.push(Script::new().header("Content-Type", "text/plain").header("x-more", "1"));
    let body = chat(&json!({}));
    let limited = post(&mock, "/chat/completions", &body).await?.expect_status(429)?;
    assert_eq!(limited.header("retry-after"), Some("7"));
    assert_eq!(limited.json()?["error"]["message"], "slow down");
    let down = post(&mock, "/chat/completions", &body).await?.expect_status(503)?;
    assert_eq!(down.json()?["error"]["type"], "server_error");
    let html = post(&mock, "/chat/completions", &body).await?.expect_status(502)?;
    assert_eq!(
        (html.text().as_str(), html.header("content-type")),
        ("<h1>Bad Gateway</h1>", Some("text/html; charset=utf-8"))
    );
    let renamed = post(&mock, "/chat/completions", &body).await?.expect_status(200)?;
    assert_eq!(renamed.headers.get_all("content-type").iter().count(), 1);
    assert_eq!((renamed.header("content-type"), renamed.header("x-more")), (Some("text/plain"), Some("1")));
    Ok(())
}

#[tokio::test]
async fn scripted_payloads_are_sent_as_they_are() -> anyhow::Result<()> {
    let mock = MockProvider::start().await?;
    mock.push(Script::new().sse_payloads(["{\"usage\":null}", "garbage", "[DONE]"]));
    let payloads = post_stream(&mock, "/chat/completions", &chat(&json!({ "stream": true }))).await?;
    assert_eq!(payloads, [json!({ "usage": null }), json!("garbage"), json!("[DONE]")]);
    Ok(())
}
