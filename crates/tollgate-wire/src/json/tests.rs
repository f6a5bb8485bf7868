use proptest::prelude::*;
use serde::de::IgnoredAny;

use super::*;

/// What serde_json says of the text's syntax; it checks neither the encoding nor the depth of what it skips.
fn serde_accepts(bytes: &[u8]) -> bool {
    std::str::from_utf8(bytes).is_ok() && serde_json::from_slice::<IgnoredAny>(bytes).is_ok()
}

#[test]
fn refusals_name_problem_offset_and_path() {
    use JsonProblem::*;
    let deep = "[".repeat(129);
    let cases: &[(&[u8], JsonProblem, usize, &str)] = &[
        (b"", UnexpectedEnd, 0, ""),
        (b"  ", UnexpectedEnd, 2, ""),
        (b"\xef\xbb\xbf{}", ByteOrderMark, 0, ""),
        (b"{}\0", TrailingBytes, 2, ""),
        (b"{} {}", TrailingBytes, 3, ""),
        (b"\0{}", UnexpectedByte, 0, ""),
        (b"{\"a\":\"\xff\"}", NotUtf8, 6, "a"),
        (b"{\"a\":\"\xed\xa0\x80\"}", NotUtf8, 6, "a"),
        (b"{\"a\":\"x\ny\"}", ControlCharacter, 7, "a"),
        (b"{\"a\":\"\\x\"}", BadEscape, 6, "a"),
        (b"{\"a\":\"\\u12g4\"}", BadEscape, 6, "a"),
        (b"{\"a\":01}", BadNumber, 6, "a"),
        (b"{\"a\":-}", BadNumber, 6, "a"),
        (b"{\"a\":1.}", BadNumber, 7, "a"),
        (b"{\"a\":1e}", BadNumber, 7, "a"),
        (b"{\"a\":.5}", UnexpectedByte, 5, "a"),
        (b"{\"a\":nul}", UnexpectedByte, 5, "a"),
        (b"{\"a\":[1,2,}", UnexpectedByte, 10, "a[2]"),
        (b"{\"m\":[{},{\"c\":[0,{\"t\":tru}]}]}", UnexpectedByte, 22, "m[1].c[1].t"),
        (b"{\"a\":1,}", UnexpectedByte, 7, "a"),
        (b"{\"a\" 1}", UnexpectedByte, 5, "a"),
        (b"{a:1}", UnexpectedByte, 1, ""),
        (b"{\"a\":[}", UnexpectedByte, 6, "a[0]"),
        (b"[1}", UnexpectedByte, 2, "[0]"),
        (b"{\"a\":\"b", UnexpectedEnd, 7, "a"),
        (deep.as_bytes(), TooDeep, 128, &"[0]".repeat(16)),
    ];
    for (text, problem, offset, path) in cases {
        let error = validate(text).unwrap_err();
        assert_eq!(
            (error.problem, error.offset, error.path.as_str()),
            (*problem, *offset, *path),
            "{}",
            String::from_utf8_lossy(text)
        );
    }
}

#[test]
fn depth_limit_is_exact() {
    for (open, close) in [("[", "]"), ("{\"a\":", "}")] {
        let nested = |n: usize| format!("{}1{}", open.repeat(n), close.repeat(n));
        assert!(validate(nested(MAX_JSON_DEPTH).as_bytes()).is_ok());
        assert_eq!(
            validate(nested(MAX_JSON_DEPTH + 1).as_bytes()).unwrap_err().problem,
            JsonProblem::TooDeep
        );
    }
}

