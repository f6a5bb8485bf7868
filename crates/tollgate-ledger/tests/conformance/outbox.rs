//! The outbox: every event once, again where nobody acknowledged it.

use std::collections::HashSet;
use std::time::Duration;

use tollgate_domain::EventId;
use tollgate_ledger::{OutboxEntry, OutboxHandle, OutboxMark, SettleOutcome};
use tollgate_testkit::wait::eventually;

use crate::stand::{Ask, Stand, Time, on_both_backends, tenant};

on_both_backends!(
    events_arrive_as_settled,
    nothing_dispatched_leaves_no_event,
    unacknowledged_events_come_again,
    batches_are_filled_from_one_tenant,
    waiting_for_an_event,
    a_mark_shows_what_was_before_it_until_that_is_acknowledged,
    a_look_shows_what_was_there_whoever_took_it,
    what_is_set_aside_comes_no_more,
);

fn events(entries: &[OutboxEntry]) -> HashSet<EventId> {
    entries.iter().map(|entry| entry.event.as_ref().unwrap().event).collect()
}

fn handles(entries: &[OutboxEntry]) -> Vec<OutboxHandle> {
    entries.iter().map(|entry| entry.handle.clone()).collect()
}

async fn settle_some(stand: &Stand, n: usize) -> HashSet<EventId> {
    let mut settled = HashSet::new();
    for _ in 0..n {
        let ask = Ask::of(tenant());
        stand.granted(&ask).await;
        assert_eq!(stand.settle(&ask, 0).await, SettleOutcome::Settled);
        settled.insert(ask.event(0).event);
    }
    settled
}

async fn events_arrive_as_settled(stand: Stand) {
    let ask = Ask::of(tenant()).tokens(5, 5);
    stand.granted(&ask).await;
    stand.settle(&ask, 125).await;
    let entries = stand.ledger.outbox_read(100, 0).await.unwrap();
    assert_eq!(entries.len(), 1);
    assert_eq!(entries[0].event.as_deref(), Ok(&ask.event(125)));
    assert_eq!(stand.ledger.outbox_len().await.unwrap(), 1, "read is not acknowledged");
    assert_eq!(stand.ledger.outbox_read(100, 0).await.unwrap(), []);
    stand.ledger.outbox_acknowledge(&handles(&entries)).await.unwrap();
    stand.ledger.outbox_acknowledge(&handles(&entries)).await.unwrap();
    stand.ledger.outbox_acknowledge(&[]).await.unwrap();
    assert_eq!(stand.ledger.outbox_len().await.unwrap(), 0);
}

async fn nothing_dispatched_leaves_no_event(stand: Stand) {
    let ask = Ask::of(tenant());
    stand.granted(&ask).await;
    let mut settlement = ask.settlement(0);
    settlement.event = None;
    assert_eq!(stand.ledger.settle(&settlement).await, Ok(SettleOutcome::Settled));
    settlement.hold = Ask::of(ask.tenant).hold;
    assert_eq!(stand.ledger.settle(&settlement).await, Ok(SettleOutcome::UnknownHold));
    assert_eq!(stand.ledger.outbox_len().await.unwrap(), 0);
}

async fn unacknowledged_events_come_again(stand: Stand) {
    let settled = settle_some(&stand, 40).await;
    let mut entries = Vec::new();
    while entries.len() < 40 {
        let more = stand.ledger.outbox_read(16, 0).await.unwrap();
        assert!(!more.is_empty() && more.len() <= 16, "{} of 16", more.len());
        entries.extend(more);
    }
    assert_eq!(events(&entries), settled);
    stand.ledger.outbox_acknowledge(&handles(&entries[..30])).await.unwrap();
    assert_eq!(stand.ledger.outbox_len().await.unwrap(), 10);

    stand.advance_ms(30_000);
    let mut again = HashSet::new();
    let all = async || {
        let entries = stand.ledger.outbox_read(100, 0).await.unwrap();
        again.extend(events(&entries));
        stand.ledger.outbox_acknowledge(&handles(&entries)).await.unwrap();
        (again.len() == 10).then_some(())
    };
    eventually(Duration::from_secs(20), "ten events to come again", all).await.unwrap();
    assert_eq!(again, events(&entries[30..]));
    assert_eq!(stand.ledger.outbox_len().await.unwrap(), 0);
}

async fn batches_are_filled_from_one_tenant(stand: Stand) {
    let ask = Ask::of(tenant());
    for _ in 0..120 {
        let ask = ask.again();
        stand.granted(&ask).await;
        stand.settle(&ask, 0).await;
    }
    assert_eq!(stand.ledger.outbox_read(100, 0).await.unwrap().len(), 100);
    assert_eq!(stand.ledger.outbox_read(100, 0).await.unwrap().len(), 20);
}

async fn waiting_for_an_event(stand: Stand) {
    assert_eq!(stand.ledger.outbox_read(10, 20).await.unwrap(), []);
    let reader = stand.ledger.clone();
    let read = async { reader.outbox_read(10, 20_000).await.unwrap() };
    let ask = Ask::of(tenant());
    let settle = async {
        stand.granted(&ask).await;
        stand.settle(&ask, 0).await;
    };
    let waited = Box::pin(async { tokio::join!(read, settle) });
    let (entries, ()) = tokio::time::timeout(Duration::from_secs(15), waited).await.unwrap();
    assert_eq!(events(&entries), [ask.event(0).event].into());
}

