//! How much of an answer is held for, in tokens: when to ask for more, and what may go out meanwhile.
//!
//! Pure: it knows neither money nor the ledger. What is relayed never passes what is held; that is all it is for.

/// The slices of one answer.
#[derive(Debug)]
pub(crate) struct SlicePlan {
    slice: u64,
    /// More is asked for when no more than this is left: the provider is ahead of what has been relayed.
    headroom: u64,
    /// No answer has more tokens than this: once they are held for, nothing is asked any more.
    cap: u64,
    held: u64,
    asked: Option<Asked>,
    /// How much was used when the last question was refused for good.
    refused_at: Option<u64>,
}

#[derive(Clone, Copy, Debug)]
struct Asked {
    total: u64,
    /// Asked for instead of a whole slice, because no more was left.
    is_rest: bool,
}

/// What may happen to tokens that have come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// They are held for.
    Relay,
    /// An answer is outstanding.
    Wait,
    /// Nobody pays for them.
    End,
}

impl SlicePlan {
    pub(crate) fn new(slice: u64, cap: u64, held: u64) -> Self {
        Self { slice, headroom: slice / 2, cap, held: held.min(cap), asked: None, refused_at: None }
    }

    /// The tokens to be held for in all, where it is time to ask: `used` are out, or have come and wait. The
    /// question is outstanding from then on.
    pub(crate) fn ask(&mut self, used: u64) -> Option<u64> {
        if !self.is_due(used) {
            return None;
        }
        let total = used.max(self.held).saturating_add(self.slice).min(self.cap);
        self.asked = Some(Asked { total, is_rest: false });
        Some(total)
    }

    /// Whether [`SlicePlan::ask`] would ask. After a refusal only what is not held for asks, and once.
    pub(crate) fn is_due(&self, used: u64) -> bool {
        let is_near = used.saturating_add(self.headroom) >= self.held && self.held < self.cap;
        let may_ask = self.refused_at.is_none_or(|at| used > self.held && at < used);
        self.asked.is_none() && is_near && may_ask
    }

    #[cfg(test)]
    fn is_asking(&self) -> bool {
        self.asked.is_some()
    }

    /// Tokens that are held for.
    pub(crate) fn held(&self) -> u64 {
        self.held
    }

    /// As many tokens are held for now.
    pub(crate) fn grown(&mut self, held: u64) {
        self.held = self.held.max(held.min(self.cap));
        self.asked = None;
        self.refused_at = None;
    }

    /// What was asked for is refused, and `affordable` tokens in all are within what is left. Answers what to
    /// ask for instead, where anything is left; that question is outstanding then.
    pub(crate) fn refused(&mut self, used: u64, affordable: u64) -> Option<u64> {
        let asked = self.asked.take()?;
        let rest = affordable.min(asked.total.saturating_sub(1));
        if !asked.is_rest && rest > self.held {
            self.asked = Some(Asked { total: rest, is_rest: true });
            return Some(rest);
        }
        self.refused_at = Some(used);
        None
    }

    /// Nobody answers: what is outstanding is given up.
    pub(crate) fn given_up(&mut self) {
        self.asked = None;
    }

    /// What may happen when `used` tokens would be out.
    pub(crate) fn verdict(&self, used: u64) -> Verdict {
        if used <= self.held || self.held >= self.cap {
            Verdict::Relay
        } else if self.asked.is_none() && self.refused_at.is_some_and(|at| at >= used) {
            Verdict::End
        } else {
            Verdict::Wait
        }
    }

