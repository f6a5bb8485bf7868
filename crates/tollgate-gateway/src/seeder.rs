//! How a pod asks for a tenant's counters to be written into a ledger that does not know them, or knows them
//! of another epoch: one request per tenant at a time, the others wait for its answer.

use std::collections::HashMap;
use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::Semaphore;
use tokio::time::Instant;
use tollgate_domain::TenantId;
use tollgate_policy::EndUserCounter;

/// Requests under way at once: the control plane answers those that come together in one go.
const MAX_CONCURRENT_SEEDINGS: usize = 256;

/// A request under way; the error is for the log.
pub type SeedFuture = Pin<Box<dyn Future<Output = Result<(), String>> + Send>>;

/// Why a pod asks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SeedReason {
    /// The ledger does not know the tenant, or one of its budgets.
    Unknown,
    /// What the ledger has of the tenant is of another epoch than what this pod holds.
    WrongEpoch,
}

/// Asks for counters of end users.
type AskEndUsers = dyn Fn(TenantId, Vec<EndUserCounter>) -> SeedFuture + Send + Sync;

/// Asks the control plane, wherever it is, to seed or reseed a tenant.
#[derive(Clone)]
pub struct Seeder {
    ask: Arc<dyn Fn(TenantId, SeedReason) -> SeedFuture + Send + Sync>,
    ask_end_users: Option<Arc<AskEndUsers>>,
    places: Arc<Semaphore>,
    tenants: Arc<Mutex<HashMap<TenantId, Arc<Turn>>>>,
}

/// The requests about one tenant, one after the other.
#[derive(Default)]
struct Turn(tokio::sync::Mutex<Option<LastAnswer>>);

struct LastAnswer {
    asked_at: Instant,
    answer: Result<(), String>,
}

impl Seeder {
    /// Asks through `ask`.
    pub fn new(ask: impl Fn(TenantId, SeedReason) -> SeedFuture + Send + Sync + 'static) -> Self {
        let places = Arc::new(Semaphore::new(MAX_CONCURRENT_SEEDINGS));
        Self { ask: Arc::new(ask), ask_end_users: None, places, tenants: Arc::default() }
    }

    /// The same, which also asks for counters of end users, through `ask`.
    #[must_use]
    pub fn with_end_users(
        mut self,
        ask: impl Fn(TenantId, Vec<EndUserCounter>) -> SeedFuture + Send + Sync + 'static,
    ) -> Self {
        self.ask_end_users = Some(Arc::new(ask));
        self
    }

    /// Has counters of end users written into the ledger, waiting at most `timeout`. Each request asks for its
    /// own.
    ///
    /// # Errors
    /// A sentence for the log.
    pub(crate) async fn seed_end_users(
        &self,
        tenant: TenantId,
        counters: Vec<EndUserCounter>,
        timeout: Duration,
    ) -> Result<(), String> {
        let Some(ask) = &self.ask_end_users else {
            return Err("nobody can be asked for end users' counters".to_owned());
        };
        let asking = async {
            let _place = self.places.acquire().await.map_err(|_| "seeding has ended".to_owned())?;
            ask(tenant, counters).await
        };
        let answer = tokio::time::timeout(timeout, asking).await;
        answer.unwrap_or_else(|_| Err(format!("no answer within {} ms", timeout.as_millis())))
    }

    /// Has `tenant` seeded, waiting at most `timeout`. Who comes while another one asks gets the same answer if
    /// it was asked for later than this call began.
    ///
    /// # Errors
    /// A sentence for the log.
    pub(crate) async fn seed(
        &self,
        tenant: TenantId,
        reason: SeedReason,
        timeout: Duration,
    ) -> Result<(), String> {
        let turn = Arc::clone(self.tenants.lock().entry(tenant).or_default());
        let answer = tokio::time::timeout(timeout, self.ask_or_join(&turn, tenant, reason)).await;
        self.forget(tenant, turn);
        answer.unwrap_or_else(|_| Err(format!("no answer within {} ms", timeout.as_millis())))
    }

    async fn ask_or_join(&self, turn: &Turn, tenant: TenantId, reason: SeedReason) -> Result<(), String> {
        let began = Instant::now();
        let mut last = turn.0.lock().await;
        if let Some(last) = last.as_ref().filter(|last| last.asked_at >= began) {
            return last.answer.clone();
        }
        let _place = self.places.acquire().await.map_err(|_| "seeding has ended".to_owned())?;
        let asked_at = Instant::now();
        let answer = (self.ask)(tenant, reason).await;
        if let Err(error) = &answer {
            tracing::warn!(%tenant, ?reason, error, "a tenant's counters were not written into the ledger");
        }
        *last = Some(LastAnswer { asked_at, answer: answer.clone() });
        answer
    }

    /// Forgets a tenant that nobody else asks about.
    fn forget(&self, tenant: TenantId, turn: Arc<Turn>) {
        let mut tenants = self.tenants.lock();
        drop(turn);
        if tenants.get(&tenant).is_some_and(|turn| Arc::strong_count(turn) == 1) {
            tenants.remove(&tenant);
        }
    }
}

impl fmt::Debug for Seeder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Seeder")
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;

    const TENANT: TenantId = TenantId::from_u128(1);
    const PATIENCE: Duration = Duration::from_secs(5);

    /// A seeder whose first request waits for the gate.
    fn gated(n_asked: &Arc<AtomicUsize>, gate: &Arc<Semaphore>) -> Seeder {
        let (n_asked, gate) = (Arc::clone(n_asked), Arc::clone(gate));
        Seeder::new(move |_, _| {
            let n = n_asked.fetch_add(1, Ordering::AcqRel);
            let gate = Arc::clone(&gate);
            Box::pin(async move {
                if n == 0 {
                    gate.acquire().await.unwrap().forget();
                }
                Ok(())
            })
        })
    }

    #[tokio::test(start_paused = true)]
    async fn one_asks_and_those_who_came_meanwhile_ask_once_more() {
        let (n_asked, gate) = (Arc::default(), Arc::new(Semaphore::new(0)));
        let seeder = gated(&n_asked, &gate);
        let mut callers = tokio::task::JoinSet::new();
        for n in 0..50 {
            if n == 1 {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
            let seeder = seeder.clone();
            callers.spawn(async move { seeder.seed(TENANT, SeedReason::Unknown, PATIENCE).await });
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
        assert_eq!(n_asked.load(Ordering::Acquire), 1);
        gate.add_permits(1);
        assert!(callers.join_all().await.iter().all(Result::is_ok));
        assert_eq!(n_asked.load(Ordering::Acquire), 2, "what came after the question was joined by one more");
        assert!(seeder.tenants.lock().is_empty());
    }

    #[tokio::test(start_paused = true)]
    async fn who_leaves_does_not_hold_up_the_others() {
        let (n_asked, gate) = (Arc::default(), Arc::new(Semaphore::new(0)));
        let seeder = gated(&n_asked, &gate);
        let late = seeder.seed(TENANT, SeedReason::WrongEpoch, Duration::from_millis(100)).await;
        assert!(late.unwrap_err().contains("100 ms"));
        seeder.seed(TENANT, SeedReason::WrongEpoch, PATIENCE).await.unwrap();
        assert_eq!(n_asked.load(Ordering::Acquire), 2);
        assert!(seeder.tenants.lock().is_empty());
    }
}
