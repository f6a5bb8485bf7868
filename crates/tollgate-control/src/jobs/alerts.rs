//! Alerts: budgets whose journaled spend has reached a share of their limit, and wallets that have run low. Looked
//! at where something was journaled, a budget was written, and all of them now and then.

pub(crate) mod messages;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use serde::{Deserialize, Serialize};
use tokio::sync::Notify;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tollgate_domain::{Clock, Period, TenantId, TimeZoneName, UnixMillis, UsageEvent};
use tollgate_policy::BudgetOwner;
use tollgate_store::{AlertKind, BudgetRecord, NewAlert, PageRequest, Store, StoreError};
use uuid::Uuid;

use super::WebhookDispatcher;
use crate::AppError;
use crate::secrets::{CredentialBox, id_entropy};
use crate::webhooks::WebhookTransport;

/// How long it is gathered what was touched: an alert may be that late, and a busy budget is looked at so often.
const GATHER: Duration = Duration::from_millis(500);
/// How often everything is looked at: what was written by another replica, or just before a crash.
const SWEEP_EVERY: Duration = Duration::from_secs(300);
/// First wait after a failure.
const RETRY_AFTER: Duration = Duration::from_secs(2);
/// Owners noted between two looks; beyond it everything is looked at.
const MAX_TOUCHED: usize = 50_000;
/// Moments noted per owner: two, of the present and the last period, would do but for late charges.
const MAX_MOMENTS: usize = 8;
/// Budgets read at a time.
const READ_PAGE: u32 = 500;
/// For how long after its end a period may still be told: charges are journaled when a request ends, those of dead
/// pods a quarter of an hour later.
const LATE_MS: i64 = 3_600_000;
/// Requests of one such span share a note.
const MOMENT_MS: i64 = 15 * 60_000;

/// How alerts and their messages fare.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct AlertStatus {
    /// Alerts about budgets that this process raised.
    pub budget_thresholds: u64,
    /// Alerts about wallets that this process raised.
    pub wallets_low: u64,
    /// Messages that webhooks have taken from this process.
    pub delivered: u64,
    /// Attempts that failed and are repeated.
    pub retried: u64,
    /// Messages that this process has given up.
    pub failed: u64,
}

#[derive(Debug, Default)]
pub(crate) struct AlertCounters {
    pub(crate) budget_thresholds: AtomicU64,
    pub(crate) wallets_low: AtomicU64,
    pub(crate) delivered: AtomicU64,
    pub(crate) retried: AtomicU64,
    pub(crate) failed: AtomicU64,
}

impl AlertCounters {
    pub(crate) fn status(&self) -> AlertStatus {
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        AlertStatus {
            budget_thresholds: read(&self.budget_thresholds),
            wallets_low: read(&self.wallets_low),
            delivered: read(&self.delivered),
            retried: read(&self.retried),
            failed: read(&self.failed),
        }
    }
}

/// What is to be looked at.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Touched {
    /// Owners of budgets, each with moments in the periods in question.
    owners: BTreeMap<Uuid, BTreeSet<i64>>,
    wallets: BTreeSet<TenantId>,
    everything: bool,
}

impl Touched {
    #[cfg(test)]
    pub(crate) fn everything() -> Self {
        Self { everything: true, ..Self::default() }
    }

    fn is_empty(&self) -> bool {
        self.owners.is_empty() && self.wallets.is_empty() && !self.everything
    }

    fn owner(&mut self, owner: Uuid, at: UnixMillis) {
        if self.owners.len() >= MAX_TOUCHED && !self.owners.contains_key(&owner) {
            self.everything = true;
            return;
        }
        let moments = self.owners.entry(owner).or_default();
        moments.insert(at.0.div_euclid(MOMENT_MS) * MOMENT_MS);
        if moments.len() > MAX_MOMENTS {
            moments.pop_first();
        }
    }

    fn add(&mut self, other: Self) {
        self.everything |= other.everything;
        self.wallets.extend(other.wallets);
        for (owner, moments) in other.owners {
            moments.into_iter().for_each(|at| self.owner(owner, UnixMillis(at)));
        }
    }
}

/// The way to tell what was touched. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub(crate) struct AlertSignals {
    touched: Arc<Mutex<Touched>>,
    wanted: Arc<Notify>,
}

impl AlertSignals {
    /// These requests are in the journal.
    pub(crate) fn journaled<E: AsRef<UsageEvent>>(&self, events: &[E]) {
        let mut touched = self.touched.lock();
        for event in events {
            let event = event.as_ref();
            for owner in [event.tenant.as_uuid(), event.project.as_uuid(), event.key.as_uuid()] {
                touched.owner(owner, event.admitted_at);
            }
            touched.wallets.insert(event.tenant);
        }
        drop(touched);
        self.wanted.notify_one();
    }

