//! Refusals before anything is sent: keys, models, prices, rates and money.

use std::time::Duration;

use serde_json::{Value, json};
use tollgate_domain::{Meter, NanoUsd, SettlementBasis};
use tollgate_policy::RateLimits;
use tollgate_testkit::http::HttpClient;
use tollgate_testkit::mock_provider::{Script, Usage};

use crate::harness::{INPUT_PRICE, OUTPUT_PRICE, Pod, Setup, hello};

fn code(body: &Value) -> &str {
    body["error"]["code"].as_str().unwrap_or("")
}

#[tokio::test]
async fn bad_requests_are_refused_with_what_to_do() {
    let pod =
        Pod::start(Setup { models: vec!["one".into(), "both".into(), "mock/*".into()], ..Setup::default() })
            .await;
    let cases: Vec<(&str, String, u16, &str, Option<&str>)> = vec![
        ("malformed", "{\"model\": \"one\", ".into(), 400, "invalid_request", None),
        ("not an object", "[1]".into(), 400, "invalid_request", None),
        (
            "wrong type",
            r#"{"model":"one","messages":[{"role":"user","content":"x"}],"max_tokens":"many"}"#.into(),
            400,
            "invalid_request",
            Some("max_tokens"),
        ),
        ("no messages", r#"{"model":"one"}"#.into(), 400, "invalid_request", Some("messages")),
        (
            "two models",
            r#"{"model":"one","model":"both","messages":[]}"#.into(),
            400,
            "invalid_request",
            None,
        ),
        ("unknown model", hello("onne").to_string(), 404, "model_not_found", Some("model")),
        ("not allowed", hello("second/m").to_string(), 403, "model_not_allowed", Some("model")),
        ("unpriced", hello("mock/other").to_string(), 422, "model_not_priced", Some("model")),
        (
            "tier without a price",
            r#"{"model":"one","messages":[{"role":"user","content":"x"}],"service_tier":"priority"}"#.into(),
            422,
            "model_not_priced",
            None,
        ),
    ];
    for (name, body, status, expected, param) in cases {
        let answer = pod.http.post_bytes(&pod.url("/v1/chat/completions"), body).await.unwrap();
        assert_eq!(answer.status.as_u16(), status, "{name}: {}", answer.text());
        let body = answer.json().unwrap();
        assert_eq!(code(&body), expected, "{name}");
        assert!(body["error"]["message"].as_str().unwrap().len() > 20, "{name}");
        assert!(answer.header("x-tollgate-request-id").is_some(), "{name}");
        if let Some(param) = param {
            assert_eq!(body["error"]["param"], param, "{name}");
        }
    }
    let nearest = pod.chat(&hello("onne")).await.json().unwrap();
    assert!(nearest["error"]["message"].as_str().unwrap().contains("`one`"), "{nearest}");
    assert_eq!(pod.mock.counts().n_received, 0);
}

#[tokio::test]
async fn unknown_and_mistyped_keys_look_the_same() {
    let pod = Pod::start(Setup::default()).await;
    let mut texts = Vec::new();
    for key in [
        "sk-unknown-0123456789",
        "tgk_short",
        "tgk_AAAAAAAAAAAA_BBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBB000000",
    ] {
        let answer = HttpClient::new()
            .with_bearer(key)
            .post_json(&pod.url("/v1/chat/completions"), &hello("one"))
            .await;
        let answer = answer.unwrap().expect_status(401).unwrap();
        let body = answer.json().unwrap();
        assert_eq!(code(&body), "invalid_api_key");
        texts.push(body["error"]["message"].as_str().unwrap().to_owned());
    }
    texts.dedup();
    assert_eq!(texts.len(), 1);
    let none = HttpClient::new().post_json(&pod.url("/v1/chat/completions"), &hello("one")).await.unwrap();
    assert_eq!(code(&none.expect_status(401).unwrap().json().unwrap()), "invalid_api_key");
}

#[tokio::test]
async fn bodies_over_the_limit_are_refused_whether_announced_or_not() {
    let mut setup = Setup::default();
    setup.config.max_body_bytes = 1_000;
    let pod = Pod::start(setup).await;
    let mut body = hello("one");
    body["messages"][0]["content"] = json!("x".repeat(2_000));
    let answer = pod.chat(&body).await.expect_status(413).unwrap();
    assert_eq!(code(&answer.json().unwrap()), "request_too_large");
}

#[tokio::test]
async fn a_rate_limit_tells_when_to_come_back() {
    let limits = RateLimits { requests_per_minute: Some(2), ..RateLimits::default() };
    let pod = Pod::start(Setup { limits, ..Setup::default() }).await;
    let first = pod.chat(&hello("one")).await.expect_status(200).unwrap();
    assert_eq!(first.header("x-ratelimit-limit-requests"), Some("2"));
    assert_eq!(first.header("x-ratelimit-remaining-requests"), Some("1"));
    pod.chat(&hello("one")).await.expect_status(200).unwrap();
    let refused = pod.chat(&hello("one")).await.expect_status(429).unwrap();
    assert_eq!(code(&refused.json().unwrap()), "rate_limit_exceeded");
    let seconds: u64 = refused.header("retry-after").unwrap().parse().unwrap();
    assert!((1..=30).contains(&seconds), "{seconds}");
}

#[tokio::test]
async fn a_spent_budget_is_a_402_that_is_not_retried() {
    let pod = Pod::start(Setup { budget: Some(NanoUsd(OUTPUT_PRICE * 50)), ..Setup::default() }).await;
    let refused = pod.chat(&hello("one")).await.expect_status(402).unwrap();
    let body = refused.json().unwrap();
    assert_eq!(code(&body), "budget_exceeded");
    assert_eq!(refused.header("x-should-retry"), Some("false"));
    let metadata = &body["error"]["metadata"];
    assert_eq!((&metadata["scope"], &metadata["retryable"]), (&json!("key"), &json!(false)));
    assert_eq!(metadata["limit_usd"], "0.0001");
    assert_eq!(metadata["resets_at"], "2026-02-01T00:00:00.000Z");
    assert_eq!(pod.mock.counts().n_received, 0);
}

#[tokio::test]
async fn exactly_what_the_budget_affords_is_answered() {
    let prices = vec![(Some(Meter::Request), 10_000_000 * 1_000_000)];
    let pod = Pod::start(Setup { budget: Some(NanoUsd(10_000_000 * 25)), prices, ..Setup::default() }).await;
    let mut calls = tokio::task::JoinSet::new();
    for _ in 0..100 {
        let (http, url) = (pod.http.clone(), pod.url("/v1/chat/completions"));
        calls.spawn(async move { http.post_json(&url, &hello("one")).await.unwrap().status.as_u16() });
    }
    let statuses = calls.join_all().await;
    let n = |status| statuses.iter().filter(|seen| **seen == status).count();
    assert_eq!((n(200), n(402)), (25, 75));
    pod.wait_until_nothing_is_held().await;
    assert_eq!(pod.spent_and_held().await.0, NanoUsd(10_000_000 * 25));
}

#[tokio::test]
async fn a_wallet_clamps_the_answer_to_what_it_affords() {
    let credit = NanoUsd(INPUT_PRICE * 2_000 + OUTPUT_PRICE * 1_000);
    let pod = Pod::start(Setup { budget: None, credit: Some(credit), ..Setup::default() }).await;
    let mut body = hello("one");
    body["max_tokens"] = json!(100_000);
    let answer = pod.chat(&body).await.expect_status(200).unwrap();
    let cap: u64 = answer.header("x-tollgate-max-tokens").unwrap().parse().unwrap();
    assert!((1_000..2_000).contains(&cap), "{cap}");
    assert_eq!(pod.mock.last_request().unwrap().json().unwrap()["max_tokens"], cap);
    let event = pod.next_event().await;
    assert_eq!(event.held, credit);
}

#[tokio::test]
async fn a_provider_that_exceeds_its_cap_does_not_overdraw() {
    let pod = Pod::start(Setup { budget: Some(NanoUsd(OUTPUT_PRICE * 1_000)), ..Setup::default() }).await;
    let usage = Usage { prompt_tokens: 5, completion_tokens: 900_000, cached_tokens: 0, reasoning_tokens: 0 };
    pod.mock.set_default(Script::new().usage(usage));
    pod.chat(&hello("one")).await.expect_status(200).unwrap();
    let event = pod.next_event().await;
    assert_eq!((event.basis, event.usage.input_tokens()), (SettlementBasis::Counted, 5), "beyond all belief");
    assert!(event.cost < event.held);
    pod.mock.set_default(Script::new().usage(Usage { completion_tokens: 1_000, ..usage }));
    pod.chat(&hello("one")).await.expect_status(200).unwrap();
    let event = pod.next_event().await;
    assert_eq!((event.cost, event.basis), (event.held, SettlementBasis::Provider));
    assert_eq!(event.provider_cost, NanoUsd(5 * INPUT_PRICE + 1_000 * OUTPUT_PRICE));
    pod.wait_until_nothing_is_held().await;
    assert!(pod.spent_and_held().await.0 <= NanoUsd(OUTPUT_PRICE * 1_000));
}

#[tokio::test]
async fn calls_that_cost_nothing_are_limited_like_all_others() {
    let message = json!({"role": "user", "content": "hello there"});
    let calls = [
        ("/v1/quote", hello("one")),
        ("/v1/messages/count_tokens", json!({"model": "one", "messages": [message]})),
        ("/v1beta/models/one:countTokens", json!({"contents": [{"parts": [{"text": "hello there"}]}]})),
    ];
    for (path, body) in calls {
        let limits = RateLimits {
            requests_per_minute: Some(2),
            concurrent_requests: Some(1),
            ..RateLimits::default()
        };
        let pod = Pod::start(Setup { limits, ..Setup::default() }).await;
        for status in [200, 200, 429] {
            // what is over gives its place back, in a moment
            let answer = tollgate_testkit::wait::eventually(Duration::from_secs(10), "a place", async || {
                let answer = pod.http.post_json(&pod.url(path), &body).await.unwrap();
                let is_waiting = answer.text().contains("at the same time");
                (!is_waiting).then_some(answer)
            });
            assert_eq!(answer.await.unwrap().status.as_u16(), status, "{path}");
        }
        assert_eq!(pod.mock.counts().n_received, 0);
        assert_eq!(pod.spent_and_held().await, (NanoUsd::ZERO, NanoUsd::ZERO));
    }
}

#[tokio::test]
async fn free_models_pass_the_money_gate_but_not_the_rate_limits() {
    let limits = RateLimits { requests_per_minute: Some(1), ..RateLimits::default() };
    let setup = Setup { budget: Some(NanoUsd::ZERO), prices: vec![(None, 0)], limits, ..Setup::default() };
    let pod = Pod::start(setup).await;
    let answer = pod.chat(&hello("one")).await.expect_status(200).unwrap();
    assert_eq!(answer.header("x-tollgate-cost-usd"), Some("0"));
    assert_eq!(pod.mock.last_request().unwrap().json().unwrap()["max_tokens"], 100);
    pod.chat(&hello("one")).await.expect_status(429).unwrap();
}

#[tokio::test]
async fn an_absurd_cap_is_clamped_to_what_the_budget_affords() {
    let pod = Pod::start(Setup::default()).await;
    let mut body = hello("one");
    body["max_tokens"] = json!(1_000_000_000_000_000_000_u64);
    body["n"] = json!(128);
    let answer = pod.chat(&body).await.expect_status(200).unwrap();
    let cap: i64 = answer.header("x-tollgate-max-tokens").unwrap().parse().unwrap();
    assert!(cap * 128 * OUTPUT_PRICE <= NanoUsd::from_usd(1_000).0, "{cap}");
    let body = json!({ "model": "mock/m", "input": vec!["y".repeat(1_000); 50] });
    pod.http.post_json(&pod.url("/v1/embeddings"), &body).await.unwrap().expect_status(200).unwrap();
}

#[tokio::test]
async fn a_batch_tier_has_no_place_on_an_interactive_surface() {
    let pod = Pod::start(Setup::default()).await;
    let mut body = hello("one");
    body["service_tier"] = json!("batch");
    assert_eq!(
        pod.chat(&body).await.expect_status(400).unwrap().json().unwrap()["error"]["param"],
        "service_tier"
    );
}

#[tokio::test]
async fn a_wrong_method_is_told_the_right_one() {
    let pod = Pod::start(Setup::default()).await;
    let answer = pod.http.get(&pod.url("/v1/chat/completions")).await.unwrap().expect_status(405).unwrap();
    assert_eq!(answer.header("allow"), Some("POST"));
}

#[tokio::test]
async fn members_that_choose_or_buy_elsewhere_are_refused_by_name() {
    let pod = Pod::start(Setup::default()).await;
    for (member, value) in [("models", json!(["x/dear"])), ("plugins", json!([{ "id": "web" }]))] {
        let mut body = hello("one");
        body[member] = value;
        let refused = pod.chat(&body).await.expect_status(400).unwrap();
        assert_eq!(refused.json().unwrap()["error"]["param"], member);
    }
    assert_eq!(pod.mock.counts().n_received, 0);
}
