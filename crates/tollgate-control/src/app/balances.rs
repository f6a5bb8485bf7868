//! What is in a wallet or left of a budget now, and the journal behind it.

use serde::{Deserialize, Serialize};
use tollgate_domain::{NanoUsd, NodeId, TenantId, UnixMillis};
use tollgate_ledger::{Balance, BudgetCheck, Epoch, Ledger, LedgerError, TenantEpoch};
use tollgate_policy::{BudgetOwner, BudgetPolicy};
use tollgate_store::{JournalEntry, JournalKind};
use utoipa::ToSchema;

use super::{App, List, ListQuery};
use crate::jobs;
use crate::parts::{Time, Usd};
use crate::{Action, Actor, AppError, Resource, Verb};

/// How often a seed is tried that finds the ledger lost or closed by somebody else: each follows a reseed.
pub(super) const SEED_TRIES: usize = 3;

/// Where a balance comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum BalanceSource {
    /// The ledger: exact, holds included.
    Ledger,
    /// The journal, because the ledger cannot be reached: without holds and without the last moments.
    Journal,
}

/// A wallet's state.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct BalanceView {
    /// The tenant's name.
    pub tenant: String,
    /// The tenant's id.
    pub tenant_id: String,
    /// All credit ever given.
    pub credit: Usd,
    /// All charges.
    pub settled: Usd,
    /// Held for requests in flight.
    pub held: Usd,
    /// What is left: credit − settled − held; below zero only after refunds or corrections.
    pub available: Usd,
    /// Where `settled` and `held` come from.
    pub source: BalanceSource,
}

/// One posting of the journal: `amount` moves from `debit` to `credit`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct LedgerEntryView {
    /// Identity.
    pub id: String,
    /// `grant`, `topup`, `refund`, `adjustment`, `expire` or `charge`.
    pub kind: String,
    /// The account it comes from.
    pub debit: String,
    /// The account it goes to.
    pub credit: String,
    /// How much.
    pub amount: Usd,
    /// When.
    pub at: Time,
    /// The credit's reference.
    pub reference: Option<String>,
    /// The request that was charged.
    pub request_id: Option<String>,
    /// The id of the entry that this one corrects, or takes back because it expired.
    pub corrects: Option<String>,
}

impl From<JournalEntry> for LedgerEntryView {
    fn from(entry: JournalEntry) -> Self {
        let kind = match entry.kind {
            JournalKind::Grant => "grant",
            JournalKind::Topup => "topup",
            JournalKind::Refund => "refund",
            JournalKind::Adjustment => "adjustment",
            JournalKind::Expire => "expire",
            JournalKind::Charge => "charge",
        };
        Self {
            id: entry.id.to_string(),
            kind: kind.to_owned(),
            debit: entry.debit,
            credit: entry.credit,
            amount: Usd(entry.amount),
            at: Time(entry.at),
            reference: entry.reference,
            request_id: entry.request.map(|request| request.to_string()),
            corrects: entry.corrects.map(|entry| entry.to_string()),
        }
    }
}

/// A place in the journal: `<milliseconds>.<id>`.
struct JournalCursor(UnixMillis, uuid::Uuid);

impl std::str::FromStr for JournalCursor {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        let (at, id) = text.split_once('.').ok_or(())?;
        Ok(Self(UnixMillis(at.parse().map_err(|_| ())?), id.parse().map_err(|_| ())?))
    }
}

impl App {
    /// The wallet of a tenant.
    ///
    /// # Errors
    /// Forbidden; not found.
    pub async fn balance(&self, actor: &Actor, tenant: &str) -> Result<BalanceView, AppError> {
        let read = Action::new(Verb::Read, Resource::Balance);
        let tenant = self.permitted_tenant(actor, read, tenant).await?;
        let credit = self.parts.store.credit_total(tenant.id).await?.sum;
        let (balance, source) = match self.live_balances(tenant.id, &[]).await {
            Some((wallet, _)) => (wallet, BalanceSource::Ledger),
            None => {
                let settled = self.parts.store.wallet_settled(tenant.id).await?;
                (Balance { limit: credit, settled, held: NanoUsd::ZERO }, BalanceSource::Journal)
            }
        };
        Ok(BalanceView {
            tenant: tenant.name,
            tenant_id: tenant.id.to_string(),
            credit: Usd(credit),
            settled: Usd(balance.settled),
            held: Usd(balance.held),
            available: Usd(credit.saturating_sub(balance.settled).saturating_sub(balance.held)),
            source,
        })
    }

    /// A tenant's postings, newest first.
    ///
    /// # Errors
    /// Forbidden; not found; a bad page.
    pub async fn list_ledger(
        &self,
        actor: &Actor,
        tenant: &str,
        query: &ListQuery,
    ) -> Result<List<LedgerEntryView>, AppError> {
        let read = Action::new(Verb::Read, Resource::Balance);
        let tenant = self.permitted_tenant(actor, read, tenant).await?;
        let page = query.page::<JournalCursor>()?;
        let page = tollgate_store::PageRequest {
            limit: page.limit,
            after: page.after.map(|JournalCursor(at, id)| (at, id)),
        };
        let page = self.parts.store.list_journal(tenant.id, page).await?;
        Ok(List {
            data: page.items.into_iter().map(LedgerEntryView::from).collect(),
            next: page.next.map(|(at, id)| format!("{}.{id}", at.0)),
        })
    }