    /// A budget was made or changed.
    pub(crate) fn budget_changed(&self, budget: &BudgetRecord) {
        if !budget.alert_at.is_empty() {
            self.touched.lock().owner(owner_id(budget.owner), budget.updated_at);
            self.wanted.notify_one();
        }
    }

    /// A wallet's credit, or the levels somebody wants to be told of, have changed.
    pub(crate) fn wallet_changed(&self, tenant: TenantId) {
        self.touched.lock().wallets.insert(tenant);
        self.wanted.notify_one();
    }

    pub(crate) fn take(&self) -> Touched {
        std::mem::take(&mut self.touched.lock())
    }

    fn put_back(&self, touched: Touched) {
        self.touched.lock().add(touched);
        self.wanted.notify_one();
    }
}

fn owner_id(owner: BudgetOwner) -> Uuid {
    match owner {
        BudgetOwner::Tenant(id) => id.as_uuid(),
        BudgetOwner::Project(id) => id.as_uuid(),
        BudgetOwner::Key(id) => id.as_uuid(),
    }
}

/// The job. Cheap to clone; one task runs it.
#[derive(Clone, Debug)]
pub(crate) struct AlertJob {
    pub(crate) store: Store,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) signals: AlertSignals,
    pub(crate) dispatcher: WebhookDispatcher,
    pub(crate) counters: Arc<AlertCounters>,
}

impl AlertJob {
    /// The job and its dispatcher, which must run beside it.
    pub(crate) fn new(
        store: &Store,
        clock: &Arc<dyn Clock>,
        secrets: CredentialBox,
        transport: Option<WebhookTransport>,
    ) -> Self {
        let counters = Arc::<AlertCounters>::default();
        let dispatcher = WebhookDispatcher {
            store: store.clone(),
            clock: Arc::clone(clock),
            secrets,
            transport,
            wanted: Arc::default(),
            counters: Arc::clone(&counters),
        };
        let (store, clock, signals) = (store.clone(), Arc::clone(clock), AlertSignals::default());
        Self { store, clock, signals, dispatcher, counters }
    }

    /// Looks until `stop`.
    pub(crate) async fn run(self, stop: CancellationToken) {
        let work = async {
            let mut sweep_at = Instant::now();
            let mut is_failing = false;
            loop {
                tokio::select! {
                    () = self.signals.wanted.notified() => tokio::time::sleep(GATHER).await,
                    () = tokio::time::sleep_until(sweep_at) => {}
                }
                let mut touched = self.signals.take();
                if Instant::now() >= sweep_at {
                    sweep_at = Instant::now() + SWEEP_EVERY;
                    touched.everything = true;
                }
                if touched.is_empty() {
                    continue;
                }
                match self.look(&touched).await {
                    Ok(()) => is_failing = false,
                    Err(error) => {
                        if !std::mem::replace(&mut is_failing, true) {
                            tracing::warn!(%error, "alerts cannot be raised now; it is tried again");
                        }
                        self.signals.put_back(touched);
                        tokio::time::sleep(RETRY_AFTER).await;
                    }
                }
            }
        };
        // What is cut off is looked at again: the first look after a start is at everything.
        stop.run_until_cancelled(work).await;
    }

    /// Raises what is due among what was touched.
    pub(crate) async fn look(&self, touched: &Touched) -> Result<(), AppError> {
        if touched.everything {
            self.look_at_all().await?;
        }
        let mut zones = BTreeMap::new();
        let owners: Vec<Uuid> = touched.owners.keys().copied().collect();
        for budget in self.store.alerting_budgets_of(&owners).await? {
            let moments = touched.owners.get(&owner_id(budget.owner));
            self.budget(&budget, moments.into_iter().flatten().copied(), &mut zones).await?;
        }
        let wallets: Vec<TenantId> = touched.wallets.iter().copied().collect();
        for tenant in self.store.alerting_wallets_of(&wallets).await? {
            self.wallet(&tenant).await?;
        }
        Ok(())
    }

    async fn look_at_all(&self) -> Result<(), AppError> {
        let mut zones = BTreeMap::new();
        let mut page = PageRequest::first(READ_PAGE);
        loop {
            let part = self.store.list_alerting_budgets(page).await?;
            for budget in &part.items {
                self.budget(budget, std::iter::empty(), &mut zones).await?;
            }
            let Some(next) = part.next else { break };
            page = PageRequest::after(READ_PAGE, next);
        }
        let mut page = PageRequest::first(READ_PAGE);
        loop {
            let part = self.store.list_tenants(page).await?;
            for tenant in part.items.iter().filter(|tenant| !tenant.alert_below.is_empty()) {
                self.wallet(tenant).await?;
            }
            let Some(next) = part.next else { return Ok(()) };
            page = PageRequest::after(READ_PAGE, next);
        }
    }

