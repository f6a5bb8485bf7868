//! Giving a credit: what is asked of it and of its wallet, and how it is written.

use tollgate_domain::{MAX_LIMIT, NanoUsd, TenantId};

use super::{CreditKind, CreditRecord, NewCredit, audit_entry, insert, read};
use crate::db::Sql as _;
use crate::store::Tx;
use crate::{CreditLots, StoreError, WriteContext, journal};

/// What can be told without looking at the wallet.
pub(super) fn check(credit: &NewCredit, ctx: &WriteContext) -> Result<(), StoreError> {
    let may_be_negative = matches!(credit.kind, CreditKind::Refund | CreditKind::Adjustment);
    let refuse = |field, message| Err(StoreError::invalid("credit", field, message));
    if credit.amount == NanoUsd::ZERO || (credit.amount < NanoUsd::ZERO && !may_be_negative) {
        return refuse("amount", "a grant or top-up is more than zero, a refund or adjustment is not zero");
    }
    match credit.kind {
        CreditKind::Expire => {
            return refuse("kind", "credit expires by itself: set `expires_at` when it is given");
        }
        CreditKind::Refund | CreditKind::Adjustment if credit.expires_at.is_some() => {
            return refuse("expires_at", "only grants and top-ups expire");
        }
        CreditKind::Grant | CreditKind::Topup if credit.corrects.is_some() => {
            return refuse("corrects", "only refunds and adjustments correct another credit");
        }
        _ => {}
    }
    if credit.expires_at.is_some_and(|at| at <= ctx.now) {
        return refuse("expires_at", "lies in the past");
    }
    Ok(())
}

/// Gives a credit; the policy lock must be held.
pub(crate) async fn grant(
    tx: &mut Tx,
    ctx: &WriteContext,
    credit: &NewCredit,
    used: NanoUsd,
) -> Result<(CreditRecord, bool), StoreError> {
    check(credit, ctx)?;
    if let Some(first) = repeated(tx, credit).await? {
        return Ok((first, false));
    }
    let wallet = Wallet::load(tx, credit.tenant).await?;
    wallet.check(credit, used)?;
    Ok((write(tx, ctx, credit, &wallet).await?, true))
}

/// Everything about a wallet that a new credit depends on.
pub(super) struct Wallet {
    credits: Vec<CreditRecord>,
    settled: NanoUsd,
}

impl Wallet {
    pub(super) async fn load(tx: &mut Tx, tenant: TenantId) -> Result<Self, StoreError> {
        let query = tx.sql(select!(" WHERE tenant_id = $1 ORDER BY sequence")).id(tenant);
        let credits = query.read_all(read).await?;
        Ok(Self { credits, settled: journal::settled(tx, tenant).await? })
    }

    pub(super) fn lots(&self, used: NanoUsd) -> CreditLots {
        CreditLots::of(&self.credits, self.settled.max(used))
    }

    fn check(&self, credit: &NewCredit, used: NanoUsd) -> Result<(), StoreError> {
        let refuse = |field, message: String| Err(StoreError::invalid("credit", field, message));
        let corrected = |id| self.credits.iter().any(|known| known.id == id);
        if credit.corrects.is_some_and(|id| !corrected(id)) {
            return refuse("corrects", "the tenant has no such credit".to_owned());
        }
        let paid_out = NanoUsd::ZERO.saturating_sub(credit.amount);
        let refundable = self.lots(used).refundable();
        if credit.kind == CreditKind::Refund && paid_out > refundable {
            let message =
                format!("pays out more than is refundable: {refundable} USD of what was paid in is unspent");
            return refuse("amount", message);
        }
        let before = self.credits.iter().fold(NanoUsd::ZERO, |sum, credit| sum.saturating_add(credit.amount));
        let sum = before.checked_add(credit.amount);
        if credit.amount < NanoUsd::ZERO && sum.is_none_or(|sum| sum < NanoUsd::ZERO) {
            let message = format!("takes more than the wallet was given: {before} USD is left of its credit");
            return refuse("amount", message);
        }
        if sum.is_none_or(|sum| sum > MAX_LIMIT) {
            return refuse("amount", format!("the wallet would hold more than {MAX_LIMIT} USD"));
        }
        Ok(())
    }
}

/// Writes a checked credit and its posting.
pub(super) async fn write(
    tx: &mut Tx,
    ctx: &WriteContext,
    credit: &NewCredit,
    wallet: &Wallet,
) -> Result<CreditRecord, StoreError> {
    let record = CreditRecord {
        id: credit.id,
        tenant: credit.tenant,
        kind: credit.kind,
        amount: credit.amount,
        reference: credit.reference.clone(),
        expires_at: credit.expires_at,
        corrects: credit.corrects,
        sequence: wallet.credits.len() as u64 + 1,
        settled_before: wallet.settled,
        actor: ctx.actor.clone(),
        created_at: ctx.now,
    };
    insert(tx, &record).await?;
    journal::post_credit(tx, &record).await?;
    tx.audit(ctx, audit_entry(&record)?).await?;
    Ok(record)
}

/// The credit that was given under the same reference before, if it is the same.
async fn repeated(tx: &mut Tx, credit: &NewCredit) -> Result<Option<CreditRecord>, StoreError> {
    let Some(reference) = &credit.reference else { return Ok(None) };
    let query = tx.sql(select!(" WHERE tenant_id = $1 AND reference = $2"));
    let Some(first) = query.id(credit.tenant).bind(reference).read_optional(read).await? else {
        return Ok(None);
    };
    let is_same = (first.kind, first.amount, first.expires_at, first.corrects)
        == (credit.kind, credit.amount, credit.expires_at, credit.corrects);
    if !is_same {
        let message = format!(
            "the reference `{reference}` was used for another kind, amount or expiry: choose a new one"
        );
        return Err(StoreError::conflict("credit", "reference", message));
    }
    Ok(Some(first))
}
