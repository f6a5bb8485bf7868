//! Between a decision and its answer other requests run, clients leave, and the log is made shorter.

use proptest::prelude::*;

use super::*;

/// What happens next; numbers pick among those that it can happen to.
#[derive(Clone, Debug)]
enum Turn {
    Decide,
    Answer(usize),
    /// The client goes before its answer.
    Leave(usize),
    Settle(usize, bool),
    Journal(usize),
    Checkpoint,
}

fn turn() -> impl Strategy<Value = Turn> {
    prop_oneof![
        6 => Just(Turn::Decide),
        5 => any::<usize>().prop_map(Turn::Answer),
        1 => any::<usize>().prop_map(Turn::Leave),
        4 => (any::<usize>(), prop::bool::weighted(0.8)).prop_map(|(at, has_event)| Turn::Settle(at, has_event)),
        1 => (1..4_usize).prop_map(Turn::Journal),
        1 => Just(Turn::Checkpoint),
    ]
}

type Deciding = Pin<Box<dyn Future<Output = Result<AdmitOutcome, LedgerError>>>>;

struct Play {
    ledger: MemoryLedger,
    directory: tempfile::TempDir,
    n_begun: u8,
    deciding: Vec<(u8, Deciding)>,
    /// Answered and under way.
    admitted: Vec<u8>,
    /// Ended with an event.
    settled: BTreeSet<EventId>,
}

/// Takes one out, where there is any.
fn pick<T>(from: &mut Vec<T>, at: usize) -> Option<T> {
    (!from.is_empty()).then(|| from.swap_remove(at % from.len()))
}

impl Play {
    async fn take(&mut self, turn: &Turn) {
        match turn {
            Turn::Decide => {
                self.n_begun += 1;
                let (ledger, hold) = (self.ledger.clone(), self.n_begun);
                let mut deciding: Deciding =
                    Box::pin(async move { ledger.admit(&admission(hold, &[hold; 40])).await });
                assert!(poll(deciding.as_mut()).is_pending());
                self.deciding.push((hold, deciding));
            }
            Turn::Answer(at) => {
                let Some((hold, mut deciding)) = pick(&mut self.deciding, *at) else { return };
                assert!(matches!(poll(deciding.as_mut()), Poll::Ready(Ok(AdmitOutcome::Admitted(_)))));
                self.admitted.push(hold);
            }
            Turn::Leave(at) => {
                let Some((hold, deciding)) = pick(&mut self.deciding, *at) else { return };
                drop(deciding);
                assert_eq!(self.ledger.settle(&settlement(hold, false)), SettleOutcome::Settled);
            }
            Turn::Settle(at, has_event) => {
                let Some(hold) = pick(&mut self.admitted, *at) else { return };
                let settlement = settlement(hold, *has_event);
                assert_eq!(self.ledger.settle(&settlement), SettleOutcome::Settled);
                self.settled.extend(settlement.event.map(|event| event.event));
            }
            Turn::Journal(n) => {
                let entries = self.ledger.outbox_read(*n, 0).await;
                for entry in &entries {
                    self.settled.remove(&entry.event.as_ref().unwrap().event);
                }
                let handles: Vec<OutboxHandle> = entries.into_iter().map(|entry| entry.handle).collect();
                self.ledger.outbox_acknowledge(&handles).await;
            }
            Turn::Checkpoint => self.ledger.shorten_log().await,
        }
    }

    /// What a process finds that starts now, this one having been killed.
    fn found(&self) -> Open {
        let segments = segments(self.directory.path());
        let texts: Vec<_> = segments.iter().map(|(number, bytes)| text_of(*number, bytes)).collect();
        open_of(&replay(&texts).unwrap())
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    /// Whoever was answered may have been sent: a kill at any moment leaves its hold, or its event.
    #[test]
    fn whoever_was_answered_is_known_after_a_kill(turns in prop::collection::vec(turn(), 1..120)) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let directory = tempfile::tempdir().unwrap();
        let (ledger, _) = ledger(directory.path());
        let (deciding, admitted, settled) = (Vec::new(), Vec::new(), BTreeSet::new());
        let mut play = Play { ledger, directory, n_begun: 0, deciding, admitted, settled };
        for turn in &turns {
            runtime.block_on(play.take(turn));
            let (holds, events) = play.found();
            for hold in &play.admitted {
                prop_assert!(holds.contains_key(&hold_id(*hold)), "{hold} after {turn:?}");
            }
            for event in &play.settled {
                let is_known = holds.contains_key(&HoldId::from_uuid(event.as_uuid())) || events.contains(event);
                prop_assert!(is_known, "{event} after {turn:?}");
            }
        }
        // and what nobody was answered is nobody's for ever
        for (hold, _) in &play.deciding {
            prop_assert_eq!(play.ledger.settle(&settlement(*hold, false)), SettleOutcome::Settled);
        }
        play.ledger.write_log();
        let (holds, _) = play.found();
        let expected: BTreeSet<HoldId> = play.admitted.iter().map(|hold| hold_id(*hold)).collect();
        prop_assert_eq!(holds.into_keys().collect::<BTreeSet<_>>(), expected);
    }
}