    /// One budget in its present period and in those of `moments` that have not ended for long.
    async fn budget(
        &self,
        budget: &BudgetRecord,
        moments: impl Iterator<Item = i64>,
        zones: &mut BTreeMap<TenantId, Option<TimeZoneName>>,
    ) -> Result<(), AppError> {
        let zone = match zones.get(&budget.tenant) {
            Some(zone) => zone.clone(),
            None => {
                let zone = match self.store.tenant(budget.tenant).await {
                    Ok(tenant) => Some(tenant.time_zone),
                    // it was deleted meanwhile
                    Err(StoreError::NotFound { .. }) => None,
                    Err(error) => return Err(error.into()),
                };
                zones.insert(budget.tenant, zone.clone());
                zone
            }
        };
        let Some(zone) = zone else { return Ok(()) };
        let now = self.clock.now();
        let mut periods: Vec<Period> = Vec::new();
        for moment in moments.map(UnixMillis).chain([now]) {
            let pair = zone.periods(budget.window, moment);
            let period = pair.map_err(|error| AppError::Internal(error.to_string()))?.current;
            let is_recent = period.ends_at.0 > now.0.saturating_sub(LATE_MS) && period.starts_at <= now;
            if is_recent && !periods.contains(&period) {
                periods.push(period);
            }
        }
        for period in periods {
            self.budget_in(budget, period).await?;
        }
        Ok(())
    }

    async fn budget_in(&self, budget: &BudgetRecord, period: Period) -> Result<(), AppError> {
        let spent = self.store.spent(budget.owner, period).await?;
        let limit = budget.effective_limit(self.clock.now());
        let is_passed = |share: &&tollgate_domain::BudgetShare| spent.0 > 0 && spent >= share.of(limit);
        if !budget.alert_at.iter().any(|share| is_passed(&share)) {
            return Ok(());
        }
        let (kind, subject, occasion) = (AlertKind::BudgetThreshold, budget.id.as_uuid(), period.starts_at.0);
        let raised = self.store.raised_thresholds(kind, subject, occasion).await?;
        for share in budget.alert_at.iter().filter(is_passed) {
            let threshold = i64::from(share.ten_thousandths());
            if raised.contains(&threshold) {
                continue;
            }
            let message = messages::budget_threshold(&self.store, budget, period, (spent, limit), *share);
            let is_new = self
                .raise(budget.tenant, kind, subject, (occasion, period.ends_at), threshold, message.await?)
                .await?;
            if is_new {
                self.counters.budget_thresholds.fetch_add(1, Ordering::Relaxed);
                tracing::warn!(
                    event = kind.name(),
                    tenant = %budget.tenant,
                    budget = %budget.id,
                    window = budget.window.name(),
                    period_start = %period.starts_at,
                    threshold = %share,
                    limit_nano_usd = limit.0,
                    spent_nano_usd = spent.0,
                    "a budget's spend has reached a threshold"
                );
            }
        }
        Ok(())
    }

    async fn wallet(&self, tenant: &tollgate_store::TenantRecord) -> Result<(), AppError> {
        if tenant.billing != tollgate_policy::Billing::Prepaid {
            return Ok(());
        }
        let history = self.store.wallet_history(tenant.id).await?;
        let Some(balance) = history
            .balance()
            .filter(|balance| tenant.alert_below.first().is_some_and(|highest| balance < highest))
        else {
            return Ok(());
        };
        let (kind, subject) = (AlertKind::WalletLow, tenant.id.as_uuid());
        for level in tenant.alert_below.iter().filter(|level| balance < **level) {
            let occasion = history.last_at_or_above(*level);
            if self.store.raised_thresholds(kind, subject, occasion).await?.contains(&level.0) {
                continue;
            }
            let message = messages::wallet_low(tenant, balance, *level);
            let until = UnixMillis(i64::MAX);
            if self.raise(tenant.id, kind, subject, (occasion, until), level.0, message).await? {
                self.counters.wallets_low.fetch_add(1, Ordering::Relaxed);
                tracing::warn!(
                    event = kind.name(),
                    tenant = %tenant.id,
                    balance_nano_usd = balance.0,
                    alert_below_nano_usd = level.0,
                    "a wallet's balance has fallen below a level"
                );
            }
        }
        Ok(())
    }

    async fn raise(
        &self,
        tenant: TenantId,
        kind: AlertKind,
        subject: Uuid,
        (occasion, occasion_ends_at): (i64, UnixMillis),
        threshold: i64,
        data: serde_json::Value,
    ) -> Result<bool, AppError> {
        let at = self.clock.now();
        let id = tollgate_domain::Id::generate(at, id_entropy()?);
        let body = messages::envelope(kind.name(), at, &data);
        let alert = NewAlert { id, tenant, kind, subject, occasion, occasion_ends_at, threshold, body, at };
        let is_new = self.store.raise_alert(&alert).await?;
        if is_new {
            self.dispatcher.wake();
        }
        Ok(is_new)
    }
}
