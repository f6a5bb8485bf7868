//! Streams whose answers are held for in slices.

use std::time::Duration;

use serde_json::{Value, json};
use tollgate_domain::{ErrorKind, NanoUsd, RequestOutcome, Secret, SettlementBasis};
use tollgate_ledger::{Ledger, RedisConfig};
use tollgate_testkit::http::Answer;
use tollgate_testkit::mock_provider::{Gate, Script, Usage};
use tollgate_testkit::redis::RedisServer;
use tollgate_testkit::wait::eventually;

use crate::harness::{INPUT_PRICE, OUTPUT_PRICE, Pod, Setup, TENANT, streamed};

const SLICE: u32 = 256;
/// Bytes of one of the mock's chunks, which is one of its tokens.
const CHUNK_BYTES: u64 = 6;
/// Tokens that no text shows, as the gateway reckons.
const UNSEEN: u64 = 16;

fn sliced() -> Setup {
    Setup { hold_slice_tokens: Some(SLICE), ..Setup::default() }
}

fn long() -> Value {
    let mut body = streamed("one");
    body["max_tokens"] = json!(4_000);
    body["stream_options"] = json!({ "include_usage": true });
    body
}

/// The payloads of a stream.
fn payloads(answer: &Answer) -> Vec<String> {
    let text = answer.text();
    text.lines().filter_map(|line| line.strip_prefix("data: ")).map(str::to_owned).collect()
}

fn parsed(payloads: &[String]) -> Vec<Value> {
    payloads.iter().filter_map(|payload| serde_json::from_str(payload).ok()).collect()
}

fn text_of(chunks: &[Value]) -> String {
    chunks.iter().filter_map(|chunk| chunk["choices"][0]["delta"]["content"].as_str()).collect()
}

async fn quote(pod: &Pod, body: &Value) -> Value {
    pod.http.post_json(&pod.url("/v1/quote"), body).await.unwrap().expect_status(200).unwrap().json().unwrap()
}

/// What the prompt and so many answer tokens cost at most.
async fn bound(body: &Value, output_tokens: i64) -> NanoUsd {
    let pod = Pod::start(Setup::default()).await;
    let input = quote(&pod, body).await["candidates"][0]["input_tokens_bound"].as_i64().unwrap();
    NanoUsd(input * INPUT_PRICE + output_tokens * OUTPUT_PRICE)
}

async fn on_redis(redis: &RedisServer, credit: NanoUsd) -> Setup {
    let ledger = Ledger::redis(&RedisConfig::new(Secret::new(redis.url()))).await.unwrap();
    Setup { ledger: Some(ledger), credit: Some(credit), budget: None, ..sliced() }
}

async fn wallet(pod: &Pod) -> (NanoUsd, NanoUsd) {
    let wallet = pod.ledger.balances(TENANT, true, &[]).await.unwrap().wallet.unwrap();
    (wallet.settled, wallet.held)
}

#[tokio::test]
async fn a_long_answer_is_held_for_as_it_comes_and_settled_exactly() {
    let redis = RedisServer::start().await.unwrap();
    for setup in [sliced(), on_redis(&redis, NanoUsd::from_usd(10)).await] {
        let pod = Pod::start(setup).await;
        let body = long();
        let (first, whole) = (bound(&body, i64::from(SLICE)).await, bound(&body, 4_000).await);
        let quote = quote(&pod, &body).await;
        assert_eq!(quote["hold_usd"], json!(first), "{quote}");
        assert_eq!(quote["worst_case_cost_usd"], json!(whole), "{quote}");
        pod.mock.push(Script::new().n_chunks(300));
        let answer = pod.chat(&body).await.expect_status(200).unwrap();
        assert_eq!(answer.header("x-tollgate-max-tokens"), None, "a slice is no clamp");
        assert_eq!(pod.mock.last_request().unwrap().json().unwrap()["max_tokens"], 4_000);
        let payloads = payloads(&answer);
        assert_eq!(payloads.last().map(String::as_str), Some("[DONE]"));
        assert_eq!(text_of(&parsed(&payloads)).len() as u64, 300 * CHUNK_BYTES);
        let event = pod.next_event().await;
        assert_eq!((event.outcome, event.basis), (RequestOutcome::Ok, SettlementBasis::Provider));
        let input = i64::try_from(event.usage.input_tokens()).unwrap();
        assert_eq!(event.cost, NanoUsd(input * INPUT_PRICE + 300 * OUTPUT_PRICE));
        let needed = i64::try_from(300 * CHUNK_BYTES + UNSEEN).unwrap();
        let enough = bound(&body, needed).await;
        assert!(event.held >= enough && event.held < whole, "{} of {whole}", event.held);
        pod.wait_until_nothing_is_held().await;
    }
}

