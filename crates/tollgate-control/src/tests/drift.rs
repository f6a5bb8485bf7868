//! The comparison of a ledger in a real Redis with the journal, while it is at rest and under load.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use tollgate_domain::{Id, ManualClock, NanoUsd, Period, PeriodPair, Secret, TenantId, UnixMillis};
use tollgate_ledger::{
    Admission, AdmitOutcome, BudgetCheck, Ledger, RedisConfig, SettleOutcome, Settlement, WalletRule,
};
use tollgate_store::Store;
use tollgate_testkit::redis::RedisServer;
use tollgate_testkit::wait::eventually;

use super::harness::{PATIENCE, World};
use super::money::{event, prepaid};
use crate::{BudgetView, BudgetWindowName, CreateBudget, CreatedKey, DriftQuery, DriftState, DriftView};

/// Adds to a packed counter of a tenant's state, as no code of ours does.
const CORRUPT_WALLET: &str = "local l, v, s, h = struct.unpack('<dddd', redis.call('HGET', KEYS[1], 'w'))
    redis.call('HSET', KEYS[1], 'w', struct.pack('<dddd', l, v, s + tonumber(ARGV[1]), h)) return 1";
const CORRUPT_BUDGET: &str = "local s, h = struct.unpack('<dd', redis.call('HGET', KEYS[1], ARGV[2]))
    redis.call('HSET', KEYS[1], ARGV[2], struct.pack('<dd', s + tonumber(ARGV[1]), h)) return 1";

struct Stand {
    world: World,
    redis: RedisServer,
    tenant: TenantId,
    key: CreatedKey,
    budget: BudgetView,
    number: AtomicU64,
}

impl Stand {
    async fn start() -> Self {
        let redis = RedisServer::start().await.unwrap();
        let store = Store::connect("sqlite::memory:").await.unwrap();
        store.migrate().await.unwrap();
        // the ledger goes by the server's clock
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_millis();
        let clock = Arc::new(ManualClock::new(UnixMillis(i64::try_from(now).unwrap())));
        let config = RedisConfig { response_timeout_ms: 5_000, ..RedisConfig::new(Secret::new(redis.url())) };
        let ledger = Ledger::redis(&config).await.unwrap();
        let world = World::with(store, ledger, clock).await;
        let (tenant, key, of_key) = prepaid(&world).await;
        // the requests below do not name it
        world.app().delete_budget(&world.admin, &of_key.id).await.unwrap();
        let body = CreateBudget {
            tenant: Some("acme".into()),
            project: None,
            key: None,
            window: BudgetWindowName::Total,
            limit: "4".into(),
            alert_at: Vec::new(),
        };
        let budget = world.app().create_budget(&world.admin, body).await.unwrap();
        Self { world, redis, tenant, key, budget, number: AtomicU64::new(1) }
    }

    /// One request of 1,000 nano-USD from admission to settlement; `false` while the tenant is closed.
    async fn spend(&self) -> bool {
        let number = u128::from(self.number.fetch_add(1, Ordering::Relaxed));
        let period = Period::TOTAL;
        let budgets = [BudgetCheck {
            budget: self.budget.id.parse().unwrap(),
            limit: self.budget.limit.0,
            periods: PeriodPair { current: period, next: period },
        }];
        let (hold, amount) = (Id::from_u128(0x7000_0000 + number), NanoUsd(2_000));
        let admission = Admission {
            tenant: self.tenant,
            key: self.key.key.id.parse().unwrap(),
            node: Id::from_u128(9),
            hold,
            amount,
            minimum: amount,
            wallet: WalletRule::Enforced,
            budgets: &budgets,
            limits: &[],
            tokens: 0,
            lease_ms: 60_000,
            memo: &[],
        };
        match self.world.ledger.admit(&admission).await {
            Ok(AdmitOutcome::Admitted(_)) => {}
            Ok(AdmitOutcome::WrongEpoch | AdmitOutcome::Cold) | Err(_) => return false,
            Ok(other) => panic!("{other:?}"),
        }
        let mut event = event(self.tenant, &self.key, hold, 0x7000_0000 + number);
        (event.cost, event.admitted_at) = (NanoUsd(1_000), self.world.app().now());
        let settlement = Settlement {
            tenant: self.tenant,
            hold,
            actual: event.cost,
            tokens: 0,
            event: Some(Arc::new(event)),
        };
        // what was closed meanwhile is settled once its tenant is reseeded with it, as a pod does
        while self.world.ledger.settle(&settlement).await.is_ok_and(|is| is == SettleOutcome::WrongEpoch) {
            let _ = self.world.app().reseed_tenant(self.tenant, None).await;
        }
        true
    }

