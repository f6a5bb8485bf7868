//! Compiles the control plane's protocol without an installed `protoc`.

use std::error::Error;
use std::path::Path;

/// Messages whose generated `Debug` would print secrets; `src/redacted.rs` writes theirs by hand.
const WITHOUT_DEBUG: [&str; 4] = [
    "tollgate.control.v1.Settings",
    "tollgate.control.v1.Credential",
    "tollgate.control.v1.Key",
    "tollgate.control.v1.PreviousHash",
];

fn main() -> Result<(), Box<dyn Error>> {
    // asked when it runs: a script that was built in another checkout must not read that one's protocol
    let root = Path::new(&std::env::var("CARGO_MANIFEST_DIR")?).join("../../proto");
    let file = root.join("tollgate/control/v1/control.proto");
    println!("cargo::rerun-if-changed={}", file.display());
    println!("cargo::rerun-if-changed=build.rs");
    let descriptors = protox::compile([&file], [&root])?;
    tonic_prost_build::configure().btree_map(".").skip_debug(WITHOUT_DEBUG).compile_fds(descriptors)?;
    Ok(())
}
