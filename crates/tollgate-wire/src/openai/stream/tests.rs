use proptest::prelude::*;
use tollgate_domain::Meter;

use super::*;

const ROLE: &str = r#"{"choices":[{"index":0,"delta":{"role":"assistant","content":"","refusal":null},"finish_reason":null}],"usage":null}"#;
const STOP: &str = r#"{"choices":[{"index":0,"delta":{},"finish_reason":"stop"}],"usage":null}"#;
const USAGE: &str = r#"{"choices":[],"usage":{"prompt_tokens":7,"completion_tokens":2,"total_tokens":9}}"#;

fn content(text: &str) -> String {
    let text = serde_json::to_string(text).unwrap();
    format!(
        r#"{{"id":"c","choices":[{{"index":0,"delta":{{"content":{text}}},"logprobs":null,"finish_reason":null}}],"usage":null}}"#
    )
}

fn stream(events: &[&str]) -> Vec<u8> {
    events.iter().flat_map(|event| format!("data: {event}\n\n").into_bytes()).collect()
}

/// What a client sees and what the relay knows, the cost being one nano-dollar per token.
#[derive(Debug, PartialEq)]
struct Outcome {
    seen: String,
    usages: Vec<Result<u64, UsageError>>,
    errors: Vec<String>,
    end: StreamEnd,
    text_bytes: u64,
    n_text_events: u64,
    begun: bool,
}

fn relay(chunks: &[&[u8]], client_wants_usage: bool, n_choices: u64, clean: bool) -> Outcome {
    let mut relay = StreamRelay::new(Surface::Chat, StreamOptions { client_wants_usage, n_choices });
    let mut events = Vec::new();
    for chunk in chunks {
        relay.push(Bytes::copy_from_slice(chunk), &mut events).unwrap();
    }
    let end = relay.finish(clean, &mut events);
    let (mut seen, mut usages, mut errors) = (Vec::new(), Vec::new(), Vec::new());
    for event in events {
        match event {
            RelayEvent::Forward(bytes) => seen.extend_from_slice(&bytes),
            RelayEvent::Usage { usage, frame } => {
                usages.push(usage.map(|usage| usage.total_tokens()));
                let shown = match usage {
                    Ok(usage) => frame.with_cost(NanoUsd(usage.total_tokens().try_into().unwrap())),
                    Err(_) => frame.without_cost(),
                };
                seen.extend(shown.into_iter().flatten());
            }
            RelayEvent::ProviderError(error) => errors.push(error.message),
        }
    }
    Outcome {
        seen: String::from_utf8(seen).unwrap(),
        usages,
        errors,
        end,
        text_bytes: relay.text_bytes(),
        n_text_events: relay.n_text_events(),
        begun: relay.content_begun(),
    }
}

#[test]
fn usage_is_hidden_from_those_who_did_not_ask() {
    let (hello, world) = (content("Hello"), content(" wörld\n"));
    let all = stream(&[ROLE, &hello, &world, STOP, USAGE, "[DONE]"]);
    let hidden = relay(&[&all], false, 1, true);
    assert_eq!(hidden.seen.as_bytes(), stream(&[ROLE, &hello, &world, STOP, "[DONE]"]));
    assert_eq!((hidden.usages, hidden.end), (vec![Ok(9)], StreamEnd::Complete));
    assert_eq!((hidden.text_bytes, hidden.n_text_events, hidden.begun), (5 + 8, 2, true));

    let with_cost = USAGE.replace("9}", "9,\"cost\":0.000000009}");
    let shown = relay(&[&all], true, 1, true);
    assert_eq!(shown.seen.as_bytes(), stream(&[ROLE, &hello, &world, STOP, &with_cost, "[DONE]"]));
}

#[test]
fn untouched_frames_are_one_slice_of_the_chunk() {
    let chunk = Bytes::from(stream(&[ROLE, &content("a"), &content("b")]));
    let mut relay =
        StreamRelay::new(Surface::Chat, StreamOptions { client_wants_usage: false, n_choices: 1 });
    let mut events = Vec::new();
    relay.push(chunk.clone(), &mut events).unwrap();
    assert!(
        matches!(&events[..], [RelayEvent::Forward(bytes)] if bytes.as_ptr() == chunk.as_ptr() && *bytes == chunk)
    );
}

