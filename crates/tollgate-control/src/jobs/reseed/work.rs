//! Tenants on their way through a reseed: what pods told of them, what the closed state has, what the journal says.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::sync::Arc;

use tokio::task::JoinSet;
use tollgate_domain::{HoldId, KeyId, NodeId, TenantId, TimeZoneName, UnixMillis};
use tollgate_ledger::{Epoch, Ledger, LedgerError, OpenHold, OpenReport, Reseed, Seed, UnjournaledEvent};
use tollgate_store::{BudgetRecord, Store};

use super::Closed;
use crate::AppError;
use crate::jobs::seed::{ToSeed, seeds_of};

/// Tenants read from the database with the same queries: a power of two, of whose lists few texts are prepared.
const TENANTS_PER_READ: usize = 32;
/// Such reads side by side: a half of the connections, the others serve administrators meanwhile.
const CONCURRENT_READS: usize = 8;
/// Holds read per call from the state that is replaced.
const HOLDS_PER_PAGE: usize = 500;
/// Tenants whose closed states are read side by side, over one connection.
const CONCURRENT_LOOKS: usize = 32;

/// One tenant on its way through a reseed.
pub(super) struct TenantWork {
    pub(super) tenant: TenantId,
    pub(super) expected: Epoch,
    pub(super) was_lost: bool,
    pub(super) holds: Vec<OpenHold>,
    pub(super) settled: HashSet<HoldId>,
}

pub(super) fn works_of(closed: BTreeMap<TenantId, Closed>, reports: Vec<OpenReport>) -> Vec<TenantWork> {
    let work = |tenant, Closed { epoch: expected, was_lost }| {
        let (holds, settled) = (Vec::new(), HashSet::new());
        TenantWork { tenant, expected, was_lost, holds, settled }
    };
    let mut works: BTreeMap<TenantId, TenantWork> =
        closed.into_iter().map(|(tenant, closed)| (tenant, work(tenant, closed))).collect();
    let mut seen = HashSet::new();
    for report in reports {
        for UnjournaledEvent { event, .. } in report.events {
            if let Some(work) = works.get_mut(&event.tenant) {
                work.settled.insert(event.hold);
            }
        }
        for hold in report.holds {
            if let Some(work) = works.get_mut(&hold.tenant)
                && seen.insert(hold.hold)
            {
                work.holds.push(hold);
            }
        }
    }
    works.into_values().collect()
}

/// Compares all of them with what was closed, some side by side, but for what is lost.
pub(super) async fn compare_all(
    ledger: &Ledger,
    works: Vec<TenantWork>,
    answered: &BTreeSet<NodeId>,
) -> Result<Vec<TenantWork>, LedgerError> {
    let (mut compared, closed): (Vec<_>, Vec<_>) = works.into_iter().partition(|work| work.was_lost);
    let answered = Arc::new(answered.clone());
    let mut looking = JoinSet::new();
    for mut work in closed {
        if looking.len() >= CONCURRENT_LOOKS
            && let Some(work) = looking.join_next().await
        {
            compared.push(ended(work)?);
        }
        let (ledger, answered) = (ledger.clone(), Arc::clone(&answered));
        looking.spawn(async move { work.compare_with_closed(&ledger, &answered).await.map(|()| work) });
    }
    while let Some(work) = looking.join_next().await {
        compared.push(ended(work)?);
    }
    Ok(compared)
}

fn ended<T>(result: Result<Result<T, LedgerError>, tokio::task::JoinError>) -> Result<T, LedgerError> {
    result.unwrap_or_else(|error| Err(LedgerError::Unavailable(error.to_string())))
}

impl TenantWork {
    /// Holds of pods that are gone are in nobody's report: those that the closed state still has stay held until
    /// they are settled as abandoned. What a living pod does not report is not open. And what is a hold of its own
    /// there is in no slab any more, though its pod may not have heard of that.
    async fn compare_with_closed(
        &mut self,
        ledger: &Ledger,
        answered: &BTreeSet<NodeId>,
    ) -> Result<(), LedgerError> {
        let mut reported: HashMap<HoldId, &mut OpenHold> =
            self.holds.iter_mut().map(|hold| (hold.hold, hold)).collect();
        let (mut of_the_dead, mut cursor) = (Vec::new(), None);
        loop {
            let page = ledger.list_holds(self.tenant, cursor.as_deref(), HOLDS_PER_PAGE).await?;
            for view in page.holds {
                match reported.get_mut(&view.hold) {
                    Some(hold) => hold.slab = None,
                    None if answered.contains(&view.node) => {}
                    None => of_the_dead.push(view.to_open(self.tenant)),
                }
            }
            cursor = page.next;
            if cursor.is_none() {
                break;
            }
        }
        self.holds.extend(of_the_dead);
        Ok(())
    }

