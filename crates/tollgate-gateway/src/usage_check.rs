//! Whether a provider's counts can be believed: one rule for all dialects, whole answers and streams.
//!
//! Counts that contradict what has come are not settled as the provider's own: the side that cannot be right is counted,
//! the other one stays as it was told, and the basis is `counted`.

use tollgate_domain::{Meter, SettlementBasis, Usage};
use tollgate_wire::openai::usage::counted_usage;

use crate::provider::output_cap;
use crate::settle::Reservation;

/// No token of any public vocabulary is longer: a text of more bytes has more tokens than this says.
pub(crate) const MOST_BYTES_PER_TOKEN: u64 = 128;
/// Counts beyond so many times their bound are absurd: bounds of prompts are rough, and some vendors add what they
/// search to the prompt.
const ABSURD_FACTOR: u64 = 4;
/// Added to that, so that small bounds have room.
const ABSURD_ROOM: u64 = 1_024;

/// The classes of a prompt and of an answer.
const INPUT: [Meter; 6] = [
    Meter::Input,
    Meter::CachedInput,
    Meter::CacheWrite5m,
    Meter::CacheWrite1h,
    Meter::InputAudio,
    Meter::InputImage,
];
const OUTPUT: [Meter; 4] = [Meter::Output, Meter::Reasoning, Meter::OutputAudio, Meter::OutputImage];

/// What an answer has shown, and what it could have at most.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Shown {
    pub(crate) text_bytes: u64,
    pub(crate) n_text_events: u64,
    /// Text has come after the counts.
    pub(crate) has_text_since: bool,
}

/// What a request's tokens can be at most; `None` for what nothing bounds.
#[derive(Clone, Copy, Debug)]
struct Bounds {
    input: Option<u64>,
    output: Option<u64>,
}

/// The usage that a chat, completion or embedding is settled at, and where it comes from.
pub(crate) fn settled(
    reservation: &Reservation,
    told: Option<&Usage>,
    shown: &Shown,
) -> (Usage, SettlementBasis) {
    let counted = counted(reservation, shown);
    let Some(told) = told else { return (counted, SettlementBasis::Counted) };
    judge(told, &counted, shown, bounds(reservation))
}

/// The prompt's estimate, and the answer by what has been shown of it.
pub(crate) fn counted(reservation: &Reservation, shown: &Shown) -> Usage {
    let request = &reservation.priced;
    let counted = counted_usage(&request.skim, request.body.0.len(), shown.text_bytes, shown.n_text_events);
    counted.with(Meter::Input, counted.get(Meter::Input).saturating_add(request.plan.kept_tokens))
}

/// The usage of an answer that ends in the middle: what the provider had told by then is exact for the prompt, and the
/// least for the answer.
pub(crate) fn so_far(reservation: &Reservation, told: Option<&Usage>, shown: &Shown) -> Usage {
    let counted = counted(reservation, shown);
    let Some(told) = told else { return counted };
    let shown = Shown { has_text_since: true, ..*shown };
    judge(told, &counted, &shown, bounds(reservation)).0
}

fn bounds(reservation: &Reservation) -> Bounds {
    let plan = &reservation.priced.plan;
    let index = reservation.candidate_index();
    let output = index
        .and_then(|index| output_cap(reservation, index))
        .map(|cap| cap.saturating_mul(plan.n_choices).saturating_add(plan.prediction_tokens));
    Bounds { input: reservation.current().map(|priced| priced.input_bound), output }
}

fn judge(told: &Usage, counted: &Usage, shown: &Shown, bounds: Bounds) -> (Usage, SettlementBasis) {
    let is_absurd = |told: u64, bound: Option<u64>| {
        bound.is_some_and(|bound| told > bound.saturating_mul(ABSURD_FACTOR).saturating_add(ABSURD_ROOM))
    };
    let mut usage = *told;
    let mut basis = SettlementBasis::Provider;
    let (input, output) = (told.input_tokens(), told.output_tokens());
    if (input == 0 && counted.input_tokens() > 0) || is_absurd(input, bounds.input) {
        usage = replaced(&usage, &INPUT, Meter::Input, counted.input_tokens());
        basis = SettlementBasis::Counted;
    }
    let is_too_little = output.saturating_mul(MOST_BYTES_PER_TOKEN) < shown.text_bytes;
    let is_behind = shown.has_text_since && output < counted.output_tokens();
    if is_too_little || is_absurd(output, bounds.output) {
        usage = replaced(&usage, &OUTPUT, Meter::Output, counted.output_tokens());
        basis = SettlementBasis::Counted;
    } else if is_behind {
        let more = counted.output_tokens() - output;
        usage.set(Meter::Output, usage.get(Meter::Output).saturating_add(more));
        basis = SettlementBasis::Counted;
    }
    (usage, basis)
}

fn replaced(usage: &Usage, classes: &[Meter], plain: Meter, count: u64) -> Usage {
    let emptied = classes.iter().fold(*usage, |usage, meter| usage.with(*meter, 0));
    emptied.with(plain, count)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_that_contradict_what_has_come_are_not_the_providers() {
        use SettlementBasis::{Counted, Provider};
        let of = |input: u64, output: u64| Usage::ZERO.with(Meter::Input, input).with(Meter::Output, output);
        let text = |text_bytes: u64| Shown { text_bytes, n_text_events: 3, has_text_since: false };
        let behind = |text_bytes: u64| Shown { has_text_since: true, ..text(text_bytes) };
        let capped = Bounds { input: Some(50), output: Some(100) };
        let free = Bounds { input: None, output: None };
        // what is counted: 10 for the prompt, a quarter of the text's bytes for the answer
        let cases = [
            ("as it should be", of(12, 20), text(80), capped, of(12, 20), Provider),
            ("a little dear", of(12, 480), text(80), capped, of(12, 480), Provider),
            ("nothing said, nothing counted", of(12, 0), text(0), capped, of(12, 0), Provider),
            ("text and no answer", of(12, 0), text(80), capped, of(12, 20), Counted),
            ("a novel in one token", of(12, 1), text(4_000), capped, of(12, 1_000), Counted),
            ("blanks in few tokens", of(12, 40), text(4_000), capped, of(12, 40), Provider),
            ("no prompt", of(0, 20), text(80), capped, of(10, 20), Counted),
            ("nothing at all", of(0, 0), text(80), capped, of(10, 20), Counted),
            ("an absurd answer", of(12, 900_000), text(80), capped, of(12, 20), Counted),
            ("an absurd prompt", of(900_000, 20), text(80), capped, of(10, 20), Counted),
            ("a long answer that nothing bounds", of(12, 900_000), text(80), free, of(12, 900_000), Provider),
            ("counts before the text", of(12, 1), behind(80), capped, of(12, 20), Counted),
            ("counts that were ahead of it", of(12, 30), behind(80), capped, of(12, 30), Provider),
        ];
        for (name, told, shown, bounds, usage, basis) in cases {
            let counted = of(10, shown.text_bytes / 4);
            assert_eq!(judge(&told, &counted, &shown, bounds), (usage, basis), "{name}");
        }
        let cached = Usage::ZERO.with(Meter::CachedInput, 12).with(Meter::Reasoning, 20);
        assert_eq!(judge(&cached, &of(10, 20), &text(80), capped), (cached, Provider), "in other classes");
        let absurd = cached.with(Meter::Reasoning, 900_000).with(Meter::Search, 2);
        let expected =
            Usage::ZERO.with(Meter::CachedInput, 12).with(Meter::Output, 20).with(Meter::Search, 2);
        assert_eq!(judge(&absurd, &of(10, 20), &text(80), capped), (expected, Counted));
    }
}
