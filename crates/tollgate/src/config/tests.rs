//! The loader on a small document of its own: what is accepted, and every refusal with its exact words.

use std::path::Path;

use serde::Deserialize;
use serde_json::{Value, json};
use tollgate_domain::NanoUsd;

use super::problem::Found;
use super::{Environment, MAX_CONFIG_BYTES, load, read_tree, to_yaml};

#[derive(Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
struct Shop {
    version: u32,
    #[serde(default)]
    open: bool,
    #[serde(default)]
    credit: Option<NanoUsd>,
    #[serde(default)]
    alert_at: Vec<f64>,
    #[serde(default)]
    shelves: Vec<Shelf>,
    #[serde(default)]
    colour: Option<Colour>,
    #[serde(default)]
    labels: std::collections::BTreeMap<String, String>,
}

#[derive(Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
struct Shelf {
    name: String,
    base_url: Option<String>,
    max_items: Option<u32>,
    secret: Option<String>,
}

#[derive(Debug, PartialEq, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Colour {
    Red,
    DarkBlue,
}

fn read(text: &str, variables: &[(&str, &str)]) -> Result<Shop, Vec<Found>> {
    read_in(text, Path::new("."), variables)
}

fn read_in(text: &str, folder: &Path, variables: &[(&str, &str)]) -> Result<Shop, Vec<Found>> {
    let mut read = read_tree::<Shop>(text, folder, &Environment::of_pairs(variables))?;
    read.problems.sort_by_key(|found| found.line);
    if read.problems.is_empty() { Ok(read.document.unwrap()) } else { Err(read.problems) }
}

/// Each problem as `line: path: message`.
fn problems(text: &str, variables: &[(&str, &str)]) -> Vec<String> {
    let found = read(text, variables).expect_err("the document is wrong");
    found.iter().map(|found| format!("{}: {}: {}", found.line, found.path, found.message)).collect()
}

#[track_caller]
fn check(text: &str, expected: &[&str]) {
    assert_eq!(problems(text, &[]), expected, "{text}");
}

#[test]
fn yaml_and_json_read_the_same() {
    let yaml = "# a shop\nversion: 1\nopen: true\ncredit: 5.00\nalert_at: [0.5, 1]\nshelves:\n  - name: top\n    max_items: 3\ncolour: dark_blue\nlabels: { a: b, c: 4 }\n";
    let json = "{\n\t\"version\": 1, \"open\": true, \"credit\": \"5.00\",\n\t\"alert_at\": [0.5, 1],\n\t\"shelves\": [{\"name\": \"top\", \"max_items\": 3}],\n\t\"colour\": \"dark_blue\", \"labels\": {\"a\": \"b\", \"c\": \"4\"}\n}";
    let shop = read(yaml, &[]).unwrap();
    assert_eq!(shop.credit, Some(NanoUsd(5_000_000_000)));
    assert_eq!(shop.alert_at, [0.5, 1.0]);
    assert_eq!(shop.shelves[0].max_items, Some(3));
    assert_eq!(shop.labels["c"], "4");
    assert_eq!(read(json, &[]).unwrap(), shop);
}

#[test]
fn money_is_taken_by_its_digits() {
    for (text, nanos) in
        [("5", 5_000_000_000), ("5.00", 5_000_000_000), ("0.1", 100_000_000), ("\"0.000000001\"", 1)]
    {
        let shop = read(&format!("version: 1\ncredit: {text}"), &[]).unwrap();
        assert_eq!(shop.credit, Some(NanoUsd(nanos)), "{text}");
    }
    check(
        "version: 1\ncredit: 1e3",
        &["2: credit: `1e3` is not an amount in USD; write a decimal like \"12.50\""],
    );
}

#[test]
fn every_problem_is_told_with_its_line() {
    check(
        "version: one\nopne: true\nshelves:\n  - name: top\n    max_items: many\n    baseurl: x\n  - max_items: -1\n  - name: low\n    max_items: 2\nalert_at: 3\ncolour: dark-blue\n",
        &[
            "1: version: expected a whole number from 0 to 4294967295, found the text `one`",
            "2: opne: unknown field `opne`; did you mean `open`?",
            "5: shelves[0].max_items: expected a whole number from 0 to 4294967295, found the text `many`",
            "6: shelves[0].baseurl: unknown field `baseurl`; did you mean `base_url`?",
            "7: shelves[1].max_items: expected a whole number from 0 to 4294967295, found `-1`",
            "7: shelves[1]: the field `name` is missing",
            "10: alert_at: expected a list, found `3`",
            "11: colour: unknown value `dark-blue`; did you mean `dark_blue`?",
        ],
    );
}

