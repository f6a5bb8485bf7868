use std::borrow::Cow;

use bytes::Bytes;
use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;

fn chat(members: &str) -> String {
    format!(r#"{{"model":"m","messages":[{{"role":"user","content":"hi"}}]{members}}}"#)
}

fn skim_chat(body: &str) -> RequestSkim {
    skim(Surface::Chat, body.as_bytes()).unwrap()
}

#[test]
fn refusals_name_the_parameter() {
    use Surface::*;
    let cases: &[(Surface, &str, &str, &str)] = &[
        (Chat, "", "", "not valid JSON"),
        (Chat, "[]", "", "must be a JSON object"),
        (Chat, "{}", "messages", "`messages` is required"),
        (Completions, r#"{"model":"m"}"#, "prompt", "`prompt` is required"),
        (Embeddings, r#"{"model":"m"}"#, "input", "`input` is required"),
        (Chat, r#"{"messages":[]}"#, "messages", "at least one message"),
        (Chat, r#"{"messages":"hi"}"#, "messages", "an array of messages"),
        (Chat, r#"{"messages":[{}, "hi"]}"#, "messages[1]", "an object"),
        (Chat, r#"{"messages":[{"content":5}]}"#, "messages[0].content", "a string or an array"),
        (Chat, r#"{"messages":[{"content":[5]}]}"#, "messages[0].content", "a string or an array"),
        (Chat, &chat(r#","model":"n""#), "model", "stands twice"),
        (Chat, &chat(r#","mode\u006c":"n""#), "model", "stands twice"),
        (Chat, &chat(r#","n":0"#), "n", "between 1 and 128"),
        (Chat, &chat(r#","n":129"#), "n", "between 1 and 128"),
        (Chat, &chat(r#","n":-1"#), "n", "between 1 and 128"),
        (Chat, &chat(r#","n":1.5"#), "n", "an integer"),
        (Chat, &chat(r#","max_tokens":"5""#), "max_tokens", "an integer"),
        (Chat, &chat(r#","max_tokens":1e2"#), "max_tokens", "an integer"),
        (Chat, &chat(r#","max_tokens":0"#), "max_tokens", "at least 1"),
        (Chat, &chat(r#","max_tokens":-7"#), "max_tokens", "at least 1"),
        (Chat, &chat(r#","max_tokens":99999999999999999999999"#), "max_tokens", "at least 1"),
        (Chat, &chat(r#","max_completion_tokens":[]"#), "max_completion_tokens", "an integer"),
        (Chat, &chat(r#","stream":"yes""#), "stream", "true or false"),
        (Chat, &chat(r#","stream_options":true"#), "stream_options", "an object"),
        (Chat, &chat(r#","stream_options":{"include_usage":1}"#), "stream_options.include_usage", "true or"),
        (Chat, &chat(r#","stream_options":{"a":1,"a":1}"#), "stream_options.a", "stands twice"),
        (Chat, &chat(r#","user":5"#), "user", "a string"),
        (Chat, &chat(r#","tools":{}"#), "tools", "an array"),
        (Chat, &chat(r#","modalities":"audio""#), "modalities", "an array"),
        (Chat, r#"{"model":"","messages":[]}"#, "model", "must not be empty"),
        (Chat, r#"{"model":7,"messages":[]}"#, "model", "a string"),
        (Completions, r#"{"prompt":"a","n":3,"best_of":2}"#, "best_of", "at least `n`"),
        (Completions, r#"{"prompt":[]}"#, "prompt", "must not be empty"),
        (Completions, r#"{"prompt":{}}"#, "prompt", "must be a string"),
        (Embeddings, r#"{"input":[["a"]]}"#, "input", "token ids"),
        (Embeddings, r#"{"input":null}"#, "input", "must be a string"),
    ];
    for (surface, body, param, part) in cases {
        let error = skim(*surface, body.as_bytes()).unwrap_err();
        assert_eq!(error.param.as_deref().unwrap_or(""), *param, "{body}: {error}");
        assert!(error.message.contains(part), "{body}: {error}");
    }
}

#[test]
fn members_are_read() {
    let body = chat(
        r#","stream":true,"stream_options":{"include_usage":false},"max_tokens":50,"max_completion_tokens":40,
        "n":2,"user":"ü","service_tier":"flex","tools":[{"type":"function"},{}],"functions":[{}],
        "modalities":["text","audio"],"web_search_options":{},"prediction":{"content":"x"},"unknown":[1]"#,
    );
    let skim = skim_chat(&body);
    assert_eq!(skim.model.as_deref(), Some("m"));
    assert_eq!((skim.stream, skim.include_usage), (true, Some(false)));
    assert_eq!(
        (skim.max_tokens, skim.max_completion_tokens, skim.client_output_cap()),
        (Some(50), Some(40), Some(40))
    );
    assert_eq!((skim.n, skim.n_billed_choices(), skim.n_returned_choices()), (2, 2, 2));
    assert_eq!((skim.user.as_deref(), skim.service_tier.as_deref()), (Some("ü"), Some("flex")));
    assert_eq!((skim.n_messages, skim.n_tools), (1, 3));
    assert!(skim.wants_audio_output && skim.has_web_search && !skim.is_text_only());
    assert_eq!(skim.prediction_bytes, 15);

    let nulls = skim_chat(&chat(
        r#","stream":null,"stream_options":null,"max_tokens":null,"n":null,"user":null,"tools":null,
        "modalities":null,"web_search_options":null,"prediction":null,"service_tier":null"#,
    ));
    assert!(!nulls.stream && nulls.is_text_only() && !nulls.has_web_search);
    assert_eq!((nulls.n, nulls.client_output_cap(), nulls.n_tools, nulls.prediction_bytes), (1, None, 0, 0));
    // Escaped names are the same names.
    assert_eq!(skim_chat(&chat(r#","max\u005ftokens":9"#)).max_tokens, Some(9));
}

#[test]
fn members_that_route_or_buy_elsewhere_are_reported() {
    for name in FOREIGN_MEMBERS {
        for (surface, prompt) in
            [(Surface::Chat, "messages"), (Surface::Completions, "prompt"), (Surface::Embeddings, "input")]
        {
            let prompt = if prompt == "messages" {
                r#""messages":[{}]"#.to_owned()
            } else {
                format!(r#""{prompt}":"a""#)
            };
            for value in ["[]", "{}", r#""x""#, "true"] {
                let body = format!(r#"{{{prompt},"{name}":{value}}}"#);
                assert_eq!(skim(surface, body.as_bytes()).unwrap().foreign_members, [*name], "{body}");
            }
            let null = format!(r#"{{{prompt},"{name}":null}}"#);
            assert!(skim(surface, null.as_bytes()).unwrap().foreign_members.is_empty(), "{null}");
        }
    }
    let several =
        skim_chat(&chat(r#","provid\u0065r":{},"tools":[{"plugins":1}],"models":["m"],"model_":1"#));
    assert_eq!(several.foreign_members, ["provider", "models"]);
}

#[test]
fn prompts_are_counted() {
    for (body, n_prompts, n_billed) in [
        (r#"{"prompt":"a"}"#, 1, 1),
        (r#"{"prompt":["a","b"],"n":2,"best_of":5}"#, 2, 10),
        (r#"{"prompt":[1,2,3],"n":2}"#, 1, 2),
        (r#"{"prompt":[[1,2],[3]],"max_tokens":0}"#, 2, 2),
    ] {
        let skim = skim(Surface::Completions, body.as_bytes()).unwrap();
        assert_eq!((skim.n_prompts, skim.n_billed_choices()), (n_prompts, n_billed), "{body}");
    }
    let ids = r#"{"input":[[100000,100001],[100002]]}"#;
    let skim = skim(Surface::Embeddings, ids.as_bytes()).unwrap();
    assert_eq!(skim.n_billed_choices(), 0);
    // 11 bytes beside the ids (`{"input":[,]}` without the inner arrays is 13), 3 ids, 2 prompts.
    assert_eq!(input_token_bound(&skim, ids.len()), 13 + 3 + FIXED_TOKENS + 2 * MESSAGE_TOKENS);
}

#[test]
fn parts_are_classified() {
    let part = |part: &str| skim_chat(&format!(r#"{{"messages":[{{"content":[{part}]}}]}}"#));
    let cases = [
        (r#"{"type":"text","text":"a"}"#, 0, false, false),
        (r#""plain""#, 0, false, false),
        (r#"{"type":"image_url","image_url":{"url":"https://x"}}"#, 1, false, false),
        (r#"{"image_url":"https://x","type":"image_url"}"#, 1, false, false),
        (r#"{"type":"text","image_url":{"url":"x"}}"#, 1, false, false),
        (r#"{"type":"image_url"}"#, 1, false, false),
        // sound whose length nothing tells
        (r#"{"type":"input_audio","input_audio":{"data":"x"}}"#, 0, true, true),
        (r#"{"type":"input_audio","input_audio":{"data":5}}"#, 0, true, true),
        (r#"{"type":"input_audio","input_audio":"https://x"}"#, 0, true, true),
        (r#"{"type":"input_audio"}"#, 0, true, true),
        (
            r#"{"type":"input_audio","input_audio":{"data":"SUQzAAAAAAAAAAAA","format":"mp3"}}"#,
            0,
            true,
            false,
        ),
        (r#"{"type":"image_url","image_url":{"url":5,"detail":5}}"#, 1, false, false),
        (r#"{"type":"file","file":{"file_id":"f"}}"#, 0, false, true),
        (r#"{"type":"text","text":"a","file":{}}"#, 0, false, true),
        (r#"{"type":"video_url","video_url":{}}"#, 0, false, true),
        (r#"{"type":"hologram"}"#, 0, false, true),
        (r#"{"type":"text","typ\u0065":"file"}"#, 0, false, true),
        (r#"{"text":"untyped"}"#, 0, false, true),
        (r#"{"type":null}"#, 0, false, true),
    ];
    for (body, n_images, audio, unbounded) in cases {
        let skim = part(body);
        assert_eq!(
            (skim.n_images, skim.has_audio_input, skim.has_unbounded_parts),
            (n_images, audio, unbounded),
            "{body}"
        );
    }
    let earlier = skim_chat(r#"{"messages":[{"role":"assistant","audio":{"id":"a"}}]}"#);
    assert!(earlier.has_unbounded_parts && earlier.has_audio_input);
    assert!(
        !skim_chat(r#"{"messages":[{"role":"assistant","audio":null,"content":null}]}"#).has_unbounded_parts
    );
}

#[test]
fn images_in_the_body_count_as_images_and_not_as_text() {
    let small = format!(
        r#"{{"messages":[{{"content":[{{"type":"image_url","image_url":{{"url":"data:image/png;base64,{}"}}}}]}}]}}"#,
        "A".repeat(500_000)
    );
    let skim = skim_chat(&small);
    let bound = input_token_bound(&skim, small.len());
    assert!((IMAGE_TOKENS_BOUND..IMAGE_TOKENS_BOUND + 300).contains(&bound), "{bound}");
    assert!((1_000..1_100).contains(&input_token_estimate(&skim, small.len())));
    // Text that looks like one does not.
    let text = small.replace("image_url", "text");
    assert!(input_token_bound(&skim_chat(&text), text.len()) > 500_000);
}

#[test]
fn images_are_counted_by_their_model_s_table_and_sound_by_its_length() {
    let part = |part: &str| format!(r#"{{"messages":[{{"content":[{part}]}}]}}"#);
    let image = r#"{"type":"image_url","image_url":{"url":"https://x"}}"#;
    let low = r#"{"type":"image_url","image_url":{"url":"https://x","detail":"low"}}"#;
    let twice = r#"{"type":"image_url","image_url":{"url":"https://x","detail":"low","det\u0061il":"low"}}"#;
    let nameless = r#"{"type":"image_url"}"#;
    let bound = |body: &str, model: &str| {
        let counting = PromptCounting { images: image_rates(model), ..PromptCounting::default() };
        let skim = skim_chat(body);
        let nothing = input_token_bound(&skim_chat(&part("")), body.len());
        input_token_bound_with(&skim, body.len(), &counting) - nothing
    };
    for (parts, model, tokens) in [
        (image.to_owned(), "gpt-4o", 1_445),
        (low.to_owned(), "gpt-4o", 85),
        (twice.to_owned(), "gpt-4o", 1_445),
        (format!("{image},{low},{low}"), "gpt-4o", 1_445 + 85 + 85),
        (format!("{image},{nameless}"), "gpt-4o", 1_445 + IMAGE_TOKENS_BOUND),
        (image.to_owned(), "claude-sonnet-4-5", IMAGE_TOKENS_BOUND),
        (low.to_owned(), "gpt-5.9", IMAGE_TOKENS_BOUND),
    ] {
        assert_eq!(bound(&part(&parts), model), tokens, "{parts} {model}");
    }
    let data = "SUQz".to_owned() + &"A".repeat(64_000);
    let sound =
        part(&format!(r#"{{"type":"input_audio","input_audio":{{"data":"{data}","format":"mp3"}}}}"#));
    let skim = skim_chat(&sound);
    // 48,003 bytes at 128 a second, in windows of 30
    assert_eq!((skim.audio_seconds, skim.has_unbounded_parts), (390, false));
    let others = (sound.len() - data.len()) as u64;
    let expected = others + FIXED_TOKENS + MESSAGE_TOKENS + 390 * AUDIO_TOKENS_PER_SECOND;
    assert_eq!(input_token_bound(&skim, sound.len()), expected);
}

#[test]
fn counted_text_replaces_its_bytes() {
    let body = chat("");
    let skim = skim_chat(&body);
    let text = CountedText { n_bytes: 4, n_tokens: 1 };
    let counting = PromptCounting { text, ..PromptCounting::default() };
    let by_bytes = input_token_bound(&skim, body.len());
    assert_eq!(input_token_bound_with(&skim, body.len(), &counting), by_bytes - 3);
}

#[test]
fn tools_of_the_provider_are_told_from_the_client_s() {
    for (tools, is_providers) in [
        (r#"[{"type":"function","function":{"name":"f"}}]"#, false),
        (r#"[{"type":"custom","custom":{"name":"f"}}]"#, false),
        (r#"[{"function":{"name":"f"}},{"name":"old"}]"#, false),
        (r#"[5,null]"#, false),
        (r#"[{"type":"web_search"}]"#, true),
        (r#"[{"type":"function","function":{"name":"f"}},{"type":"browser_search"}]"#, true),
        (r#"[{"type":"builtin_function","function":{"name":"$web_search"}}]"#, true),
        (r#"[{"type":"function","function":{"name":"$web_search"}}]"#, true),
        (r#"[{"typ\u0065":"code_interpreter"}]"#, true),
        (r#"[{"type":5,"function":{"name":5}}]"#, false),
        (r#"[{"type":"function","function":{"name":"\u0024web_search"}}]"#, true),
        (r#"[{"google_search":{}}]"#, true),
        (r#"[{}]"#, true),
    ] {
        let skim = skim_chat(&chat(&format!(r#","tools":{tools}"#)));
        assert_eq!(skim.has_provider_tools, is_providers, "{tools}");
    }
}

#[test]
fn what_is_read_under_one_name_is_not_overruled_by_another_spelling() {
    for member in
        [r#""Model":"dear""#, r#""MAX_TOKENS":9"#, r#""Max_completion_tokens":9"#, r#""Plugins":[]"#]
    {
        let error = skim(Surface::Chat, chat(&format!(",{member}")).as_bytes()).unwrap_err();
        assert!(error.message.contains("lower case"), "{member}: {error}");
    }
    assert!(skim(Surface::Chat, chat(r#","customField":1,"X":2"#).as_bytes()).is_ok());
}

#[test]
fn the_name_of_a_model_is_bounded() {
    let prompt = r#"[{"role":"user","content":"x"}]"#;
    let body = |n: usize| format!(r#"{{"model":"{}","messages":{prompt}}}"#, "m".repeat(n));
    assert!(skim(Surface::Chat, body(512).as_bytes()).is_ok());
    let error = skim(Surface::Chat, body(513).as_bytes()).unwrap_err();
    assert_eq!(error.param.as_deref(), Some("model"));
}

#[test]
fn text_kept_by_the_provider_is_unbounded_and_a_false_switch_is_none() {
    assert!(skim_chat(&chat(r#","extra_body":{"google":{"cached_content":"c"}}"#)).has_unbounded_parts);
    assert!(!skim_chat(&chat(r#","extra_body":null"#)).has_unbounded_parts);
    assert!(skim_chat(&chat(r#","enable_search":false"#)).foreign_members.is_empty());
    assert_eq!(skim_chat(&chat(r#","enable_search":true"#)).foreign_members, ["enable_search"]);
}

#[test]
fn tools_raise_the_bound() {
    let without = chat("");
    let with = chat(r#","tools":[{"type":"function","function":{"name":"f"}}]"#);
    let difference = input_token_bound(&skim_chat(&with), with.len())
        - input_token_bound(&skim_chat(&without), without.len());
    let n_bytes = (with.len() - without.len()) as u64;
    // Values: the array, the tool, its type, the function, its name.
    assert_eq!(difference, n_bytes + TOOL_PREAMBLE_TOKENS + TOOL_TOKENS + 5 * TOKENS_PER_TOOL_VALUE);
}

#[test]
#[expect(clippy::too_many_lines, reason = "a table")]
fn splice_table() {
    let edits =
        Edits { model: Some("up/\"m"), output_cap: Some(64), include_usage: true, ..Edits::default() };
    let max = OutputCapField::MaxTokens;
    let cases: &[(&str, Edits<'_>, &str)] = &[
        (
            r#"{"messages":[{}],"model":"a" }"#,
            edits,
            r#"{"max_completion_tokens":64,"messages":[{}],"model":"up/\"m" }"#,
        ),
        (r#"{ "messages":[{}]}"#, edits, r#"{ "model":"up/\"m","max_completion_tokens":64,"messages":[{}]}"#),
        (
            r#"{"max_tokens":100,"messages":[{}],"model":null}"#,
            edits,
            r#"{"max_completion_tokens":64,"messages":[{}],"model":"up/\"m"}"#,
        ),
        (
            r#"{"max_tokens":100,"messages":[{}],"max_completion_tokens":65}"#,
            Edits { model: None, ..edits },
            r#"{"messages":[{}],"max_completion_tokens":64}"#,
        ),
        (
            r#"{"max_completion_tokens":65,"messages":[{}], "max_tokens" : 63 }"#,
            Edits { model: None, ..edits },
            r#"{"max_completion_tokens":63,"messages":[{}] }"#,
        ),
        (
            r#"{ "max_\u0074okens" :63 , "messages":[{}],"max_completion_tokens":63}"#,
            Edits { model: None, ..edits },
            r#"{  "messages":[{}],"max_completion_tokens":63}"#,
        ),
        (
            r#"{"max_tokens":null,"messages":[{}]}"#,
            Edits { model: None, ..edits },
            r#"{"max_completion_tokens":64,"messages":[{}]}"#,
        ),
        (
            r#"{"max_tokens":null,"messages":[{}]}"#,
            Edits { model: None, output_cap_field: max, ..edits },
            r#"{"max_tokens":64,"messages":[{}]}"#,
        ),
        (
            r#"{"messages":[{}]}"#,
            Edits { model: None, output_cap_field: max, ..edits },
            r#"{"max_tokens":64,"messages":[{}]}"#,
        ),
        // A server that knows only the older name must not be left without a cap.
        (
            r#"{"messages":[{}],"max_completion_tokens":65}"#,
            Edits { model: None, output_cap_field: max, ..edits },
            r#"{"messages":[{}],"max_tokens":64}"#,
        ),
        (
            r#"{"max_tokens":null,"max_completion_tokens":5,"messages":[{}]}"#,
            Edits { model: None, output_cap_field: max, ..edits },
            r#"{"max_tokens":5,"messages":[{}]}"#,
        ),
        // OpenAI's newer models refuse `max_tokens`, with a cap of the gateway's and without.
        (
            r#"{"messages":[{}],"max_tokens":65}"#,
            Edits { model: None, ..edits },
            r#"{"messages":[{}],"max_completion_tokens":64}"#,
        ),
        (
            r#"{"messages":[{}],"max_tokens":65}"#,
            Edits::default(),
            r#"{"messages":[{}],"max_completion_tokens":65}"#,
        ),
        (
            r#"{"stream":true,"messages":[{}],"n":1}"#,
            Edits { include_usage: true, ..Edits::default() },
            r#"{"stream_options":{"include_usage":true},"stream":true,"messages":[{}],"n":1}"#,
        ),
        (
            r#"{"stream":true,"messages":[{}],"stream_options":null}"#,
            Edits { include_usage: true, ..Edits::default() },
            r#"{"stream":true,"messages":[{}],"stream_options":{"include_usage":true}}"#,
        ),
        (
            r#"{"stream":true,"messages":[{}],"stream_options":{ }}"#,
            Edits { include_usage: true, ..Edits::default() },
            r#"{"stream":true,"messages":[{}],"stream_options":{"include_usage":true }}"#,
        ),
        (
            r#"{"stream":true,"messages":[{}],"stream_options":{"a":1}}"#,
            Edits { include_usage: true, ..Edits::default() },
            r#"{"stream":true,"messages":[{}],"stream_options":{"include_usage":true,"a":1}}"#,
        ),
        (
            r#"{"stream":true,"messages":[{}],"stream_options":{"include_usage" : null}}"#,
            Edits { include_usage: true, ..Edits::default() },
            r#"{"stream":true,"messages":[{}],"stream_options":{"include_usage" : true}}"#,
        ),
    ];
    for (body, edits, expected) in cases {
        let skim = skim_chat(body);
        let out = splice(body.as_bytes(), &skim, edits);
        assert_eq!(std::str::from_utf8(&out).unwrap(), *expected);
    }
}

#[test]
fn nothing_to_change_borrows() {
    let body = r#"{"model":"m\u0031","max_completion_tokens":5,"messages":[{}],"stream":true,"stream_options":{"include_usage":true}}"#;
    let edits = Edits { model: Some("m1"), output_cap: Some(5), include_usage: true, ..Edits::default() };
    assert!(matches!(splice(body.as_bytes(), &skim_chat(body), &edits), Cow::Borrowed(_)));
    let plain = chat("");
    let edits = Edits { include_usage: true, ..Edits::default() };
    assert!(matches!(splice(plain.as_bytes(), &skim_chat(&plain), &edits), Cow::Borrowed(_)));
    let embeddings = r#"{"input":"a"}"#;
    let skim = skim(Surface::Embeddings, embeddings.as_bytes()).unwrap();
    let edits = Edits { output_cap: Some(5), include_usage: true, ..Edits::default() };
    assert!(matches!(splice(embeddings.as_bytes(), &skim, &edits), Cow::Borrowed(_)));
    let completions = r#"{"prompt":"a"}"#;
    let skim = super::skim(Surface::Completions, completions.as_bytes()).unwrap();
    assert_eq!(&*splice(completions.as_bytes(), &skim, &edits), br#"{"max_tokens":5,"prompt":"a"}"#);
}

fn optional_count() -> impl Strategy<Value = Option<Value>> {
    prop::option::of(prop_oneof![Just(Value::Null), (1u64..200_000).prop_map(Into::into)])
}

fn chat_body() -> impl Strategy<Value = Value> {
    (
        prop::option::of(prop_oneof![Just(Value::Null), ".{1,12}".prop_map(Into::into)]),
        (optional_count(), optional_count()),
        prop::option::of(any::<bool>()),
        prop::option::of(prop_oneof![
            Just(Value::Null),
            Just(json!({})),
            Just(json!({"include_obfuscation": false})),
            any::<bool>().prop_map(|flag| json!({"include_usage": flag, "x": [1]})),
            Just(json!({"include_usage": null})),
        ]),
        prop::collection::vec(".{0,60}", 1..4),
        prop::collection::btree_map("[x-z]{1,3}", ".{0,20}", 0..3),
    )
        .prop_map(|(model, (max_tokens, max_completion), stream, options, texts, unknown)| {
            let mut body = serde_json::Map::new();
            body.extend(unknown.into_iter().map(|(key, value)| (key, value.into())));
            let messages: Vec<Value> =
                texts.into_iter().map(|text| json!({"role": "user", "content": text})).collect();
            body.insert("messages".into(), messages.into());
            for (key, value) in
                [("model", model), ("max_tokens", max_tokens), ("max_completion_tokens", max_completion)]
            {
                body.extend(value.map(|value| (key.to_owned(), value)));
            }
            body.extend(stream.map(|stream| ("stream".to_owned(), stream.into())));
            body.extend(options.map(|options| ("stream_options".to_owned(), options)));
            Value::Object(body)
        })
}

/// What a splice must do, said on parsed values.
fn edited(mut body: Value, edits: &Edits<'_>) -> Value {
    let object = body.as_object_mut().unwrap();
    if let Some(model) = edits.model {
        object.insert("model".into(), model.into());
    }
    let names = ["max_tokens", "max_completion_tokens"];
    let asked = names.iter().filter_map(|name| object.get(*name)?.as_u64()).min();
    if let Some(cap) = asked.into_iter().chain(edits.output_cap).min() {
        names.iter().for_each(|name| drop(object.remove(*name)));
        let is_older = edits.output_cap_field == OutputCapField::MaxTokens;
        object.insert(names[usize::from(!is_older)].into(), cap.into());
    }
    if edits.include_usage && object.get("stream") == Some(&Value::Bool(true)) {
        let options = object.entry("stream_options").or_insert(Value::Null);
        if options.is_null() {
            *options = json!({});
        }
        options["include_usage"] = true.into();
    }
    body
}

fn spliced(body: &Bytes, request: &RequestSkim, edits: &Edits<'_>) -> Vec<u8> {
    let mut out = Vec::new();
    splice_pieces(body, request, edits, |piece| out.extend_from_slice(&piece));
    out
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1_000))]

    #[test]
    fn splice_changes_exactly_what_it_says(
        value in chat_body(),
        pretty in any::<bool>(),
        model in prop::option::of(".{1,20}"),
        output_cap in prop::option::of(1u64..200_000),
        old_field in any::<bool>(),
        include_usage in any::<bool>(),
    ) {
        let body = if pretty { serde_json::to_vec_pretty(&value) } else { serde_json::to_vec(&value) }.unwrap();
        let output_cap_field = if old_field { OutputCapField::MaxTokens } else { OutputCapField::MaxCompletionTokens };
        let edits = Edits { model: model.as_deref(), output_cap, output_cap_field, include_usage };
        let request = skim(Surface::Chat, &body).unwrap();
        let out = splice(&body, &request, &edits);
        // long bodies go out in pieces that are not copied
        let long = Bytes::from([vec![b' '; 20_000], body.clone()].concat());
        let in_pieces = spliced(&long, &skim(Surface::Chat, &long).unwrap(), &edits);
        prop_assert_eq!(in_pieces.trim_ascii_start(), &*out);
        prop_assert_eq!(spliced(&Bytes::from(body.clone()), &request, &edits), &*out);
        prop_assert_eq!(&serde_json::from_slice::<Value>(&out).unwrap(), &edited(value, &edits));
        // What comes out can be read again, and a second splice has nothing left to do.
        let again = skim(Surface::Chat, &out).unwrap();
        prop_assert!(matches!(splice(&out, &again, &edits), Cow::Borrowed(_)));
        if let Some(cap) = output_cap {
            prop_assert!(again.client_output_cap().unwrap() <= cap);
        }
        prop_assert!(again.max_tokens.is_none() || again.max_completion_tokens.is_none());
    }

    #[test]
    fn never_panics_and_agrees_with_validation(bytes in prop::collection::vec(
        prop::sample::select(&b"{}[]:,\"\\ue01-+.truefalsn messagscontmodelnax_k"[..]), 0..64)) {
        for surface in [Surface::Chat, Surface::Completions, Surface::Embeddings] {
            if skim(surface, &bytes).is_ok() {
                prop_assert!(crate::json::members(&bytes).is_ok());
            }
        }
    }
}
