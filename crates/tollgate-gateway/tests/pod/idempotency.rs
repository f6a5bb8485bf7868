//! `Idempotency-Key`: one call, one charge, and the same answer for every repeat.

use std::time::Duration;

use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use tollgate_domain::{NanoUsd, RequestId, RequestOutcome};
use tollgate_ledger::{IdempotencyBounds, IdempotencyClaim, IdempotencyName, IdempotencyState};
use tollgate_policy::{DataPolicy, RateLimits, RetryPolicy};
use tollgate_testkit::http::{Answer, EventStream};
use tollgate_testkit::mock_provider::{BreakKind, Gate, Script};
use tollgate_testkit::wait::eventually;

use crate::harness::{KEY_ID, Pod, Setup, TENANT, hello, streamed};

const REPLAY: &str = "x-tollgate-idempotent-replay";
const CHAT: &str = "/v1/chat/completions";

impl Pod {
    fn keyed_request(
        &self,
        path: &str,
        key: &str,
        body: &Value,
    ) -> http::Request<http_body_util::Full<bytes::Bytes>> {
        let mut request = self.http.request(http::Method::POST, &self.url(path), body.to_string()).unwrap();
        request.headers_mut().insert("idempotency-key", key.parse().unwrap());
        request
    }

    async fn keyed(&self, key: &str, body: &Value) -> Answer {
        self.http.send(self.keyed_request(CHAT, key, body)).await.unwrap()
    }

    async fn keyed_stream(&self, key: &str, body: &Value) -> EventStream {
        self.http.send_stream(self.keyed_request(CHAT, key, body)).await.unwrap()
    }

    /// The status and reason of a repeat that is refused.
    async fn refused(&self, key: &str, body: &Value) -> (u16, String) {
        let answer = self.keyed(key, body).await;
        let error = answer.json().unwrap()["error"].clone();
        assert_eq!(error["code"], "invalid_request", "{error}");
        assert_eq!(error["param"], "Idempotency-Key", "{error}");
        let reason = error["metadata"]["idempotency"].as_str().unwrap_or_default().to_owned();
        (answer.status.as_u16(), reason)
    }

    async fn wait_until_no_run(&self, key: &str, body: &Value) -> Answer {
        eventually(Duration::from_secs(10), "the run to have ended", async || {
            let answer = self.keyed(key, body).await;
            let is_running = answer.text().contains("\"running\"");
            (!is_running).then_some(answer)
        })
        .await
        .unwrap()
    }
}

fn once() -> RetryPolicy {
    RetryPolicy { max_attempts: 1, ..RetryPolicy::default() }
}

#[tokio::test]
async fn a_repeat_gets_the_same_answer_without_a_call() {
    let pod = Pod::start(Setup::default()).await;
    let first = pod.keyed("order-1", &hello("one")).await.expect_status(200).unwrap();
    assert_eq!(first.header(REPLAY), None);
    let event = pod.next_event().await;
    pod.wait_until_nothing_is_held().await;
    let spent = pod.spent_and_held().await;
    for _ in 0..3 {
        let again = pod.keyed("order-1", &hello("one")).await.expect_status(200).unwrap();
        assert_eq!(again.body, first.body);
        assert_eq!(again.header(REPLAY), Some("true"));
        for name in [
            "content-type",
            "x-tollgate-cost-usd",
            "x-tollgate-request-id",
            "x-tollgate-provider",
            "x-tollgate-attempts",
        ] {
            assert!(first.header(name).is_some(), "{name}");
            assert_eq!(again.header(name), first.header(name), "{name}");
        }
    }
    assert_eq!(id_of(&first), event.request.to_string());
    assert_eq!(pod.mock.counts().n_received, 1);
    assert_eq!(pod.spent_and_held().await, spent);
    assert_eq!(pod.ledger.outbox_len().await.unwrap(), 0, "no second event");
}

