//! Redis that is gone, slow, emptied, wrongly configured.

use std::time::{Duration, Instant};

use tollgate_domain::{NanoUsd, Secret};
use tollgate_ledger::{AdmitOutcome, Ledger, LedgerError, RedisConfig, ReseedOutcome, SettleOutcome};
use tollgate_testkit::redis::RedisServer;
use tollgate_testkit::wait::eventually;

use crate::stand::{Ask, LEASE_MS, Stand, Time, balance, patient_config, reseed_of, seed, tenant};

const PATIENCE: Duration = Duration::from_secs(30);

async fn server_and_ledger(config: impl Fn(&str) -> RedisConfig) -> (RedisServer, Ledger) {
    let server = RedisServer::start().await.unwrap();
    let ledger = Ledger::redis(&config(&server.url())).await.unwrap();
    (server, ledger)
}

fn reason(error: &LedgerError) -> &str {
    match error {
        LedgerError::Unavailable(reason) => reason,
        other => panic!("expected unavailable, got {other:?}"),
    }
}

#[tokio::test]
async fn connecting_to_nothing_says_so_and_hides_the_password() {
    let mut server = RedisServer::start().await.unwrap();
    let url = format!("redis://user:hunter2@127.0.0.1:{}", server.port());
    server.stop().await.unwrap();
    let error = Ledger::redis(&patient_config(&url)).await.unwrap_err();
    assert_eq!(reason(&error), "Redis refused the connection");
    for url in ["redis://user:hunter2@127.0.0.1:port", "hunter2", "redis://user:hunter2@[::1"] {
        let error = Ledger::redis(&RedisConfig::new(Secret::new(url))).await.unwrap_err();
        assert!(matches!(error, LedgerError::Misconfigured(_)), "{url}: {error:?}");
        assert!(!format!("{error} {error:?}").contains("hunter2"), "{error:?}");
    }
}

#[tokio::test]
async fn a_wrong_password_is_told_without_it() {
    let server = RedisServer::start().await.unwrap();
    let url = format!("redis://:hunter2@127.0.0.1:{}", server.port());
    let error = Ledger::redis(&patient_config(&url)).await.unwrap_err();
    assert!(!format!("{error} {error:?}").contains("hunter2"), "{error:?}");
}

#[tokio::test]
async fn a_server_that_evicts_is_refused() {
    let server = RedisServer::start().await.unwrap();
    server.cli(&["CONFIG", "SET", "maxmemory-policy", "allkeys-lru"]).await.unwrap();
    let error = Ledger::redis(&patient_config(&server.url())).await.unwrap_err();
    assert!(matches!(&error, LedgerError::Misconfigured(text) if text.contains("noeviction")), "{error:?}");
}

#[tokio::test]
async fn a_frozen_server_costs_one_deadline_and_then_nothing() {
    let config = |url: &str| RedisConfig { response_timeout_ms: 50, ..patient_config(url) };
    let (server, ledger) = server_and_ledger(config).await;
    let ask = Ask::of(tenant());
    // The first call establishes a connection, which may take longer than the deadline allows.
    let admitted = async || ledger.admit(&ask.admission()).await.ok();
    eventually(PATIENCE, "the first admission", admitted).await.unwrap();

    server.freeze().unwrap();
    let error = ledger.admit(&ask.again().admission()).await.unwrap_err();
    assert_eq!(reason(&error), "Redis did not answer within 50 ms");
    let opened = async || {
        let error = ledger.admit(&ask.again().admission()).await.unwrap_err();
        reason(&error).contains("circuit is open").then_some(())
    };
    eventually(PATIENCE, "the circuit to open", opened).await.unwrap();
    let started = Instant::now();
    let mut n_at_once = 0;
    while started.elapsed() < Duration::from_millis(100) {
        n_at_once += usize::from(ledger.admit(&ask.again().admission()).await.is_err());
        tokio::task::yield_now().await;
    }
    assert!(n_at_once > 100, "an open circuit answers at once: {n_at_once} answers in 100 ms");

    server.thaw().unwrap();
    let again = async || ledger.admit(&ask.again().admission()).await.ok();
    eventually(PATIENCE, "the circuit to close", again).await.unwrap();
}

#[tokio::test]
async fn a_restarted_server_is_found_again_and_is_cold() {
    let (mut server, ledger) = server_and_ledger(patient_config).await;
    let tenant = tenant();
    ledger.seed(&seed(tenant, 100, &[])).await.unwrap();
    let ask = Ask::of(tenant).exactly(10).with_wallet();
    assert!(matches!(ledger.admit(&ask.admission()).await, Ok(AdmitOutcome::Admitted(_))));
    server.stop().await.unwrap();
    let unavailable = async || ledger.admit(&ask.again().admission()).await.err();
    let error = eventually(PATIENCE, "an outage to be noticed", unavailable).await.unwrap();
    assert!(matches!(error, LedgerError::Unavailable(_)), "{error:?}");
    server.start_again().await.unwrap();
    let found = async || ledger.admit(&ask.again().admission()).await.ok();
    let outcome = eventually(PATIENCE, "the server to be found again", found).await.unwrap();
    assert_eq!(outcome, AdmitOutcome::WrongEpoch, "empty is unknown, never a full budget");
    assert_eq!(ledger.settle(&ask.settlement(5)).await, Ok(SettleOutcome::WrongEpoch));
    assert_eq!(ledger.outbox_len().await, Ok(0), "what nobody could count is not recorded either");

    let mut reseed = reseed_of(&seed(tenant, 100, &[]));
    reseed.expected = ledger.fence(&[tenant]).await.unwrap().remove(0);
    reseed.holds = ledger.open_report(Some(&[tenant])).holds;
    reseed.holds.retain(|hold| hold.admitted_at.is_some());
    let outcomes = ledger.reseed(&[reseed]).await.unwrap();
    assert!(matches!(outcomes[..], [ReseedOutcome::Reseeded(_)]), "{outcomes:?}");
    assert_eq!(ledger.settle(&ask.settlement(5)).await, Ok(SettleOutcome::Settled));
    assert_eq!(ledger.outbox_read(10, 0).await.unwrap().len(), 1, "groups and scripts are made again");
    let wallet = ledger.balances(tenant, true, &[]).await.unwrap().wallet;
    assert_eq!(wallet, Some(balance(100, 5, 0)));
}

