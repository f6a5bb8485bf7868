//! Credits and their double entries.

use tollgate_domain::{CreditId, NanoUsd, TenantId};
use uuid::Uuid;

use super::{JournalProof, READ_ROWS, shown};
use crate::db::{Row, Sql as _, name_of, to_i64};
use crate::journal::accounts;
use crate::store::Tx;
use crate::{CreditKind, StoreError};

const ENTRIES: &str = "journal_entries";
const CREDITS: &str = "credits";

/// Each entry moves what its credit says, from and to where its kind says: so it balances.
pub(super) async fn verify_entries(tx: &mut Tx, proof: &mut JournalProof) -> Result<(), StoreError> {
    let mut after: Option<Uuid> = None;
    loop {
        let query = tx.sql(
            "SELECT entry.id AS entry_id, entry.tenant_id AS entry_tenant, entry.kind AS entry_kind,
                 entry.debit_account, entry.credit_account, entry.amount_nano_usd AS entry_amount, entry.at_ms,
                 entry.reference AS entry_reference, entry.corrects AS entry_corrects, credit.id AS credit_id,
                 credit.tenant_id, credit.kind, credit.amount_nano_usd, credit.created_at_ms, credit.reference,
                 credit.corrects
             FROM journal_entries AS entry LEFT JOIN credits AS credit ON credit.id = entry.id WHERE 1 = 1",
        );
        let query = query.filter(" AND entry.id > ", after);
        let rows = query.push(" ORDER BY entry.id LIMIT ").push_bind(READ_ROWS).fetch_all().await?;
        for row in &rows {
            let id: Uuid = row.get("entry_id")?;
            verify_entry(row, id, proof)?;
            after = Some(id);
        }
        proof.entries += rows.len() as u64;
        if to_i64(rows.len() as u64) < READ_ROWS {
            return Ok(());
        }
    }
}

fn verify_entry(row: &Row, id: Uuid, proof: &mut JournalProof) -> Result<(), StoreError> {
    let this = (ENTRIES, id);
    if row.get::<Option<Uuid>>("credit_id")?.is_none() {
        proof.compare(this, "credit", &"the credit of its id", &"none");
        return Ok(());
    }
    let (tenant, amount) = (row.id("tenant_id")?, row.money("amount_nano_usd")?);
    let kind: CreditKind = row.named("kind")?;
    let (debit, credit) = accounts(kind, tenant, amount);
    proof.compare(this, "tenant_id", &tenant, &row.id("entry_tenant")?);
    proof.compare(this, "kind", &name_of(&kind), &row.get("entry_kind")?);
    proof.compare(this, "debit_account", &debit, &row.get("debit_account")?);
    proof.compare(this, "credit_account", &credit, &row.get("credit_account")?);
    let moved = NanoUsd(amount.0.saturating_abs());
    proof.compare(this, "amount_nano_usd", &moved, &row.money("entry_amount")?);
    proof.compare(this, "at_ms", &row.moment("created_at_ms")?, &row.moment("at_ms")?);
    let text = |column| Ok::<_, StoreError>(shown(row.get::<Option<String>>(column)?));
    proof.compare(this, "reference", &text("reference")?, &text("entry_reference")?);
    let uuid = |column| Ok::<_, StoreError>(shown(row.get::<Option<Uuid>>(column)?));
    proof.compare(this, "corrects", &uuid("corrects")?, &uuid("entry_corrects")?);
    Ok(())
}

/// Where a tenant's credits have come to.
#[derive(Default)]
struct Sequence {
    tenant: Option<TenantId>,
    sequence: u64,
    settled_before: NanoUsd,
    sum: NanoUsd,
}

/// Each credit has its entry; a tenant's are numbered without a gap, remember charges that only grow, and never
/// sum up to less than nothing.
pub(super) async fn verify_credits(tx: &mut Tx, proof: &mut JournalProof) -> Result<(), StoreError> {
    let mut before = Sequence::default();
    let mut after: Option<(Uuid, i64)> = None;
    loop {
        let mut query = tx.sql(
            "SELECT credit.id, credit.tenant_id, credit.kind, credit.amount_nano_usd, credit.sequence,
                 credit.settled_before_nano_usd, entry.id AS entry_id,
                 COALESCE(total.charged_nano_usd, 0) AS charged_nano_usd
             FROM credits AS credit LEFT JOIN journal_entries AS entry ON entry.id = credit.id
                 LEFT JOIN wallet_totals AS total ON total.tenant_id = credit.tenant_id WHERE 1 = 1",
        );
        if let Some((tenant, sequence)) = after {
            query = query.push(" AND (credit.tenant_id, credit.sequence) > (").push_bind(tenant);
            query = query.push(", ").push_bind(sequence).push(")");
        }
        let query = query.push(" ORDER BY credit.tenant_id, credit.sequence LIMIT ").push_bind(READ_ROWS);
        let rows = query.fetch_all().await?;
        for row in &rows {
            after = Some((row.get("tenant_id")?, row.get("sequence")?));
            before = verify_credit(row, &before, proof)?;
        }
        proof.credits += rows.len() as u64;
        if to_i64(rows.len() as u64) < READ_ROWS {
            return Ok(());
        }
    }
}

fn verify_credit(row: &Row, before: &Sequence, proof: &mut JournalProof) -> Result<Sequence, StoreError> {
    let (id, tenant): (CreditId, TenantId) = (row.id("id")?, row.id("tenant_id")?);
    let (kind, amount): (CreditKind, _) = (row.named("kind")?, row.money("amount_nano_usd")?);
    let this = (CREDITS, id);
    let first = Sequence::default();
    let before = if before.tenant == Some(tenant) { before } else { &first };
    if row.get::<Option<Uuid>>("entry_id")?.is_none() {
        proof.compare(this, "double entry", &"the entry of its id", &"none");
    }
    let sequence = row.count("sequence")?;
    proof.compare(this, "sequence", &(before.sequence + 1), &sequence);
    let may_be_negative = !matches!(kind, CreditKind::Grant | CreditKind::Topup);
    let may_be_positive = kind != CreditKind::Expire;
    if (amount < NanoUsd::ZERO && !may_be_negative) || (amount > NanoUsd::ZERO && !may_be_positive) {
        proof.compare(this, "sign of the amount", &NanoUsd::ZERO.saturating_sub(amount), &amount);
    }
    let settled_before = row.money("settled_before_nano_usd")?;
    let charged = row.money("charged_nano_usd")?;
    let lawful = settled_before.max(before.settled_before).min(charged.max(before.settled_before));
    proof.compare(this, "settled_before_nano_usd", &lawful, &settled_before);
    let sum = before.sum.saturating_add(amount);
    proof.compare(this, "sum of the tenant's credits up to it", &sum.max(NanoUsd::ZERO), &sum);
    Ok(Sequence { tenant: Some(tenant), sequence, settled_before, sum })
}
