//! `drop_unsupported`: what a target lacks is left out where that is harmless, and told.

use serde_json::{Value, json};
use tollgate_catalog::Catalog;
use tollgate_policy::Dialect;
use tollgate_testkit::mock_provider::Script;

use crate::harness::{Pod, Setup, hello};

const DROPPED: &str = "x-tollgate-dropped";

fn setup(drop_unsupported: bool, dialect: Dialect) -> Setup {
    Setup { drop_unsupported, dialect, ..Setup::default() }
}

/// An answer of Anthropic's.
fn anthropic() -> Script {
    let answer = json!({"id": "i", "type": "message", "role": "assistant", "model": "m",
        "content": [{"type": "text", "text": "hi"}], "stop_reason": "end_turn",
        "usage": {"input_tokens": 3, "output_tokens": 1}});
    Script::new().body("application/json", answer.to_string())
}

fn asking_for_much() -> Value {
    let mut body = hello("one");
    body["seed"] = json!(7);
    body["logit_bias"] = json!({"50": 10});
    body["frequency_penalty"] = json!(0.5);
    body
}

#[tokio::test]
async fn what_a_translation_loses_is_left_out_and_told() {
    let pod = Pod::start(setup(true, Dialect::Anthropic)).await;
    pod.mock.set_default(anthropic());
    let answer = pod.chat(&asking_for_much()).await;
    assert_eq!(answer.status.as_u16(), 200, "{}", answer.text());
    let dropped = answer.header(DROPPED).unwrap();
    assert_eq!(dropped, "penalties,seed,logit_bias");
    let asked = pod.mock.last_request().unwrap().json().unwrap();
    for gone in ["seed", "logit_bias", "frequency_penalty"] {
        assert_eq!(asked.get(gone), None, "{gone}");
    }
    let plain = pod.chat(&hello("one")).await;
    assert!(plain.header(DROPPED).is_none(), "nothing was dropped");
}

#[tokio::test]
async fn without_the_operators_word_it_is_refused() {
    let pod = Pod::start(setup(false, Dialect::Anthropic)).await;
    let answer = pod.chat(&asking_for_much()).await;
    assert_eq!(answer.status.as_u16(), 400, "{}", answer.text());
    assert!(answer.text().contains("penalties"), "{}", answer.text());
    assert_eq!(pod.mock.counts().n_received, 0);
}

#[tokio::test]
async fn content_money_and_shape_stay_refused() {
    let pod = Pod::start(setup(true, Dialect::Anthropic)).await;
    for (member, value) in [
        ("n", json!(2)),
        ("store", json!(true)),
        ("response_format", json!({"type": "json_object"})),
        ("service_tier", json!("flex")),
        ("tools", json!([{"type": "custom", "custom": {"name": "x", "format": {"type": "grammar"}}}])),
        ("unheard_of", json!(1)),
    ] {
        let mut body = hello("one");
        body[member] = value;
        let answer = pod.chat(&body).await;
        let is_known = member == "tools" && answer.status.as_u16() == 200;
        assert!(answer.status.is_client_error() || is_known, "{member}: {}", answer.text());
    }
}

#[tokio::test]
async fn a_target_that_can_do_more_drops_less() {
    let pod = Pod::start(setup(true, Dialect::Anthropic)).await;
    let failed = Script::new().status(500).body("application/json", "{}");
    pod.mock.set_default(failed);
    let mut body = asking_for_much();
    body["model"] = json!("both");
    let answer = pod.chat(&body).await;
    assert_eq!(answer.status.as_u16(), 200, "{}", answer.text());
    assert_eq!(answer.header("x-tollgate-provider"), Some("second"));
    assert!(answer.header(DROPPED).is_none(), "the one that answered lacks nothing");
    assert_eq!(pod.second.last_request().unwrap().json().unwrap()["seed"], 7);
}

#[tokio::test]
async fn clients_of_other_dialects_lose_what_chat_completions_lacks() {
    let vendors = json!([{"name": "mock", "dialect": "openai", "base_url": "", "models": [],
        "quirks": {"refused": ["top_k"]}}]);
    let catalog = Some(Catalog::from_json(&vendors.to_string()).unwrap());
    let body = json!({"model": "one", "max_tokens": 9, "top_k": 5,
        "messages": [{"role": "user", "content": "hi"}]});
    for (drops, status) in [(true, 200), (false, 400)] {
        let setup = Setup { catalog: catalog.clone(), ..setup(drops, Dialect::Openai) };
        let pod = Pod::start(setup).await;
        let answer = pod.http.post_json(&pod.url("/v1/messages"), &body).await.unwrap();
        assert_eq!(answer.status.as_u16(), status, "{}", answer.text());
        if drops {
            assert_eq!(answer.header(DROPPED), Some("top_k"));
            assert_eq!(pod.mock.last_request().unwrap().json().unwrap().get("top_k"), None);
        } else {
            assert!(answer.text().contains("top_k"), "{}", answer.text());
        }
    }
}

#[tokio::test]
async fn quirks_of_vendors_are_dropped_too() {
    let vendors = json!([{"name": "mock", "dialect": "openai", "base_url": "", "models": [], "quirks": {
        "refused": ["logprobs", "store"], "refused_in_messages": ["name"], "max_stop_sequences": 2}}]);
    let catalog = Some(Catalog::from_json(&vendors.to_string()).unwrap());
    let pod = Pod::start(Setup { catalog, ..setup(true, Dialect::Openai) }).await;
    let mut body = hello("one");
    body["logprobs"] = json!(true);
    body["stop"] = json!(["a", "b", "c"]);
    body["messages"][0]["name"] = json!("me");
    let answer = pod.chat(&body).await;
    assert_eq!(answer.status.as_u16(), 200, "{}", answer.text());
    assert_eq!(answer.header(DROPPED), Some("logprobs,stop,name"));
    let asked = pod.mock.last_request().unwrap().json().unwrap();
    assert_eq!((asked.get("logprobs"), &asked["stop"]), (None, &json!(["a", "b"])));
    assert_eq!(asked["messages"][0].get("name"), None, "{asked}");
    body["store"] = json!(true);
    let refused = pod.chat(&body).await;
    assert_eq!(refused.status.as_u16(), 400, "who keeps an answer is not harmless: {}", refused.text());
    assert!(refused.text().contains("`store`"), "{}", refused.text());
}