#[test]
fn refusals_have_these_words() {
    let cases: &[(&str, &[&str])] = &[
        ("", &["1: : the file is empty; start with `version: 1`"]),
        ("# nothing\n", &["1: : the file is empty; start with `version: 1`"]),
        ("open: true", &["1: : the field `version` is missing"]),
        ("[1]", &["1: : expected a mapping of fields, found a list"]),
        ("version: 1\nversion: 2", &["2: : the field `version` stands here twice, first on line 1"]),
        ("version: 1\n---\nversion: 1", &["2: : a second YAML document; put everything into one"]),
        ("version: 1\nshelves: !secret x", &["2: : the tag `!secret` is not supported; leave it out"]),
        (
            "version: 1\nlabels: { <<: { a: b } }",
            &["2: : merge keys (`<<`) are not supported; write the fields out"],
        ),
        ("version: 1\n? [a]\n: 2", &["2: : a field's name must be plain text"]),
        ("version: 1\nopen: yes", &["2: open: expected true or false, found the text `yes`"]),
        ("version: 1\nopen: \"true\"", &["2: open: expected true or false, found the text `true`"]),
        ("version: 1.5", &["1: version: expected a whole number from 0 to 4294967295, found `1.5`"]),
        (
            "version: 4294967296",
            &["1: version: expected a whole number from 0 to 4294967295, found `4294967296`"],
        ),
        ("version: \"1\"", &["1: version: expected a whole number from 0 to 4294967295, found the text `1`"]),
        ("version: 1\nshelves: [{ name: true }]", &["2: shelves[0].name: expected text, found `true`"]),
        ("version: 1\nshelves: [{ name: [] }]", &["2: shelves[0].name: expected text, found a list"]),
        (
            "version: 1\nshelves: [top]",
            &["2: shelves[0]: expected a mapping of fields, found the text `top`"],
        ),
        ("version: 1\ncolour: { red: 1 }", &["2: colour: expected one word, found a mapping"]),
        ("version: 1\ncolour: pink", &["2: colour: unknown value `pink`; known here: red, dark_blue"]),
        (
            "version: 1\nurl: x",
            &[
                "2: url: unknown field `url`; known here: version, open, credit, alert_at, shelves, colour, labels",
            ],
        ),
    ];
    for (text, expected) in cases {
        check(text, expected);
    }
}

#[test]
fn broken_yaml_names_its_line() {
    let found = problems("version: 1\nshelves:\n  - name: \"top\n", &[]);
    assert_eq!(found.len(), 1, "{found:?}");
    assert!(found[0].contains(": : not valid YAML: "), "{found:?}");
    let found = problems("version: 1\nshelves: [\n  - {", &[]);
    assert!(found[0].contains("not valid YAML"), "{found:?}");
}

#[test]
fn a_field_without_a_value_is_as_good_as_absent() {
    let shop = read("version: 1\nshelves:\nlabels:\ncredit:\ncolour: ~\n", &[]).unwrap();
    assert_eq!((shop.shelves.len(), shop.labels.len(), shop.credit, shop.colour), (0, 0, None, None));
}

#[test]
fn references_read_the_environment() {
    let text = "version: ${N:-1}\nopen: ${OPEN}\nshelves:\n  - name: a-${X}-${Y:-y}-$${Z}-$5\n    max_items: ${MAX:-7}\n    secret: \"${KEY:-}\"\n";
    let shop = read(text, &[("OPEN", "true"), ("X", "x"), ("Y", "")]).unwrap();
    assert!(shop.open);
    assert_eq!(shop.shelves[0].name, "a-x-y-${Z}-$5");
    assert_eq!(shop.shelves[0].max_items, Some(7));
    assert_eq!(shop.shelves[0].secret, None, "an empty reference is as good as absent");
    let shop = read(text, &[("OPEN", "false"), ("X", ""), ("KEY", "sixteen-characters")]).unwrap();
    assert_eq!(shop.shelves[0].secret.as_deref(), Some("sixteen-characters"));
}

#[test]
fn values_of_references_are_never_yaml() {
    let shop = read("version: 1\nshelves: [{ name: \"${X}\" }]", &[("X", "a: [b\n# c")]).unwrap();
    assert_eq!(shop.shelves[0].name, "a: [b\n# c");
}

#[test]
fn bad_references_are_told_and_never_their_values() {
    check(
        "version: ${VERSION}\nshelves:\n  - name: ${TOP\n  - name: ${1A}\n  - name: ok\n    max_items: ${}\n",
        &[
            "1: version: the environment variable VERSION is not set; set it, or write `${VERSION:-default}`",
            "3: shelves[0].name: `${` without its `}`; write `$${` for a literal `${`",
            "4: shelves[1].name: `${1A}` names no variable; write `${NAME}` or `${NAME:-default}`",
            "6: shelves[2].max_items: `${}` names no variable; write `${NAME}` or `${NAME:-default}`",
        ],
    );
    let found = problems("version: 1\nshelves: [{ name: a, max_items: \"${KEY}\" }]", &[("KEY", "hunter2")]);
    assert_eq!(
        found,
        [
            "2: shelves[0].max_items: expected a whole number from 0 to 4294967295, found what a reference or file gave"
        ]
    );
}