fn id_of(answer: &Answer) -> String {
    answer.header("x-tollgate-request-id").unwrap().to_owned()
}

#[tokio::test]
async fn another_request_under_the_same_key_is_422() {
    let pod = Pod::start(Setup::default()).await;
    pod.keyed("k", &hello("one")).await.expect_status(200).unwrap();
    assert_eq!(pod.refused("k", &hello("both")).await, (422, "other_request".to_owned()));
    let completion = json!({ "model": "mock/m", "prompt": "x", "max_tokens": 5 });
    let elsewhere = pod.http.send(pod.keyed_request("/v1/completions", "k", &completion)).await.unwrap();
    assert_eq!(elsewhere.status.as_u16(), 422);
    assert_eq!(elsewhere.header("x-should-retry"), Some("false"));
    assert_eq!(pod.mock.counts().n_received, 1);
    pod.keyed("other", &hello("one")).await.expect_status(200).unwrap();
    assert_eq!(pod.mock.counts().n_received, 2, "another key is another request");
}

#[tokio::test]
async fn duplicates_at_once_wait_for_the_first() {
    let pod = Pod::start(Setup::default()).await;
    let gate = Gate::new();
    pod.mock.set_default(Script::new().hold_before_headers(&gate));
    let mut calls = tokio::task::JoinSet::new();
    for _ in 0..20 {
        let (http, request) = (pod.http.clone(), pod.keyed_request(CHAT, "k", &hello("one")));
        calls.spawn(async move { http.send(request).await.unwrap() });
    }
    gate.wait_for_waiting(1).await.unwrap();
    gate.open();
    let answers = calls.join_all().await;
    let n_first = answers.iter().filter(|answer| answer.header(REPLAY).is_none()).count();
    assert_eq!(n_first, 1);
    for answer in &answers {
        assert_eq!((answer.status.as_u16(), &answer.body), (200, &answers[0].body));
    }
    assert_eq!(pod.mock.counts().n_received, 1);
    pod.next_event().await;
    pod.wait_until_nothing_is_held().await;
    assert_eq!(pod.ledger.outbox_len().await.unwrap(), 0, "one event");
}

#[tokio::test]
async fn who_waits_too_long_may_try_again() {
    let pod = Pod::start(Setup::default()).await;
    let gate = Gate::new();
    pod.mock.push(Script::new().hold_before_headers(&gate));
    let (http, request) = (pod.http.clone(), pod.keyed_request(CHAT, "k", &hello("one")));
    let first = tokio::spawn(async move { http.send(request).await.unwrap() });
    gate.wait_for_waiting(1).await.unwrap();
    let mut hasty = pod.keyed_request(CHAT, "k", &hello("one"));
    hasty.headers_mut().insert("x-tollgate-timeout-ms", "50".parse().unwrap());
    let hasty = pod.http.send(hasty).await.unwrap();
    assert_eq!(hasty.status.as_u16(), 409, "{}", hasty.text());
    assert_eq!((hasty.header("retry-after"), hasty.header("x-should-retry")), (Some("1"), Some("true")));
    assert_eq!(pod.refused("k", &hello("both")).await.0, 422, "while it runs, too");
    gate.open();
    let first = first.await.unwrap().expect_status(200).unwrap();
    let again = pod.keyed("k", &hello("one")).await.expect_status(200).unwrap();
    assert_eq!(again.body, first.body);
    assert_eq!(pod.mock.counts().n_received, 1);
}

#[tokio::test]
async fn what_cost_nothing_may_be_run_again() {
    let pod = Pod::start(Setup { retry: once(), ..Setup::default() }).await;
    let unknown = hello("no-such-model");
    for _ in 0..2 {
        assert_eq!(pod.wait_until_no_run("k", &unknown).await.status.as_u16(), 404);
    }
    pod.mock.push(Script::error(500, "boom"));
    assert_eq!(pod.wait_until_no_run("k", &hello("one")).await.status.as_u16(), 502);
    assert_eq!(pod.next_event().await.cost, NanoUsd::ZERO);
    let second = pod.wait_until_no_run("k", &hello("one")).await.expect_status(200).unwrap();
    assert_eq!(second.header(REPLAY), None);
    assert_eq!(pod.next_event().await.outcome, RequestOutcome::Ok);
    assert_eq!(pod.mock.counts().n_received, 2);
}

