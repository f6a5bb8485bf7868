//! What `tollgate dev` makes when it is given no configuration, and what it prints.

use std::io::Write;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::Path;

use anyhow::Context;
use serde_json::{Value, json};
use tollgate_catalog::Catalog;
use tollgate_control::ConfigDocument;
use tollgate_domain::{ApiKeySecret, Secret};

use crate::cli::{DEFAULT_ADMIN_LISTEN, DEFAULT_DATA_DIR, check_header_text};

/// Enough for any number of tries at the demo provider's prices.
const DEMO_CREDIT_USD: &str = "1000.00";
const DEMO_MODEL: &str = "demo-chat";

/// A demo tenant, project and key, the demo provider, and a provider for each vendor key in the environment.
///
/// # Errors
/// A vendor key in the environment that no header can carry.
pub(super) fn configuration(demo_key: &ApiKeySecret) -> anyhow::Result<ConfigDocument> {
    let catalog = Catalog::embedded()?;
    let mut providers = vec![
        json!({ "name": "demo", "dialect": "demo", "region": "local", "retention": "none", "trains_on_data": false }),
    ];
    for vendor in catalog.vendors() {
        let Some(variable) = &vendor.key_variable else { continue };
        let Some(secret) = std::env::var(variable).ok().filter(|secret| !secret.is_empty()) else { continue };
        check_header_text(variable, Some(&Secret::new(secret.as_str())))?;
        providers.push(vendor_provider(vendor, &secret));
    }
    let document = json!({
        "version": 1,
        "providers": providers,
        "defaults": { "chat": "demo/demo-chat", "completions": "demo/demo-chat", "embeddings": "demo/demo-embed" },
        "tenants": [{
            "name": "demo",
            "billing": "prepaid",
            "credit": DEMO_CREDIT_USD,
            "projects": [{
                "name": "demo",
                "keys": [{ "name": "demo", "secret": demo_key.expose() }],
            }],
        }],
    });
    serde_json::from_value(document).context("the demo configuration is a defect")
}

fn vendor_provider(vendor: &tollgate_catalog::CatalogVendor, secret: &str) -> Value {
    json!({
        "name": vendor.name,
        "dialect": vendor.dialect,
        "base_url": vendor.base_url,
        "region": vendor.region,
        "credentials": [{ "name": "environment", "secret": secret, "weight": 1 }],
    })
}

/// Tells how to use it: addresses, key, token and a line that works as it stands.
///
/// # Errors
/// Standard output is closed.
pub(super) fn print_banner(
    traffic: SocketAddr,
    admin: SocketAddr,
    admin_token: &Secret,
    key: Option<&ApiKeySecret>,
    data_dir: &Path,
) -> anyhow::Result<()> {
    let mut text = format!(
        "\n  Tollgate is running.\n\n  traffic      http://{traffic}/v1\n  admin API    http://{admin}/api/v1\n  admin token  {}\n",
        admin_token.expose()
    );
    if let Some(key) = key {
        let body = json!({ "model": DEMO_MODEL, "messages": [{ "role": "user", "content": "Hello!" }] });
        text.push_str(&format!("  demo key     {}\n\n  Try it:\n\n", key.expose()));
        text.push_str(&format!(
            "curl http://{traffic}/v1/chat/completions -H 'Authorization: Bearer {}' -H 'Content-Type: application/json' -d '{body}'\n",
            key.expose()
        ));
        text.push_str(&format!("\n  Then see what it cost:  {}\n\n", usage_command(admin, data_dir)));
    }
    let mut out = std::io::stdout().lock();
    out.write_all(text.as_bytes()).and_then(|()| out.flush()).context("cannot write to standard output")
}

/// The line that asks this process what was used, with the flags that its address and directory need.
fn usage_command(admin: SocketAddr, data_dir: &Path) -> String {
    let mut command = "tollgate usage".to_owned();
    let admin = reachable(admin);
    if admin != DEFAULT_ADMIN_LISTEN {
        command.push_str(&format!(" --admin-url http://{admin}"));
    }
    let without_dot = |path: &Path| path.strip_prefix(".").unwrap_or(path).to_owned();
    if without_dot(data_dir) != without_dot(Path::new(DEFAULT_DATA_DIR)) {
        command.push_str(&format!(" --data-dir {}", shell_word(&data_dir.to_string_lossy())));
    }
    command
}

/// Where this machine finds what listens on every address.
fn reachable(address: SocketAddr) -> SocketAddr {
    let ip = match address.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(ip) if ip.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
        ip => ip,
    };
    SocketAddr::new(ip, address.port())
}

/// The text as one word of a shell.
fn shell_word(text: &str) -> String {
    let is_plain = |letter: char| letter.is_ascii_alphanumeric() || "/._-+:@%".contains(letter);
    if !text.is_empty() && text.chars().all(is_plain) {
        return text.to_owned();
    }
    format!("'{}'", text.replace('\'', "'\\''"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_usage_command_names_what_differs_from_the_defaults() {
        let cases = [
            ("127.0.0.1:8081", "./tollgate-data", "tollgate usage"),
            ("0.0.0.0:8081", "tollgate-data/", "tollgate usage"),
            ("127.0.0.1:8081", "/data", "tollgate usage --data-dir /data"),
            ("127.0.0.1:9000", "./tollgate-data", "tollgate usage --admin-url http://127.0.0.1:9000"),
            (
                "[::]:8081",
                "/var/lib/it's here",
                "tollgate usage --admin-url http://[::1]:8081 --data-dir '/var/lib/it'\\''s here'",
            ),
        ];
        for (admin, data_dir, expected) in cases {
            assert_eq!(usage_command(admin.parse().unwrap(), Path::new(data_dir)), expected);
        }
    }
}
