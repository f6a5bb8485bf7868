//! The committed example and the reference of fields stay true.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use super::{Environment, load, load_text};

fn repository(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").join(path)
}

/// An unknown field in every kind of mapping, so that each tells the fields it knows.
const UNKNOWN_EVERYWHERE: &str = "
version: 1
qqqqqqqqqqqq: 1
providers: [{ name: p, dialect: demo, qqqqqqqqqqqq: 1, credentials: [{ name: c, qqqqqqqqqqqq: 1 }] }]
models:
  - name: m
    qqqqqqqqqqqq: 1
    targets: [{ provider: p, model: m, qqqqqqqqqqqq: 1 }]
    retry: { qqqqqqqqqqqq: 1 }
    timeouts: { qqqqqqqqqqqq: 1 }
    hold: { qqqqqqqqqqqq: 1 }
    cache: { mode: off, qqqqqqqqqqqq: 1 }
prices: [{ provider: p, model: m, qqqqqqqqqqqq: 1 }]
hold: { qqqqqqqqqqqq: 1 }
tenants:
  - name: t
    qqqqqqqqqqqq: 1
    budgets: [{ limit: 1, window: day, qqqqqqqqqqqq: 1 }]
    limits: { qqqqqqqqqqqq: 1 }
    data_policy: { qqqqqqqqqqqq: 1 }
    end_users: { qqqqqqqqqqqq: 1, budgets: [{ limit: 1, window: day, qqqqqqqqqqqq: 1 }] }
    model_limits: [{ model: m, qqqqqqqqqqqq: 1 }]
    projects: [{ name: p, qqqqqqqqqqqq: 1, keys: [{ name: k, qqqqqqqqqqqq: 1 }] }]
";

#[test]
fn the_example_passes_with_and_without_its_environment() {
    for environment in [
        Environment::of_pairs(&[]),
        Environment::of_pairs(&[
            ("OPENAI_API_KEY", "sk-openai"),
            ("ACME_PROD_KEY", "sixteen-characters-or-more"),
        ]),
    ] {
        let config =
            load(&repository("deploy/tollgate.example.yaml"), &environment).unwrap_or_else(|problems| {
                panic!("{problems}");
            });
        let json = config.to_json().unwrap();
        assert_eq!(json["tenants"][0]["projects"][0]["keys"][0]["name"], "prod");
    }
}

#[test]
fn the_reference_names_every_field() {
    let reference = std::fs::read_to_string(repository("docs/configuration.md")).unwrap();
    let told = problems(UNKNOWN_EVERYWHERE);
    assert_eq!(told.len(), UNKNOWN_EVERYWHERE.matches("qqq:").count(), "{told:#?}");
    let mut fields = BTreeSet::new();
    for problem in &told {
        let known = problem.split("known here: ").nth(1).unwrap_or_else(|| panic!("{problem}"));
        fields.extend(known.split(", ").map(str::to_owned));
    }
    assert!(fields.len() > 60, "{fields:?}");
    let missing: Vec<&String> =
        fields.iter().filter(|name| !reference.contains(&format!("`{name}`"))).collect();
    assert!(missing.is_empty(), "docs/configuration.md says nothing of {missing:?}");
}

/// Every problem as `line: path: message`.
fn problems(text: &str) -> Vec<String> {
    let found =
        load_text(text, Path::new("."), &Environment::of_pairs(&[])).expect_err("the document is wrong");
    found.iter().map(|found| format!("{}: {}: {}", found.line, found.path, found.message)).collect()
}

