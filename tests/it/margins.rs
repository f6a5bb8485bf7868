//! What a tenant pays and what its provider bills: both figures of every request, from the answer's header to the
//! usage report.

use serde_json::{Value, json};
use tollgate_testkit::http::HttpClient;
use tollgate_testkit::wait::eventually;

use crate::installation::{INPUT_PRICE, Installation, OUTPUT_PRICE, SETTLE_TIMEOUT, chat, nano_usd};

/// What a tenant pays in nano-USD per prompt and answer token, in ten-thousandths.
type Factors = (u64, u64);

async fn tenant(installation: &Installation, name: &str) -> anyhow::Result<()> {
    let admin = &installation.admin;
    admin.post("/tenants", &json!({ "name": name, "billing": "prepaid" })).await?;
    admin.post(&format!("/tenants/{name}/credits"), &json!({ "amount": "5.00", "kind": "topup" })).await?;
    admin
        .post(&format!("/tenants/{name}/projects"), &json!({ "name": format!("{name}-only") }))
        .await
        .map(drop)
}

/// A key for a tenant: made last, so that a pod that knows it knows the prices before it.
async fn key(installation: &Installation, name: &str) -> anyhow::Result<Value> {
    installation.admin.post(&format!("/projects/{name}-only/keys"), &json!({ "name": "k" })).await
}

/// Asks once, and compares every place that names a figure.
async fn both_figures_are_everywhere(
    installation: &Installation,
    name: &str,
    (input, output): Factors,
) -> anyhow::Result<Value> {
    let admin = &installation.admin;
    let key = &key(installation, name).await?;
    let http = HttpClient::new().with_bearer(key["secret"].as_str().unwrap_or_default());
    let answer = eventually(SETTLE_TIMEOUT, "the new key", async || {
        let answer = http.post_json(&installation.chat_url(0), &chat("mock/m")).await.ok();
        answer.filter(|answer| answer.status != 401)
    })
    .await?
    .expect_status(200)?;
    let usage = answer.json()?["usage"].clone();
    let tokens = |field: &str| usage[field].as_u64().unwrap_or_default();
    let (prompt, completion) =
        (tokens("prompt_tokens") * INPUT_PRICE, tokens("completion_tokens") * OUTPUT_PRICE);
    assert!(prompt > 0 && completion > 0, "{usage}");
    let cost = (prompt * input + completion * output).div_ceil(10_000);
    let provider_cost = prompt + completion;
    assert_eq!(nano_usd(answer.header("x-tollgate-cost-usd").unwrap_or_default())?, cost, "{name}");

    assert_eq!(admin.wait_for_journal(key, 1).await?, cost, "{name}");
    let report = admin.get(&format!("/usage?tenant={name}")).await?;
    let figure = |object: &Value, field: &str| nano_usd(object[field].as_str().unwrap_or_default());
    assert_eq!(figure(&report["data"][0], "provider_cost_usd")?, provider_cost, "{name}: {report}");
    let id = answer.header("x-tollgate-request-id").unwrap_or_default().to_owned();
    let receipt = admin.get(&format!("/requests/{id}")).await?;
    assert_eq!(figure(&receipt, "cost")?, cost, "{receipt}");
    assert_eq!(figure(&receipt, "provider_cost")?, provider_cost, "{receipt}");
    assert!(figure(&receipt, "held")? >= cost, "{receipt}");
    let balance = admin.get(&format!("/tenants/{name}/balance")).await?;
    assert_eq!(balance["settled"], receipt["cost"], "{balance}");
    let statement = admin.get(&format!("/tenants/{name}/statement")).await?.to_string();
    assert!(!statement.contains("provider_cost"), "{statement}");
    Ok(receipt)
}

async fn each_tenant_pays_its_price(installation: Installation) -> anyhow::Result<()> {
    let admin = &installation.admin;
    for name in ["plain", "raised", "special"] {
        tenant(&installation, name).await?;
    }
    let margin = admin.post("/margins", &json!({ "tenant": "raised", "percent": "10" })).await?;
    let row =
        json!({ "tenant": "special", "provider": "mock", "model": "m", "meter": "input", "price": "0.5" });
    let row = admin.post("/prices", &row).await?;

    let figures = |name, factors| both_figures_are_everywhere(&installation, name, factors);
    let receipt = figures("plain", (10_000, 10_000)).await?;
    assert_eq!(receipt["margin"], Value::Null, "{receipt}");
    let receipt = figures("raised", (11_000, 11_000)).await?;
    assert_eq!(receipt["margin"], json!({ "margin_id": margin["id"], "percent": "10" }), "{receipt}");
    // its own price for the prompt, everybody's for the answer
    let receipt = figures("special", (5_000, 10_000)).await?;
    let lines = |field: &str| receipt[field].as_array().cloned().unwrap_or_default();
    let of_prompt = |field: &str| lines(field).into_iter().find(|line| line["meter"] == "input");
    assert_eq!(
        of_prompt("charge").map(|line| line["price_id"].clone()),
        Some(row["id"].clone()),
        "{receipt}"
    );
    let billed = of_prompt("provider_charge").unwrap_or_default();
    assert_eq!((&billed["price"], &billed["tenant_price"]), (&json!("1"), &json!(false)), "{receipt}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn each_tenant_pays_its_price_in_one_process() -> anyhow::Result<()> {
    each_tenant_pays_its_price(Installation::single().await?).await
}

#[tokio::test(flavor = "multi_thread")]
async fn each_tenant_pays_its_price_on_two_pods() -> anyhow::Result<()> {
    each_tenant_pays_its_price(Installation::split().await?).await
}
