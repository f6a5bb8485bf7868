mod between;

use std::collections::{BTreeMap, BTreeSet};
use std::pin::{Pin, pin};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use proptest::prelude::*;
use tollgate_domain::{
    EventId, KeyId, ManualClock, NanoUsd, NodeId, ProjectId, RequestId, RequestOutcome, SettlementBasis,
    Surface, UnixMillis, Usage,
};
use tollgate_testkit::wait::eventually;

use super::*;
use crate::types::{Admission, AdmitOutcome, OutboxHandle, SettleOutcome, Settlement, WalletRule};
use crate::write_ahead::frame::Frames;
use crate::write_ahead::replay::replay;
use crate::write_ahead::segment::SegmentText;

const TENANT: TenantId = TenantId::from_u128(7);
/// The head of a segment.
const HEAD_BYTES: usize = 24;

fn ledger(directory: &Path) -> (MemoryLedger, Recovered) {
    MemoryLedger::with_log(Arc::new(ManualClock::new(UnixMillis(1_900_000_000_000))), directory).unwrap()
}

fn hold_id(number: u8) -> HoldId {
    HoldId::from_u128(u128::from(number))
}

fn admission(hold: u8, memo: &[u8; 40]) -> Admission<'_> {
    Admission {
        tenant: TENANT,
        key: KeyId::from_u128(6),
        node: NodeId::from_u128(9),
        hold: hold_id(hold),
        amount: NanoUsd::ZERO,
        minimum: NanoUsd::ZERO,
        wallet: WalletRule::None,
        budgets: &[],
        limits: &[],
        tokens: 1,
        lease_ms: 60_000,
        memo,
    }
}

fn poll<F: Future + ?Sized>(future: Pin<&mut F>) -> Poll<F::Output> {
    future.poll(&mut Context::from_waker(Waker::noop()))
}

fn admit(ledger: &MemoryLedger, hold: u8) -> Result<AdmitOutcome, LedgerError> {
    let memo = [hold; 40];
    let admission = admission(hold, &memo);
    let mut admitting = pin!(ledger.admit(&admission));
    loop {
        if let Poll::Ready(outcome) = poll(admitting.as_mut()) {
            return outcome;
        }
    }
}

fn settlement(hold: u8, has_event: bool) -> Settlement {
    let id = hold_id(hold);
    let event = UsageEvent {
        event: EventId::from_uuid(id.as_uuid()),
        request: RequestId::from_uuid(id.as_uuid()),
        hold: id,
        tenant: TENANT,
        project: ProjectId::from_u128(5),
        key: KeyId::from_u128(6),
        end_user: None,
        labels: [("team".to_owned(), "billing".to_owned())].into(),
        surface: Surface::Chat,
        requested_model: "fast".to_owned(),
        provider: "openai".to_owned(),
        model: "gpt-5.4-mini".to_owned(),
        streamed: true,
        admitted_at: UnixMillis(1_900_000_000_000),
        finished_at: UnixMillis(1_900_000_000_812),
        held: NanoUsd(12_345_678),
        cost: NanoUsd(i64::from(hold)),
        provider_cost: NanoUsd(1_234),
        usage: Usage::ZERO,
        charge: Vec::new(),
        margin: None,
        provider_charge: None,
        basis: SettlementBasis::Provider,
        outcome: RequestOutcome::Ok,
        status: 200,
        attempts: Vec::new(),
        duration_ms: 812,
        first_byte_ms: Some(120),
        overhead_us: 85,
        policy_revision: 7,
    };
    let (actual, event) = (event.cost, has_event.then(|| Arc::new(event)));
    Settlement { tenant: TENANT, hold: id, actual, tokens: 1, event }
}

#[derive(Clone, Debug)]
enum Step {
    Admit(u8),
    Settle(u8, bool),
    Renew(u8, i64),
    Journal(usize),
    Checkpoint,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        5 => (0..12_u8).prop_map(Step::Admit),
        4 => (0..12_u8, prop::bool::weighted(0.8)).prop_map(|(hold, has_event)| Step::Settle(hold, has_event)),
        2 => (0..12_u8, 1..900_i64).prop_map(|(hold, cost)| Step::Renew(hold, cost)),
        1 => (1..4_usize).prop_map(Step::Journal),
        1 => Just(Step::Checkpoint),
    ]
}