#[test]
fn usage_anywhere() {
    let inline = r#"{"choices":[{"index":0,"delta":{"content":"x"},"finish_reason":null}],"usage":{"prompt_tokens":7,"completion_tokens":1}}"#;
    let groq = r#"{"choices":[{"delta":{},"finish_reason":"stop"}],"x_groq":{"id":"r","usage":{"prompt_tokens":7,"completion_tokens":3}}}"#;
    let bad = r#"{"choices":[],"usage":{"prompt_tokens":-7}}"#;
    let empty = r#"{"choices":[],"usage":{}}"#;
    // In a middle chunk, cumulative, repeated: every one is told, content stays for everybody.
    let all = stream(&[inline, inline, STOP, USAGE, USAGE, "[DONE]"]);
    let outcome = relay(&[&all], false, 1, true);
    assert_eq!(outcome.usages, [Ok(8), Ok(8), Ok(9), Ok(9)]);
    assert_eq!(outcome.seen.as_bytes(), stream(&[inline, inline, STOP, "[DONE]"]));
    let outcome = relay(&[&stream(&[inline])], true, 1, true);
    assert!(outcome.seen.contains(r#""completion_tokens":1,"cost":0.000000008}"#), "{}", outcome.seen);

    let outcome = relay(&[&stream(&[groq, "[DONE]"])], false, 1, true);
    assert_eq!((outcome.usages, outcome.seen.contains("x_groq")), (vec![Ok(10)], true));
    let outcome = relay(&[&stream(&[STOP, bad, "[DONE]"])], true, 1, true);
    assert_eq!(outcome.usages, [Err(UsageError::NotACount("prompt_tokens"))]);
    assert!(outcome.seen.contains("-7"));
    let outcome = relay(&[&stream(&[STOP, empty, "[DONE]"])], false, 1, true);
    assert_eq!((outcome.usages, outcome.seen.as_bytes()), (vec![], stream(&[STOP, "[DONE]"]).as_slice()));
}

#[test]
fn the_last_tier_told_is_the_one() {
    let with_tier = |event: &str, tier: &str| event.replacen('{', &format!(r#"{{"service_tier":{tier},"#), 1);
    let tier_of = |events: &[String]| {
        let mut relay =
            StreamRelay::new(Surface::Chat, StreamOptions { client_wants_usage: false, n_choices: 1 });
        let events: Vec<&str> = events.iter().map(String::as_str).collect();
        relay.push(stream(&events).into(), &mut Vec::new()).unwrap();
        relay.service_tier().map(str::to_owned)
    };
    let (flex, default) = (r#""flex""#, r#""default""#);
    let cases: &[(&[String], Option<&str>)] = &[
        (&[ROLE.to_owned(), content("a"), STOP.to_owned(), USAGE.to_owned()], None),
        (&[with_tier(ROLE, flex)], Some("flex")),
        (&[with_tier(&content("a"), flex)], Some("flex")),
        (&[with_tier(ROLE, flex), content("a"), with_tier(STOP, default)], Some("default")),
        (&[with_tier(ROLE, flex), content("a"), with_tier(USAGE, default)], Some("default")),
        (&[with_tier(ROLE, flex), with_tier(STOP, "null"), with_tier(USAGE, "7")], Some("flex")),
        (&[content(r#""service_tier":"priority""#)], None),
    ];
    for (events, expected) in cases {
        assert_eq!(tier_of(events).as_deref(), *expected, "{events:?}");
    }
}

#[test]
fn text_that_looks_like_members_is_text() {
    let odd = content(r#""usage":{"prompt_tokens":1} "delta": "finish_reason":"stop" data: [DONE]"#);
    let all = stream(&[&content("a"), &odd, &content("delta"), STOP, "[DONE]"]);
    let outcome = relay(&[&all], false, 1, true);
    assert_eq!((outcome.seen.as_bytes(), outcome.usages.len()), (all.as_slice(), 0));
    assert_eq!((outcome.text_bytes, outcome.n_text_events), (1 + 72 + 5, 3));
}

#[test]
fn commit_points() {
    let begun = |events: &[&str]| relay(&[&stream(events)], false, 1, true).begun;
    assert!(!begun(&[ROLE]));
    assert!(!begun(&[r#"{"choices":[],"prompt_filter_results":[]}"#, ROLE]));
    assert!(!begun(&[r#"{"choices":[{"delta":{"role":"assistant","content":null,"tool_calls":[]}}]}"#]));
    assert!(begun(&[&content("a")]));
    assert!(begun(&[STOP]));
    for delta in [
        r#"{"tool_calls":[{"index":0,"id":"c","function":{"name":"f","arguments":""}}]}"#,
        r#"{"reasoning_content":"hm"}"#,
        r#"{"refusal":"no"}"#,
        r#"{"audio":{"data":"AAAA"}}"#,
    ] {
        assert!(begun(&[&format!(r#"{{"choices":[{{"delta":{delta},"finish_reason":null}}]}}"#)]), "{delta}");
    }
}

#[test]
fn tool_arguments_and_reasoning_are_counted() {
    let frames = [
        r#"{"choices":[{"delta":{"tool_calls":[{"index":0,"id":"call_1","type":"function","function":{"name":"get","arguments":""}}]},"finish_reason":null}]}"#,
        r#"{"choices":[{"delta":{"tool_calls":[{"index":0,"function":{"arguments":"{\"a\""}}]},"finish_reason":null}]}"#,
        r#"{"choices":[{"delta":{"reasoning_content":"hmm","content":null},"finish_reason":null}]}"#,
        r#"{"choices":[{"index":0,"delta":{"content":"a"}},{"index":1,"delta":{"content":"bc"}}]}"#,
    ];
    let outcome = relay(&[&stream(&frames)], false, 1, true);
    assert_eq!((outcome.text_bytes, outcome.n_text_events), (3 + 4 + 3 + 3, 4));
    // The short way counts as the long way does.
    let mut long_way =
        Progress::new(Surface::Chat, StreamOptions { client_wants_usage: false, n_choices: 1 });
    for frame in frames {
        long_way.look(format!("data: {frame}\n\n").as_bytes());
        long_way.content_begun = false;
    }
    assert_eq!((long_way.text_bytes, long_way.n_text_events), (outcome.text_bytes, outcome.n_text_events));
}

#[test]
fn endings() {
    use StreamEnd::*;
    let a = content("a");
    let cases: &[(&[&str], u64, bool, StreamEnd)] = &[
        (&[&a, STOP, "[DONE]"], 1, true, Complete),
        (&[&a, STOP, "[DONE]"], 1, false, Complete),
        (&[&a, STOP], 1, true, MissingTerminator),
        (&[&a, STOP, USAGE], 1, true, MissingTerminator),
        (&[&a, STOP], 1, false, Broken),
        (&[&a, STOP], 2, true, Broken),
        (&[&a, STOP, STOP], 2, true, MissingTerminator),
        (&[&a], 1, true, Broken),
        (&[], 1, true, Broken),
        (&[": keep-alive"], 1, true, Broken),
    ];
    for (events, n_choices, clean, end) in cases {
        assert_eq!(relay(&[&stream(events)], false, *n_choices, *clean).end, *end, "{events:?}");
    }
    // The last blank line is missing: what is whole counts, what is cut does not.
    let mut cut = stream(&[&a, STOP, "[DONE]"]);
    cut.truncate(cut.len() - 2);
    let outcome = relay(&[&cut], false, 1, true);
    assert_eq!((outcome.end, outcome.seen.as_bytes()), (Complete, stream(&[&a, STOP, "[DONE]"]).as_slice()));
    let outcome = relay(&[&stream(&[&a]), br#"data: {"choices":[{"del"#], false, 1, true);
    assert_eq!((outcome.end, outcome.seen.as_bytes()), (Broken, stream(&[&a]).as_slice()));
    // Nothing follows the terminator.
    let outcome = relay(&[&stream(&["[DONE]", &a]), &stream(&[&a])], false, 1, true);
    assert_eq!(outcome.seen, "data: [DONE]\n\n");
}

#[test]
fn error_events_stop_the_relay() {
    for (event, message) in [
        (r#"data: {"error":{"message":"overloaded","code":529}}"#, "overloaded"),
        ("event: error\ndata: {\"message\":\"gone\"}", "gone"),
        (
            r#"data: {"id":"x","error":{"message":"cut"},"choices":[{"delta":{"content":""},"finish_reason":"error"}]}"#,
            "cut",
        ),
    ] {
        let bytes = format!("data: {}\n\n{event}\n\ndata: [DONE]\n\n", content("a"));
        let outcome = relay(&[bytes.as_bytes()], false, 1, true);
        assert_eq!((outcome.errors, outcome.end), (vec![message.to_owned()], StreamEnd::Broken), "{event}");
        assert_eq!(outcome.seen.as_bytes(), stream(&[&content("a")]));
    }
    let null = r#"{"error":null,"choices":[{"delta":{"content":"a"},"finish_reason":null}]}"#;
    assert!(relay(&[&stream(&[null])], false, 1, true).errors.is_empty());
}

#[test]
fn completions_stream_too() {
    let mut relay =
        StreamRelay::new(Surface::Completions, StreamOptions { client_wants_usage: false, n_choices: 1 });
    let mut events = Vec::new();
    let frames = [
        r#"{"choices":[{"text":"","finish_reason":null}]}"#,
        r#"{"choices":[{"text":"ab","finish_reason":null}]}"#,
    ];
    relay.push(stream(&frames[..1]).into(), &mut events).unwrap();
    assert!(!relay.content_begun());
    relay.push(stream(&frames[1..]).into(), &mut events).unwrap();
    relay
        .push(stream(&[r#"{"choices":[{"text":"","finish_reason":"length"}]}"#, USAGE]).into(), &mut events)
        .unwrap();
    assert!(relay.content_begun() && relay.finish_seen());
    assert_eq!((relay.text_bytes(), relay.usage().unwrap().get(Meter::Input)), (2, 7));
    assert_eq!(relay.finish(true, &mut events), StreamEnd::MissingTerminator);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    #[test]
    fn any_split_gives_the_same_outcome(
        texts in prop::collection::vec(".{0,12}", 0..6),
        line_end in prop::sample::select(&["\n", "\r\n", "\r"][..]),
        wants in any::<bool>(),
        ending in prop::sample::select(&["[DONE]", "", r#"{"error":{"message":"x"}}"#][..]),
        cuts in prop::collection::vec(any::<prop::sample::Index>(), 0..8),
    ) {
        let mut bytes = format!("data: {ROLE}{line_end}{line_end}: ping{line_end}{line_end}").into_bytes();
        for event in texts.iter().map(|text| content(text)).chain([STOP.to_owned(), USAGE.to_owned(), ending.to_owned()]) {
            bytes.extend(format!("data: {event}{line_end}{line_end}").into_bytes());
        }
        let whole = relay(&[&bytes], wants, 1, true);
        let expected_text: usize = texts.iter().map(String::len).sum();
        prop_assert_eq!(whole.text_bytes, expected_text as u64);
        prop_assert_eq!(&whole.usages, &vec![Ok(9)]);
        let mut at: Vec<usize> = cuts.iter().map(|cut| cut.index(bytes.len() + 1)).collect();
        at.sort_unstable();
        at.push(bytes.len());
        let mut start = 0;
        let chunks: Vec<&[u8]> = at.into_iter().map(|end| { let chunk = &bytes[start..end]; start = end; chunk }).collect();
        prop_assert_eq!(&relay(&chunks, wants, 1, true), &whole);
        let bytewise: Vec<&[u8]> = bytes.chunks(1).collect();
        prop_assert_eq!(&relay(&bytewise, wants, 1, true), &whole);
    }
}
