//! Attempts that were lost after they were sent, and those that follow them: all of them are held for and charged.

use std::time::Duration;

use tollgate_domain::{AttemptOutcome, NanoUsd, RequestOutcome, SettlementBasis, UsageEvent};
use tollgate_testkit::mock_provider::{BreakKind, Script};

use crate::harness::{INPUT_PRICE, OUTPUT_PRICE, Pod, Setup, hello, streamed};

fn impatient() -> Setup {
    let mut setup = Setup::default();
    setup.timeouts.first_byte_ms = 200;
    setup.retry.max_attempts = 3;
    setup
}

/// What the lines of the receipt come to; these prices are whole nano-USD.
fn sum_of_lines(event: &UsageEvent) -> NanoUsd {
    let lost = event.bills().flat_map(|bill| &bill.charge);
    let millionths: i128 = event.charge.iter().chain(lost).map(|line| line.price.times(line.units)).sum();
    NanoUsd(i64::try_from(millionths / 1_000_000).unwrap())
}

#[tokio::test]
async fn a_lost_attempt_and_the_one_that_answers_are_both_charged() {
    let losses = [
        (Script::hang(), AttemptOutcome::Timeout),
        (Script::new().break_before_headers(BreakKind::Reset), AttemptOutcome::ConnectFailed),
        (Script::new().html("<p>hi</p>"), AttemptOutcome::BadAnswer),
    ];
    let pod = Pod::start(impatient()).await;
    let mut spent = NanoUsd::ZERO;
    for (script, outcome) in losses {
        pod.mock.push(script);
        let answer = pod.chat(&hello("both")).await.expect_status(200).unwrap();
        let event = pod.next_event().await;
        let [lost, answered] = &event.attempts[..] else { panic!("{:?}", event.attempts) };
        assert_eq!((lost.outcome, answered.outcome), (outcome, AttemptOutcome::Ok));
        let bill = lost.bill.as_ref().unwrap();
        assert_eq!(bill.basis, SettlementBasis::Estimated, "{outcome:?}");
        assert!(bill.cost > NanoUsd::ZERO && bill.usage.output_tokens() == 0, "{bill:?}");
        assert_eq!(answered.bill, None, "the event's own charge is for it");
        assert_eq!((event.basis, event.provider.as_str()), (SettlementBasis::Provider, "second"));
        let own = event.usage.minus(&bill.usage);
        let told = &answer.json().unwrap()["usage"];
        assert_eq!(told["prompt_tokens"], own.input_tokens());
        let count = |tokens: u64| i64::try_from(tokens).unwrap();
        let answer_cost = count(own.input_tokens()) * INPUT_PRICE + count(own.output_tokens()) * OUTPUT_PRICE;
        assert_eq!(event.cost, NanoUsd(bill.cost.0 + answer_cost));
        assert_eq!(sum_of_lines(&event), event.cost);
        assert_eq!(answer.header("x-tollgate-cost-usd"), Some(event.cost.to_string().as_str()));
        assert!(event.cost <= event.held);
        spent = spent.saturating_add(event.cost);
    }
    pod.wait_until_nothing_is_held().await;
    assert_eq!(pod.spent_and_held().await.0, spent);
}

#[tokio::test]
async fn a_stream_after_a_lost_attempt_tells_what_both_cost() {
    let pod = Pod::start(Setup { hold_slice_tokens: Some(256), ..impatient() }).await;
    pod.mock.push(Script::hang());
    pod.second.push(Script::new().n_chunks(200));
    let mut body = streamed("both");
    body["max_tokens"] = serde_json::json!(4_000);
    body["stream_options"] = serde_json::json!({ "include_usage": true });
    let data = pod.stream(&body).await.collect_data().await.unwrap();
    let event = pod.next_event().await;
    let usage: serde_json::Value = serde_json::from_str(&data[data.len() - 2]).unwrap();
    assert_eq!(usage["usage"]["cost"].to_string(), event.cost.to_string());
    assert_eq!((event.bills().count(), sum_of_lines(&event)), (1, event.cost));
    assert!(event.cost <= event.held && event.usage.output_tokens() == 200);
    pod.wait_until_nothing_is_held().await;
}

/// What one attempt at its dearest costs, held for by a request whose lost attempt nobody can pay for beside it.
#[tokio::test]
async fn without_money_for_both_there_is_no_second_attempt() {
    let quoting = Pod::start(impatient()).await;
    let mut body = hello("both");
    body["max_tokens"] = serde_json::json!(300);
    let quote = quoting.http.post_json(&quoting.url("/v1/quote"), &body).await.unwrap().json().unwrap();
    let bound: NanoUsd = serde_json::from_value(quote["hold_usd"].clone()).unwrap();
    let pod = Pod::start(Setup { budget: Some(bound), ..impatient() }).await;
    pod.mock.push(Script::hang());
    let answer = pod.chat(&body).await.expect_status(504).unwrap();
    assert_eq!(answer.json().unwrap()["error"]["code"], "upstream_timeout");
    assert_eq!(answer.header("x-tollgate-attempts"), Some("1"));
    assert_eq!(pod.second.counts().n_received, 0);
    let event = pod.next_event().await;
    assert_eq!((event.basis, event.attempts.len()), (SettlementBasis::Estimated, 1));
    assert!(matches!(event.outcome, RequestOutcome::Error(_)));
    pod.wait_until_nothing_is_held().await;
    assert_eq!(pod.spent_and_held().await.0, event.cost);
}

#[tokio::test]
async fn when_all_are_lost_all_are_charged() {
    let pod = Pod::start(impatient()).await;
    pod.mock.set_default(Script::hang());
    pod.second.set_default(Script::hang());
    pod.chat(&hello("both")).await.expect_status(504).unwrap();
    let event = pod.next_event().await;
    assert_eq!((event.attempts.len(), event.bills().count()), (3, 2), "{:?}", event.attempts);
    let one = event.bills().next().unwrap().cost;
    assert_eq!((event.cost, sum_of_lines(&event)), (NanoUsd(3 * one.0), event.cost));
    assert_eq!(event.basis, SettlementBasis::Estimated);
    tokio::time::timeout(Duration::from_secs(10), pod.wait_until_nothing_is_held()).await.unwrap();
}