/// What a restart must find: the open holds with their progress, and the events that are not journaled.
type Open = (BTreeMap<HoldId, NanoUsd>, BTreeSet<EventId>);

fn open_of(recovered: &Recovered) -> Open {
    let holds = recovered.holds.iter().map(|hold| {
        assert_eq!((hold.memo.len(), hold.key, hold.node), (40, KeyId::from_u128(6), NodeId::from_u128(9)));
        (hold.hold, hold.progress)
    });
    (holds.collect(), recovered.events.iter().map(|event| event.event).collect())
}

fn open_in(ledger: &MemoryLedger) -> Open {
    let tenants = ledger.shard(TENANT);
    let holds = tenants.get(&TENANT).into_iter().flat_map(|state| &state.holds);
    let holds = holds.map(|(id, hold)| (*id, hold.progress)).collect();
    (holds, ledger.shared.outbox.all().iter().map(|event| event.event).collect())
}

async fn take(ledger: &MemoryLedger, step: &Step) {
    match step {
        Step::Admit(hold) => drop(admit(ledger, *hold).unwrap()),
        Step::Settle(hold, has_event) => drop(ledger.settle(&settlement(*hold, *has_event))),
        Step::Renew(hold, cost) => {
            drop(ledger.renew(&[(TENANT, hold_id(*hold), NanoUsd(*cost))], 60_000));
        }
        Step::Journal(n) => {
            let entries = ledger.outbox_read(*n, 0).await;
            let handles: Vec<OutboxHandle> = entries.into_iter().map(|entry| entry.handle).collect();
            ledger.outbox_acknowledge(&handles).await;
        }
        Step::Checkpoint => ledger.shorten_log().await,
    }
    ledger.write_log();
}

fn segments(directory: &Path) -> Vec<(u64, Vec<u8>)> {
    let mut segments = Vec::new();
    for entry in std::fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_some_and(|extension| extension == "log") {
            let number = u64::from_str_radix(path.file_stem().unwrap().to_str().unwrap(), 16).unwrap();
            segments.push((number, std::fs::read(&path).unwrap()));
        }
    }
    segments.sort_unstable();
    segments
}

fn text_of(number: u64, bytes: &[u8]) -> SegmentText {
    let frames = (bytes.len() >= HEAD_BYTES).then(|| bytes[HEAD_BYTES..].to_vec());
    SegmentText { number, frames, written_at_ms: 0 }
}

/// The bytes up to the end of the last whole record.
fn whole_bytes(number: u64, bytes: &[u8]) -> usize {
    let frames = Frames::of_segment(number);
    let mut rest = bytes.get(HEAD_BYTES..).unwrap_or_default();
    while let Some((_, following)) = frames.first(rest) {
        rest = following;
    }
    bytes.len() - rest.len()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    /// Wherever the file is cut, the state is the one after the last step that it has whole.
    #[test]
    fn every_prefix_of_the_log_is_a_state_that_was(steps in prop::collection::vec(step(), 1..60)) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let directory = tempfile::tempdir().unwrap();
        let (ledger, _) = ledger(directory.path());
        // the states of the present segment, each with the bytes after which it is reached
        let mut states = vec![(0, open_in(&ledger))];
        for step in &steps {
            runtime.block_on(take(&ledger, step));
            let segments = segments(directory.path());
            prop_assert_eq!(segments.len(), 1, "what was before a checkpoint is gone after it");
            let n_bytes = whole_bytes(segments[0].0, &segments[0].1);
            if matches!(step, Step::Checkpoint) {
                states.clear();
            }
            states.push((n_bytes, open_in(&ledger)));
        }
        let (number, mut bytes) = segments(directory.path()).remove(0);
        // what follows is an earlier segment's, whose file this one took over
        bytes.truncate(whole_bytes(number, &bytes));
        let first = states[0].0.max(HEAD_BYTES);
        for cut in first..=bytes.len() {
            let found = open_of(&replay(&[text_of(number, &bytes[..cut])]).unwrap());
            let expected = states.iter().rev().find(|(end, _)| *end <= cut).map(|(_, open)| open);
            prop_assert_eq!(Some(&found), expected, "cut at {} of {}", cut, bytes.len());
        }
        // as a process finds it
        let (_, recovered) = self::ledger(directory.path());
        prop_assert_eq!(open_of(&recovered), open_in(&ledger));
    }
}

