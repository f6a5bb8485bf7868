//! The rules on a small made-up workspace.

use super::*;

const TABLE: &str = "\
<!-- layers:begin -->
| ring | crate | one line | may import |
|---|---|---|---|
| 1 pure | domain | ids | – |
| 2 edges | ledger | money | domain |
| | store | rows | domain |
| 3 services | gateway | requests | domain, ledger |
| | control | use cases | domain, ledger, store |
| 4 binary | tollgate | the binary | gateway, control |
| support | testkit | mocks | nothing |
| | tests | end to end | testkit |
<!-- layers:end -->";

/// The made-up workspace: each package with its dependencies, a `dev:` prefix for development ones.
const PACKAGES: &[(&str, &[&str])] = &[
    ("tollgate-domain", &["serde"]),
    ("tollgate-ledger", &["tollgate-domain", "redis", "tokio", "dev:tollgate-testkit"]),
    ("tollgate-store", &["tollgate-domain", "sqlx"]),
    ("tollgate-gateway", &["tollgate-domain", "tollgate-ledger", "axum", "tonic"]),
    ("tollgate-control", &["tollgate-store", "tonic"]),
    ("tollgate", &["tollgate-gateway", "tollgate-control", "axum"]),
    ("tollgate-testkit", &["hyper"]),
    ("tollgate-tests", &["tollgate-testkit"]),
];

fn metadata(packages: &[(&str, &[&str])]) -> Metadata {
    let packages: Vec<_> = packages
        .iter()
        .map(|(name, dependencies)| {
            let dependencies: Vec<_> = dependencies
                .iter()
                .map(|dependency| match dependency.strip_prefix("dev:") {
                    Some(name) => serde_json::json!({ "name": name, "kind": "dev" }),
                    None => serde_json::json!({ "name": dependency, "kind": null }),
                })
                .collect();
            let folder = if *name == "tollgate-tests" { "tests" } else { name };
            let manifest_path = format!("/somewhere/{folder}/Cargo.toml");
            serde_json::json!({ "name": name, "manifest_path": manifest_path, "dependencies": dependencies })
        })
        .collect();
    serde_json::from_value(serde_json::json!({ "packages": packages })).unwrap()
}

/// The violations once the named package has these dependencies as well.
fn violations_with(package: &str, added: &[&str]) -> Vec<String> {
    let dependencies: Vec<Vec<&str>> = PACKAGES
        .iter()
        .map(|(name, own)| if *name == package { [own, added].concat() } else { own.to_vec() })
        .collect();
    let packages: Vec<(&str, &[&str])> =
        PACKAGES.iter().zip(&dependencies).map(|((name, _), own)| (*name, own.as_slice())).collect();
    check(&metadata(&packages), &table::parse(TABLE).unwrap())
}

#[test]
fn the_made_up_workspace_is_clean() {
    assert_eq!(check(&metadata(PACKAGES), &table::parse(TABLE).unwrap()), Vec::<String>::new());
}

#[test]
fn each_violation_names_the_crates_and_what_to_do() {
    let cases: &[(&str, &str, &str)] = &[
        ("tollgate-domain", "tollgate-ledger", "pass the value in"),
        ("tollgate-gateway", "tollgate-store", "pass the value in"),
        ("tollgate-ledger", "tollgate-store", "pass the value in"),
        ("tollgate-control", "tollgate-testkit", "[dev-dependencies]"),
        ("tollgate-control", "sqlx", "tollgate-store"),
        ("tollgate-store", "redis", "tollgate-ledger"),
        ("tollgate-store", "dev:redis", "tollgate-ledger"),
        ("tollgate-gateway", "hyper-rustls", "tollgate-upstream"),
        ("tollgate-gateway", "prost", "tollgate-proto"),
        ("tollgate-ledger", "tonic", "gateway and control"),
        ("tollgate", "tonic", "gateway and control"),
        ("tollgate-ledger", "axum", "ring 3"),
        ("tollgate-domain", "tokio", "ring 1 is pure"),
    ];
    for (package, added, advice) in cases {
        let violations = violations_with(package, &[added]);
        assert_eq!(violations.len(), 1, "{package} with {added}: {violations:?}");
        let import = added.trim_start_matches("dev:");
        for expected in [*package, import, *advice] {
            assert!(violations[0].contains(expected), "{expected} is not in: {}", violations[0]);
        }
    }
}

#[test]
fn support_crates_and_tests_are_free_in_what_they_use() {
    assert_eq!(violations_with("tollgate-testkit", &["redis", "axum"]), Vec::<String>::new());
    assert_eq!(violations_with("tollgate-store", &["dev:tollgate-testkit"]), Vec::<String>::new());
    assert_eq!(violations_with("tollgate-domain", &["dev:tokio"]), Vec::<String>::new());
}

#[test]
fn a_crate_without_a_row_and_a_row_without_a_crate_are_both_named() {
    let with_a_stranger = [PACKAGES, &[("tollgate-console", &[] as &[&str])]].concat();
    let violations = check(&metadata(&with_a_stranger), &table::parse(TABLE).unwrap());
    assert_eq!(violations.len(), 1);
    assert!(violations[0].contains("tollgate-console has no row"), "{violations:?}");

    let rows = TABLE.replace("| 2 edges |", "| 2 edges | gone | was here | domain |\n| |");
    let violations = check(&metadata(PACKAGES), &table::parse(&rows).unwrap());
    assert_eq!(violations.len(), 1);
    assert!(violations[0].contains("gone has a row"), "{violations:?}");
}

#[test]
fn the_table_cannot_allow_an_import_that_points_outwards() {
    let rows = TABLE.replace("| domain | ids | – |", "| domain | ids | ledger |");
    let violations = check(&metadata(PACKAGES), &table::parse(&rows).unwrap());
    assert_eq!(violations.len(), 1);
    assert!(violations[0].contains("not inwards"), "{violations:?}");

    let rows = TABLE.replace("| domain | ids | – |", "| domain | ids | nonsense |");
    let violations = check(&metadata(PACKAGES), &table::parse(&rows).unwrap());
    assert!(violations[0].contains("nonsense"), "{violations:?}");
}

#[test]
fn a_folder_carries_its_package_name() {
    let mut metadata = metadata(PACKAGES);
    metadata.packages[0].manifest_path = "/somewhere/core/Cargo.toml".to_owned();
    let violations = check(&metadata, &table::parse(TABLE).unwrap());
    assert_eq!(violations.len(), 1);
    assert!(violations[0].contains("`core`"), "{violations:?}");
}
