//! Several processes at one Redis that is restarted, emptied, replaced by a copy of the past.

use std::time::{Duration, Instant};

use tollgate_domain::{NanoUsd, TenantId};
use tollgate_ledger::{AdmitOutcome, Ledger, LedgerError, OpenReport, Reseed, ReseedOutcome, SettleOutcome};
use tollgate_testkit::redis::RedisServer;
use tollgate_testkit::wait::eventually;

use crate::stand::{Ask, balance, budget, long_period, patient_config, reseed_of, seed, tenant};

const PATIENCE: Duration = Duration::from_secs(30);

pub(crate) struct Fleet {
    pub(crate) server: RedisServer,
    pub(crate) pods: Vec<Ledger>,
}

impl Fleet {
    pub(crate) async fn of(n_pods: usize) -> Self {
        let server = RedisServer::start().await.unwrap();
        let mut pods = Vec::new();
        for _ in 0..n_pods {
            pods.push(Ledger::redis(&patient_config(&server.url())).await.unwrap());
        }
        Self { server, pods }
    }

    pub(crate) async fn restart_empty(&mut self) {
        self.server.stop().await.unwrap();
        self.server.start_again().await.unwrap();
    }

    /// What a control plane does: close, gather, write.
    pub(crate) async fn repair(&self, mut reseed: Reseed) -> ReseedOutcome {
        let control = self.pods.last().unwrap();
        let tenants = [reseed.tenant];
        let close = async || control.fence(&tenants).await.ok();
        let closed = eventually(PATIENCE, "Redis to answer", close).await.unwrap();
        reseed.expected = closed.into_iter().next().unwrap();
        for pod in &self.pods {
            let OpenReport { holds, events, highest_epoch } = pod.open_report(Some(&tenants));
            reseed.above = reseed.above.max(highest_epoch);
            reseed.holds.extend(holds);
            for unjournaled in events {
                reseed.settled.push(unjournaled.event.hold);
                reseed.wallet_settled = reseed.wallet_settled.saturating_add(unjournaled.event.cost);
            }
        }
        control.reseed(&[reseed]).await.unwrap().remove(0)
    }
}

async fn ask_until_answered(pod: &Ledger, ask: &Ask) -> AdmitOutcome {
    let answered = async || pod.admit(&ask.admission()).await.ok();
    eventually(PATIENCE, "an answer", answered).await.unwrap()
}

#[tokio::test]
async fn whoever_holds_something_of_a_lost_state_is_refused_until_it_is_there_again() {
    for with_restart in [false, true] {
        let mut fleet = Fleet::of(3).await;
        let tenant = tenant();
        fleet.pods[0].seed(&seed(tenant, 100, &[])).await.unwrap();
        let ask = Ask::of(tenant).exactly(60).with_wallet();
        assert!(matches!(fleet.pods[0].admit(&ask.admission()).await, Ok(AdmitOutcome::Admitted(_))));
        if with_restart {
            fleet.restart_empty().await;
        } else {
            fleet.server.flush_all().await.unwrap();
        }
        // Somebody seeds it as if it were new, and somebody else uses that: the holder notices.
        let seeded = async || fleet.pods[1].seed(&seed(tenant, 100, &[])).await.ok();
        eventually(PATIENCE, "Redis to answer", seeded).await.unwrap();
        assert_eq!(ask_until_answered(&fleet.pods[0], &ask.again()).await, AdmitOutcome::WrongEpoch);
        assert_eq!(ask_until_answered(&fleet.pods[0], &ask).await, AdmitOutcome::WrongEpoch);
        assert_eq!(fleet.pods[0].settle(&ask.settlement(5)).await, Ok(SettleOutcome::WrongEpoch));
        let renewal = fleet.pods[0].renew(&[(tenant, ask.hold, NanoUsd(1))], 60_000).await.unwrap();
        assert_eq!((renewal.renewed, renewal.wrong_epoch), (0, vec![tenant]));

        let outcome = fleet.repair(reseed_of(&seed(tenant, 100, &[]))).await;
        assert!(matches!(outcome, ReseedOutcome::Reseeded(_)), "{outcome:?}");
        // Its request is over, whether the ledger heard of that or not: it needs what it cost.
        let other = Ask::of(tenant).exactly(96).with_wallet();
        assert!(matches!(fleet.pods[1].admit(&other.admission()).await, Ok(AdmitOutcome::Held(_))));
        let fits = other.again().exactly(95);
        assert!(matches!(fleet.pods[0].admit(&fits.admission()).await, Ok(AdmitOutcome::Admitted(_))));
        assert_eq!(fleet.pods[0].settle(&ask.settlement(5)).await, Ok(SettleOutcome::Settled));
        let wallet = fleet.pods[2].balances(tenant, true, &[]).await.unwrap().wallet;
        assert_eq!(wallet, Some(balance(100, 5, 95)));
    }
}