#[tokio::test]
async fn a_checkpoint_under_load_loses_nothing() {
    let directory = tempfile::tempdir().unwrap();
    let (ledger, _) = ledger(directory.path());
    let working = ledger.clone();
    let work = tokio::task::spawn_blocking(move || {
        for round in 0..200_u32 {
            for hold in 0..100 {
                admit(&working, hold).unwrap();
                // tombstones keep a settled one from coming again: each is settled once, at its own time
                if round == 2 * u32::from(hold) && hold < 60 {
                    let outcome = working.settle(&settlement(hold, hold % 3 != 0));
                    assert_eq!(outcome, SettleOutcome::Settled);
                }
            }
        }
    });
    let mut n_checkpoints = 0;
    while !work.is_finished() || n_checkpoints < 3 {
        ledger.shorten_log().await;
        n_checkpoints += 1;
    }
    work.await.unwrap();
    ledger.write_log();
    let (_, recovered) = self::ledger(directory.path());
    let open = open_of(&recovered);
    assert_eq!(open, open_in(&ledger), "after {n_checkpoints} checkpoints");
    assert_eq!((open.0.len(), open.1.len()), (40, 40));
    // two files in use, and what is written to now
    assert!(std::fs::read_dir(directory.path()).unwrap().count() <= 3);
}

#[test]
fn what_is_admitted_together_is_written_together_and_before_any_answer() {
    let directory = tempfile::tempdir().unwrap();
    let (ledger, _) = ledger(directory.path());
    let written = || {
        let (_, recovered) = self::ledger(directory.path());
        recovered.holds.iter().map(|hold| hold.hold).collect::<Vec<_>>()
    };
    let memos: Vec<[u8; 40]> = (1..=4).map(|hold| [hold; 40]).collect();
    let admissions: Vec<_> = (1..=4).zip(&memos).map(|(hold, memo)| admission(hold, memo)).collect();
    let mut admitting: Vec<_> =
        admissions.iter().map(|admission| Box::pin(ledger.admit(admission))).collect();
    for one in &mut admitting {
        assert!(poll(one.as_mut()).is_pending(), "nobody is answered before all were decided");
    }
    assert_eq!(written(), []);
    assert!(matches!(poll(admitting[2].as_mut()), Poll::Ready(Ok(AdmitOutcome::Admitted(_)))));
    assert_eq!(written(), [1, 2, 3, 4].map(hold_id), "the first answer found all of them written");
    for one in [0, 1, 3] {
        assert!(matches!(poll(admitting[one].as_mut()), Poll::Ready(Ok(AdmitOutcome::Admitted(_)))));
    }
    // where the write fails nobody is admitted
    let log = ledger.shared.log.as_ref().unwrap();
    let memos = [[5; 40], [6; 40]];
    let admissions = [admission(5, &memos[0]), admission(6, &memos[1])];
    let mut admitting = admissions.each_ref().map(|admission| Box::pin(ledger.admit(admission)));
    for one in &mut admitting {
        assert!(poll(one.as_mut()).is_pending());
    }
    let _disk = log.replace_file(std::fs::File::options().write(true).open("/dev/full").unwrap());
    for one in &mut admitting {
        assert!(matches!(poll(one.as_mut()), Poll::Ready(Err(LedgerError::Unavailable(_)))));
    }
}

