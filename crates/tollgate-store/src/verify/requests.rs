//! Requests: each column as in the event, the cost as its lines say.

use serde_json::Value;
use sqlx::types::Json;
use tollgate_domain::{
    AppliedMargin, BasisPoints, ChargeLine, Meter, NanoUsd, RequestOutcome, SettlementBasis, UsageEvent,
};
use uuid::Uuid;

use super::{JournalProof, READ_ROWS, shown};
use crate::StoreError;
use crate::db::{Row, Sql as _, to_i64};
use crate::requests::{storable, storable_labels};
use crate::store::Tx;

const TABLE: &str = "requests";

pub(super) async fn verify(tx: &mut Tx, proof: &mut JournalProof) -> Result<(), StoreError> {
    let is_postgres = tx.is_postgres();
    let mut after: Option<Uuid> = None;
    loop {
        let query = tx.sql("SELECT * FROM requests WHERE 1 = 1").filter(" AND event_id > ", after);
        let rows = query.push(" ORDER BY event_id LIMIT ").push_bind(READ_ROWS).fetch_all().await?;
        for row in &rows {
            let id: Uuid = row.get("event_id")?;
            verify_row(row, id, is_postgres, proof)?;
            after = Some(id);
        }
        proof.requests += rows.len() as u64;
        if to_i64(rows.len() as u64) < READ_ROWS {
            return Ok(());
        }
    }
}

fn verify_row(row: &Row, id: Uuid, is_postgres: bool, proof: &mut JournalProof) -> Result<(), StoreError> {
    let document: String = row.get("event")?;
    let event: UsageEvent = match serde_json::from_str(&document) {
        Ok(event) => event,
        Err(error) => {
            let (expected, found) = ("an event".to_owned(), format!("{error}"));
            proof.compare((TABLE, id), "event", &expected, &found);
            return Ok(());
        }
    };
    let mut uuid = |what, expected| -> Result<(), StoreError> {
        proof.compare((TABLE, id), what, &expected, &row.get(what)?);
        Ok(())
    };
    uuid("event_id", event.event.as_uuid())?;
    uuid("tenant_id", event.tenant.as_uuid())?;
    if is_postgres {
        uuid("request_id", event.request.as_uuid())?;
        uuid("project_id", event.project.as_uuid())?;
        uuid("key_id", event.key.as_uuid())?;
        verify_texts(row, id, &event, proof)?;
    }
    let mut number = |what, expected: i64| -> Result<(), StoreError> {
        proof.compare((TABLE, id), what, &expected, &row.get(what)?);
        Ok(())
    };
    number("admitted_at_ms", event.admitted_at.0)?;
    number("finished_at_ms", event.finished_at.0)?;
    number("input_tokens", to_i64(event.usage.input_tokens()))?;
    number("cached_tokens", to_i64(event.usage.get(Meter::CachedInput)))?;
    number("output_tokens", to_i64(event.usage.output_tokens()))?;
    if is_postgres {
        number("status", i64::from(event.status))?;
    }
    proof.compare((TABLE, id), "cost_nano_usd", &event.cost, &row.money("cost_nano_usd")?);
    // SQLite's rows from before the column have none
    if let Some(found) = row.get::<Option<i64>>("provider_cost_nano_usd")? {
        let what = "provider_cost_nano_usd";
        proof.compare((TABLE, id), what, &event.provider_cost, &NanoUsd(found));
    }
    verify_cost(&event, id, proof);
    Ok(())
}

/// The columns that only PostgreSQL has.
fn verify_texts(row: &Row, id: Uuid, event: &UsageEvent, proof: &mut JournalProof) -> Result<(), StoreError> {
    for (what, expected) in [
        ("provider", event.provider.as_str()),
        ("model", &event.model),
        ("requested_model", &event.requested_model),
        ("surface", event.surface.name()),
        ("basis", event.basis.name()),
        ("outcome", event.outcome.name()),
    ] {
        proof.compare((TABLE, id), what, &storable(expected).into_owned(), &row.get(what)?);
    }
    let end_user: Option<String> = row.get("end_user")?;
    let expected = event.end_user.as_deref().map(storable);
    proof.compare((TABLE, id), "end_user", &shown(expected), &shown(end_user));
    let labels: Json<Value> = row.get("labels")?;
    let expected = serde_json::to_value(storable_labels(&event.labels));
    let expected = expected.map_err(|error| StoreError::corrupt("labels", error))?;
    proof.compare((TABLE, id), "labels", &expected, &labels.0);
    let is_error = matches!(event.outcome, RequestOutcome::Error(_));
    proof.compare((TABLE, id), "is_error", &is_error, &row.get("is_error")?);
    proof.compare((TABLE, id), "streamed", &event.streamed, &row.get("streamed")?);
    Ok(())
}

/// The sum of the charge's lines, of all attempts, with their margins, rounded up once, and never more than what was held; the
/// provider's sum without either. A request whose end nobody saw has no lines: its cost is an estimate within
/// what was held.
fn verify_cost(event: &UsageEvent, id: Uuid, proof: &mut JournalProof) {
    let row = (TABLE, id);
    let has_lines =
        !event.charge.is_empty() || event.provider_charge.is_some() || event.bills().next().is_some();
    if !has_lines && event.basis == SettlementBasis::Estimated {
        let expected = event.cost.max(NanoUsd::ZERO).min(event.held);
        proof.compare(row, "cost, estimated within what was held", &expected, &event.cost);
        return;
    }
    let sum = event.bills().map(|bill| with_margin(&bill.charge, bill.margin));
    let sum = sum.fold(with_margin(&event.charge, event.margin), i128::saturating_add);
    let sum = NanoUsd::round_up_with_margin(sum);
    // Nothing is held for what is free.
    let expected = if event.held > NanoUsd::ZERO { sum.min(event.held) } else { sum };
    proof.compare(row, "cost by its charge lines", &expected, &event.cost);
    let billed = event.bills().map(|bill| plain(bill.provider_charge.as_ref().unwrap_or(&bill.charge)));
    let lines = event.provider_charge.as_ref().unwrap_or(&event.charge);
    let billed = billed.fold(plain(lines), i128::saturating_add);
    let billed = NanoUsd::round_up_from_millionths(billed);
    proof.compare(row, "provider cost by its lines", &billed, &event.provider_cost);
}

fn with_margin(lines: &[ChargeLine], margin: Option<AppliedMargin>) -> i128 {
    let margin = margin.map_or(BasisPoints::UNCHANGED, |margin| margin.basis_points.factor());
    let raised = |line: &ChargeLine| {
        let factor = if line.tenant_price { BasisPoints::UNCHANGED } else { margin };
        line.price.times(line.units).saturating_mul(factor.into())
    };
    lines.iter().map(raised).fold(0, i128::saturating_add)
}

fn plain(lines: &[ChargeLine]) -> i128 {
    lines.iter().map(|line| line.price.times(line.units)).fold(0, i128::saturating_add)
}
