//! Random sequences of operations against a naive model, in process and in Redis: the same outcomes, and
//! `settled + held ≤ limit` after every step.

use std::collections::HashMap;

use proptest::prelude::*;
use tollgate_domain::{HoldId, MAX_LIMIT, NanoUsd, PeriodPair, TenantId};
use tollgate_ledger::{AdmitOutcome, BudgetCheck, LimitCheck, LimitOwner, SettleOutcome, WalletRule};
use tollgate_policy::RateLimits;

use crate::stand::{Ask, Stand, Time, ended_period, long_period, seed, unique};

const N_BUDGETS: usize = 3;
const N_HOLDS: u8 = 12;
const CONCURRENT: u64 = 4;

#[derive(Clone, Debug)]
enum Step {
    Admit {
        hold: u8,
        amount: i64,
        minimum: i64,
        wallet: WalletRule,
        budgets: [bool; N_BUDGETS],
        limited: bool,
    },
    Settle {
        hold: u8,
        share_percent: i64,
    },
    Credit {
        limit: i64,
        version: u64,
    },
    Seed,
    Forget,
}

fn step() -> impl Strategy<Value = Step> {
    let wallet = prop_oneof![Just(WalletRule::None), Just(WalletRule::Enforced), Just(WalletRule::Counted)];
    let admit = (0..N_HOLDS, 0_i64..400, 0_i64..=100, wallet, any::<[bool; N_BUDGETS]>(), any::<bool>());
    prop_oneof![
        8 => admit.prop_map(|(hold, amount, percent, wallet, budgets, limited)| {
            Step::Admit { hold, amount, minimum: amount * percent / 100, wallet, budgets, limited }
        }),
        6 => (0..N_HOLDS, 0_i64..=100).prop_map(|(hold, share_percent)| Step::Settle { hold, share_percent }),
        1 => (500_i64..1_500, 0_u64..5).prop_map(|(limit, version)| Step::Credit { limit, version }),
        1 => Just(Step::Seed),
    ]
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let rarely_forgotten = prop_oneof![200 => step(), 1 => Just(Step::Forget)];
    prop::collection::vec(rarely_forgotten, 1..80)
}

// === the model: as plain as can be ===

#[derive(Clone, Copy, Default, PartialEq, Eq, Debug)]
struct Counter {
    settled: i64,
    held: i64,
}

#[derive(Default)]
struct Model {
    seeded: bool,
    wallet_limit: Option<(i64, u64)>,
    wallet: Counter,
    budgets: [Option<Counter>; N_BUDGETS],
    in_flight: u64,
    holds: HashMap<u8, ModelHold>,
    tombstones: Vec<u8>,
    n_events: u64,
}

struct ModelHold {
    granted: i64,
    wallet: bool,
    budgets: Vec<usize>,
    limited: bool,
}

#[derive(Debug, PartialEq, Eq)]
enum Seen {
    Granted(i64),
    Spent,
    Held,
    RateLimited,
    Cold,
    AlreadySettled,
    Settled(SettleOutcome),
    Nothing,
}

/// Longer than any test runs.
const YEARS_MS: i64 = 100_000_000_000;
const LIMITS: [i64; N_BUDGETS] = [600, 900, 1_300];
/// What the journal knows of each budget: the third one's period is fresh and needs no seed.
const SEEDED: [Option<i64>; N_BUDGETS] = [Some(0), Some(250), None];

impl Model {
    fn apply(&mut self, step: &Step) -> Seen {
        match step {
            Step::Admit { hold, amount, minimum, wallet, budgets, limited } => {
                let budgets: Vec<usize> = (0..N_BUDGETS).filter(|index| budgets[*index]).collect();
                self.admit(*hold, *amount, *minimum, *wallet, budgets, *limited)
            }
            Step::Settle { hold, share_percent } => Seen::Settled(self.settle(*hold, *share_percent)),
            Step::Credit { limit, version } => {
                if self.wallet_limit.is_none_or(|(_, stored)| stored < *version) {
                    self.wallet_limit = Some((*limit, *version));
                }
                Seen::Nothing
            }
            Step::Seed => {
                if self.wallet_limit.is_none_or(|(_, stored)| stored < 1) {
                    self.wallet_limit = Some((1_000, 1));
                }
                for (counter, seeded) in self.budgets.iter_mut().zip(SEEDED) {
                    if let (None, Some(settled)) = (&counter, seeded) {
                        *counter = Some(Counter { settled, held: 0 });
                    }
                }
                self.seeded = true;
                Seen::Nothing
            }
            Step::Forget => {
                let (tombstones, n_events) = (std::mem::take(&mut self.tombstones), self.n_events);
                *self = Self { n_events, ..Self::default() };
                // In process the tombstones are part of what is forgotten; in Redis they go by themselves.
                drop(tombstones);
                Seen::Nothing
            }
        }
    }

