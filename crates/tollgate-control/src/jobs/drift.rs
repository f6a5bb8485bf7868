//! The nightly comparison: each tenant's counters in the ledger with what the journal says. What differs twice in a
//! row is told, and repaired by a reseed.
//!
//! A charge is in the ledger first and in the journal soon after. So a counter is right when it lies between what
//! the journal said before it was read, and what it says once everything that was on its way then is written.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use serde::{Deserialize, Serialize};
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;
use tollgate_domain::{BudgetId, Clock, MAX_LIMIT, NanoUsd, Period, TenantId, UnixMillis};
use tollgate_ledger::{BudgetCheck, Ledger};
use tollgate_policy::Billing;
use tollgate_store::{BudgetFilter, BudgetRecord, PageRequest, Store, TenantRecord};

use super::{JournalWriter, Reseeds};
use crate::AppError;
use crate::app::{DriftFindingView, DriftState, DriftView};
use crate::parts::{Time, Usd};
use crate::secrets::random_bytes;

/// How many tenants or budgets are read at a time.
const READ_PAGE: u32 = 500;
/// Between the two looks at a tenant: what is on its way has arrived by then, an update of a limit as well.
const SECOND_LOOK_AFTER: Duration = Duration::from_secs(2);
/// How long the journal may take to write what is on its way; then a tenant is not compared.
const DRAIN_TIMEOUT: Duration = Duration::from_secs(10);
/// How often it is looked whether the hour has come.
const CLOCK_EVERY: Duration = Duration::from_secs(30);
/// The nightly run begins up to so long after the full hour, so that not everything begins at it.
const MAX_JITTER_MS: i64 = 10 * 60_000;
/// So close to the ends of a period the ledger's clock may see another one: such a budget is left out.
const PERIOD_EDGE_MS: i64 = 30_000;
/// Findings told one by one.
const MAX_FINDINGS: usize = 1_000;
const HOUR_MS: i64 = 3_600_000;
const DAY_MS: i64 = 24 * HOUR_MS;
/// The job's name among the runs that one replica does for all.
const JOB: &str = "ledger-drift";
/// For how long it is remembered that a night's run was done.
const RUNS_KEPT_MS: i64 = 7 * DAY_MS;

/// What comparisons have found since the process began.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct DriftStatus {
    /// Comparisons finished.
    pub runs: u64,
    /// Counters that differed.
    pub drifts: u64,
    /// By how much they did in all, in nano-USD.
    pub drift_nano_usd: u64,
    /// Tenants written anew for it.
    pub repaired: u64,
}

#[derive(Debug, Default)]
struct Counters {
    runs: AtomicU64,
    drifts: AtomicU64,
    nano_usd: AtomicU64,
    repaired: AtomicU64,
}

/// The latest comparison, and the way to ask for one. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub(crate) struct Drifts {
    latest: Arc<Mutex<DriftView>>,
    wanted: Arc<Notify>,
    counters: Arc<Counters>,
}

impl Drifts {
    /// Begins one unless it is under way.
    pub(crate) fn start(&self, now: UnixMillis, repair: bool) -> DriftView {
        let mut latest = self.latest.lock();
        if latest.state != DriftState::Running {
            let (state, started_at) = (DriftState::Running, Some(Time(now)));
            *latest = DriftView { state, repair, started_at, ..DriftView::default() };
            self.wanted.notify_one();
        }
        latest.clone()
    }

    pub(crate) fn latest(&self) -> DriftView {
        self.latest.lock().clone()
    }

    pub(crate) fn status(&self) -> DriftStatus {
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        DriftStatus {
            runs: read(&self.counters.runs),
            drifts: read(&self.counters.drifts),
            drift_nano_usd: read(&self.counters.nano_usd),
            repaired: read(&self.counters.repaired),
        }
    }
}

/// The job.
#[derive(Clone, Debug)]
pub(crate) struct DriftJob {
    pub(crate) store: Store,
    pub(crate) ledger: Ledger,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) journal: JournalWriter,
    pub(crate) reseeds: Reseeds,
    pub(crate) drifts: Drifts,
    /// At which hour (UTC) of every night, and whether to repair then.
    pub(crate) nightly: Option<(u8, bool)>,
}