    /// Tokens that can come without being withheld.
    pub(crate) fn room(&self, used: u64) -> u64 {
        if self.held >= self.cap { u64::MAX } else { self.held.saturating_sub(used) }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn more_is_asked_for_when_half_a_slice_is_left() {
        let mut plan = SlicePlan::new(400, 2_000, 400);
        assert_eq!(plan.ask(199), None);
        assert_eq!(plan.ask(200), Some(800));
        assert_eq!(plan.ask(300), None, "one question at a time");
        assert_eq!((plan.verdict(400), plan.verdict(401)), (Verdict::Relay, Verdict::Wait));
        plan.grown(800);
        assert_eq!((plan.verdict(800), plan.room(700)), (Verdict::Relay, 100));
        assert_eq!(plan.ask(3_000), Some(2_000), "a large piece asks for itself, the cap for no more");
        plan.grown(2_000);
        assert_eq!(
            (plan.ask(1_999), plan.verdict(9_000), plan.room(9_000)),
            (None, Verdict::Relay, u64::MAX)
        );
    }

    #[test]
    fn what_is_left_is_asked_for_and_then_it_ends() {
        let mut plan = SlicePlan::new(400, 2_000, 400);
        assert_eq!(plan.ask(250), Some(800));
        assert_eq!(plan.refused(250, 500), Some(500));
        assert_eq!(plan.verdict(450), Verdict::Wait);
        plan.grown(500);
        assert_eq!(plan.verdict(450), Verdict::Relay);
        assert_eq!(plan.ask(450), Some(900));
        assert_eq!(plan.refused(450, 500), None);
        assert_eq!((plan.ask(480), plan.verdict(500)), (None, Verdict::Relay), "what is held is used up");
        assert_eq!(plan.verdict(501), Verdict::Wait);
        assert_eq!(plan.ask(501), Some(901), "and once more, for others may have ended");
        assert_eq!(plan.refused(501, 499), None);
        assert_eq!((plan.ask(501), plan.verdict(501)), (None, Verdict::End));
    }

    #[test]
    fn a_rest_that_is_refused_too_is_not_asked_for_again() {
        let mut plan = SlicePlan::new(400, 2_000, 400);
        assert_eq!(plan.ask(401), Some(801));
        assert_eq!(plan.refused(401, 900), Some(800), "another level may refuse what this one could pay");
        assert_eq!(plan.refused(401, 799), None);
        assert_eq!(plan.verdict(401), Verdict::End);
        plan.given_up();
        assert_eq!(plan.verdict(401), Verdict::End);
    }

    proptest! {
        /// Whatever comes and whatever the ledger answers, whenever it does: what is out is held for, an end has
        /// been refused, and no question goes without an answer or is asked for ever.
        #[test]
        fn relayed_is_held_at_every_step(
            slice in 1_u64..5_000,
            first_share in 0_u64..=100,
            cap in 1_u64..50_000,
            pieces in proptest::collection::vec((0_u64..3_000, any::<bool>()), 1..200),
            money in proptest::collection::vec(0_u64..60_000, 1..20),
        ) {
            let mut ledger_holds = (slice * first_share / 100).min(cap);
            let mut plan = SlicePlan::new(slice, cap, ledger_holds);
            let (mut used, mut relayed, mut n_questions) = (0_u64, 0_u64, 0_usize);
            let mut outstanding: Option<u64> = None;
            'pieces: for (piece, is_slow) in pieces {
                used = (used + piece).min(cap);
                loop {
                    if let Some(total) = plan.ask(used) {
                        prop_assert!(outstanding.is_none() && total > ledger_holds && total <= cap);
                        outstanding = Some(total);
                        n_questions += 1;
                    }
                    prop_assert_eq!(plan.is_asking(), outstanding.is_some());
                    let verdict = plan.verdict(used);
                    if verdict == Verdict::Relay && is_slow {
                        break;
                    }
                    if let Some(total) = outstanding.take() {
                        let limit = money[n_questions % money.len()];
                        if total <= limit {
                            ledger_holds = total;
                            plan.grown(total);
                        } else if let Some(rest) = plan.refused(used, limit) {
                            prop_assert!(rest > ledger_holds && rest < total);
                            outstanding = Some(rest);
                            n_questions += 1;
                        }
                        prop_assert!(n_questions < 2_000);
                        continue;
                    }
                    match verdict {
                        Verdict::Relay => break,
                        Verdict::Wait => prop_assert!(false, "waits for nothing"),
                        Verdict::End => break 'pieces,
                    }
                }
                relayed = used;
                prop_assert!(relayed <= ledger_holds || ledger_holds >= cap);
            }
            prop_assert!(relayed <= ledger_holds || ledger_holds >= cap);
        }
    }
}