    /// The ledger's counters, seeded first where it does not know the tenant; `None` where it does not answer.
    async fn live_balances(
        &self,
        tenant: TenantId,
        budgets: &[BudgetCheck],
    ) -> Option<(Balance, Vec<Balance>)> {
        let ledger = &self.parts.ledger;
        for attempt in 0..2 {
            let balances = match ledger.balances(tenant, true, budgets).await {
                Ok(balances) => balances,
                Err(error) => {
                    tracing::warn!(%error, "the ledger gave no balances; the journal's are shown");
                    return None;
                }
            };
            if let Some(wallet) = balances.wallet.filter(|_| !balances.is_cold) {
                return Some((wallet, balances.budgets));
            }
            if attempt == 0 {
                self.seed_or_log(tenant).await;
            }
        }
        None
    }

    /// One budget's counters in its present period.
    pub(super) async fn budget_balance(
        &self,
        tenant: TenantId,
        owner: BudgetOwner,
        check: BudgetCheck,
    ) -> Result<(Balance, BalanceSource), AppError> {
        if let Some((_, budgets)) = self.live_balances(tenant, &[check]).await
            && let Some(balance) = budgets.first()
        {
            return Ok((*balance, BalanceSource::Ledger));
        }
        let settled = self.parts.store.spent(owner, check.periods.current).await?;
        Ok((Balance { limit: check.limit, settled, held: NanoUsd::ZERO }, BalanceSource::Journal))
    }

    /// Writes what the journal knows of a tenant into the ledger; a failure is logged, because pods ask for it
    /// again when they need it.
    pub(crate) async fn seed_or_log(&self, tenant: TenantId) {
        if let Err(error) = self.seed_tenant(tenant).await {
            tracing::warn!(%tenant, %error, "the ledger was not seeded; it will be when it is asked");
        }
    }

    /// The first time: nobody can hold anything of a tenant that was made just now, so no pod is asked.
    pub(super) async fn seed_new_tenant(&self, tenant: TenantId) {
        if let Err(error) = self.write_seed(tenant, None, None).await {
            tracing::warn!(%tenant, %error, "the ledger was not seeded; it will be when it is asked");
        }
    }

    /// The same with a budget that is about to be stored: a budget whose ledger does not know what was spent
    /// before it would begin at zero.
    ///
    /// # Errors
    /// The ledger or the database is unavailable; then the budget must not be stored.
    pub(crate) async fn seed_budget(&self, tenant: TenantId, budget: &BudgetPolicy) -> Result<(), AppError> {
        self.seed(tenant, Some(budget)).await
    }

    /// Writes what the journal knows of a tenant into the ledger, where the ledger does not know it. Where the
    /// ledger may have lost the tenant it is reseeded: with what the pods hold.
    ///
    /// # Errors
    /// Not found; unavailable.
    pub async fn seed_tenant(&self, tenant: TenantId) -> Result<(), AppError> {
        self.seed(tenant, None).await
    }

    /// The same for a pod that holds something of another epoch than the ledger's.
    ///
    /// # Errors
    /// Not found; unavailable.
    pub async fn reseed_tenant(&self, tenant: TenantId, pod: Option<NodeId>) -> Result<(), AppError> {
        self.parts.reseeds.reseed(tenant, Some(pod)).await
    }

    async fn seed(&self, tenant: TenantId, extra: Option<&BudgetPolicy>) -> Result<(), AppError> {
        // first: what nobody knows is not reseeded either
        self.parts.store.tenant(tenant).await?;
        for _ in 0..SEED_TRIES {
            let known = self.live_epoch(tenant).await?;
            match self.write_seed(tenant, extra, known.as_ref()).await {
                // lost, or closed by somebody, since it was looked at
                Err(SeedError::Ledger(LedgerError::WrongEpoch)) => {}
                written => return Ok(written?),
            }
        }
        Err(SeedError::Ledger(LedgerError::WrongEpoch).into())
    }

    /// The epoch under which the ledger knows the tenant, reseeded first where it may have lost it: a seed knows
    /// nothing of what is in flight. `None` in process, where nothing but this process can hold anything.
    pub(super) async fn live_epoch(&self, tenant: TenantId) -> Result<Option<Epoch>, AppError> {
        let ledger = &self.parts.ledger;
        if matches!(ledger, Ledger::Memory(_)) {
            return Ok(None);
        }
        for _ in 0..SEED_TRIES {
            let stored = ledger.epochs(&[tenant]).await?.into_iter().next().flatten();
            match stored {
                Some(TenantEpoch { epoch, is_live: true }) => return Ok(Some(epoch)),
                _ => self.parts.reseeds.reseed(tenant, None).await?,
            }
        }
        Err(SeedError::Ledger(LedgerError::WrongEpoch).into())
    }

    async fn write_seed(
        &self,
        tenant: TenantId,
        extra: Option<&BudgetPolicy>,
        known: Option<&Epoch>,
    ) -> Result<(), SeedError> {
        let parts = &self.parts;
        let zone = parts.store.tenant(tenant).await.map_err(AppError::from)?.time_zone;
        let seed = jobs::seed_of(&parts.store, parts.clock.now(), tenant, &zone, extra, &[]).await?;
        match known {
            Some(epoch) => Ok(parts.ledger.seed_within(&seed, epoch).await?),
            None => Ok(parts.ledger.seed(&seed).await?),
        }
    }
}

/// Why a tenant was not seeded.
#[derive(Debug, thiserror::Error)]
enum SeedError {
    #[error(transparent)]
    App(#[from] AppError),
    #[error(transparent)]
    Ledger(#[from] LedgerError),
}

impl From<SeedError> for AppError {
    fn from(error: SeedError) -> Self {
        match error {
            SeedError::App(error) => error,
            SeedError::Ledger(LedgerError::WrongEpoch) => {
                Self::Unavailable("the ledger waits for a reseed of this tenant: try again".to_owned())
            }
            SeedError::Ledger(error) => error.into(),
        }
    }
}
