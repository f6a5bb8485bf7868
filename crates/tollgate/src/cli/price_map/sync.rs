//! The difference as price rows: worked out against the running control plane, written after a yes.

use std::collections::BTreeMap;
use std::io::{BufRead, IsTerminal, Write};

use anyhow::Context;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use tollgate_catalog::{
    ANY_MODEL, Catalog, Drift, DriftRow, PriceMap, PriceRow, Pricing, ServiceTier, parse_price,
    part_by_sanity, price_text,
};
use tollgate_domain::{Clock, Meter, PricePerMillion, UnixMillis};

use crate::admin_client::{AdminClient, AdminRequest};
use crate::cli::UsageError;
use crate::run::SystemClock;

/// Rows asked for at once, the most the admin API gives.
const PAGE_ROWS: &str = "1000";
/// The operator's answers that mean yes.
const YES: [&str; 2] = ["y", "yes"];

/// What would be written, and what cannot be meant.
#[derive(Debug, Default)]
pub(super) struct Plan {
    pub(super) rows: Vec<PlannedRow>,
    pub(super) refused: Vec<(DriftRow, String)>,
    pub(super) n_prices_same: u64,
}

/// A price row to be.
#[derive(Debug)]
pub(super) struct PlannedRow {
    /// The provider stands in `vendor`.
    pub(super) row: DriftRow,
    /// Whether an operator's row stands for the same thing: then the control plane says when "now" is.
    replaces_row: bool,
}

#[derive(Deserialize)]
struct Provider {
    name: String,
    dialect: String,
    base_url: String,
}

/// What of the admin API's price rows is needed.
#[derive(Deserialize)]
struct StoredPrice {
    provider: String,
    model: String,
    tenant: Option<String>,
    meter: Option<Meter>,
    price: String,
    service_tier: ServiceTier,
    context_from: u64,
    effective_from: String,
}

#[derive(Deserialize)]
struct Page<T> {
    data: Vec<T>,
    next: Option<String>,
}

// === the difference ===

/// What the map would change about every configured provider, or the named one.
///
/// # Errors
/// The admin API's; no provider of that name.
pub(super) async fn plan(client: &AdminClient, map: &PriceMap, only: Option<&str>) -> anyhow::Result<Plan> {
    let catalog = Catalog::embedded()?;
    let mut providers: Vec<Provider> = all(client, "/providers").await?;
    providers.retain(|provider| only.is_none_or(|name| provider.name == name));
    if let (Some(name), true) = (only, providers.is_empty()) {
        return Err(UsageError::new(format!("there is no provider `{name}`")).into());
    }
    let stored: Vec<StoredPrice> = all(client, "/prices").await?;
    let rows: Vec<PriceRow> = stored.into_iter().map(row_of).collect::<anyhow::Result<_>>()?;
    let now = SystemClock.now();
    let mut plan = Plan::default();
    for provider in providers.iter().filter(|provider| provider.dialect != "demo") {
        let own = rows.iter().filter(|row| row.provider == provider.name && row.tenant.is_none());
        plan.add_provider(&catalog, map, provider, &own.collect::<Vec<_>>(), now);
    }
    Ok(plan)
}

impl Plan {
    fn add_provider(
        &mut self,
        catalog: &Catalog,
        map: &PriceMap,
        provider: &Provider,
        own: &[&PriceRow],
        now: UnixMillis,
    ) {
        let base_url = Some(provider.base_url.as_str()).filter(|url| !url.is_empty());
        let Some(vendor) = catalog.vendor_of_provider(&provider.name, base_url) else { return };
        // The catalogue's rows first: of rows with the same start the operator's stand.
        let mut models: BTreeMap<String, (Vec<String>, Vec<PriceRow>)> = BTreeMap::new();
        for model in vendor.models() {
            let aliases = model.aliases.iter().map(|alias| (*alias).to_owned()).collect();
            models.insert(model.name.to_owned(), (aliases, model.price_rows(&provider.name)));
        }
        for row in own.iter().filter(|row| row.model != ANY_MODEL) {
            models.entry(row.model.clone()).or_default().1.push((*row).clone());
        }
        for (model, (aliases, rows)) in models {
            // Whoever said that a model is free does not want a price for it.
            let Some(ours) = Pricing::of_rows(&rows, now) else { continue };
            let names = std::iter::once(&model).chain(&aliases);
            let Some(theirs) = names.into_iter().find_map(|name| map.pricing(&vendor.name, name)) else {
                continue;
            };
            let mut drift = Drift::default();
            drift.add(&provider.name, &model, &ours, theirs);
            self.n_prices_same += drift.n_prices_same;
            let (accepted, refused) = part_by_sanity(&ours, drift.rows);
            self.refused.extend(refused);
            let planned = accepted.into_iter().map(|row| PlannedRow {
                replaces_row: own.iter().any(|known| is_same_thing(known, &row)),
                row,
            });
            self.rows.extend(planned);
        }
    }
}

fn is_same_thing(known: &PriceRow, row: &DriftRow) -> bool {
    known.model == row.model
        && (known.meter, known.service_tier, known.context_from)
            == (Some(row.meter), row.tier, row.context_from)
}