/// Which counter.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Counter {
    WalletLimit,
    WalletSettled,
    Budget(BudgetId),
}

impl Counter {
    const fn name(self) -> &'static str {
        match self {
            Self::WalletLimit => "wallet_limit",
            Self::WalletSettled => "wallet_settled",
            Self::Budget(_) => "budget_settled",
        }
    }
}

/// What the journal says and what the ledger has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Difference {
    expected: NanoUsd,
    found: NanoUsd,
}

/// What a look at a tenant has shown.
enum Look {
    Compared(BTreeMap<Counter, Difference>),
    /// The ledger does not tell, or charges are on their way.
    NotNow,
}

impl DriftJob {
    /// Compares when it is asked for and every night, until `stop`.
    pub(crate) async fn run(self, stop: CancellationToken) {
        let work = async {
            let jitter_ms = i64::from(random_bytes::<1>().map_or(0, |[byte]| byte)) * MAX_JITTER_MS / 255;
            let mut next = self.nightly.map(|(hour, _)| next_run(self.clock.now(), hour, jitter_ms));
            loop {
                tokio::select! {
                    () = self.drifts.wanted.notified() => {
                        let repair = self.drifts.latest().repair;
                        self.compare(repair).await;
                    }
                    () = tokio::time::sleep(CLOCK_EVERY) => {}
                }
                let (Some((hour, repair)), Some(at)) = (self.nightly, next) else { continue };
                let now = self.clock.now();
                if now < at {
                    continue;
                }
                next = Some(next_run(now, hour, jitter_ms));
                if self.is_ours(at, now).await {
                    self.drifts.start(now, repair);
                }
            }
        };
        // A comparison that is cut off has changed nothing but by reseeds, which are whole or not at all.
        stop.run_until_cancelled(work).await;
    }

    /// One of many replicas does the night's run.
    async fn is_ours(&self, at: UnixMillis, now: UnixMillis) -> bool {
        let night = at.0.div_euclid(DAY_MS).to_string();
        match self.store.claim_job_run(JOB, &night, now, now.plus_ms(-RUNS_KEPT_MS)).await {
            Ok(is_ours) => is_ours,
            Err(error) => {
                tracing::warn!(%error, "the nightly comparison of the ledger is left out");
                false
            }
        }
    }

    /// Compares all tenants and notes the result.
    async fn compare(&self, repair: bool) {
        let started_at = self.drifts.latest().started_at;
        let compared = self.compare_all(repair).await;
        let mut view = compared.unwrap_or_else(|error| {
            tracing::warn!(%error, "the ledger could not be compared with the journal");
            DriftView { state: DriftState::Failed, error: Some(error.to_string()), ..DriftView::default() }
        });
        if view.state == DriftState::Done {
            self.drifts.counters.runs.fetch_add(1, Ordering::Relaxed);
            let (tenants, drifts) = (view.tenants, view.drifts.len() as u64 + view.more_drifts);
            tracing::info!(tenants, drifts, "the ledger was compared with the journal");
        }
        (view.repair, view.started_at, view.finished_at) = (repair, started_at, Some(Time(self.clock.now())));
        *self.drifts.latest.lock() = view;
    }

    async fn compare_all(&self, repair: bool) -> Result<DriftView, AppError> {
        let mut view = DriftView { state: DriftState::Done, ..DriftView::default() };
        let mut page = PageRequest::first(READ_PAGE);
        loop {
            let part = self.store.list_tenants(page).await?;
            let mut suspicious = Vec::new();
            for tenant in part.items {
                match self.look(&tenant).await? {
                    Look::NotNow => view.tenants_not_compared += 1,
                    Look::Compared(differences) => {
                        view.tenants += 1;
                        if !differences.is_empty() {
                            suspicious.push((tenant, differences));
                        }
                    }
                }
            }
            if !suspicious.is_empty() {
                tokio::time::sleep(SECOND_LOOK_AFTER).await;
            }
            for (tenant, first) in suspicious {
                self.look_again(&tenant, &first, repair, &mut view).await?;
            }
            let Some(next) = part.next else { return Ok(view) };
            page = PageRequest::after(READ_PAGE, next);
        }
    }