#[tokio::test]
async fn money_that_ends_in_the_middle_ends_the_answer() {
    let redis = RedisServer::start().await.unwrap();
    let body = long();
    let limit = bound(&body, 1_000).await;
    let cases = [
        (Setup { budget: Some(limit), ..sliced() }, ErrorKind::BudgetExceeded, "key"),
        (on_redis(&redis, limit).await, ErrorKind::InsufficientCredit, "wallet"),
    ];
    for (setup, kind, scope) in cases {
        let is_wallet = setup.credit.is_some();
        let pod = Pod::start(setup).await;
        let gate = Gate::new();
        pod.mock.push(Script::new().n_chunks(2_000).hold_after_chunks(1_000, &gate));
        let answer = pod.chat(&body).await.expect_status(200).unwrap();
        pod.mock.wait_for_disconnects(1).await.unwrap();
        let payloads = payloads(&answer);
        let chunks = parsed(&payloads);
        assert_eq!(payloads.last().map(String::as_str), Some("[DONE]"));
        let [.., last, usage] = &chunks[..] else { panic!("{payloads:?}") };
        assert_eq!(last["choices"][0]["finish_reason"], "length", "{last}");
        assert_eq!(last["id"], chunks[0]["id"]);
        assert_eq!(last["tollgate"]["code"], kind.code(), "{last}");
        assert_eq!(last["tollgate"]["metadata"]["scope"], scope, "{last}");
        assert_eq!(last["tollgate"]["metadata"]["retryable"], false, "{last}");
        let n_relayed = text_of(&chunks).len() as u64;
        assert!((700..=1_000 - UNSEEN).contains(&n_relayed), "the rest of the money is used: {n_relayed}");
        let event = pod.next_event().await;
        assert_eq!((event.outcome, event.basis), (RequestOutcome::Error(kind), SettlementBasis::Counted));
        assert_eq!(event.usage.output_tokens(), n_relayed.div_ceil(4));
        assert_eq!(usage["usage"]["completion_tokens"], event.usage.output_tokens(), "{usage}");
        assert_eq!(usage["usage"]["cost"].to_string(), event.cost.to_string(), "{usage}");
        assert!(event.cost <= event.held && event.held <= limit);
        pod.wait_until_nothing_is_held().await;
        let spent = if is_wallet { wallet(&pod).await } else { pod.spent_and_held().await };
        assert_eq!(spent, (event.cost, NanoUsd::ZERO));
    }
}

#[tokio::test]
async fn too_little_for_a_first_slice_is_refused_and_the_floor_is_enough() {
    let body = long();
    let floor = bound(&body, 256).await;
    let pod =
        Pod::start(Setup { hold_slice_tokens: Some(1_024), budget: Some(floor), ..Setup::default() }).await;
    pod.mock.push(Script::new().n_chunks(30));
    pod.chat(&body).await.expect_status(200).unwrap();
    assert_eq!(pod.next_event().await.held, floor);
    let short =
        Setup { hold_slice_tokens: Some(1_024), budget: Some(NanoUsd(floor.0 - 1)), ..Setup::default() };
    let refused = Pod::start(short).await.chat(&body).await.expect_status(402).unwrap().json().unwrap();
    assert_eq!(refused["error"]["code"], "budget_exceeded");
}

#[tokio::test]
async fn what_a_provider_claims_beyond_the_slices_is_held_before_it_is_charged() {
    let body = long();
    let usage = Usage { prompt_tokens: 10, completion_tokens: 3_000, ..Usage::default() };
    let claimed = NanoUsd(10 * INPUT_PRICE + 3_000 * OUTPUT_PRICE);
    let little = bound(&body, 2_000).await;
    for budget in [NanoUsd::from_usd(1), little] {
        let pod = Pod::start(Setup { budget: Some(budget), ..sliced() }).await;
        pod.mock.push(Script::new().n_chunks(10).usage(usage));
        let answer = pod.chat(&body).await.expect_status(200).unwrap();
        let chunks = parsed(&payloads(&answer));
        let event = pod.next_event().await;
        assert_eq!((event.outcome, event.provider_cost), (RequestOutcome::Ok, claimed));
        let told = &chunks.last().unwrap()["usage"]["cost"];
        assert_eq!(told.to_string(), event.cost.to_string());
        if budget == little {
            assert!(event.cost == event.held && event.cost < claimed, "{}", event.cost);
        } else {
            assert_eq!((event.cost, event.held), (claimed, claimed));
        }
        pod.wait_until_nothing_is_held().await;
    }
}

