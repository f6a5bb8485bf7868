//! Third-party crates that belong to one place. `deny.toml` fences the same crates in the whole graph;
//! this check is the quick one with the explanation.

use super::Package;
use super::table::Ring;

/// A third-party crate that only the named crates of ours may depend on, and what the others do instead.
struct Fence {
    third_party: &'static [&'static str],
    inside: &'static [&'static str],
    instead: &'static str,
}

const FENCES: &[Fence] = &[
    Fence {
        third_party: &["sqlx"],
        inside: &["tollgate-store"],
        instead: "put the query into tollgate-store and call it there",
    },
    Fence {
        third_party: &["redis"],
        inside: &["tollgate-ledger", "tollgate-cache"],
        instead: "put the command into tollgate-ledger and call it there",
    },
    Fence {
        third_party: &["hyper-rustls", "reqwest"],
        inside: &["tollgate-upstream"],
        instead: "send the request through tollgate-upstream",
    },
    Fence {
        third_party: &["prost", "prost-types", "protox", "tonic-prost", "tonic-prost-build"],
        inside: &["tollgate-proto"],
        instead: "use the types that tollgate-proto exports",
    },
    Fence {
        third_party: &["tonic"],
        inside: &["tollgate-proto", "tollgate-gateway", "tollgate-control"],
        instead: "keep gRPC between the planes: in proto, gateway and control",
    },
];

/// HTTP serving belongs to the services and the binary, whatever crates these rings gain.
const HTTP_SERVING: &[&str] = &["axum", "axum-extra", "utoipa-axum"];
const FIRST_SERVING_RING: u8 = 3;

/// Ring 1 is synchronous and does no I/O, reads no clock and draws no randomness.
const NOT_IN_RING_1: &[&str] = &[
    "tokio",
    "tokio-stream",
    "tokio-util",
    "async-std",
    "futures",
    "hyper",
    "hyper-util",
    "sqlx",
    "redis",
    "getrandom",
    "rand",
    "tracing",
];

/// What the package depends on outside its fences. Development dependencies count too: what only tests
/// need belongs into tollgate-testkit, and support crates are free.
pub(crate) fn check(package: &Package, ring: Ring) -> Vec<String> {
    let Ring::Number(number) = ring else { return Vec::new() };
    let name = package.name.as_str();
    let mut violations = Vec::new();
    for dependency in &package.dependencies {
        let import = dependency.name.as_str();
        let fence = FENCES.iter().find(|fence| fence.third_party.contains(&import));
        if let Some(fence) = fence.filter(|fence| !fence.inside.contains(&name)) {
            violations.push(format!("{name} depends on {import}: {}", fence.instead));
        } else if HTTP_SERVING.contains(&import) && number < FIRST_SERVING_RING {
            violations.push(format!("{name} depends on {import}: serve HTTP from ring 3 or the binary only"));
        } else if NOT_IN_RING_1.contains(&import) && number == 1 && !dependency.is_dev() {
            violations.push(format!(
                "{name} depends on {import}: ring 1 is pure, so do the I/O in a caller and pass values"
            ));
        }
    }
    violations
}
