//! Which answers are held for in slices, and what the first of them costs.

use tollgate_domain::{NanoUsd, Surface};
use tollgate_policy::RoutePlan;

use super::{PlanInput, PricedCandidate, PricedPlanShape};

/// Members with which a client can have thoughts left out of the stream: they are billed all the same.
const HIDES_THOUGHTS: [&[u8]; 3] = [b"include_reasoning", b"reasoning_format", b"reasoning"];

/// Answer tokens to be held for at a time; `None` where the whole answer is: because nobody asked for slices,
/// because they would save nothing, or because not every token that is billed would be seen in time.
pub(super) fn slice_tokens(
    plan: &RoutePlan,
    priced: &PricedCandidate,
    input: &PlanInput<'_>,
    shape: &PricedPlanShape,
) -> Option<u64> {
    let slice = plan.hold_slice_tokens?;
    let skim = input.skim;
    let is_seen = skim.stream
        && skim.surface != Surface::Embeddings
        && priced.candidate.is_output_visible
        && !skim.wants_audio_output
        && skim.n_billed_choices() == skim.n_returned_choices()
        && !hides_thoughts(input.body);
    let whole = priced.output_cap.saturating_mul(shape.n_choices);
    (is_seen && slice < whole && priced.charges_output(shape)).then_some(slice)
}

fn hides_thoughts(body: &[u8]) -> bool {
    let is_one = |name: &[u8]| HIDES_THOUGHTS.contains(&name);
    // a body that cannot be read is refused elsewhere
    tollgate_wire::json::members(body)
        .is_ok_and(|members| members.iter().any(|member| is_one(&member.key.name(body))))
}

/// What is held before anything is sent, wherever it is sent: `worst_case` where nothing is sliced.
pub(super) fn first_hold(
    candidates: &[PricedCandidate],
    worst_case: NanoUsd,
    shape: &PricedPlanShape,
    floor: u64,
) -> NanoUsd {
    if candidates.iter().all(|priced| priced.slice_tokens.is_none()) {
        return worst_case;
    }
    let first = |priced: &PricedCandidate| priced.first_bound(shape, floor);
    candidates.iter().map(first).max().unwrap_or(worst_case)
}

impl PricedCandidate {
    /// What is held for an attempt here before it is sent: the most it can cost, or a slice of that.
    pub(crate) fn first_bound(&self, shape: &PricedPlanShape, floor: u64) -> NanoUsd {
        match self.slice_tokens {
            None => self.bound(self.output_cap, shape),
            Some(slice) => {
                let least = self.output_cap.min(floor).saturating_mul(shape.n_choices);
                self.bound_in_all(slice.max(least), shape)
            }
        }
    }
}