#[test]
fn what_the_document_means_is_checked_with_lines_too() {
    let cases: &[(&str, &[&str])] = &[
        ("version: 2", &["1: version: must be 1"]),
        (
            "version: 1\nmodels:\n  - name: chat\n    targets:\n      - provider: nobody\n        model: m\n",
            &["5: models[0].targets[0].provider: there is no provider `nobody`"],
        ),
        (
            "version: 1\ntenants:\n  - name: acme\n    credit: -5\n    budgets:\n      - limit: 1\n        window: day\n        alert_at: [0.5, 11]\n",
            &[
                "4: tenants[0].credit: `-5` is negative; write zero or more",
                "8: tenants[0].budgets[0].alert_at[1]: `11` is no share of a budget: write a number above 0 and up to 10 with at most four decimals, like 0.8",
            ],
        ),
        (
            "version: 1\ntenants:\n  - name: acme\n    budgets: [{ limit: 1, window: year }]\n",
            &[
                "4: tenants[0].budgets[0].window: unknown value `year`; known here: hour, day, week, month, total",
            ],
        ),
        (
            "version: 1\nproviders:\n  - { name: demo, dialect: demo }\nprices:\n  - { provider: demo, model: m }\n",
            &["5: prices[0]: has no price: write one, or `free: true`"],
        ),
        (
            "version: 1\ndefaults:\n  chat: nothing\n",
            &["3: defaults.chat: `nothing`: there is no such virtual model; write one, or `provider/model`"],
        ),
    ];
    for (text, expected) in cases {
        assert_eq!(&problems(text), expected, "{text}");
    }
}

#[test]
fn shape_and_meaning_are_told_together_without_what_follows() {
    let cases: &[(&str, &[&str])] = &[
        (
            "version: 1\ntenants:\n  - name: acme\n    credit: -5\n    budgets:\n      - { limit: 1, window: day }\n      - { limit: 2, window: yearly }\n      - { limit: -3, window: month }\n    projects:\n      - name: bot\n        keys: [{ name: prod, secret: short }]\n",
            &[
                "4: tenants[0].credit: `-5` is negative; write zero or more",
                "7: tenants[0].budgets[1].window: unknown value `yearly`; known here: hour, day, week, month, total",
                "8: tenants[0].budgets[2].limit: `-3` is negative; write zero or more",
                "11: tenants[0].projects[0].keys[0].secret: a key must have 16 to 256 visible ASCII characters",
            ],
        ),
        // The provider is there, only not readable; nobody is there in any case.
        (
            "version: 1\nproviders:\n  - { name: p, dialect: unheard-of }\nmodels:\n  - { name: m, targets: [{ provider: p, model: x }, { provider: nobody, model: x }] }\ndefaults: { chat: m }\n",
            &[
                "3: providers[0].dialect: *",
                "5: models[0].targets[1].provider: there is no provider `nobody`",
            ],
        ),
        // A misspelt list, and an object whose name cannot be read, may hold every name.
        (
            "version: 1\nprovidrs: [{ name: p, dialect: demo }]\nmodels: [{ name: m, targets: [{ provider: p, model: x }] }]\n",
            &["2: providrs: unknown field `providrs`; did you mean `providers`?"],
        ),
        (
            "version: 1\nproviders: [{ name: [], dialect: demo }]\nmodels: [{ name: m, targets: [{ provider: p, model: x }] }]\n",
            &["2: providers[0].name: expected text, found a list"],
        ),
        // The only price is misspelt: that there is none follows from it.
        (
            "version: 1\nproviders: [{ name: p, dialect: demo }]\nprices:\n  - { provider: p, model: m, inptu: 1 }\n  - { provider: p, model: n }\n",
            &["4: prices[0].inptu: *", "5: prices[1]: has no price: write one, or `free: true`"],
        ),
        // Indices are those of the file, in messages as well.
        (
            "version: 1\nproviders: [{ name: p, dialect: demo }]\nprices:\n  - 5\n  - { provider: p, model: m, input: 1 }\n  - { provider: p, model: m, input: 2 }\n",
            &[
                "4: prices[0]: expected a mapping of fields, found `5`",
                "6: prices[2].input: is in prices[1] already: write it once",
            ],
        ),
        (
            "version: one\ndefaults: { chat: nothing }\n",
            &[
                "1: version: expected a whole number from 0 to 4294967295, found the text `one`",
                "2: defaults.chat: `nothing`: there is no such virtual model; write one, or `provider/model`",
            ],
        ),
        (
            "tenants: [{ name: acme, credit: -5 }]\n",
            &[
                "1: : the field `version` is missing",
                "1: tenants[0].credit: `-5` is negative; write zero or more",
            ],
        ),
    ];
    for (text, expected) in cases {
        let told = problems(text);
        assert_eq!(told.len(), expected.len(), "{text}{told:#?}");
        for (told, expected) in told.iter().zip(*expected) {
            match expected.strip_suffix('*') {
                Some(start) => assert!(told.starts_with(start), "{told}"),
                None => assert_eq!(told, expected),
            }
        }
    }
}