#[tokio::test]
async fn a_reseed_that_did_not_hear_of_a_hold_is_not_followed() {
    let fleet = Fleet::of(2).await;
    let tenant = tenant();
    fleet.pods[0].seed(&seed(tenant, 100, &[])).await.unwrap();
    let ask = Ask::of(tenant).exactly(60).with_wallet();
    fleet.pods[0].admit(&ask.admission()).await.unwrap();
    let mut deaf = reseed_of(&seed(tenant, 100, &[]));
    deaf.expected = fleet.pods[1].fence(&[tenant]).await.unwrap().remove(0);
    fleet.pods[1].reseed(&[deaf]).await.unwrap();
    assert_eq!(fleet.pods[1].list_holds(tenant, None, 9).await.unwrap().holds, []);
    assert_eq!(fleet.pods[0].admit(&ask.again().admission()).await, Ok(AdmitOutcome::WrongEpoch));
    assert_eq!(fleet.pods[0].settle(&ask.settlement(5)).await, Ok(SettleOutcome::WrongEpoch));
    assert!(matches!(fleet.pods[1].admit(&ask.again().admission()).await, Ok(AdmitOutcome::Admitted(_))));
    fleet.repair(reseed_of(&seed(tenant, 100, &[]))).await;
    // Two processes hold more than there is: nothing more is admitted, everything is charged.
    assert_eq!(fleet.pods[0].settle(&ask.settlement(60)).await, Ok(SettleOutcome::Settled));
    let wallet = fleet.pods[1].balances(tenant, true, &[]).await.unwrap().wallet;
    assert_eq!(wallet, Some(balance(100, 60, 60)));
}

#[tokio::test]
async fn events_that_were_not_journaled_survive_the_loss_of_redis() {
    let mut fleet = Fleet::of(2).await;
    let tenant = tenant();
    fleet.pods[0].seed(&seed(tenant, 1_000, &[])).await.unwrap();
    let mut settled = std::collections::BTreeSet::new();
    for _ in 0..30 {
        let ask = Ask::of(tenant).exactly(10).with_wallet();
        fleet.pods[0].admit(&ask.admission()).await.unwrap();
        assert_eq!(fleet.pods[0].settle(&ask.settlement(10)).await, Ok(SettleOutcome::Settled));
        settled.insert(ask.hold);
    }
    // Ten of them reach the journal; which, the process finds out.
    let some = fleet.pods[1].outbox_read(16, 0).await.unwrap();
    let handles: Vec<_> = some.iter().map(|entry| entry.handle.clone()).collect();
    for entry in &some {
        settled.remove(&entry.event.as_ref().unwrap().hold);
    }
    fleet.pods[1].outbox_acknowledge(&handles).await.unwrap();
    let confirmation = fleet.pods[0].confirm_journaled().await.unwrap();
    assert_eq!((confirmation.journaled, confirmation.republished), (some.len() as u64, 0));
    for with_restart in [false, true] {
        if with_restart {
            fleet.restart_empty().await;
        } else {
            fleet.server.flush_all().await.unwrap();
        }
        let confirmed = async || fleet.pods[0].confirm_journaled().await.ok();
        let confirmation = eventually(PATIENCE, "Redis to answer", confirmed).await.unwrap();
        assert_eq!((confirmation.journaled, confirmation.republished), (0, settled.len() as u64));
        let again = fleet.pods[0].confirm_journaled().await.unwrap();
        assert_eq!((again.republished, again.waiting), (0, settled.len() as u64));
    }
    let mut journaled = std::collections::BTreeSet::new();
    while journaled.len() < settled.len() {
        let entries = fleet.pods[1].outbox_read(100, 100).await.unwrap();
        journaled.extend(entries.iter().map(|entry| entry.event.as_ref().unwrap().hold));
        let handles: Vec<_> = entries.into_iter().map(|entry| entry.handle).collect();
        fleet.pods[1].outbox_acknowledge(&handles).await.unwrap();
    }
    assert_eq!(journaled, settled);
    let confirmation = fleet.pods[0].confirm_journaled().await.unwrap();
    assert_eq!(confirmation.waiting, 0);
}