#[test]
fn secret_files_are_read_beside_the_configuration() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("key.txt"), "sixteen-characters\r\n").unwrap();
    std::fs::write(folder.path().join("empty.txt"), "\n").unwrap();
    std::fs::write(folder.path().join("big.txt"), vec![b'x'; 65_537]).unwrap();
    let shop =
        read_in("version: 1\nshelves: [{ name: a, secret_file: key.txt }]", folder.path(), &[]).unwrap();
    assert_eq!(shop.shelves[0].secret.as_deref(), Some("sixteen-characters"));

    let text = "version: 1\nshelves:\n  - { name: a, secret_file: none.txt }\n  - { name: b, secret_file: empty.txt }\n  - { name: c, secret_file: key.txt, secret: x }\n  - { name: d, secret_file: [] }\n  - { name: e, secret_file: big.txt }\n";
    let found = read_in(text, folder.path(), &[]).unwrap_err();
    let told = |index: usize| {
        let found: &Found = &found[index];
        format!(
            "{}: {}: {}",
            found.line,
            found.path,
            found.message.replace(&*folder.path().to_string_lossy(), "DIR")
        )
    };
    assert_eq!(found.len(), 5, "{found:?}");
    assert!(told(0).starts_with("3: shelves[0].secret_file: DIR/none.txt cannot be read: "), "{}", told(0));
    assert_eq!(told(1), "4: shelves[1].secret_file: DIR/empty.txt is empty; put the secret into it");
    assert_eq!(told(2), "5: shelves[2].secret_file: `secret` is given as well; keep one of the two");
    assert_eq!(told(3), "6: shelves[3].secret_file: expected a file's path");
    assert_eq!(
        told(4),
        "7: shelves[4].secret_file: DIR/big.txt has more than 65536 bytes; it is the wrong file"
    );
}

#[test]
fn aliases_are_followed_and_bounded() {
    let shop = read("version: 1\nshelves:\n  - &top { name: a, max_items: 2 }\n  - *top\n", &[]).unwrap();
    assert_eq!(shop.shelves[0], shop.shelves[1]);
    check("version: 1\nshelves: &a [*a]", &["2: : an alias inside the value it names; write the value out"]);

    let mut bomb = "a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n".to_owned();
    for level in 1..10 {
        let inner = vec![format!("*a{}", level - 1); 10].join(", ");
        bomb.push_str(&format!("a{level}: &a{level} [{inner}]\n"));
    }
    let found = problems(&bomb, &[]);
    assert!(found[0].ends_with("more than 1000000 values, aliases counted out"), "{found:?}");
}

#[test]
fn deep_nesting_is_refused() {
    let nested = |depth: usize| format!("version: 1\nshelves: {}{}", "[".repeat(depth), "]".repeat(depth));
    assert_eq!(problems(&nested(64), &[]), ["2: : nested deeper than 64 levels"]);
    assert_eq!(problems(&nested(100_000), &[]).len(), 1);
}

#[test]
fn many_problems_are_cut() {
    let text: String = (0..500).map(|index| format!("zzzzzzzz{index}: 1\n")).collect();
    assert_eq!(problems(&format!("version: 1\n{text}"), &[]).len(), super::problem::MAX_PROBLEMS);
}

#[test]
fn the_file_itself_can_be_the_problem() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("t.yaml");
    let told = || {
        load(&path, &Environment::of_pairs(&[]))
            .unwrap_err()
            .to_string()
            .replace(&*path.to_string_lossy(), "t.yaml")
    };
    assert!(told().starts_with("t.yaml: cannot be read: "), "{}", told());
    std::fs::write(&path, [0xff, 0xfe]).unwrap();
    assert_eq!(told(), "t.yaml: is not UTF-8 text");
    std::fs::File::create(&path).unwrap().set_len(MAX_CONFIG_BYTES + 1).unwrap();
    assert_eq!(told(), "t.yaml: has more than 16777216 bytes; it is the wrong file");
}

#[test]
fn written_yaml_reads_back() {
    let value = json!({
        "version": 1, "empty": {}, "none": null, "words": ["a", "b c", "true", "5.00"],
        "tenants": [{"name": "acme", "on": true, "credit": "5.00", "nested": [[1, 2], []],
                     "projects": [{"name": "x: y", "labels": {"a-b": "no", "": "# z"}}]}],
        "text": "line\nbreak \u{1f600} \"q\" ${VAR}",
    });
    let read = read_tree::<Value>(&to_yaml(&value), Path::new("."), &Environment::of_pairs(&[("VAR", "v")]));
    let mut expected = value.clone();
    expected["text"] = json!("line\nbreak \u{1f600} \"q\" v");
    assert_eq!(read.ok().and_then(|read| read.document).unwrap(), expected);
    assert!(to_yaml(&value).contains("\n  - name: acme\n"), "{}", to_yaml(&value));
}