#[test]
fn duplicates_are_refused_however_they_are_spelled() {
    for text in [
        r#"{"a":1,"b":2,"a":3}"#,
        r#"{"model":1,"mod\u0065l":2}"#,
        r#"{"\/":1,"/":2}"#,
        r#"{"a":1,"\u0062":2,"b":3}"#,
        r#"{"a":1,"\u0062":2,"c":3,"a":4}"#,
    ] {
        assert_eq!(members(text.as_bytes()).unwrap_err().problem, JsonProblem::DuplicateKey, "{text}");
    }
    // Only the outermost object's members are compared.
    assert_eq!(members(br#"{"a":{"b":1,"b":2}}"#).unwrap().len(), 1);
    for n in [10, 31, 32, 33, 34, 500] {
        let keys: Vec<String> = (0..n).map(|i| format!("\"k{i}\":{i}")).collect();
        assert_eq!(members(format!("{{{}}}", keys.join(",")).as_bytes()).unwrap().len(), n);
        let twice = format!("{{{},\"k3\":0}}", keys.join(","));
        assert_eq!(members(twice.as_bytes()).unwrap_err().problem, JsonProblem::DuplicateKey, "{n}");
    }
}

#[test]
fn strings_decode_as_serde_does_except_for_lone_surrogates() {
    for raw in ["", "plain", r#"a\n\t\r\b\f\/\\\""#, r"\u00e9\u0000x", r"\ud83d\ude00", "über \u{1f600}"] {
        let expected: String = serde_json::from_str(&format!("\"{raw}\"")).unwrap();
        assert_eq!(decode_string(raw.as_bytes()), expected);
        assert_eq!(decoded_len(raw.as_bytes()), expected.len(), "{raw}");
    }
    for (raw, text) in [
        (r"\ud800", "\u{fffd}"),
        (r"a\udc00b", "a\u{fffd}b"),
        (r"\ud800\n", "\u{fffd}\n"),
        (r"\ud800\ud83d\ude00", "\u{fffd}\u{1f600}"),
    ] {
        assert!(validate(format!("\"{raw}\"").as_bytes()).is_ok());
        assert_eq!((decode_string(raw.as_bytes()).as_ref(), decoded_len(raw.as_bytes())), (text, text.len()));
    }
    // Cut anywhere, it must not fail.
    for end in 0..=11 {
        let _ = decode_string(&br"\ud83d\ude0"[..end]);
    }
}

#[test]
fn written_strings_have_no_line_ends_of_any_kind() {
    let mut out = Vec::new();
    let text = "a\u{2028}b\u{2029}c\u{85}d\r\n\"\\\u{1}\u{7f}é";
    write_string(&mut out, text);
    let written = String::from_utf8(out).unwrap();
    assert!(!written.contains(['\u{2028}', '\u{2029}', '\u{85}', '\r', '\n', '\u{1}']), "{written}");
    assert_eq!(serde_json::from_str::<String>(&written).unwrap(), text);
}

fn json_value() -> impl Strategy<Value = serde_json::Value> {
    let leaf = prop_oneof![
        Just(serde_json::Value::Null),
        any::<bool>().prop_map(Into::into),
        any::<i64>().prop_map(Into::into),
        any::<i32>().prop_map(|n| (f64::from(n) / 8.0).into()),
        ".{0,40}".prop_map(Into::into),
        "[a-z \\\\\"\n]{0,80}".prop_map(Into::into),
    ];
    leaf.prop_recursive(4, 48, 6, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..6).prop_map(Into::into),
            prop::collection::btree_map(".{0,12}", inner, 0..6)
                .prop_map(|map| serde_json::Value::Object(map.into_iter().collect())),
        ]
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1_500))]

    #[test]
    fn written_strings_are_read_as_they_were(
        text in prop::collection::vec(prop_oneof![any::<char>(), prop::sample::select(
            vec!['"', '\\', '\n', '\0', '\u{1f}', '\u{7f}', '\u{85}', '\u{86}', '\u{2027}', '\u{2028}', '\u{2029}', '\u{e2}']
        )], 0..20).prop_map(String::from_iter),
    ) {
        let mut out = Vec::new();
        write_string(&mut out, &text);
        let written = String::from_utf8(out).unwrap();
        prop_assert_eq!(serde_json::from_str::<String>(&written).unwrap(), text);
        prop_assert!(!written.contains(['\u{2028}', '\u{2029}', '\u{85}', '\r', '\n']), "{}", written);
    }

    #[test]
    fn accepts_exactly_what_serde_accepts(
        value in json_value(),
        pretty in any::<bool>(),
        edits in prop::collection::vec((any::<prop::sample::Index>(), 0u8..3, prop_oneof![
            any::<u8>(),
            prop::sample::select(&b"{}[]:,\"\\ue0123456789-+.tfn \t\n\r"[..]),
        ]), 0..3),
    ) {
        let mut text = if pretty { serde_json::to_vec_pretty(&value) } else { serde_json::to_vec(&value) }.unwrap();
        for (index, how, byte) in edits {
            if text.is_empty() { break; }
            let at = index.index(text.len());
            match how {
                0 => text[at] = byte,
                1 => text.insert(at, byte),
                _ => drop(text.remove(at)),
            }
        }
        prop_assert_eq!(validate(&text).is_ok(), serde_accepts(&text), "{}", String::from_utf8_lossy(&text));
        // The path must never fail, whatever the bytes are.
        let _ = path_at(&text, text.len());
    }

    #[test]
    fn accepts_arbitrary_bytes_as_serde_does(text in prop::collection::vec(
        prop::sample::select(&b"{}[]:,\"\\ue01-+.truefalsn \n\xc3\xa9"[..]), 0..24)) {
        prop_assert_eq!(validate(&text).is_ok(), serde_accepts(&text), "{}", String::from_utf8_lossy(&text));
    }

    #[test]
    fn spans_parse_to_the_members_values(
        map in prop::collection::btree_map(".{0,12}", json_value(), 0..6),
        pretty in any::<bool>(),
    ) {
        let value = serde_json::Value::Object(map.into_iter().collect());
        let text = if pretty { serde_json::to_vec_pretty(&value) } else { serde_json::to_vec(&value) }.unwrap();
        let found = members(&text).unwrap();
        prop_assert_eq!(found.len(), value.as_object().unwrap().len());
        for member in found {
            let name = String::from_utf8(member.key.name(&text).into_owned()).unwrap();
            let parsed: serde_json::Value = serde_json::from_slice(&text[member.value.span.clone()]).unwrap();
            prop_assert_eq!(Some(&parsed), value.get(&name));
            let is_kind = match member.value.kind {
                Kind::Null => parsed.is_null(),
                Kind::True => parsed == true,
                Kind::False => parsed == false,
                Kind::Number => parsed.is_number(),
                Kind::String => parsed.is_string(),
                Kind::Array => parsed.is_array(),
                Kind::Object => parsed.is_object(),
            };
            prop_assert!(is_kind);
        }
    }
}