    fn admit(
        &mut self,
        hold: u8,
        amount: i64,
        minimum: i64,
        wallet: WalletRule,
        budgets: Vec<usize>,
        limited: bool,
    ) -> Seen {
        if let Some(hold) = self.holds.get(&hold) {
            return Seen::Granted(hold.granted);
        }
        if self.tombstones.contains(&hold) {
            return Seen::AlreadySettled;
        }
        let has_money = amount > 0 && (wallet != WalletRule::None || !budgets.is_empty());
        let (wallet, budgets) = if has_money { (wallet, budgets) } else { (WalletRule::None, Vec::new()) };
        let is_unknown = |index: &usize| self.budgets[*index].is_none() && SEEDED[*index].is_some();
        if has_money && (!self.seeded || budgets.iter().any(is_unknown)) {
            return Seen::Cold;
        }
        if limited && self.in_flight >= CONCURRENT {
            return Seen::RateLimited;
        }
        let mut levels: Vec<(i64, Counter)> = Vec::new();
        if wallet == WalletRule::Enforced {
            levels.push((self.wallet_limit.unwrap().0, self.wallet));
        }
        levels.extend(budgets.iter().map(|index| (LIMITS[*index], self.budgets[*index].unwrap_or_default())));
        let available = levels.iter().map(|(limit, counter)| limit - counter.settled - counter.held).min();
        let granted = amount.min(available.unwrap_or(amount));
        if granted < minimum {
            let is_spent = levels.iter().any(|(limit, counter)| limit - counter.settled < minimum);
            return if is_spent { Seen::Spent } else { Seen::Held };
        }
        let wallet = wallet != WalletRule::None;
        if wallet {
            self.wallet.held += granted;
        }
        for index in &budgets {
            self.budgets[*index].get_or_insert_default().held += granted;
        }
        self.in_flight += u64::from(limited);
        self.holds.insert(hold, ModelHold { granted, wallet, budgets, limited });
        Seen::Granted(granted)
    }

    fn settle(&mut self, hold: u8, share_percent: i64) -> SettleOutcome {
        let Some(held) = self.holds.remove(&hold) else {
            if self.tombstones.contains(&hold) {
                return SettleOutcome::AlreadySettled;
            }
            self.tombstones.push(hold);
            self.n_events += 1;
            return SettleOutcome::UnknownHold;
        };
        let actual = charge(held.granted, share_percent);
        if held.wallet {
            self.wallet.held -= held.granted;
            self.wallet.settled += actual;
        }
        for index in held.budgets {
            let counter = self.budgets[index].as_mut().unwrap();
            counter.held -= held.granted;
            counter.settled += actual;
        }
        self.in_flight -= u64::from(held.limited);
        self.tombstones.push(hold);
        self.n_events += 1;
        SettleOutcome::Settled
    }

    fn granted(&self, hold: u8) -> i64 {
        self.holds.get(&hold).map_or(0, |hold| hold.granted)
    }
}

fn charge(granted: i64, share_percent: i64) -> i64 {
    granted * share_percent / 100
}

// === the real ledgers, asked the same ===

struct Subject<'a> {
    stand: &'a Stand,
    tenant: TenantId,
    holds: Vec<HoldId>,
    budgets: [BudgetCheck; N_BUDGETS],
}

impl<'a> Subject<'a> {
    fn new(stand: &'a Stand) -> Self {
        // After any seed; a present period that has not begun would be refused.
        let fresh = PeriodPair { current: ended_period().current, next: stand.period_in(YEARS_MS).current };
        let periods = [long_period(), ended_period(), fresh];
        let mut index = 0;
        let budgets = periods.map(|periods| {
            index += 1;
            crate::stand::budget(LIMITS[index - 1], periods)
        });
        let holds = (0..N_HOLDS).map(|_| HoldId::from_u128(unique())).collect();
        Self { stand, tenant: TenantId::from_u128(unique()), holds, budgets }
    }

