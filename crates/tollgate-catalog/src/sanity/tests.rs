//! Tests of [`super`]: each slip is found, and what is usual is not.

use super::*;

const GOOD: &str = r#"{"name":"m","aliases":["m-1"],"surfaces":["chat"],"context_tokens":1000,"max_output_tokens":100,
    "prices":{"input":"2.50","cached_input":"0.25","output":"10"},
    "bands":[{"context_from":200001,"prices":{"input":"5","output":"15"}}],
    "tiers":[{"tier":"batch","prices":{"input":"1.25","output":"5"}},{"tier":"priority","prices":{"input":"5"}}],
    "source":"https://vendor.example/prices","as_of":"2026-11-22"}"#;

/// What is found about the good model after `from` has become `to`, or about both of two models.
fn found(from: &str, to: &str) -> Vec<(Severity, String)> {
    assert!(GOOD.contains(from), "{from}");
    found_in(&GOOD.replacen(from, to, 1))
}

fn found_in(models: &str) -> Vec<(Severity, String)> {
    let text =
        format!(r#"[{{"name":"v","dialect":"openai","base_url":"https://v.example","models":[{models}]}}]"#);
    let catalog = Catalog::from_json(&text).unwrap();
    let findings = check_catalog(&catalog, "2026-11-22");
    findings.into_iter().map(|finding| (finding.severity, finding.message)).collect()
}

#[test]
fn nothing_is_found_about_a_good_model() {
    assert_eq!(found_in(GOOD), []);
    // Free models, and answers as cheap as prompts, are usual.
    assert_eq!(
        found(r#""input":"2.50","cached_input":"0.25","output":"10""#, r#""input":"5","output":"5""#),
        []
    );
}

#[test]
fn slips_are_errors() {
    let cases = [
        (r#""input":"2.50""#, r#""input":"2500000""#, "looks like a price per token"),
        (r#""input":"2.50""#, r#""input":"0.0000025""#, "looks like a price per token divided again"),
        (r#""output":"10""#, r#""output":"10","image":"40""#, "looks like a price per million"),
        (
            r#""output":"10""#,
            r#""output":"10","image":"0.00000004""#,
            "looks like a price divided by a million",
        ),
        (r#""output":"10""#, r#""output":"0.1""#, "output is cheaper than cached input (0.25 > 0.1)"),
        (
            r#""output":"10""#,
            r#""output":"10","cache_write_5m":"2""#,
            "writing the cache is cheaper than input",
        ),
        (
            r#""output":"10""#,
            r#""output":"10","cache_write_1h":"2""#,
            "writing the cache is cheaper than input",
        ),
        (r#""output":"10""#, r#""output":"0""#, "input is paid, but output is free"),
        (r#""input":"2.50","cached_input":"0.25","output":"10""#, "", "it has no price"),
        (r#""context_tokens":1000"#, r#""context_tokens":0"#, "its context window is 0"),
        (r#""max_output_tokens":100"#, r#""max_output_tokens":0"#, "its output limit is 0"),
        (r#""max_output_tokens":100"#, r#""max_output_tokens":1001"#, "above its context window"),
        (r#"["m-1"]"#, r#"["m"]"#, "`m` is also a name of `m`"),
        (r#"["m-1"]"#, r#"[""]"#, "a name is empty"),
        (r#"["chat"]"#, r#"["chats"]"#, "`chats` is no surface"),
        (r#"["chat"]"#, "[]", "it serves no surface"),
        ("https://vendor", "http://vendor", "is no page of the vendor"),
        ("2026-11-22", "2026-13-22", "`as_of` is no date"),
        (r#""as_of""#, r#""deprecated_on":"2026-11-22","as_of""#, "the vendor has retired it"),
        (r#""tier":"priority""#, r#""tier":"batch""#, "the class batch stands twice"),
        (r#""tier":"priority""#, r#""tier":"standard""#, "the class standard stands twice"),
        (r#""context_from":200001"#, r#""context_from":0"#, "the thresholds do not ascend"),
        (r#"{"input":"5","output":"15"}"#, "{}", "the threshold 200001 changes nothing"),
    ];
    for (from, to, expected) in cases {
        let found = found(from, to);
        let is_error = |(severity, message): &(Severity, String)| {
            *severity == Severity::Error && message.contains(expected)
        };
        assert!(found.iter().any(is_error), "{to}: {found:?}");
    }
}

#[test]
fn oddities_are_warnings() {
    let cases = [
        (r#""cached_input":"0.25""#, r#""cached_input":"3""#, "cached input is dearer than input"),
        (r#""output":"10""#, r#""output":"1""#, "input is dearer than output"),
        (r#""input":"1.25""#, r#""input":"3""#, "batch input is on the wrong side"),
        (r#"{"input":"5"}"#, r#"{"input":"2"}"#, "priority input is on the wrong side"),
        (r#""output":"15""#, r#""output":"9""#, "output is cheaper for longer prompts"),
    ];
    for (from, to, expected) in cases {
        let found = found(from, to);
        assert!(found.iter().all(|(severity, _)| *severity == Severity::Warning), "{to}: {found:?}");
        assert!(found.iter().any(|(_, message)| message.contains(expected)), "{to}: {found:?}");
    }
}

#[test]
fn names_are_each_model_s_own() {
    let other = GOOD.replacen(r#""name":"m""#, r#""name":"m-1""#, 1).replacen(r#"["m-1"]"#, "[]", 1);
    let found = found_in(&format!("{GOOD},{other}"));
    assert_eq!(found, [(Severity::Error, "`m-1` is also a name of `m`".to_owned())]);
}

#[test]
fn steps_of_more_than_ten_times_are_slips() {
    let price = PricePerMillion;
    for (from, to, is_fine) in
        [(5, 50, true), (5, 51, false), (50, 5, true), (51, 5, false), (0, 9, true), (9, 0, false)]
    {
        assert_eq!(check_change(price(from), price(to)).is_none(), is_fine, "{from} {to}");
    }
}