#[tokio::test]
async fn a_stream_is_repeated_as_the_bytes_that_were_sent() {
    let pod = Pod::start(Setup::default()).await;
    pod.mock.push(Script::new().text("one two three"));
    let first = pod.keyed("k", &streamed("one")).await.expect_status(200).unwrap();
    let again = pod.keyed("k", &streamed("one")).await.expect_status(200).unwrap();
    assert!(first.text().ends_with("data: [DONE]\n\n"), "{}", first.text());
    assert_eq!(again.body, first.body);
    assert_eq!(again.header("content-type"), first.header("content-type"));
    assert_eq!((first.header(REPLAY), again.header(REPLAY)), (None, Some("true")));
    assert_eq!(pod.mock.counts().n_received, 1);
    pod.next_event().await;
    pod.wait_until_nothing_is_held().await;
    assert_eq!(pod.ledger.outbox_len().await.unwrap(), 0, "one event");
}

#[tokio::test]
async fn a_stream_that_breaks_after_it_was_charged_is_not_run_again() {
    let pod = Pod::start(Setup { retry: once(), ..Setup::default() }).await;
    pod.mock.push(Script::new().n_chunks(9).break_after_chunks(3, BreakKind::Reset));
    let first = pod.keyed("k", &streamed("one")).await.expect_status(200).unwrap();
    assert!(first.text().contains("upstream_error"), "{}", first.text());
    assert!(pod.next_event().await.cost > NanoUsd::ZERO);
    let again = pod.wait_until_no_run("k", &streamed("one")).await;
    assert_eq!(again.status.as_u16(), 409, "{}", again.text());
    assert_eq!(again.header("x-should-retry"), Some("false"));
    assert_eq!(pod.refused("k", &streamed("one")).await, (409, "broken".to_owned()));
    assert_eq!(pod.mock.counts().n_received, 1);
}

#[tokio::test]
async fn a_client_that_leaves_a_stream_has_used_its_key() {
    let pod = Pod::start(Setup::default()).await;
    let gate = Gate::new();
    pod.mock.push(Script::new().n_chunks(50).hold_after_chunks(5, &gate));
    let mut stream = pod.keyed_stream("k", &streamed("one")).await;
    stream.next_data().await.unwrap();
    gate.wait_for_waiting(1).await.unwrap();
    drop(stream);
    pod.mock.wait_for_disconnects(1).await.unwrap();
    assert_eq!(pod.next_event().await.outcome, RequestOutcome::ClientClosed);
    let again = pod.wait_until_no_run("k", &streamed("one")).await;
    assert_eq!(again.status.as_u16(), 409, "{}", again.text());
    assert_eq!(pod.refused("k", &streamed("one")).await, (409, "broken".to_owned()));
    assert_eq!(pod.mock.counts().n_received, 1, "no second call, no second charge");
    pod.wait_until_nothing_is_held().await;
}

#[tokio::test]
async fn a_client_that_leaves_before_its_answer_finds_it_later() {
    let pod = Pod::start(Setup::default()).await;
    let gate = Gate::new();
    pod.mock.push(Script::new().text("worth waiting for").hold_before_headers(&gate));
    let (http, request) = (pod.http.clone(), pod.keyed_request(CHAT, "k", &hello("one")));
    let call = tokio::spawn(async move { http.send(request).await });
    gate.wait_for_waiting(1).await.unwrap();
    call.abort();
    assert!(call.await.unwrap_err().is_cancelled());
    gate.open();
    let again = pod.keyed("k", &hello("one")).await.expect_status(200).unwrap();
    assert!(again.text().contains("worth waiting for"), "{}", again.text());
    assert_eq!(again.header(REPLAY), Some("true"));
    let event = pod.next_event().await;
    assert_eq!((event.outcome, event.request.to_string()), (RequestOutcome::Ok, id_of(&again)));
    assert_eq!(pod.mock.counts().n_received, 1);
    pod.wait_until_nothing_is_held().await;
}