#[tokio::test]
async fn a_disk_that_is_full_closes_admission_and_loses_nothing() {
    let directory = tempfile::tempdir().unwrap();
    let (ledger, _) = ledger(directory.path());
    assert!(matches!(admit(&ledger, 1), Ok(AdmitOutcome::Admitted(_))));
    assert!(matches!(admit(&ledger, 2), Ok(AdmitOutcome::Admitted(_))));
    let log = ledger.shared.log.as_ref().unwrap();
    let full = std::fs::File::options().write(true).open("/dev/full").unwrap();
    let disk = log.replace_file(full);
    let refused = admit(&ledger, 3);
    assert_eq!(refused, Err(LedgerError::Unavailable("its log cannot be written".to_owned())));
    assert!(admit(&ledger, 4).is_err());
    assert!(
        !ledger.shard(TENANT)[&TENANT].holds.contains_key(&hold_id(4)),
        "refused before anything changed"
    );
    // who was refused ends what may have been written, and what was under way goes on
    assert_eq!(ledger.settle(&settlement(3, false)), SettleOutcome::Settled);
    assert_eq!(ledger.settle(&settlement(1, true)), SettleOutcome::Settled);
    ledger.shorten_log().await;
    assert!(admit(&ledger, 4).is_err());

    drop(log.replace_file(disk));
    eventually(Duration::from_secs(20), "admission to open again", async || {
        matches!(admit(&ledger, 4), Ok(AdmitOutcome::Admitted(_))).then_some(())
    })
    .await
    .unwrap();
    let (_, recovered) = self::ledger(directory.path());
    let open = open_of(&recovered);
    assert_eq!(open, open_in(&ledger));
    assert_eq!(open.0.keys().copied().collect::<Vec<_>>(), [hold_id(2), hold_id(4)]);
    assert_eq!(open.1.len(), 1);
}

#[tokio::test]
async fn what_was_left_behind_is_found_until_it_is_let_go() {
    let directory = tempfile::tempdir().unwrap();
    let (first, _) = ledger(directory.path());
    admit(&first, 1).unwrap();
    admit(&first, 2).unwrap();
    first.settle(&settlement(2, true));
    first.write_log();
    drop(first);
    let (second, recovered) = ledger(directory.path());
    assert_eq!((recovered.holds.len(), recovered.events.len()), (1, 1));
    assert_eq!(recovered.holds[0].memo, [1; 40]);
    assert_eq!(recovered.events[0].as_ref(), settlement(2, true).event.unwrap().as_ref());
    admit(&second, 5).unwrap();
    // killed before what it found was journaled
    drop(second);
    let (third, recovered) = ledger(directory.path());
    assert_eq!((recovered.holds.len(), recovered.events.len()), (2, 1));
    third.forget_recovered(true).unwrap();
    drop(third);
    let (fourth, recovered) = ledger(directory.path());
    assert!(recovered.is_empty(), "{recovered:?}");
    admit(&fourth, 6).unwrap();
    drop(fourth);
    // what could not be journaled is kept under another name, and not read again
    let (fifth, recovered) = ledger(directory.path());
    assert_eq!(recovered.holds.len(), 1);
    fifth.forget_recovered(false).unwrap();
    drop(fifth);
    assert!(ledger(directory.path()).1.is_empty());
    let names = std::fs::read_dir(directory.path()).unwrap().map(|entry| entry.unwrap().file_name());
    assert!(names.map(|name| name.into_string().unwrap()).any(|name| name.ends_with(".set-aside")));
}

#[test]
fn what_another_release_wrote_is_refused_with_a_way_out() {
    let directory = tempfile::tempdir().unwrap();
    drop(ledger(directory.path()));
    let path = directory.path().join("0000000000000001.log");
    let mut bytes = std::fs::read(&path).unwrap();
    let intact = bytes.clone();
    Frames::of_segment(1).append(&mut bytes, |out| out.extend_from_slice(&[99, 1]));
    std::fs::write(&path, &bytes).unwrap();
    let clock = || Arc::new(ManualClock::new(UnixMillis(0)));
    let error = MemoryLedger::with_log(clock(), directory.path()).unwrap_err();
    assert!(
        matches!(&error, LedgerError::Misconfigured(text) if text.contains("another release")),
        "{error}"
    );
    std::fs::write(&path, b"something else, and longer than a head").unwrap();
    assert!(matches!(MemoryLedger::with_log(clock(), directory.path()), Err(LedgerError::Misconfigured(_))));
    std::fs::write(&path, &intact[..10]).unwrap();
    assert!(
        MemoryLedger::with_log(clock(), directory.path()).unwrap().1.is_empty(),
        "the head itself was cut"
    );
}
