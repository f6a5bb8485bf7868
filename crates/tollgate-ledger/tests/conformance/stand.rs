//! A ledger to test, and short ways to talk to it.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use tollgate_domain::{
    BudgetId, Clock as _, EventId, HoldId, KeyId, ManualClock, NanoUsd, NodeId, Period, PeriodPair,
    ProjectId, RequestId, RequestOutcome, Secret, SettlementBasis, Surface, TenantId, UnixMillis, Usage,
    UsageEvent,
};
use tollgate_ledger::{
    Admission, AdmitOutcome, Balance, BudgetCheck, Grant, GrowOutcome, Ledger, LimitCheck, MoneyRefusal,
    RateRefusal, RedisConfig, Reseed, Seed, SeedCounter, SettleOutcome, Settlement, SlabConfig, WalletRule,
};
use tollgate_testkit::redis::RedisServer;

/// Far above any pause of a loaded machine: the suite does not test the deadline.
const PATIENT_TIMEOUT_MS: u64 = 10_000;
/// Short enough to wait for in a test.
pub(crate) const REDELIVERY_MS: u64 = 200;
/// The clock of the ledger in process starts here: later than every period that is "past" in the suite and
/// earlier than every one that is "to come".
pub(crate) const START: UnixMillis = UnixMillis(1_900_000_000_000);
pub(crate) const LEASE_MS: u64 = 60_000;
/// Within what the ledger takes, and longer than any test's seeding takes.
const FRESH_IN_MS: i64 = tollgate_ledger::MAX_CLOCK_LEAD_MS - 500;

/// Generates one test per backend for each case.
macro_rules! on_both_backends {
    ($($case:ident),* $(,)?) => {
        mod memory {
            $(#[tokio::test]
            async fn $case() {
                super::$case(crate::stand::Stand::memory()).await;
            })*
        }
        mod logged {
            $(#[tokio::test]
            async fn $case() {
                super::$case(crate::stand::Stand::logged()).await;
            })*
        }
        mod redis {
            $(#[tokio::test]
            async fn $case() {
                super::$case(crate::stand::Stand::redis().await).await;
            })*
        }
        mod slabs_in_memory {
            $(#[tokio::test]
            async fn $case() {
                super::$case(crate::stand::Stand::memory().with_slabs()).await;
            })*
        }
        mod slabs_in_redis {
            $(#[tokio::test]
            async fn $case() {
                super::$case(crate::stand::Stand::redis().await.with_slabs()).await;
            })*
        }
    };
}
pub(crate) use on_both_backends;

pub(crate) struct Stand {
    pub(crate) ledger: Ledger,
    pub(crate) time: Time,
    _log: Option<tempfile::TempDir>,
}

pub(crate) enum Time {
    Manual(Arc<ManualClock>),
    Real(Box<RedisServer>),
}

impl Stand {
    pub(crate) fn memory() -> Self {
        let clock = Arc::new(ManualClock::new(START));
        Self { ledger: Ledger::memory(clock.clone()), time: Time::Manual(clock), _log: None }
    }

    /// In process, with a log.
    pub(crate) fn logged() -> Self {
        let (clock, log) = (Arc::new(ManualClock::new(START)), tempfile::tempdir().unwrap());
        let (ledger, recovered) = Ledger::memory_with_log(clock.clone(), log.path()).unwrap();
        assert!(recovered.is_empty());
        Self { ledger, time: Time::Manual(clock), _log: Some(log) }
    }

    pub(crate) async fn redis() -> Self {
        let server = RedisServer::start().await.unwrap();
        let ledger = Ledger::redis(&patient_config(&server.url())).await.unwrap();
        Self { ledger, time: Time::Real(Box::new(server)), _log: None }
    }

    /// Like [`long_period`], but said to begin soon, after any seeding, by a caller whose clock is as far ahead as may be.
    pub(crate) fn fresh_period(&self) -> PeriodPair {
        self.period_in(FRESH_IN_MS)
    }

    /// Begins `ms` after the ledger's present and ends in 2106.
    pub(crate) fn period_in(&self, ms: i64) -> PeriodPair {
        let now = match &self.time {
            Time::Manual(clock) => clock.now(),
            Time::Real(_) => {
                let since_epoch = std::time::SystemTime::UNIX_EPOCH.elapsed().unwrap();
                UnixMillis(i64::try_from(since_epoch.as_millis()).unwrap())
            }
        };
        let current = Period { starts_at: now.plus_ms(ms), ends_at: UnixMillis(4_300_000_000_000) };
        let next = Period { starts_at: current.ends_at, ends_at: UnixMillis(4_400_000_000_000) };
        PeriodPair { current, next }
    }

    /// Lets `ms` pass where time is manual; in Redis the caller polls until it has passed.
    pub(crate) fn advance_ms(&self, ms: i64) {
        if let Time::Manual(clock) = &self.time {
            clock.advance_ms(ms);
        }
    }