#[tokio::test]
async fn a_flushed_server_gets_its_scripts_back() {
    let stand = Stand::redis().await;
    let Time::Real(server) = &stand.time else { panic!("this is Redis") };
    let ask = Ask::of(tenant());
    stand.granted(&ask).await;
    server.flush_all().await.unwrap();
    let settlements = [ask.settlement(0), Ask::of(ask.tenant).settlement(0)];
    let outcomes = stand.ledger.settle_many(&settlements).await;
    assert_eq!(outcomes, [Ok(SettleOutcome::UnknownHold), Ok(SettleOutcome::UnknownHold)]);
    server.flush_all().await.unwrap();
    stand.granted(&ask).await;
    assert_eq!(stand.settle(&ask, 0).await, SettleOutcome::Settled);
    assert_eq!(stand.ledger.outbox_read(10, 0).await.unwrap().len(), 1);
}

#[tokio::test]
async fn a_full_server_admits_nothing_and_still_settles() {
    let stand = Stand::redis().await;
    let Time::Real(server) = &stand.time else { panic!("this is Redis") };
    let ask = Ask::of(tenant());
    stand.granted(&ask).await;
    server.cli(&["CONFIG", "SET", "maxmemory", "1"]).await.unwrap();
    let error = stand.ledger.admit(&ask.again().admission()).await.unwrap_err();
    assert!(reason(&error).contains("OOM"), "{error:?}");
    assert_eq!(stand.settle(&ask, 0).await, SettleOutcome::Settled);
    assert_eq!(stand.ledger.outbox_len().await.unwrap(), 1);
}

#[tokio::test]
async fn a_full_server_renews_leases_and_names_suspects() {
    let stand = Stand::redis().await;
    let Time::Real(server) = &stand.time else { panic!("this is Redis") };
    let tenant = tenant();
    stand.ledger.seed(&seed(tenant, 1_000, &[])).await.unwrap();
    let living = Ask::of(tenant).exactly(10).with_wallet();
    let dead = Ask { lease_ms: 1, ..living.again() };
    // The earlier end first: it is what the tenant is looked up by.
    stand.granted(&dead).await;
    stand.granted(&living).await;
    let lease_until = async |ask: &Ask| {
        let holds = stand.ledger.list_holds(tenant, None, 9).await.unwrap().holds;
        holds.iter().find(|hold| hold.hold == ask.hold).unwrap().lease_until
    };
    let before = lease_until(&living).await;
    server.cli(&["CONFIG", "SET", "maxmemory", "1"]).await.unwrap();
    // As many refusals as open the circuit, and more.
    for _ in 0..20 {
        let error = stand.ledger.admit(&living.again().admission()).await.unwrap_err();
        assert!(reason(&error).contains("OOM"), "the circuit stays closed: {error:?}");
    }
    let renewal = stand.ledger.renew(&[(tenant, living.hold, NanoUsd(7))], 10 * LEASE_MS).await.unwrap();
    assert_eq!((renewal.renewed, renewal.gone.len(), renewal.wrong_epoch.len()), (1, 0, 0));
    assert!(lease_until(&living).await > before, "no lease is lost");
    let suspects = async || {
        let suspects = stand.ledger.suspect_holds(9, 0).await.unwrap();
        (!suspects.is_empty()).then_some(suspects)
    };
    let suspects = eventually(PATIENCE, "the suspect", suspects).await.unwrap();
    assert_eq!(suspects.iter().map(|suspect| suspect.hold).collect::<Vec<_>>(), [dead.hold]);
    assert_eq!(stand.settle(&dead, 3).await, SettleOutcome::Settled);
    assert_eq!(stand.settle(&living, 4).await, SettleOutcome::Settled);
    assert_eq!(stand.wallet(tenant).await, Some(balance(1_000, 7, 0)));
    server.cli(&["CONFIG", "SET", "maxmemory", "0"]).await.unwrap();
    stand.granted(&living.again()).await;
}

#[tokio::test]
async fn entries_that_are_no_events_are_shown_as_such() {
    let stand = Stand::redis().await;
    let Time::Real(server) = &stand.time else { panic!("this is Redis") };
    server.cli(&["XADD", "tg:{3}:outbox", "*", "e", "{\"secret\":"]).await.unwrap();
    let entries = stand.ledger.outbox_read(10, 0).await.unwrap();
    let problem = entries[0].event.as_ref().unwrap_err();
    assert!(problem.contains("not an event") && !problem.contains("secret"), "{problem}");
    stand.ledger.outbox_acknowledge(&[entries[0].handle.clone()]).await.unwrap();
    assert_eq!(stand.ledger.outbox_len().await.unwrap(), 0);
}