    /// What differs in the same direction as before is a drift.
    async fn look_again(
        &self,
        tenant: &TenantRecord,
        first: &BTreeMap<Counter, Difference>,
        repair: bool,
        view: &mut DriftView,
    ) -> Result<(), AppError> {
        let Look::Compared(mut drifts) = self.look(tenant).await? else {
            view.tenants -= 1;
            view.tenants_not_compared += 1;
            return Ok(());
        };
        drifts.retain(|counter, now| {
            first.get(counter).is_some_and(|then| (then.found < then.expected) == (now.found < now.expected))
        });
        if drifts.is_empty() {
            return Ok(());
        }
        for (counter, Difference { expected, found }) in &drifts {
            let budget = if let Counter::Budget(id) = counter { Some(*id) } else { None };
            tracing::error!(
                event = "ledger.drift",
                tenant = %tenant.id,
                counter = counter.name(),
                budget = budget.map(tracing::field::display),
                expected_nano_usd = expected.0,
                found_nano_usd = found.0,
                "a counter of the ledger is not what the journal says"
            );
            self.drifts.counters.drifts.fetch_add(1, Ordering::Relaxed);
            self.drifts.counters.nano_usd.fetch_add(expected.0.abs_diff(found.0), Ordering::Relaxed);
        }
        let repaired = repair && self.repair(tenant.id).await;
        for (counter, Difference { expected, found }) in drifts {
            if view.drifts.len() >= MAX_FINDINGS {
                view.more_drifts += 1;
                continue;
            }
            view.drifts.push(DriftFindingView {
                tenant: tenant.name.clone(),
                tenant_id: tenant.id.to_string(),
                counter: counter.name().to_owned(),
                budget_id: if let Counter::Budget(id) = counter { Some(id.to_string()) } else { None },
                expected: Usd(expected),
                found: Usd(found),
                repaired,
            });
        }
        Ok(())
    }

    async fn repair(&self, tenant: TenantId) -> bool {
        match self.reseeds.reseed(tenant, Some(None)).await {
            Ok(()) => {
                self.drifts.counters.repaired.fetch_add(1, Ordering::Relaxed);
                tracing::warn!(%tenant, "a tenant was reseeded because its counters had drifted");
                true
            }
            Err(error) => {
                tracing::error!(%tenant, %error, "a tenant whose counters have drifted was not reseeded");
                false
            }
        }
    }

    async fn look(&self, tenant: &TenantRecord) -> Result<Look, AppError> {
        let budgets = self.budgets(tenant).await?;
        let before = self.books(tenant, &budgets).await?;
        let checks: Vec<BudgetCheck> = budgets.iter().map(|(_, check)| *check).collect();
        let Ok(balances) = self.ledger.balances(tenant.id, true, &checks).await else {
            return Ok(Look::NotNow);
        };
        let Some(wallet) = balances.wallet.filter(|_| !balances.is_cold) else { return Ok(Look::NotNow) };
        let mut found = vec![(Counter::WalletSettled, wallet.settled)];
        found.extend(
            budgets
                .iter()
                .zip(&balances.budgets)
                .map(|((budget, _), is)| (Counter::Budget(budget.id), is.settled)),
        );
        let is_at_rest = found.iter().all(|(counter, settled)| before.settled.get(counter) == Some(settled));
        if is_at_rest && self.has_limit(tenant, wallet.limit, &before, &before) {
            return Ok(Look::Compared(BTreeMap::new()));
        }
        // Less than the journal had is wrong at any moment; more, only once what was on its way is written.
        let is_drained =
            matches!(tokio::time::timeout(DRAIN_TIMEOUT, self.journal.drained()).await, Ok(Ok(())));
        let after = self.books(tenant, &budgets).await?;
        let mut differences = BTreeMap::new();
        for (counter, found) in found {
            let of = |books: &Books| books.settled.get(&counter).copied().unwrap_or_default();
            let (least, most) = (of(&before), of(&after));
            if found < least {
                differences.insert(counter, Difference { expected: least, found });
            } else if found > most && is_drained {
                differences.insert(counter, Difference { expected: most, found });
            }
        }
        if !is_drained && differences.is_empty() {
            return Ok(Look::NotNow);
        }
        if !self.has_limit(tenant, wallet.limit, &before, &after) {
            let difference = Difference { expected: after.credit, found: wallet.limit };
            differences.insert(Counter::WalletLimit, difference);
        }
        Ok(Look::Compared(differences))
    }