#[tokio::test]
async fn a_ledger_that_does_not_answer_ends_the_answer_when_nothing_is_left_of_the_slice() {
    let pod = Pod::start(sliced()).await;
    let (before, after) = (Gate::new(), Gate::new());
    let script =
        Script::new().n_chunks(2_000).hold_after_chunks(10, &before).hold_after_chunks(1_000, &after);
    pod.mock.push(script);
    let mut stream = pod.stream(&long()).await;
    before.wait_for_waiting(1).await.unwrap();
    // nothing of this tenant is answered from here on
    pod.ledger.fence(&[TENANT]).await.unwrap();
    before.open();
    let payloads = stream.collect_data().await.unwrap();
    pod.mock.wait_for_disconnects(1).await.unwrap();
    let chunks = parsed(&payloads);
    let [.., last, _usage] = &chunks[..] else { panic!("{payloads:?}") };
    assert_eq!(last["choices"][0]["finish_reason"], "length", "{last}");
    assert_eq!(last["tollgate"]["code"], "ledger_unavailable", "{last}");
    assert_eq!(payloads.last().map(String::as_str), Some("[DONE]"));
    let n_relayed = text_of(&chunks).len() as u64;
    assert!((128..=u64::from(SLICE) - UNSEEN).contains(&n_relayed), "no more than was held: {n_relayed}");
}

#[tokio::test]
async fn a_client_that_leaves_while_more_is_asked_for_cancels_and_pays_for_no_more_than_was_held() {
    let mut redis = RedisServer::start().await.unwrap();
    let mut setup = on_redis(&redis, NanoUsd::from_usd(10)).await;
    // as long as the test likes
    setup.config.seed_timeout = Duration::from_secs(60);
    let pod = Pod::start(setup).await;
    let (before, after) = (Gate::new(), Gate::new());
    let script =
        Script::new().n_chunks(2_000).hold_after_chunks(10, &before).hold_after_chunks(1_000, &after);
    pod.mock.push(script);
    let mut stream = pod.stream(&long()).await;
    before.wait_for_waiting(1).await.unwrap();
    redis.stop().await.unwrap();
    before.open();
    let mut n_relayed = 0;
    while n_relayed < 200 {
        let payload = stream.next_data().await.unwrap().unwrap();
        n_relayed += text_of(&parsed(&[payload])).len() as u64;
    }
    drop(stream);
    pod.mock.wait_for_disconnects(1).await.unwrap();
    eventually(Duration::from_secs(10), "the settlement to wait for the ledger", async || {
        (pod.gateway.open_holds() == 1).then_some(())
    })
    .await
    .unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn many_streams_never_pass_a_budget_for_fewer() {
    let body = long();
    let limit = NanoUsd(bound(&body, 1_000).await.0 * 10);
    let pod = std::sync::Arc::new(Pod::start(Setup { budget: Some(limit), ..sliced() }).await);
    pod.mock.set_default(Script::new().n_chunks(150).delay_between_chunks(Duration::from_micros(200)));
    let mut calls = tokio::task::JoinSet::new();
    for _ in 0..50 {
        let (pod, body) = (std::sync::Arc::clone(&pod), body.clone());
        calls.spawn(async move {
            let answer = pod.chat(&body).await;
            let (settled, held) = pod.spent_and_held().await;
            assert!(settled.saturating_add(held) <= limit, "{settled} and {held} of {limit}");
            match answer.status.as_u16() {
                402 => "refused",
                200 => {
                    let payloads = payloads(&answer);
                    assert_eq!(payloads.last().map(String::as_str), Some("[DONE]"));
                    if payloads.iter().any(|payload| payload.contains("\"tollgate\"")) {
                        "cut"
                    } else {
                        "whole"
                    }
                }
                other => panic!("{other}: {}", answer.text()),
            }
        });
    }
    let ends = calls.join_all().await;
    let n = |end: &str| ends.iter().filter(|is| **is == end).count();
    assert!(
        n("refused") < 50 && n("whole") < 50,
        "{} whole, {} cut, {} refused",
        n("whole"),
        n("cut"),
        n("refused")
    );
    pod.wait_until_nothing_is_held().await;
    assert!(pod.spent_and_held().await.0 <= limit);
}

#[tokio::test]
async fn what_is_not_seen_in_time_is_held_for_whole() {
    let pod = Pod::start(sliced()).await;
    let whole = json!(bound(&long(), 4_000).await);
    let mut plain = long();
    plain.as_object_mut().unwrap().remove("stream_options");
    plain["stream"] = json!(false);
    let mut hidden = long();
    hidden["include_reasoning"] = json!(false);
    for body in [plain, hidden] {
        let quote = quote(&pod, &body).await;
        assert_eq!(quote["hold_usd"], quote["worst_case_cost_usd"], "{quote}");
    }
    assert_eq!(quote(&pod, &long()).await["worst_case_cost_usd"], whole);
}