    /// The same ledger behind slabs of whatever is asked for, however near a limit.
    pub(crate) fn with_slabs(self) -> Self {
        let config = SlabConfig { n_pods: 0, min_requests: 8, ..SlabConfig::default() };
        Self { ledger: self.ledger.with_slabs(config), ..self }
    }

    /// Behind slabs: out of a slab, if there can be one, that is announced and returned before anything else is asked.
    pub(crate) async fn admit(&self, ask: &Ask) -> AdmitOutcome {
        let Some(slabs) = self.ledger.slabs() else {
            return self.ledger.admit(&ask.admission()).await.unwrap();
        };
        slabs.lease_for(&ask.admission()).await;
        let outcome = self.ledger.admit(&ask.admission()).await.unwrap();
        slabs.return_all().await;
        assert_eq!(slabs.views(), []);
        outcome
    }

    pub(crate) async fn granted(&self, ask: &Ask) -> Grant {
        match self.admit(ask).await {
            AdmitOutcome::Admitted(grant) => grant,
            other => panic!("expected a grant, got {other:?}"),
        }
    }

    pub(crate) async fn rate_limited(&self, ask: &Ask) -> RateRefusal {
        match self.admit(ask).await {
            AdmitOutcome::RateLimited(refusal) => refusal,
            other => panic!("expected a rate limit, got {other:?}"),
        }
    }

    pub(crate) async fn spent(&self, ask: &Ask) -> MoneyRefusal {
        match self.admit(ask).await {
            AdmitOutcome::Spent(refusal) => refusal,
            other => panic!("expected spent, got {other:?}"),
        }
    }

    pub(crate) async fn held(&self, ask: &Ask) -> MoneyRefusal {
        match self.admit(ask).await {
            AdmitOutcome::Held(refusal) => refusal,
            other => panic!("expected held, got {other:?}"),
        }
    }

    pub(crate) async fn settle(&self, ask: &Ask, actual: i64) -> SettleOutcome {
        self.ledger.settle(&ask.settlement(actual)).await.unwrap()
    }

    pub(crate) async fn grow(&self, ask: &Ask, new_total: i64) -> GrowOutcome {
        self.ledger.grow(ask.tenant, ask.hold, NanoUsd(new_total)).await.unwrap()
    }

    pub(crate) async fn wallet(&self, tenant: TenantId) -> Option<Balance> {
        self.ledger.balances(tenant, true, &[]).await.unwrap().wallet
    }

    pub(crate) async fn budget(&self, tenant: TenantId, check: BudgetCheck) -> Balance {
        self.ledger.balances(tenant, false, &[check]).await.unwrap().budgets[0]
    }
}

pub(crate) fn patient_config(url: &str) -> RedisConfig {
    let mut config = RedisConfig::new(Secret::new(url));
    config.response_timeout_ms = PATIENT_TIMEOUT_MS;
    config.connect_timeout_ms = PATIENT_TIMEOUT_MS;
    config.outbox_redelivery_ms = REDELIVERY_MS;
    config
}

/// A number that no other call in this process got.
pub(crate) fn unique() -> u128 {
    static NEXT: AtomicU64 = AtomicU64::new(1);
    u128::from(NEXT.fetch_add(1, Ordering::Relaxed))
}

/// What a request would ask, with everything that varies public.
#[derive(Clone, Debug)]
pub(crate) struct Ask {
    pub(crate) tenant: TenantId,
    pub(crate) key: KeyId,
    pub(crate) hold: HoldId,
    pub(crate) amount: NanoUsd,
    pub(crate) minimum: NanoUsd,
    pub(crate) wallet: WalletRule,
    pub(crate) budgets: Vec<BudgetCheck>,
    pub(crate) limits: Vec<LimitCheck>,
    pub(crate) tokens: u64,
    pub(crate) tokens_used: u64,
    pub(crate) memo: Vec<u8>,
    pub(crate) lease_ms: u64,
}

impl Ask {
    /// A request of a tenant without money or limits.
    pub(crate) fn of(tenant: TenantId) -> Self {
        Self {
            tenant,
            key: KeyId::from_u128(1),
            hold: HoldId::from_u128(unique()),
            amount: NanoUsd::ZERO,
            minimum: NanoUsd::ZERO,
            wallet: WalletRule::None,
            budgets: Vec::new(),
            limits: Vec::new(),
            tokens: 0,
            tokens_used: 0,
            memo: Vec::new(),
            lease_ms: LEASE_MS,
        }
    }

    /// The same with another hold.
    pub(crate) fn again(&self) -> Self {
        Self { hold: HoldId::from_u128(unique()), ..self.clone() }
    }

    /// For exactly so much.
    pub(crate) fn exactly(mut self, amount: i64) -> Self {
        (self.amount, self.minimum) = (NanoUsd(amount), NanoUsd(amount));
        self
    }

    pub(crate) fn between(mut self, minimum: i64, amount: i64) -> Self {
        (self.amount, self.minimum) = (NanoUsd(amount), NanoUsd(minimum));
        self
    }

    pub(crate) fn with_wallet(mut self) -> Self {
        self.wallet = WalletRule::Enforced;
        self
    }