    async fn apply(&self, step: &Step, granted: i64) -> Seen {
        match step {
            Step::Admit { hold, amount, minimum, wallet, budgets, limited } => {
                let mut ask = Ask::of(self.tenant).between(*minimum, *amount);
                ask.hold = self.holds[usize::from(*hold)];
                ask.wallet = *wallet;
                ask.budgets = (0..N_BUDGETS).filter(|i| budgets[*i]).map(|i| self.budgets[i]).collect();
                let limits = RateLimits { concurrent_requests: Some(CONCURRENT), ..RateLimits::default() };
                if *limited {
                    ask.limits.push(LimitCheck { owner: LimitOwner::Tenant(self.tenant), limits });
                }
                match self.stand.admit(&ask).await {
                    AdmitOutcome::Admitted(grant) => Seen::Granted(grant.granted.0),
                    AdmitOutcome::Spent(_) => Seen::Spent,
                    AdmitOutcome::Held(_) => Seen::Held,
                    AdmitOutcome::RateLimited(_) => Seen::RateLimited,
                    AdmitOutcome::Cold => Seen::Cold,
                    AdmitOutcome::AlreadySettled => Seen::AlreadySettled,
                    AdmitOutcome::Revoked => panic!("nothing was revoked"),
                    AdmitOutcome::WrongEpoch => panic!("nothing was fenced or lost"),
                    AdmitOutcome::NotBegun(_) => panic!("every present period has begun"),
                }
            }
            Step::Settle { hold, share_percent } => {
                let mut ask = Ask::of(self.tenant);
                ask.hold = self.holds[usize::from(*hold)];
                Seen::Settled(self.stand.settle(&ask, charge(granted, *share_percent)).await)
            }
            Step::Credit { limit, version } => {
                let set = self.stand.ledger.set_wallet_limit(self.tenant, NanoUsd(*limit), *version);
                set.await.unwrap();
                Seen::Nothing
            }
            Step::Seed => {
                let mut what = seed(self.tenant, 1_000, &[(self.budgets[0], 0), (self.budgets[1], 250)]);
                // The caller's periods are out of date there: the journal names the present one.
                what.counters[1].period_starts_at = self.budgets[1].periods.next.starts_at;
                self.stand.ledger.seed(&what).await.unwrap();
                Seen::Nothing
            }
            Step::Forget => {
                self.stand.ledger.forget_tenant(self.tenant).await.unwrap();
                Seen::Nothing
            }
        }
    }

    async fn assert_like(&self, model: &Model) {
        let balances = self.stand.ledger.balances(self.tenant, true, &self.budgets).await.unwrap();
        assert_eq!(balances.is_cold, !model.seeded);
        let wallet = balances.wallet.map(|wallet| (wallet.limit.0, wallet.settled.0, wallet.held.0));
        let expected = model.wallet_limit.filter(|_| model.seeded);
        let expected = expected.map(|(limit, _)| (limit, model.wallet.settled, model.wallet.held));
        assert_eq!(wallet, expected);
        for (balance, counter) in balances.budgets.iter().zip(&model.budgets) {
            let counter = counter.unwrap_or_default();
            assert_eq!((balance.settled.0, balance.held.0), (counter.settled, counter.held));
            assert!(balance.settled.0 + balance.held.0 <= balance.limit.0, "{balance:?}");
            assert!(balance.limit <= MAX_LIMIT);
        }
    }
}

async fn run(stand: &Stand, steps: &[Step]) {
    let subject = Subject::new(stand);
    let mut model = Model::default();
    let n_events_before = stand.ledger.outbox_len().await.unwrap();
    let mut may_be_overdrawn = false;
    for (index, step) in steps.iter().enumerate() {
        let granted = match step {
            Step::Settle { hold, .. } => model.granted(*hold),
            _ => 0,
        };
        let (limit_before, n_holds_before) = (model.wallet_limit, model.holds.len());
        let expected = model.apply(step);
        let seen = subject.apply(step, granted).await;
        assert_eq!(seen, expected, "step {index}: {step:?}");
        subject.assert_like(&model).await;
        // Only an operator who takes credit back, and invoices, may leave a wallet overdrawn.
        may_be_overdrawn |= matches!(step, Step::Admit { wallet: WalletRule::Counted, .. });
        may_be_overdrawn |= limit_before.zip(model.wallet_limit).is_some_and(|(old, new)| new.0 < old.0);
        let (settled, held) = (model.wallet.settled, model.wallet.held);
        let limit = model.wallet_limit.map_or(0, |(limit, _)| limit);
        let is_enforced = matches!(step, Step::Admit { wallet: WalletRule::Enforced, amount: 1.., .. });
        let is_new_hold = is_enforced && model.holds.len() > n_holds_before;
        let must_fit = is_new_hold || !may_be_overdrawn;
        assert!(!must_fit || settled + held <= limit, "the wallet: {settled} + {held} of {limit}");
    }
    assert_eq!(stand.ledger.outbox_len().await.unwrap() - n_events_before, model.n_events);
}

fn check(stand: &Stand, runtime: &tokio::runtime::Runtime, n_cases: u32, with_forgetting: bool) {
    let config = ProptestConfig { cases: n_cases, failure_persistence: None, ..ProptestConfig::default() };
    proptest!(config, |(mut steps in steps())| {
        if !with_forgetting {
            // Tombstones outlive a forgotten tenant there, so that the same hold ids cannot be used again.
            steps.retain(|step| !matches!(step, Step::Forget));
        }
        runtime.block_on(run(stand, &steps));
    });
}

#[test]
fn memory_is_like_the_model() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    check(&Stand::memory(), &runtime, 1_000, true);
}

#[test]
fn redis_is_like_the_model() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let stand = runtime.block_on(Stand::redis());
    check(&stand, &runtime, 60, false);
    // Its server ends with it; the runtime must still be there.
    let Stand { time: Time::Real(server), .. } = stand else { panic!("this is Redis") };
    drop(server);
}