    async fn compare(&self, repair: bool) -> DriftView {
        let (app, admin) = (self.world.app(), &self.world.admin);
        app.start_drift(admin, DriftQuery { repair }).unwrap();
        let finished = async || {
            let view = app.drift(admin).unwrap();
            (view.state != DriftState::Running).then_some(view)
        };
        eventually(PATIENCE, "a comparison", finished).await.unwrap()
    }

    async fn corrupt(&self, script: &str, arguments: &[&str]) {
        let state = self.redis.cli(&["KEYS", &format!("tg:*{}:state", self.tenant)]).await.unwrap();
        let command = [&["EVAL", script, "1", state.as_str()], arguments].concat();
        assert_eq!(self.redis.cli(&command).await.unwrap(), "1");
    }

    async fn is_exact(&self) -> bool {
        let (app, admin, store) = (self.world.app(), &self.world.admin, &self.world.store);
        let settled = store.wallet_settled(self.tenant).await.unwrap();
        let balance = app.balance(admin, "acme").await.unwrap();
        let budget = app.budget(admin, &self.budget.id).await.unwrap();
        (balance.settled.0, budget.spent.0, balance.held.0) == (settled, settled, NanoUsd::ZERO)
    }
}

fn counters(view: &DriftView) -> Vec<(&str, i64, bool)> {
    let of = |drift: &crate::DriftFindingView| drift.found.0.0 - drift.expected.0.0;
    view.drifts.iter().map(|drift| (drift.counter.as_str(), of(drift), drift.repaired)).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_corrupted_counter_is_found_and_repaired_exactly() {
    let stand = Stand::start().await;
    for _ in 0..20 {
        assert!(stand.spend().await);
    }
    let healthy = stand.compare(true).await;
    assert_eq!((healthy.state, healthy.tenants, counters(&healthy)), (DriftState::Done, 1, vec![]));
    stand.corrupt(CORRUPT_WALLET, &["-500"]).await;
    let name = format!("{}:0", stand.budget.id);
    let fields = stand.redis.cli(&["KEYS", &format!("tg:*{}:state", stand.tenant)]).await.unwrap();
    let fields = stand.redis.cli(&["HKEYS", &fields]).await.unwrap();
    assert!(fields.contains(&name), "{fields}");
    stand.corrupt(CORRUPT_BUDGET, &["700", &name]).await;
    let told = stand.compare(false).await;
    assert_eq!(counters(&told), [("wallet_settled", -500, false), ("budget_settled", 700, false)]);
    assert_eq!(told.drifts[1].budget_id.as_deref(), Some(stand.budget.id.as_str()));
    assert!(!stand.is_exact().await);
    let repaired = stand.compare(true).await;
    assert_eq!(counters(&repaired), [("wallet_settled", -500, true), ("budget_settled", 700, true)]);
    assert!(stand.is_exact().await);
    assert_eq!(counters(&stand.compare(true).await), []);
    assert!(stand.spend().await, "the tenant is open");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_is_found_on_a_healthy_ledger_under_load_and_a_loss_is() {
    let stand = Arc::new(Stand::start().await);
    let stop = Arc::new(AtomicBool::new(false));
    let load: Vec<_> = (0..4)
        .map(|_| {
            let (stand, stop) = (Arc::clone(&stand), Arc::clone(&stop));
            tokio::spawn(async move {
                let mut n_spent = 0_u64;
                while !stop.load(Ordering::Relaxed) {
                    n_spent += u64::from(stand.spend().await);
                    // a load that the journal of an unoptimised build keeps up with
                    tokio::time::sleep(Duration::from_millis(2)).await;
                }
                n_spent
            })
        })
        .collect();
    for _ in 0..5 {
        let view = stand.compare(true).await;
        assert_eq!((view.state, view.tenants, counters(&view)), (DriftState::Done, 1, vec![]), "{view:?}");
    }
    let journaled = async || stand.world.store.wallet_settled(stand.tenant).await.unwrap();
    let has_room = async || (journaled().await > NanoUsd(2_000_000)).then_some(());
    eventually(PATIENCE, "charges that can be taken away", has_room).await.unwrap();
    // less than the journal has is wrong at any moment
    stand.corrupt(CORRUPT_WALLET, &["-1000000"]).await;
    let view = stand.compare(true).await;
    assert_eq!(view.drifts.len(), 1, "{view:?}");
    assert!(view.drifts[0].counter == "wallet_settled" && view.drifts[0].repaired, "{view:?}");
    stop.store(true, Ordering::Relaxed);
    let mut n_spent = 0;
    for one in load {
        n_spent += one.await.unwrap();
    }
    assert!(n_spent > 100, "{n_spent} requests");
    let exact = async || {
        (journaled().await.0.unsigned_abs() == n_spent * 1_000 && stand.is_exact().await).then_some(())
    };
    eventually(PATIENCE, "every request in the journal and the ledger once", exact).await.unwrap();
    assert_eq!(counters(&stand.compare(true).await), []);
}