fn row_of(stored: StoredPrice) -> anyhow::Result<PriceRow> {
    let unreadable =
        || format!("the admin API's price of {}/{} is not readable", stored.provider, stored.model);
    let price = match stored.meter {
        Some(meter) => parse_price(meter, &stored.price).with_context(unreadable)?,
        None => PricePerMillion::ZERO,
    };
    let effective_from = UnixMillis::parse_rfc3339(&stored.effective_from)
        .map_err(|error| anyhow::anyhow!(error))
        .with_context(unreadable)?;
    Ok(PriceRow {
        id: None,
        // Whose it is does not matter here, only that it is not everybody's.
        tenant: stored.tenant.map(|_| tollgate_domain::TenantId::from_u128(0)),
        provider: stored.provider,
        model: stored.model,
        effective_from,
        meter: stored.meter,
        service_tier: stored.service_tier,
        context_from: stored.context_from,
        price,
        source: String::new(),
    })
}

/// Every object of a list, page by page.
async fn all<T: DeserializeOwned>(client: &AdminClient, path: &str) -> anyhow::Result<Vec<T>> {
    let mut objects = Vec::new();
    let mut after: Option<String> = None;
    loop {
        let mut request = AdminRequest::get(path);
        request.query.push(("limit".to_owned(), PAGE_ROWS.to_owned()));
        request.query.extend(after.map(|after| ("after".to_owned(), after)));
        let value = client.send(&request).await?.json()?;
        let page: Page<T> = serde_json::from_value(value)
            .with_context(|| format!("the admin API's answer to {path} is not understood"))?;
        let is_empty = page.data.is_empty();
        objects.extend(page.data);
        after = page.next;
        if after.is_none() || is_empty {
            return Ok(objects);
        }
    }
}

// === output ===

/// The rows that would be written, for people.
pub(super) fn plan_table(plan: &Plan) -> String {
    let rows: Vec<DriftRow> = plan.rows.iter().map(|planned| planned.row.clone()).collect();
    let mut text = super::rows_table(&rows, "provider");
    let (n_same, n_rows, n_refused) = (plan.n_prices_same, plan.rows.len(), plan.refused.len());
    text.push_str(&format!("{n_same} prices agree, {n_rows} price rows to write, {n_refused} refused\n"));
    text
}

/// The same as JSON, with what became of it.
pub(super) fn plan_json(plan: &Plan, n_written: usize) -> Value {
    let refused = |(row, reason): &(DriftRow, String)| {
        let mut value = super::row_json(row, "provider");
        value["reason"] = json!(reason);
        value
    };
    json!({
        "rows": plan.rows.iter().map(|planned| super::row_json(&planned.row, "provider")).collect::<Vec<_>>(),
        "refused": plan.refused.iter().map(refused).collect::<Vec<_>>(),
        "prices_same": plan.n_prices_same,
        "written": n_written,
    })
}

/// Says on stderr which differences were left out, and why.
pub(super) fn tell_refused(plan: &Plan) -> anyhow::Result<()> {
    let mut stderr = std::io::stderr().lock();
    for (row, reason) in &plan.refused {
        let (owner, model, meter, tier) = (&row.vendor, &row.model, row.meter.name(), row.tier.name());
        writeln!(stderr, "left out: {owner}/{model} {meter} ({tier}, from {}): {reason}", row.context_from)?;
    }
    Ok(())
}

// === writing ===

/// Writes the rows where the operator says yes; counts them in `n_written`, also where it ends early.
///
/// # Errors
/// Not approved; the admin API's refusal of a row, after which none follows.
pub(super) async fn write_approved(
    client: &AdminClient,
    plan: &Plan,
    is_approved: bool,
    n_written: &mut usize,
) -> anyhow::Result<()> {
    let n_rows = plan.rows.len();
    if n_rows == 0 {
        return Ok(());
    }
    if !is_approved && !ask(n_rows)? {
        anyhow::bail!("not approved: nothing was written");
    }
    for planned in &plan.rows {
        let request = AdminRequest::post("/prices", body_of(planned, SystemClock.now())?);
        let sent = client.send(&request).await;
        sent.with_context(|| format!("{} of {n_rows} price rows were written, then one failed", *n_written))?;
        *n_written += 1;
    }
    writeln!(std::io::stderr().lock(), "{n_rows} price rows written")?;
    Ok(())
}

fn body_of(planned: &PlannedRow, now: UnixMillis) -> anyhow::Result<Value> {
    let row = &planned.row;
    let mut body = json!({
        "provider": row.vendor,
        "model": row.model,
        "meter": row.meter.name(),
        "price": price_text(row.meter, row.theirs),
        "service_tier": row.tier.name(),
        "context_from": row.context_from,
    });
    // A first row would else hold since ever, and the catalogue's price of the past is not to change.
    if !planned.replaces_row {
        body["effective_from"] = json!(now.to_rfc3339().context("the clock is out of range")?);
    }
    Ok(body)
}

/// Whether whoever sits at the terminal says yes.
fn ask(n_rows: usize) -> anyhow::Result<bool> {
    let stdin = std::io::stdin();
    if !stdin.is_terminal() {
        anyhow::bail!("not approved: nothing was written; repeat with --approve");
    }
    let mut stderr = std::io::stderr().lock();
    write!(stderr, "write these {n_rows} price rows? [y/N] ")?;
    stderr.flush()?;
    let mut answer = String::new();
    stdin.lock().read_line(&mut answer)?;
    Ok(is_yes(&answer))
}

pub(super) fn is_yes(answer: &str) -> bool {
    YES.contains(&answer.trim().to_lowercase().as_str())
}
