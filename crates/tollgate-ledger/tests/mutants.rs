//! The faults that a proof of the ledger must notice are really there, in both backends; and without them the
//! same scenes end well.

#![expect(clippy::unwrap_used, reason = "helpers of tests fail as tests do")]

use std::sync::Arc;

use tollgate_domain::{
    BudgetId, HoldId, KeyId, ManualClock, NanoUsd, NodeId, Period, PeriodPair, Secret, TenantId, UnixMillis,
};
use tollgate_ledger::mutants::{Mutant, activate};
use tollgate_ledger::{
    Admission, AdmitOutcome, BudgetCheck, Ledger, RedisConfig, Seed, SeedCounter, SettleOutcome, Settlement,
    WalletRule,
};
use tollgate_testkit::redis::RedisServer;
use tollgate_testkit::wait::eventually;

const TENANT: TenantId = TenantId::from_u128(0x77);

struct Scene {
    ledger: Ledger,
    clock: Option<Arc<ManualClock>>,
    server: Option<RedisServer>,
    next_hold: u128,
}

impl Scene {
    fn memory() -> Self {
        let clock = Arc::new(ManualClock::new(UnixMillis(1_900_000_000_000)));
        Self { ledger: Ledger::memory(clock.clone()), clock: Some(clock), server: None, next_hold: 0 }
    }

    async fn redis() -> Self {
        let server = RedisServer::start().await.unwrap();
        let mut config = RedisConfig::new(Secret::new(server.url()));
        (config.response_timeout_ms, config.connect_timeout_ms) = (10_000, 10_000);
        let ledger = Ledger::redis(&config).await.unwrap();
        Self { ledger, clock: None, server: Some(server), next_hold: 0 }
    }

    async fn seed(&self, wallet_limit: i64, budgets: &[BudgetCheck]) {
        let counter = |check: &BudgetCheck| SeedCounter {
            budget: check.budget,
            period_starts_at: check.periods.current.starts_at,
            settled: NanoUsd::ZERO,
        };
        let seed = Seed {
            tenant: TENANT,
            wallet_limit: NanoUsd(wallet_limit),
            wallet_version: 1,
            wallet_settled: NanoUsd::ZERO,
            counters: budgets.iter().map(counter).collect(),
        };
        self.ledger.seed(&seed).await.unwrap();
    }

    fn new_hold(&mut self) -> HoldId {
        self.next_hold += 1;
        HoldId::from_u128(self.next_hold)
    }

    async fn admit(&self, hold: HoldId, amount: i64, budgets: &[BudgetCheck], lease_ms: u64) -> AdmitOutcome {
        let admission = Admission {
            tenant: TENANT,
            key: KeyId::from_u128(1),
            node: NodeId::from_u128(2),
            hold,
            amount: NanoUsd(amount),
            minimum: NanoUsd(amount),
            wallet: WalletRule::Enforced,
            budgets,
            limits: &[],
            tokens: 0,
            lease_ms,
            memo: b"memo",
        };
        self.ledger.admit(&admission).await.unwrap()
    }

    async fn settle(&self, hold: HoldId, actual: i64) -> SettleOutcome {
        let actual = NanoUsd(actual);
        let settlement = Settlement { tenant: TENANT, hold, actual, tokens: 0, event: None };
        self.ledger.settle(&settlement).await.unwrap()
    }

    /// Whether the ledger gets something wrong that the fault would.
    async fn is_wrong(&mut self, mutant: Mutant) -> bool {
        let tight = BudgetCheck {
            budget: BudgetId::from_u128(9),
            limit: NanoUsd(10),
            periods: PeriodPair {
                current: Period { starts_at: UnixMillis(1_000), ends_at: UnixMillis(4_300_000_000_000) },
                next: Period { starts_at: UnixMillis(4_300_000_000_000), ends_at: UnixMillis(i64::MAX) },
            },
        };
        let (first, second) = (self.new_hold(), self.new_hold());
        let is_admitted = |outcome: AdmitOutcome| matches!(outcome, AdmitOutcome::Admitted(_));
        match mutant {
            Mutant::MissingIsFull => is_admitted(self.admit(first, 5, &[], 60_000).await),
            Mutant::ExpiredIsReleased => {
                self.seed(100, &[]).await;
                assert!(is_admitted(self.admit(first, 80, &[], 1).await));
                self.let_a_lease_end().await;
                is_admitted(self.admit(second, 80, &[], 60_000).await)
            }
            Mutant::FirstLevelOnly => {
                self.seed(100, &[tight]).await;
                is_admitted(self.admit(first, 50, &[tight], 60_000).await)
            }
            Mutant::HoldsIgnored => {
                self.seed(100, &[]).await;
                assert!(is_admitted(self.admit(first, 80, &[], 60_000).await));
                is_admitted(self.admit(second, 80, &[], 60_000).await)
            }
            Mutant::NoTombstone => {
                self.seed(100, &[]).await;
                self.admit(first, 80, &[], 60_000).await;
                self.settle(first, 5).await;
                self.settle(first, 5).await != SettleOutcome::AlreadySettled
            }
            Mutant::NoFence => {
                self.seed(100, &[]).await;
                self.admit(first, 80, &[], 60_000).await;
                self.ledger.fence(&[TENANT]).await.unwrap();
                self.settle(first, 5).await != SettleOutcome::WrongEpoch
                    || self.admit(second, 1, &[], 60_000).await != AdmitOutcome::WrongEpoch
            }
        }
    }

    async fn let_a_lease_end(&self) {
        if let Some(clock) = &self.clock {
            clock.advance_ms(2);
        }
        let ended = async || self.ledger.suspect_holds(1, 1).await.unwrap().pop();
        eventually(std::time::Duration::from_secs(20), "a lease to end", ended).await.unwrap();
    }
}

#[tokio::test]
async fn every_fault_shows_in_both_backends() {
    for mutant in Mutant::ALL {
        for fault in [None, Some(mutant)] {
            activate(fault);
            assert_eq!(Scene::memory().is_wrong(mutant).await, fault.is_some(), "in process: {mutant:?}");
            let mut scene = Scene::redis().await;
            assert_eq!(scene.is_wrong(mutant).await, fault.is_some(), "Redis: {mutant:?}");
            drop(scene.server.take());
        }
    }
}