/// All that a mark still shows, in looks of 16.
async fn shown(stand: &Stand, mark: &OutboxMark) -> Vec<OutboxEntry> {
    let (mut mark, mut entries) = (mark.clone(), Vec::new());
    while !mark.is_empty() {
        entries.extend(stand.ledger.outbox_look(&mut mark, 16).await.unwrap());
    }
    entries
}

async fn a_mark_shows_what_was_before_it_until_that_is_acknowledged(stand: Stand) {
    let ledger = &stand.ledger;
    let empty = ledger.outbox_mark().await.unwrap();
    assert!(empty.is_empty());
    // more than one look of each shard
    let before = settle_some(&stand, 40).await;
    let mark = ledger.outbox_mark().await.unwrap();
    let after = settle_some(&stand, 20).await;
    assert_eq!(shown(&stand, &empty).await, []);
    let of_mark = shown(&stand, &mark).await;
    assert_eq!((of_mark.len(), events(&of_mark)), (40, before.clone()), "what came later is not shown");
    let mut entries = Vec::new();
    while entries.len() < 60 {
        entries.extend(ledger.outbox_read(100, 0).await.unwrap());
    }
    assert_eq!(events(&entries), before.union(&after).copied().collect(), "a look takes nothing");
    ledger.outbox_acknowledge(&handles(&of_mark[..2])).await.unwrap();
    let left = shown(&stand, &mark).await;
    assert_eq!((left.len(), events(&left)), (38, events(&of_mark[2..])), "acknowledged is shown no more");
    ledger.outbox_set_aside(&handles(&of_mark[2..])).await.unwrap();
    assert_eq!(shown(&stand, &mark).await, []);
}

async fn a_look_shows_what_was_there_whoever_took_it(stand: Stand) {
    let settled = settle_some(&stand, 3).await;
    let mark = stand.ledger.outbox_mark().await.unwrap();
    let mut entries = Vec::new();
    while entries.len() < 3 {
        entries.extend(stand.ledger.outbox_read(16, 0).await.unwrap());
    }
    for _ in 0..2 {
        assert_eq!(events(&shown(&stand, &mark).await), settled);
    }
    stand.ledger.outbox_acknowledge(&handles(&entries)).await.unwrap();
    assert_eq!(shown(&stand, &mark).await, []);
}

async fn what_is_set_aside_comes_no_more(stand: Stand) {
    settle_some(&stand, 3).await;
    let mut entries = Vec::new();
    while entries.len() < 3 {
        entries.extend(stand.ledger.outbox_read(16, 0).await.unwrap());
    }
    let two = handles(&entries[..2]);
    assert_eq!(stand.ledger.outbox_set_aside(&two).await.unwrap(), 2);
    assert_eq!(stand.ledger.outbox_set_aside(&two).await.unwrap(), 0, "a repeat changes nothing");
    assert_eq!(stand.ledger.outbox_set_aside(&[]).await.unwrap(), 0);
    let lengths = (stand.ledger.outbox_len().await, stand.ledger.outbox_set_aside_len().await);
    assert_eq!(lengths, (Ok(1), Ok(2)));
    stand.ledger.outbox_acknowledge(&two).await.unwrap();
    assert_eq!(stand.ledger.outbox_set_aside_len().await, Ok(2));

    stand.advance_ms(30_000);
    let again = eventually(Duration::from_secs(20), "what was read to come again", async || {
        let entries = stand.ledger.outbox_read(100, 0).await.unwrap();
        (!entries.is_empty()).then_some(entries)
    });
    assert_eq!(events(&again.await.unwrap()), events(&entries[2..]));
}

#[tokio::test]
async fn an_entry_that_is_no_event_is_kept_whole_and_a_full_place_takes_no_more() {
    let stand = Stand::redis().await;
    let Time::Real(server) = &stand.time else { panic!("this is Redis") };
    for text in ["{broken", "{another"] {
        server.cli(&["XADD", "tg:{3}:outbox", "*", "e", text]).await.unwrap();
    }
    let entries = stand.ledger.outbox_read(100, 0).await.unwrap();
    assert!(entries.len() == 2 && entries.iter().all(|entry| entry.event.is_err()), "{entries:?}");
    let handles = handles(&entries);
    assert_eq!(stand.ledger.outbox_set_aside(&handles[..1]).await.unwrap(), 1);
    let kept = server.cli(&["XRANGE", "tg:{3}:dead", "-", "+"]).await.unwrap();
    let kept: Vec<&str> = kept.lines().skip(1).collect();
    assert_eq!(kept, ["outbox_id", handles[0].id.as_str(), "e", "{broken"]);
    let pending = server.cli(&["XPENDING", "tg:{3}:outbox", "journal"]).await.unwrap();
    assert_eq!(pending.lines().next(), Some("1"), "acknowledged in the same step: {pending}");

    let fill = "for _ = 1, 9999 do redis.call('XADD', KEYS[1], '*', 'e', 'x') end";
    server.cli(&["EVAL", fill, "1", "tg:{3}:dead"]).await.unwrap();
    assert_eq!(stand.ledger.outbox_set_aside(&handles[1..]).await.unwrap(), 0);
    let lengths = (stand.ledger.outbox_len().await, stand.ledger.outbox_set_aside_len().await);
    assert_eq!(lengths, (Ok(1), Ok(10_000)), "what does not fit stays in the outbox");
}