#[tokio::test]
async fn answers_that_are_too_large_are_given_once() {
    let mut setup = Setup::default();
    setup.config.idempotency.max_answer_bytes = 500;
    let pod = Pod::start(setup).await;
    pod.mock.set_default(Script::new().text(&"word ".repeat(200)));
    for (key, body) in [("whole", hello("one")), ("stream", streamed("one"))] {
        pod.keyed(key, &body).await.expect_status(200).unwrap();
        assert_eq!(pod.refused(key, &body).await, (409, "too_large".to_owned()), "{key}");
    }
    assert_eq!(pod.mock.counts().n_received, 2);
}

#[tokio::test]
async fn a_tenant_that_wants_nothing_kept_has_nothing_kept() {
    let data_policy = DataPolicy { require_zero_retention: true, ..DataPolicy::OPEN };
    let pod = Pod::start(Setup { data_policy, ..Setup::default() }).await;
    for (key, body) in [("whole", hello("one")), ("stream", streamed("one"))] {
        pod.keyed(key, &body).await.expect_status(200).unwrap();
        assert_eq!(pod.refused(key, &body).await, (409, "not_stored".to_owned()), "{key}");
    }
    assert_eq!(pod.mock.counts().n_received, 2);
}

#[tokio::test]
async fn keys_are_bounded_in_number_and_room() {
    let mut setup = Setup::default();
    setup.config.idempotency.max_keys = 2;
    setup.config.idempotency.max_tenant_bytes = 10;
    let pod = Pod::start(setup).await;
    for key in ["a", "b"] {
        pod.keyed(key, &hello("one")).await.expect_status(200).unwrap();
        assert_eq!(pod.refused(key, &hello("one")).await, (409, "no_room".to_owned()));
    }
    let third = pod.keyed("c", &hello("one")).await;
    assert_eq!(third.status.as_u16(), 429, "{}", third.text());
    assert_eq!(third.json().unwrap()["error"]["code"], "rate_limit_exceeded");
    assert_eq!(pod.mock.counts().n_received, 2);
    pod.chat(&hello("one")).await.expect_status(200).unwrap();
}

#[tokio::test]
async fn a_key_that_is_none_is_refused_by_name() {
    let pod = Pod::start(Setup::default()).await;
    for key in ["a b", &"x".repeat(256), "tab\tbed"] {
        let answer = pod.keyed(key, &hello("one")).await;
        assert_eq!(answer.status.as_u16(), 400, "{key}");
        let error = answer.json().unwrap()["error"].clone();
        assert!(error["message"].as_str().unwrap().contains("Idempotency-Key"), "{error}");
    }
    assert_eq!(pod.mock.counts().n_received, 0);
}

#[tokio::test]
async fn a_pod_that_stops_ends_what_nobody_waits_for() {
    let mut setup = Setup::default();
    setup.config.grace = Duration::from_millis(100);
    let mut pod = Pod::start(setup).await;
    let gate = Gate::new();
    pod.mock.push(Script::new().hold_before_headers(&gate));
    let (http, request) = (pod.http.clone(), pod.keyed_request(CHAT, "k", &hello("one")));
    let call = tokio::spawn(async move { http.send(request).await });
    gate.wait_for_waiting(1).await.unwrap();
    call.abort();
    pod.stop.cancel();
    tokio::time::timeout(Duration::from_secs(15), &mut pod.server).await.unwrap().unwrap();
    assert!(pod.gateway.drain().await || pod.ledger.outbox_len().await.unwrap() == 1);
    assert_eq!(pod.gateway.open_holds(), 0);
    assert_eq!(pod.next_event().await.outcome, RequestOutcome::ClientClosed);
    assert_eq!(pod.spent_and_held().await.1, NanoUsd::ZERO);
}