/// Pieces of long strings: plain runs of every length, escapes of every kind, and what must not be there.
fn piece() -> impl Strategy<Value = String> {
    prop_oneof![
        8 => "[a-z /é😀]{0,90}",
        8 => prop::sample::select(vec![r"\n", r#"\""#, r"\\", r"\/", r"\b", r"\f", r"\r", r"\t", r"\u00e9", r"\uD83D\uDE00"]).prop_map(str::to_owned),
        1 => prop::sample::select(vec!["\n", "\u{1f}", r"\x", r"\u12", r"\u12g4", r"\", "\"", r"\u"]).prop_map(str::to_owned),
        1 => (1_usize..70).prop_map(|n| r"\\".repeat(n)),
    ]
}

proptest! {
    #[test]
    fn long_strings_are_accepted_as_serde_does(
        pieces in prop::collection::vec(piece(), 0..40),
        rest in "[a-z]{0,70}",
        is_spread: bool,
    ) {
        let space = if is_spread { "\n" } else { "" };
        let text = format!("[{space}\"{}\",\"{rest}\"]", pieces.concat());
        prop_assert_eq!(validate(text.as_bytes()).is_ok(), serde_accepts(text.as_bytes()), "{}", text);
        if let Ok(decoded) = serde_json::from_str::<Vec<String>>(&text) {
            let spread = Node::parse(text.as_bytes()).unwrap();
            let strings: Vec<_> =
                spread.array().unwrap().iter().map(|node| node.string().unwrap().into_owned()).collect();
            prop_assert_eq!(strings, decoded);
        }
    }
}

#[test]
fn a_fault_far_inside_a_string_is_found_where_it_is() {
    use JsonProblem::*;
    for n_before in 0..200 {
        let before = "a\\\"".repeat(n_before);
        for (fault, problem) in [("\\x", BadEscape), ("\u{1}", ControlCharacter), ("\\u00g0", BadEscape)] {
            let text = format!("[\"{before}{fault}{}\"]", "b\\n".repeat(60));
            let error = validate(text.as_bytes()).unwrap_err();
            assert_eq!((error.problem, error.offset), (problem, 2 + before.len()), "{text}");
        }
        let open = format!("[\"{before}\\");
        assert_eq!(validate(open.as_bytes()).unwrap_err().problem, UnexpectedEnd);
    }
}