    /// The same of a tenant that pays by invoice.
    pub(crate) fn by_invoice(mut self) -> Self {
        self.wallet = WalletRule::Counted;
        self
    }

    pub(crate) fn under(mut self, budget: BudgetCheck) -> Self {
        self.budgets.push(budget);
        self
    }

    pub(crate) fn limited(mut self, limit: LimitCheck) -> Self {
        self.limits.push(limit);
        self
    }

    pub(crate) fn tokens(mut self, reserved: u64, used: u64) -> Self {
        (self.tokens, self.tokens_used) = (reserved, used);
        self
    }

    pub(crate) fn admission(&self) -> Admission<'_> {
        Admission {
            tenant: self.tenant,
            key: self.key,
            node: NodeId::from_u128(9),
            hold: self.hold,
            amount: self.amount,
            minimum: self.minimum,
            wallet: self.wallet,
            budgets: &self.budgets,
            limits: &self.limits,
            tokens: self.tokens,
            lease_ms: self.lease_ms,
            memo: &self.memo,
        }
    }

    pub(crate) fn settlement(&self, actual: i64) -> Settlement {
        Settlement {
            tenant: self.tenant,
            hold: self.hold,
            actual: NanoUsd(actual),
            tokens: self.tokens_used,
            event: Some(std::sync::Arc::new(self.event(actual))),
        }
    }

    pub(crate) fn event(&self, actual: i64) -> UsageEvent {
        UsageEvent {
            event: EventId::from_uuid(self.hold.as_uuid()),
            request: RequestId::from_uuid(self.hold.as_uuid()),
            hold: self.hold,
            tenant: self.tenant,
            project: ProjectId::from_u128(2),
            key: self.key,
            end_user: Some("Zoë \"quoted\" 😀".to_owned()),
            labels: [("team".to_owned(), "billing".to_owned())].into(),
            surface: Surface::Chat,
            requested_model: "fast".to_owned(),
            provider: "openai".to_owned(),
            model: "gpt-5.4-mini".to_owned(),
            streamed: true,
            admitted_at: START,
            finished_at: START.plus_ms(812),
            held: self.amount,
            cost: NanoUsd(actual),
            provider_cost: NanoUsd(actual),
            margin: None,
            provider_charge: None,
            usage: Usage::ZERO.with(tollgate_domain::Meter::Input, self.tokens_used),
            charge: Vec::new(),
            basis: SettlementBasis::Provider,
            outcome: RequestOutcome::Ok,
            status: 200,
            attempts: Vec::new(),
            duration_ms: 812,
            first_byte_ms: Some(120),
            overhead_us: 85,
            policy_revision: 7,
        }
    }
}

// === periods: real ones would tie the suite to the wall clock ===

/// Began in 1970, ends in 2106: any clock is inside.
pub(crate) fn long_period() -> PeriodPair {
    let current = Period { starts_at: UnixMillis(1_000), ends_at: UnixMillis(4_300_000_000_000) };
    let next = Period { starts_at: current.ends_at, ends_at: UnixMillis(4_400_000_000_000) };
    PeriodPair { current, next }
}

/// The current one ended in 1970: any clock chooses the next, which began then and ends in 2106.
pub(crate) fn ended_period() -> PeriodPair {
    let current = Period { starts_at: UnixMillis(0), ends_at: UnixMillis(1_000) };
    PeriodPair { current, next: long_period().current }
}

/// A budget with an id of its own.
pub(crate) fn budget(limit: i64, periods: PeriodPair) -> BudgetCheck {
    BudgetCheck { budget: BudgetId::from_u128(unique()), limit: NanoUsd(limit), periods }
}

/// What the journal would say of a tenant with this wallet and these budgets.
pub(crate) fn seed(tenant: TenantId, wallet_limit: i64, budgets: &[(BudgetCheck, i64)]) -> Seed {
    let counters = budgets.iter().map(|(check, settled)| SeedCounter {
        budget: check.budget,
        period_starts_at: check.periods.current.starts_at,
        settled: NanoUsd(*settled),
    });
    Seed {
        tenant,
        wallet_limit: NanoUsd(wallet_limit),
        wallet_version: 1,
        wallet_settled: NanoUsd::ZERO,
        counters: counters.collect(),
    }
}

/// The same as a reseed; the epoch that it is to see closed is still missing.
pub(crate) fn reseed_of(seed: &Seed) -> Reseed {
    Reseed {
        tenant: seed.tenant,
        expected: "0:unknown".parse().unwrap(),
        above: 0,
        wallet_limit: seed.wallet_limit,
        wallet_version: seed.wallet_version,
        wallet_settled: seed.wallet_settled,
        counters: seed.counters.clone(),
        holds: Vec::new(),
        settled: Vec::new(),
        revoked: Vec::new(),
    }
}

pub(crate) fn tenant() -> TenantId {
    TenantId::from_u128(unique())
}

pub(crate) fn balance(limit: i64, settled: i64, held: i64) -> Balance {
    Balance { limit: NanoUsd(limit), settled: NanoUsd(settled), held: NanoUsd(held) }
}