/// What the ledger knows the request of `key` and `body` as.
fn claim_of(key: &str, body: &Value) -> IdempotencyClaim {
    let mut fingerprint = Sha256::new();
    for part in ["POST", CHAT, &body.to_string()] {
        fingerprint.update((part.len() as u64).to_le_bytes());
        fingerprint.update(part);
    }
    let hash: [u8; 32] = Sha256::digest(key).into();
    let hash = u128::from_be_bytes(hash[..16].try_into().unwrap());
    IdempotencyClaim {
        name: IdempotencyName { tenant: TENANT, key: KEY_ID, hash },
        fingerprint: fingerprint.finalize().into(),
        owner: RequestId::from_u128(99),
    }
}

#[tokio::test]
async fn the_claim_is_renewed_for_as_long_as_it_runs() {
    const LEASE_MS: u64 = 60_000;
    let mut setup = Setup::default();
    setup.config.renew_every = Duration::from_millis(10);
    let pod = Pod::start(setup).await;
    let gate = Gate::new();
    pod.mock.push(Script::new().hold_before_headers(&gate));
    let (http, request) = (pod.http.clone(), pod.keyed_request(CHAT, "k", &hello("one")));
    let first = tokio::spawn(async move { http.send(request).await.unwrap() });
    gate.wait_for_waiting(1).await.unwrap();
    let claim = claim_of("k", &hello("one"));
    let bounds = IdempotencyBounds { lease_ms: LEASE_MS, lifetime_ms: 1, max_keys: 1, max_tenant_bytes: 1 };
    for _ in 0..3 {
        // less than the lease each time, more than it in all
        pod.clock.advance_ms(40_000);
        eventually(Duration::from_secs(10), "the lease to be renewed", async || {
            let state = pod.ledger.claim_idempotency(&claim, &bounds).await.unwrap();
            (state == IdempotencyState::Running { lease_left_ms: LEASE_MS }).then_some(())
        })
        .await
        .unwrap();
    }
    gate.open();
    first.await.unwrap().expect_status(200).unwrap();
    assert_eq!(pod.mock.counts().n_received, 1);
}

#[tokio::test]
async fn after_its_time_a_key_is_as_new() {
    let pod = Pod::start(Setup::default()).await;
    pod.keyed("k", &hello("one")).await.expect_status(200).unwrap();
    pod.clock.advance_ms(24 * 3_600_000 - 1);
    let again = pod.keyed("k", &hello("one")).await.expect_status(200).unwrap();
    assert_eq!(again.header(REPLAY), Some("true"));
    pod.clock.advance_ms(1);
    let later = pod.keyed("k", &hello("one")).await.expect_status(200).unwrap();
    assert_eq!(later.header(REPLAY), None);
    assert_eq!(pod.mock.counts().n_received, 2);
}

#[tokio::test]
async fn repeats_touch_no_limit() {
    let limits = RateLimits { requests_per_minute: Some(1), ..RateLimits::default() };
    let pod = Pod::start(Setup { limits, ..Setup::default() }).await;
    let first = pod.keyed("k", &hello("one")).await.expect_status(200).unwrap();
    assert!(first.header("x-ratelimit-remaining-requests").is_some());
    pod.chat(&hello("one")).await.expect_status(429).unwrap();
    for _ in 0..3 {
        let again = pod.keyed("k", &hello("one")).await.expect_status(200).unwrap();
        assert_eq!(again.header("x-ratelimit-remaining-requests"), None, "of a moment that is gone");
    }
    assert_eq!(pod.keyed("new", &hello("one")).await.status.as_u16(), 429);
}