    #[expect(clippy::unused_self, reason = "reads with the others")]
    fn has_limit(&self, tenant: &TenantRecord, limit: NanoUsd, before: &Books, after: &Books) -> bool {
        tenant.billing != Billing::Prepaid || [before.credit, after.credit].contains(&limit)
    }

    /// The tenant's budgets, each in its present period; without those whose period has just begun or soon ends.
    async fn budgets(&self, tenant: &TenantRecord) -> Result<Vec<(BudgetRecord, BudgetCheck)>, AppError> {
        let now = self.clock.now();
        let filter = BudgetFilter { tenant: Some(tenant.id), owner: None };
        let (mut budgets, mut page) = (Vec::new(), PageRequest::first(READ_PAGE));
        loop {
            let part = self.store.list_budgets(&filter, page).await?;
            for budget in part.items {
                let periods = tenant.time_zone.periods(budget.window, now);
                let periods = periods.map_err(|error| AppError::Internal(error.to_string()))?;
                let Period { starts_at, ends_at } = periods.current;
                let is_inside = now.0.saturating_sub(starts_at.0) > PERIOD_EDGE_MS
                    && ends_at.0.saturating_sub(now.0) > PERIOD_EDGE_MS;
                if is_inside {
                    let check = BudgetCheck { budget: budget.id, limit: budget.limit, periods };
                    budgets.push((budget, check));
                }
            }
            let Some(next) = part.next else { return Ok(budgets) };
            page = PageRequest::after(READ_PAGE, next);
        }
    }

    async fn books(
        &self,
        tenant: &TenantRecord,
        budgets: &[(BudgetRecord, BudgetCheck)],
    ) -> Result<Books, AppError> {
        let credit = self.store.credit_total(tenant.id).await?.sum.max(NanoUsd::ZERO);
        let mut settled = BTreeMap::new();
        for (budget, check) in budgets {
            let spent = self.store.spent(budget.owner, check.periods.current).await?;
            settled.insert(Counter::Budget(budget.id), spent.min(MAX_LIMIT));
        }
        let wallet = self.store.wallet_settled(tenant.id).await?;
        settled.insert(Counter::WalletSettled, wallet.min(MAX_LIMIT));
        Ok(Books { credit, settled })
    }
}

/// The journal of a tenant at a moment, as the ledger would have it.
struct Books {
    credit: NanoUsd,
    settled: BTreeMap<Counter, NanoUsd>,
}

/// The first moment after `now` that is `jitter_ms` after the full `hour` of a day.
fn next_run(now: UnixMillis, hour: u8, jitter_ms: i64) -> UnixMillis {
    let offset = i64::from(hour) * HOUR_MS + jitter_ms;
    let day = (now.0 - offset).div_euclid(DAY_MS) + 1;
    UnixMillis(day * DAY_MS + offset)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_next_night_follows_from_the_hour() {
        let at = |text: &str| UnixMillis::parse_rfc3339(text).unwrap();
        for (now, hour, jitter_ms, next) in [
            ("2026-11-22T01:00:00Z", 3, 0, "2026-11-22T03:00:00Z"),
            ("2026-11-22T03:00:00Z", 3, 0, "2026-11-23T03:00:00Z"),
            ("2026-11-22T03:00:00Z", 3, 60_000, "2026-11-22T03:01:00Z"),
            ("2026-11-22T03:05:00Z", 3, 60_000, "2026-11-23T03:01:00Z"),
            ("2026-12-31T23:59:59Z", 0, 0, "2027-01-01T00:00:00Z"),
            ("2026-11-22T23:30:00Z", 23, 600_000, "2026-11-23T23:10:00Z"),
        ] {
            assert_eq!(next_run(at(now), hour, jitter_ms), at(next), "{now} {hour} {jitter_ms}");
        }
    }
}
