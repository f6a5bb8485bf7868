use super::*;

#[test]
#[expect(clippy::too_many_lines, reason = "a table")]
fn normalisation_table() {
    use Meter::*;
    use Surface::{Chat, Embeddings};
    type Expected = Result<Option<&'static [(Meter, u64)]>, &'static str>;
    let cases: &[(Surface, &str, Expected)] = &[
        (Chat, r#"{}"#, Ok(None)),
        (Chat, r#"{"prompt_tokens":null,"completion_tokens":null,"total_tokens":null}"#, Ok(None)),
        (Chat, r#"{"num_searches":3}"#, Ok(None)),
        (
            Chat,
            r#"{"prompt_tokens":10,"completion_tokens":5,"total_tokens":15}"#,
            Ok(Some(&[(Input, 10), (Output, 5)])),
        ),
        (Chat, r#"{"prompt_tokens":0,"completion_tokens":0,"total_tokens":0}"#, Ok(Some(&[]))),
        (Chat, r#"{"prompt_tokens":10,"completion_tokens":5}"#, Ok(Some(&[(Input, 10), (Output, 5)]))),
        (Chat, r#"{"input_tokens":10,"output_tokens":5}"#, Ok(Some(&[(Input, 10), (Output, 5)]))),
        (Chat, r#"{"completion_tokens":5}"#, Ok(Some(&[(Output, 5)]))),
        (Chat, r#"{"total_tokens":15,"completion_tokens":5}"#, Ok(Some(&[(Input, 10), (Output, 5)]))),
        (Chat, r#"{"prompt_tokens":10.0,"completion_tokens":5.00}"#, Ok(Some(&[(Input, 10), (Output, 5)]))),
        (
            Chat,
            r#"{"prompt_tokens":100,"completion_tokens":50,"total_tokens":150,"prompt_tokens_details":{"cached_tokens":40,"audio_tokens":10},"completion_tokens_details":{"reasoning_tokens":20,"audio_tokens":5,"accepted_prediction_tokens":3,"rejected_prediction_tokens":2}}"#,
            Ok(Some(&[
                (Input, 50),
                (CachedInput, 40),
                (InputAudio, 10),
                (Output, 25),
                (Reasoning, 20),
                (OutputAudio, 5),
            ])),
        ),
        // Details that are null, or no objects.
        (
            Chat,
            r#"{"prompt_tokens":1,"completion_tokens":1,"prompt_tokens_details":null,"completion_tokens_details":[]}"#,
            Ok(Some(&[(Input, 1), (Output, 1)])),
        ),
        // Everything cached; cached audio is counted once, as audio.
        (
            Chat,
            r#"{"prompt_tokens":8,"prompt_tokens_details":{"cached_tokens":8}}"#,
            Ok(Some(&[(CachedInput, 8)])),
        ),
        (
            Chat,
            r#"{"prompt_tokens":8,"prompt_tokens_details":{"cached_tokens":8,"audio_tokens":3}}"#,
            Ok(Some(&[(CachedInput, 5), (InputAudio, 3)])),
        ),
        // DeepSeek's cache, OpenRouter's cache writes.
        (
            Chat,
            r#"{"prompt_tokens":9,"completion_tokens":1,"prompt_cache_hit_tokens":4,"prompt_cache_miss_tokens":5}"#,
            Ok(Some(&[(Input, 5), (CachedInput, 4), (Output, 1)])),
        ),
        (
            Chat,
            r#"{"prompt_tokens":9,"prompt_tokens_details":{"cached_tokens":2,"cache_write_tokens":3}}"#,
            Ok(Some(&[(Input, 4), (CachedInput, 2), (CacheWrite5m, 3)])),
        ),
        // xAI: reasoning beside the completion. Gemini: thoughts only in the total.
        (
            Chat,
            r#"{"prompt_tokens":10,"completion_tokens":5,"total_tokens":35,"completion_tokens_details":{"reasoning_tokens":20}}"#,
            Ok(Some(&[(Input, 10), (Output, 5), (Reasoning, 20)])),
        ),
        (
            Chat,
            r#"{"prompt_tokens":10,"completion_tokens":5,"total_tokens":35}"#,
            Ok(Some(&[(Input, 10), (Output, 5), (Reasoning, 20)])),
        ),
        // Reasoning that is in the completion and a total that is larger still: nothing is billed twice.
        (
            Chat,
            r#"{"prompt_tokens":10,"completion_tokens":30,"total_tokens":45,"completion_tokens_details":{"reasoning_tokens":20}}"#,
            Ok(Some(&[(Input, 10), (Output, 15), (Reasoning, 20)])),
        ),
        // A total that is too small is not believed.
        (
            Chat,
            r#"{"prompt_tokens":10,"completion_tokens":5,"total_tokens":3}"#,
            Ok(Some(&[(Input, 10), (Output, 5)])),
        ),
        (Embeddings, r#"{"prompt_tokens":8,"total_tokens":8}"#, Ok(Some(&[(Input, 8)]))),
        (Embeddings, r#"{"total_tokens":8}"#, Ok(Some(&[(Input, 8)]))),
        (
            Embeddings,
            r#"{"prompt_tokens":8,"completion_tokens":0,"total_tokens":8}"#,
            Ok(Some(&[(Input, 8)])),
        ),
        // Nonsense.
        (Chat, r#"{"prompt_tokens":-1}"#, Err("no count")),
        (Chat, r#"{"prompt_tokens":"10"}"#, Err("no count")),
        (Chat, r#"{"prompt_tokens":1.5}"#, Err("no count")),
        (Chat, r#"{"prompt_tokens":1e3}"#, Err("no count")),
        (Chat, r#"{"prompt_tokens":1000000001}"#, Err("absurd")),
        (Chat, r#"{"completion_tokens":99999999999999999999999999}"#, Err("absurd")),
        (
            Chat,
            r#"{"prompt_tokens":5,"prompt_tokens_details":{"cached_tokens":6}}"#,
            Err("cached_tokens exceeds prompt_tokens"),
        ),
        (
            Chat,
            r#"{"prompt_tokens":5,"prompt_tokens_details":{"audio_tokens":3,"image_tokens":3}}"#,
            Err("prompt_tokens_details exceeds"),
        ),
        (
            Chat,
            r#"{"completion_tokens":5,"completion_tokens_details":{"reasoning_tokens":6}}"#,
            Err("reasoning_tokens exceeds"),
        ),
        (
            Chat,
            r#"{"completion_tokens":5,"completion_tokens_details":{"reasoning_tokens":3,"audio_tokens":3}}"#,
            Err("completion_tokens_details exceeds"),
        ),
    ];
    for (surface, object, expected) in cases {
        match (normalise(*surface, object.as_bytes()), expected) {
            (Ok(got), Ok(want)) => {
                assert_eq!(
                    got.map(|usage| usage.iter().collect::<Vec<_>>()),
                    want.map(<[_]>::to_vec),
                    "{object}"
                );
            }
            (Err(error), Err(part)) => assert!(error.to_string().contains(part), "{object}: {error}"),
            (got, want) => panic!("{object}: got {got:?}, wanted {want:?}"),
        }
    }
}

proptest::proptest! {
    #[test]
    fn classes_sum_to_the_total(prompt in 0u64..1_000_000, completion in 0u64..1_000_000, beyond in 0u64..1_000,
        cached in 0u64..1_000_000, audio in 0u64..1_000_000, reasoning in 0u64..1_000_000) {
        let total = prompt + completion + beyond;
        let object = format!(r#"{{"prompt_tokens":{prompt},"completion_tokens":{completion},"total_tokens":{total},
            "prompt_tokens_details":{{"cached_tokens":{cached},"audio_tokens":{audio}}},
            "completion_tokens_details":{{"reasoning_tokens":{reasoning}}}}}"#);
        if let Ok(usage) = normalise(Surface::Chat, object.as_bytes()) {
            let usage = usage.unwrap();
            proptest::prop_assert_eq!(usage.total_tokens(), total);
            proptest::prop_assert_eq!(usage.input_tokens(), prompt);
        } else {
            proptest::prop_assert!(cached > prompt || audio > prompt || reasoning > completion + beyond);
        }
    }
}

#[test]
fn cost_is_inserted_with_exact_digits() {
    for (body, cost, expected) in [
        (r#"{"usage":{"prompt_tokens":1}}"#, 120_000, r#"{"usage":{"prompt_tokens":1,"cost":0.00012}}"#),
        (r#"{"usage":{"prompt_tokens":1 } }"#, 1, r#"{"usage":{"prompt_tokens":1 ,"cost":0.000000001} }"#),
        (r#"{"usage":{"cost":0.5,"prompt_tokens":1}}"#, 0, r#"{"usage":{"cost":0,"prompt_tokens":1}}"#),
        (
            r#"{"usage":{"prompt_tokens":1,"cost":null}}"#,
            2_000_000_000,
            r#"{"usage":{"prompt_tokens":1,"cost":2}}"#,
        ),
    ] {
        let answer = super::super::response::read_answer(Surface::Chat, body.as_bytes());
        let UsageReading::Counted(_, span) = answer.usage else { panic!("{body}: {answer:?}") };
        let out = with_cost(body.as_bytes(), &span, NanoUsd(cost));
        assert_eq!(std::str::from_utf8(&out).unwrap(), expected);
    }
}

#[test]
fn counted_by_bytes_or_events() {
    let body = br#"{"messages":[{"content":"hello"}]}"#;
    let skim = super::super::request::skim(Surface::Chat, body).unwrap();
    let usage = counted_usage(&skim, body.len(), 41, 3);
    assert_eq!((usage.get(Meter::Input), usage.get(Meter::Output)), (9, 11));
    assert_eq!(counted_usage(&skim, body.len(), 41, 30).get(Meter::Output), 30);
}