    fn into_reseed(self, Books { seed, revoked }: Books, above: u64) -> Reseed {
        Reseed {
            tenant: self.tenant,
            expected: self.expected,
            above,
            wallet_limit: seed.wallet_limit,
            wallet_version: seed.wallet_version,
            wallet_settled: seed.wallet_settled,
            counters: seed.counters,
            holds: self.holds,
            settled: self.settled.into_iter().collect(),
            revoked,
        }
    }
}

/// What the database says of a tenant.
struct Books {
    seed: Seed,
    revoked: Vec<KeyId>,
}

/// What became of reading one.
type Read = (TenantId, Result<Reseed, AppError>);

/// Reads every tenant's sums, many with one query and some queries side by side.
pub(super) async fn read_all(
    store: &Store,
    now: UnixMillis,
    works: Vec<TenantWork>,
    above: u64,
) -> Vec<Read> {
    let mut reading = JoinSet::new();
    let (mut works, mut all) = (works.into_iter(), Vec::new());
    loop {
        while reading.len() < CONCURRENT_READS {
            let group: Vec<TenantWork> = works.by_ref().take(TENANTS_PER_READ).collect();
            if group.is_empty() {
                break;
            }
            let store = store.clone();
            reading.spawn(async move { read_group(&store, now, group, above).await });
        }
        match reading.join_next().await {
            None => return all,
            Some(Ok(read)) => all.extend(read),
            Some(Err(error)) => tracing::error!(%error, "some tenants' sums were not read"),
        }
    }
}

/// One that cannot be read is in no other's way.
async fn read_group(store: &Store, now: UnixMillis, works: Vec<TenantWork>, above: u64) -> Vec<Read> {
    match books_of(store, now, &works).await {
        Ok(books) => {
            let read = works.into_iter().zip(books);
            read.map(|(work, books)| (work.tenant, Ok(work.into_reseed(books, above)))).collect()
        }
        Err(error) if works.len() == 1 => works
            .into_iter()
            .map(|work| (work.tenant, Err(AppError::Unavailable(error.to_string()))))
            .collect(),
        Err(error) => {
            tracing::warn!(%error, "tenants cannot be read together; each is read alone");
            let mut all = Vec::with_capacity(works.len());
            for work in works {
                all.extend(Box::pin(read_group(store, now, vec![work], above)).await);
            }
            all
        }
    }
}

async fn books_of(store: &Store, now: UnixMillis, works: &[TenantWork]) -> Result<Vec<Books>, AppError> {
    let tenants: Vec<TenantId> = works.iter().map(|work| work.tenant).collect();
    let accounts = store.tenant_accounts(&tenants).await?;
    let (mut to_seed, mut revoked) = (Vec::with_capacity(works.len()), Vec::with_capacity(works.len()));
    for (work, account) in works.iter().zip(accounts) {
        // Also of a tenant that is deleted: what is under way of it must be able to end.
        let calendar = account.calendar.as_ref();
        let mut unusable = account.unusable_keys;
        if calendar.is_none_or(|calendar| calendar.is_deleted) {
            unusable.extend(work.holds.iter().map(|hold| hold.key));
        }
        revoked.push(unusable);
        to_seed.push(ToSeed {
            tenant: work.tenant,
            zone: calendar.map_or_else(TimeZoneName::utc, |calendar| calendar.time_zone.clone()),
            budgets: account.budgets.iter().map(BudgetRecord::to_policy).collect(),
            credit: account.credit,
            holds: &work.holds,
        });
    }
    let seeds = seeds_of(store, now, &to_seed).await?;
    Ok(seeds.into_iter().zip(revoked).map(|(seed, revoked)| Books { seed, revoked }).collect())
}