#[tokio::test]
async fn a_copy_of_the_past_is_not_taken_for_the_present() {
    let (old, copy) = (RedisServer::start().await.unwrap(), RedisServer::start().await.unwrap());
    let pod = Ledger::redis(&patient_config(&old.url())).await.unwrap();
    let tenant = tenant();
    pod.seed(&seed(tenant, 100, &[])).await.unwrap();
    let port = old.port().to_string();
    copy.cli(&["REPLICAOF", "127.0.0.1", &port]).await.unwrap();
    let copied = async || copy.cli(&["DBSIZE"]).await.ok().filter(|n| n.trim() != "0");
    eventually(PATIENCE, "a copy", copied).await.unwrap();
    copy.cli(&["REPLICAOF", "NO", "ONE"]).await.unwrap();
    let elsewhere = Ledger::redis(&patient_config(&copy.url())).await.unwrap();
    let ask = Ask::of(tenant).exactly(10).with_wallet();
    assert_eq!(elsewhere.admit(&ask.admission()).await, Ok(AdmitOutcome::WrongEpoch));
    assert_eq!(elsewhere.seed(&seed(tenant, 100, &[])).await, Err(LedgerError::WrongEpoch));
    let epoch = elsewhere.epochs(&[tenant]).await.unwrap().remove(0).unwrap();
    assert!(!epoch.is_live);

    // The first server becomes a copy of the second and is made a master again: its own past, with its own name.
    let copy_port = copy.port().to_string();
    old.cli(&["REPLICAOF", "127.0.0.1", &copy_port]).await.unwrap();
    let synced = async || {
        let role = old.cli(&["ROLE"]).await.ok()?;
        role.contains("connected").then_some(())
    };
    eventually(PATIENCE, "the first server to follow", synced).await.unwrap();
    old.cli(&["REPLICAOF", "NO", "ONE"]).await.unwrap();
    let again = Ledger::redis(&patient_config(&old.url())).await.unwrap();
    assert_eq!(again.admit(&ask.admission()).await, Ok(AdmitOutcome::WrongEpoch));
}

#[tokio::test]
async fn a_grant_that_arrives_after_a_report_is_asked_for_again() {
    let fleet = Fleet::of(1).await;
    let (tenant, pod) = (tenant(), &fleet.pods[0]);
    pod.seed(&seed(tenant, 100, &[])).await.unwrap();
    let first = Ask::of(tenant).exactly(10).with_wallet();
    pod.admit(&first.admission()).await.unwrap();
    let n_scripts = async || {
        let statistics = fleet.server.cli(&["INFO", "commandstats"]).await.unwrap();
        let line = statistics.lines().find(|line| line.starts_with("cmdstat_evalsha:")).unwrap().to_owned();
        line.split(['=', ',']).nth(1).unwrap().parse::<u64>().unwrap()
    };
    let before = n_scripts().await;
    let ask = first.again();
    fleet.server.freeze().unwrap();
    let admission = ask.admission();
    let mut asking = Box::pin(pod.admit(&admission));
    assert!(begin(&mut asking).await.is_none(), "nobody answers");
    let report = pod.open_report(None);
    assert_eq!(report.holds.iter().map(|hold| hold.hold).collect::<Vec<_>>(), [first.hold]);
    fleet.server.thaw().unwrap();
    assert!(matches!(asking.await, Ok(AdmitOutcome::Admitted(_))));
    assert_eq!(n_scripts().await - before, 2, "the first answer was not believed");
    assert_eq!(pod.open_report(None).holds.len(), 2);
    let wallet = pod.balances(tenant, true, &[]).await.unwrap().wallet;
    assert_eq!(wallet, Some(balance(100, 0, 20)), "held once");
}

/// Lets a future begin; its result where it ends at once.
pub(crate) async fn begin<F: Future + Unpin>(future: &mut F) -> Option<F::Output> {
    let mut future = Some(future);
    std::future::poll_fn(|context| {
        let polled = future.take().map(|future| std::pin::Pin::new(future).poll(context));
        std::task::Poll::Ready(match polled {
            Some(std::task::Poll::Ready(output)) => Some(output),
            _ => None,
        })
    })
    .await
}

#[tokio::test]
async fn ten_thousand_tenants_are_reseeded_in_a_minute() {
    let fleet = Fleet::of(1).await;
    let n_tenants: u128 = 10_000;
    let tenants: Vec<TenantId> = (1..=n_tenants).map(|n| TenantId::from_u128((n << 64) | n)).collect();
    let check = budget(1_000, long_period());
    let reseeds = |expected: Vec<tollgate_ledger::Epoch>| -> Vec<Reseed> {
        let reseed = |(tenant, expected): (&TenantId, _)| Reseed {
            expected,
            ..reseed_of(&seed(*tenant, 1_000, &[(check, 5)]))
        };
        tenants.iter().zip(expected).map(reseed).collect()
    };
    let started = Instant::now();
    let closed = fleet.pods[0].fence(&tenants).await.unwrap();
    let outcomes = fleet.pods[0].reseed(&reseeds(closed)).await.unwrap();
    assert!(outcomes.iter().all(|outcome| matches!(outcome, ReseedOutcome::Reseeded(_))));
    let first = started.elapsed();
    let closed = fleet.pods[0].fence(&tenants).await.unwrap();
    let outcomes = fleet.pods[0].reseed(&reseeds(closed)).await.unwrap();
    assert!(outcomes.iter().all(|outcome| matches!(outcome, ReseedOutcome::Reseeded(_))));
    let took = started.elapsed();
    eprintln!("{n_tenants} tenants: {first:?} when lost, {:?} closed and replaced", took - first);
    assert!(took < Duration::from_secs(60), "took {took:?}");
}
