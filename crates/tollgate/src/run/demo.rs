//! What `tollgate dev` makes when it is given no configuration, and what it prints.

use std::io::Write;
use std::net::SocketAddr;

use anyhow::Context;
use serde_json::{Value, json};
use tollgate_catalog::Catalog;
use tollgate_control::ConfigDocument;
use tollgate_domain::{ApiKeySecret, Secret};

/// Enough for any number of tries at the demo provider's prices.
const DEMO_CREDIT_USD: &str = "1000.00";
const DEMO_MODEL: &str = "demo-chat";

/// A demo tenant, project and key, the demo provider, and a provider for each vendor key in the environment.
///
/// # Errors
/// Never for the embedded catalogue.
pub(super) fn configuration(demo_key: &ApiKeySecret) -> anyhow::Result<ConfigDocument> {
    let catalog = Catalog::embedded()?;
    let mut providers = vec![
        json!({ "name": "demo", "dialect": "demo", "region": "local", "retention": "none", "trains_on_data": false }),
    ];
    for vendor in catalog.vendors() {
        let Some(variable) = &vendor.key_variable else { continue };
        let Some(secret) = std::env::var(variable).ok().filter(|secret| !secret.is_empty()) else { continue };
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
        text.push_str("\n  Then see what it cost:  tollgate usage\n\n");
    }
    let mut out = std::io::stdout().lock();
    out.write_all(text.as_bytes()).and_then(|()| out.flush()).context("cannot write to standard output")
}
