//! Providers that fail: failover where nothing was relayed, an error event where something was.

use std::time::Duration;

use serde_json::json;
use tollgate_domain::{AttemptOutcome, NanoUsd, RequestOutcome, SettlementBasis};
use tollgate_policy::RetryPolicy;
use tollgate_testkit::mock_provider::{BreakKind, Script};

use crate::harness::{INPUT_PRICE, Pod, Setup, hello, streamed};

fn once() -> Setup {
    Setup { retry: RetryPolicy { max_attempts: 1, ..RetryPolicy::default() }, ..Setup::default() }
}

#[tokio::test]
async fn what_fails_before_the_answer_goes_to_the_next_provider() {
    let faults: Vec<(&str, Script, AttemptOutcome)> = vec![
        ("500", Script::error(500, "boom"), AttemptOutcome::ServerError),
        ("529", Script::error(529, "overloaded"), AttemptOutcome::ServerError),
        ("429", Script::error(429, "slow down"), AttemptOutcome::RateLimited),
        ("401", Script::error(401, "bad key"), AttemptOutcome::CredentialRefused),
        ("closed", Script::close_before_headers(), AttemptOutcome::ConnectFailed),
        ("reset", Script::new().break_before_headers(BreakKind::Reset), AttemptOutcome::ConnectFailed),
        ("HTML", Script::new().html("<html>hi</html>"), AttemptOutcome::BadAnswer),
        ("garbage", Script::raw("what?\r\n\r\n"), AttemptOutcome::BadAnswer),
        ("cut JSON", Script::new().break_after_bytes(20, BreakKind::Close), AttemptOutcome::StreamBroken),
        ("too long a length", Script::new().declared_length(100_000), AttemptOutcome::StreamBroken),
        (
            "an error with status 200",
            Script::new().json(&json!({"error": {"message": "no"}})),
            AttemptOutcome::BadAnswer,
        ),
    ];
    let pod = Pod::start(Setup::default()).await;
    for (name, script, outcome) in faults {
        pod.mock.push(script);
        let answer = pod.chat(&hello("both")).await.expect_status(200).unwrap();
        assert_eq!(answer.header("x-tollgate-provider"), Some("second"), "{name}");
        assert_eq!(answer.header("x-tollgate-attempts"), Some("2"), "{name}");
        let event = pod.next_event().await;
        let outcomes: Vec<AttemptOutcome> = event.attempts.iter().map(|attempt| attempt.outcome).collect();
        assert_eq!(outcomes, [outcome, AttemptOutcome::Ok], "{name}");
    }
    pod.wait_until_nothing_is_held().await;
}

#[tokio::test]
async fn when_nothing_is_left_the_client_learns_why() {
    let faults: Vec<(&str, Script, u16, &str, SettlementBasis, bool)> = vec![
        ("500", Script::error(500, "boom"), 502, "upstream_error", SettlementBasis::Counted, false),
        (
            "429",
            Script::error(429, "slow").header("retry-after", "7"),
            429,
            "upstream_rate_limited",
            SettlementBasis::Counted,
            false,
        ),
        (
            "401",
            Script::error(401, "no"),
            502,
            "upstream_credentials_exhausted",
            SettlementBasis::Counted,
            false,
        ),
        ("closed", Script::close_before_headers(), 502, "upstream_error", SettlementBasis::Estimated, true),
        ("HTML", Script::new().html("<p>"), 502, "upstream_error", SettlementBasis::Estimated, true),
    ];
    let pod = Pod::start(once()).await;
    for (name, script, status, code, basis, is_charged) in faults {
        pod.mock.push(script);
        let answer = pod.chat(&hello("one")).await;
        assert_eq!(answer.status.as_u16(), status, "{name}: {}", answer.text());
        assert_eq!(answer.json().unwrap()["error"]["code"], code, "{name}");
        assert_eq!(answer.header("x-tollgate-attempts"), Some("1"), "{name}");
        if status == 429 {
            assert_eq!(answer.header("retry-after"), Some("7"));
        }
        let event = pod.next_event().await;
        assert_eq!((event.basis, event.status), (basis, status), "{name}");
        assert_eq!(event.cost > NanoUsd::ZERO, is_charged, "{name}");
    }
    pod.wait_until_nothing_is_held().await;
}

#[tokio::test]
async fn a_silent_provider_is_a_timeout_and_costs_the_prompt() {
    let mut setup = once();
    setup.timeouts.first_byte_ms = 150;
    let pod = Pod::start(setup).await;
    pod.mock.push(Script::hang());
    let answer = pod.chat(&hello("one")).await.expect_status(504).unwrap();
    assert_eq!(answer.json().unwrap()["error"]["code"], "upstream_timeout");
    let event = pod.next_event().await;
    assert_eq!(event.basis, SettlementBasis::Estimated);
    assert!(event.cost >= NanoUsd(INPUT_PRICE), "{}", event.cost);
    pod.mock.wait_for_disconnects(1).await.unwrap();
}

#[tokio::test]
async fn a_refused_request_is_returned_as_the_provider_worded_it() {
    let pod = Pod::start(Setup::default()).await;
    pod.mock.push(Script::error(400, "temperature is too high"));
    let answer = pod.chat(&hello("both")).await.expect_status(400).unwrap();
    assert!(answer.text().contains("temperature is too high"));
    let event = pod.next_event().await;
    assert_eq!((event.cost, event.attempts.len()), (NanoUsd::ZERO, 1));
}

#[tokio::test]
async fn an_unreachable_provider_costs_nothing() {
    let mut pod = Pod::start(once()).await;
    pod.mock.stop().await.unwrap();
    pod.chat(&hello("one")).await.expect_status(502).unwrap();
    let event = pod.next_event().await;
    assert_eq!((event.cost, event.attempts[0].outcome), (NanoUsd::ZERO, AttemptOutcome::ConnectFailed));
}

