//! Commands as a ledger understands them.

use std::sync::Arc;

use tollgate_domain::{
    BudgetId, EventId, HoldId, KeyId, NanoUsd, NodeId, Period, PeriodPair, ProjectId, RequestId,
    RequestOutcome, SettlementBasis, Surface, TenantId, UnixMillis, Usage, UsageEvent,
};
use tollgate_ledger::{BudgetCheck, HeldBudget, LimitCheck, LimitOwner, OpenHold, SeedCounter, WalletRule};
use tollgate_policy::RateLimits;

use crate::command::{LEASE_MS, N_BUDGETS};
use crate::model::{Hold, Wallet};

pub(crate) const LIMITS: [i64; N_BUDGETS] = [600, 900, 1_300, 2_500];
/// What the journal knows of each at the beginning.
pub(crate) const SEEDED: [i64; N_BUDGETS] = [0, 250, 100, 0];
/// The earlier period of every budget began before any seed, the later one is said to begin after it.
pub(crate) const EARLIER: i64 = 1_000;
pub(crate) const LATER: i64 = 4_100_000_000_000;
const END: i64 = 4_300_000_000_000;

/// One tenant's names.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Names(pub(crate) u64);

impl Names {
    fn id(self, number: u128) -> u128 {
        (u128::from(self.0) << 64) | number
    }

    pub(crate) fn tenant(self) -> TenantId {
        TenantId::from_u128(self.id(1))
    }

    pub(crate) fn key(self, is_second: bool) -> KeyId {
        KeyId::from_u128(self.id(2 + u128::from(is_second)))
    }

    pub(crate) fn hold(self, hold: u8) -> HoldId {
        HoldId::from_u128(self.id(0x100 + u128::from(hold)))
    }

    pub(crate) fn hold_index(self, id: HoldId) -> u8 {
        u8::try_from(id.as_uuid().as_u128() & 0xff).unwrap()
    }

    pub(crate) fn budget(self, index: usize) -> BudgetId {
        BudgetId::from_u128(self.id(0x200 + index as u128))
    }

    pub(crate) fn budget_index(self, id: BudgetId) -> usize {
        usize::try_from(id.as_uuid().as_u128() & 0xff).unwrap()
    }

    /// What a caller says of a budget; every other one has a present period that has ended, so that the ledger takes
    /// the next.
    pub(crate) fn check(self, index: usize, is_later: bool) -> BudgetCheck {
        let period =
            |starts_at, ends_at| Period { starts_at: UnixMillis(starts_at), ends_at: UnixMillis(ends_at) };
        let meant = period(if is_later { LATER } else { EARLIER }, END);
        // The ledger refuses a present period that has not begun, and takes the caller's word for the next one.
        let periods = if index.is_multiple_of(2) && !is_later {
            PeriodPair { current: meant, next: period(END, END + 1) }
        } else {
            PeriodPair { current: period(0, EARLIER), next: meant }
        };
        BudgetCheck { budget: self.budget(index), limit: NanoUsd(LIMITS[index]), periods }
    }

    pub(crate) fn counter(self, index: usize, starts_at: i64, settled: i64) -> SeedCounter {
        SeedCounter {
            budget: self.budget(index),
            period_starts_at: UnixMillis(starts_at),
            settled: NanoUsd(settled),
        }
    }

    pub(crate) fn limits(self, concurrent: Option<usize>) -> Vec<LimitCheck> {
        let limits = concurrent.map(|concurrent| LimitCheck {
            owner: LimitOwner::Tenant(self.tenant()),
            limits: RateLimits { concurrent_requests: Some(concurrent as u64), ..RateLimits::default() },
        });
        limits.into_iter().collect()
    }

    pub(crate) fn open_hold(self, id: u8, hold: &Hold, now: i64) -> OpenHold {
        let held = |(index, start, limit): &(usize, i64, i128)| HeldBudget {
            budget: self.budget(*index),
            period_starts_at: UnixMillis(*start),
            limit: nanos(*limit),
        };
        OpenHold {
            tenant: self.tenant(),
            hold: self.hold(id),
            key: self.key(false),
            node: NodeId::from_u128(9),
            amount: nanos(hold.amount),
            wallet: rule(hold.wallet),
            budgets: hold.budgets.iter().map(held).collect(),
            admitted_at: Some(UnixMillis(now)),
            lease_ms: LEASE_MS.unsigned_abs(),
            progress: nanos(hold.progress),
            memo: memo(id),
            slab: None,
        }
    }

    pub(crate) fn event(self, hold: u8, cost: i64) -> Arc<UsageEvent> {
        let id = self.hold(hold);
        Arc::new(UsageEvent {
            event: EventId::from_uuid(id.as_uuid()),
            request: RequestId::from_uuid(id.as_uuid()),
            hold: id,
            tenant: self.tenant(),
            project: ProjectId::from_u128(2),
            key: self.key(false),
            end_user: None,
            labels: [].into(),
            surface: Surface::Chat,
            requested_model: "fast".to_owned(),
            provider: "openai".to_owned(),
            model: "gpt-5.4-mini".to_owned(),
            streamed: false,
            admitted_at: UnixMillis(0),
            finished_at: UnixMillis(0),
            held: NanoUsd(cost),
            cost: NanoUsd(cost),
            provider_cost: NanoUsd(cost),
            margin: None,
            provider_charge: None,
            usage: Usage::ZERO,
            charge: Vec::new(),
            basis: SettlementBasis::Provider,
            outcome: RequestOutcome::Ok,
            status: 200,
            attempts: Vec::new(),
            duration_ms: 1,
            first_byte_ms: None,
            overhead_us: 1,
            policy_revision: 1,
        })
    }
}

/// Something of its own for each hold, bytes that are no text included.
pub(crate) fn memo(hold: u8) -> Vec<u8> {
    vec![hold, 0, 255, b'"', b'T']
}

pub(crate) fn nanos(amount: i128) -> NanoUsd {
    NanoUsd(i64::try_from(amount).unwrap())
}

pub(crate) fn rule(wallet: Wallet) -> WalletRule {
    match wallet {
        Wallet::None => WalletRule::None,
        Wallet::Counted => WalletRule::Counted,
        Wallet::Enforced => WalletRule::Enforced,
    }
}