#[tokio::test]
async fn a_stream_that_breaks_before_content_fails_over() {
    let pod = Pod::start(Setup::default()).await;
    pod.mock.push(Script::new().n_chunks(5).break_after_chunks(0, BreakKind::Reset));
    let mut stream = pod.stream(&streamed("both")).await;
    assert_eq!(stream.header("x-tollgate-provider"), Some("second"));
    assert_eq!(stream.collect_data().await.unwrap().last().map(String::as_str), Some("[DONE]"));
}

#[tokio::test]
async fn a_stream_that_breaks_after_content_ends_with_an_error_event_and_is_counted() {
    for kind in [BreakKind::Reset, BreakKind::Close] {
        let pod = Pod::start(Setup::default()).await;
        pod.mock.push(Script::new().n_chunks(10).break_after_chunks(4, kind));
        let data = pod.stream(&streamed("both")).await.collect_data().await.unwrap();
        let last: serde_json::Value = serde_json::from_str(data.last().unwrap()).unwrap();
        assert_eq!(last["error"]["code"], "upstream_error", "{data:?}");
        let event = pod.next_event().await;
        assert_eq!(event.basis, SettlementBasis::Counted);
        assert!(matches!(event.outcome, RequestOutcome::Error(_)));
        assert!(event.usage.output_tokens() >= 4 && event.cost > NanoUsd::ZERO, "{:?}", event.usage);
        assert_eq!(pod.second.counts().n_received, 0, "no retry after the first byte");
        pod.wait_until_nothing_is_held().await;
    }
}

#[tokio::test]
async fn a_stalled_stream_ends_in_time() {
    let mut setup = Setup::default();
    setup.timeouts.idle_ms = 150;
    let pod = Pod::start(setup).await;
    pod.mock.push(Script::new().n_chunks(10).break_after_chunks(2, BreakKind::Stall));
    let mut stream = pod.stream(&streamed("one")).await;
    let data = tokio::time::timeout(Duration::from_secs(10), stream.collect_data()).await.unwrap().unwrap();
    assert!(data.last().unwrap().contains("upstream_timeout"), "{data:?}");
    pod.mock.wait_for_disconnects(1).await.unwrap();
}

#[tokio::test]
async fn a_missing_terminator_is_added_and_missing_usage_counted() {
    let pod = Pod::start(Setup::default()).await;
    pod.mock.push(Script::new().text("a b c").without_done().no_usage());
    let data = pod.stream(&streamed("one")).await.collect_data().await.unwrap();
    assert_eq!(data.last().map(String::as_str), Some("[DONE]"));
    let event = pod.next_event().await;
    assert_eq!((event.basis, event.outcome), (SettlementBasis::Counted, RequestOutcome::Ok));
    assert!(event.usage.output_tokens() >= 3);
    pod.mock.push(Script::new().text("a b c").no_usage());
    pod.chat(&hello("one")).await.expect_status(200).unwrap();
    assert_eq!(pod.next_event().await.basis, SettlementBasis::Counted);
}

#[tokio::test]
async fn plain_json_to_a_stream_request_passes() {
    let pod = Pod::start(Setup::default()).await;
    let answer = json!({"id": "x", "choices": [], "usage": {"prompt_tokens": 3, "completion_tokens": 1, "total_tokens": 4}});
    pod.mock.push(Script::new().json(&answer));
    let answer = pod.chat(&streamed("one")).await.expect_status(200).unwrap();
    assert_eq!(answer.json().unwrap()["usage"]["prompt_tokens"], 3);
    assert_eq!(pod.next_event().await.basis, SettlementBasis::Provider);
}

#[tokio::test]
async fn what_may_have_been_billed_is_charged_though_a_later_attempt_was_not() {
    let mut setup = Setup::default();
    setup.timeouts.first_byte_ms = 150;
    setup.retry.max_attempts = 2;
    let mut pod = Pod::start(setup).await;
    pod.mock.push(Script::hang());
    pod.second.stop().await.unwrap();
    pod.chat(&hello("both")).await.expect_status(502).unwrap();
    let event = pod.next_event().await;
    let outcomes: Vec<AttemptOutcome> = event.attempts.iter().map(|attempt| attempt.outcome).collect();
    assert_eq!(outcomes, [AttemptOutcome::Timeout, AttemptOutcome::ConnectFailed]);
    assert_eq!((event.basis, event.provider.as_str()), (SettlementBasis::Estimated, "mock"));
    assert!(event.cost > NanoUsd::ZERO);
}

#[tokio::test]
async fn a_pod_whose_clock_is_fast_does_not_spend_a_period_that_has_not_begun() {
    let with_lead = |clock_lead_ms| Setup { clock_lead_ms, ..Setup::default() };
    let a_little = Pod::start(with_lead(tollgate_ledger::MAX_CLOCK_LEAD_MS)).await;
    a_little.chat(&hello("both")).await.expect_status(200).unwrap();
    a_little.wait_until_nothing_is_held().await;
    // The ledger is in January, the pod in February.
    let a_month = Pod::start(with_lead(32 * 24 * 3_600_000)).await;
    let answer = a_month.chat(&hello("both")).await.expect_status(503).unwrap();
    assert_eq!(answer.json().unwrap()["error"]["code"], "ledger_unavailable");
    assert!(a_month.mock.requests().is_empty() && a_month.second.requests().is_empty(), "nothing was sent");
    assert_eq!(a_month.spent_and_held().await, (NanoUsd::ZERO, NanoUsd::ZERO));
}
