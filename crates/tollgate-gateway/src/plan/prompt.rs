//! Prompt tokens at most: from bytes at first, from the model's own tokenizer where bytes hold too much.

use std::cell::OnceCell;

use tollgate_catalog::{PriceSheet, Tokenizer};
use tollgate_domain::ErrorKind;
use tollgate_policy::Candidate;
use tollgate_wire::openai::request::{
    CountedText, ImageRates, PromptCounting, RequestSkim, count_text, image_rates, input_token_bound_with,
};
use tollgate_wire::tokens::Encoding;

use super::PricedCandidate;
use crate::error::Refusal;

/// The bound that costs nothing to compute: bytes, tables and constants, at most the model's context.
pub(super) fn cheap_bound(
    candidate: &Candidate,
    skim: &RequestSkim,
    body_len: usize,
    sheet: &PriceSheet,
) -> Result<u64, Refusal> {
    let counting = PromptCounting { images: images_of(candidate), text: CountedText::default() };
    let bound = bound(candidate, skim, body_len, &counting);
    bound.or_else(|| sheet.is_free().then(|| input_token_bound_with(skim, body_len, &counting))).ok_or_else(
        || {
            let (provider, model) = (&candidate.provider.name, &candidate.model);
            let message = format!(
                "the cost of a file, video or sound cannot be bounded for {provider}/{model}: send it inline"
            );
            Refusal::new(ErrorKind::InvalidRequest, message).with_param("messages")
        },
    )
}

/// Lowers the bounds of candidates whose tokenizer is public, by counting the text of the prompt.
pub(super) fn count_exactly(candidates: &mut [PricedCandidate], skim: &RequestSkim, body: &[u8]) {
    let counts = ExactCounts::new(skim, body);
    for priced in candidates {
        let candidate = &priced.candidate;
        let Some(tokenizer) = candidate.tokenizer else { continue };
        let counting = PromptCounting { images: images_of(candidate), text: counts.of(tokenizer) };
        if let Some(exact) = bound(candidate, skim, body.len(), &counting) {
            priced.input_bound = priced.input_bound.min(exact);
        }
    }
}

/// `None` where nothing bounds the prompt.
fn bound(
    candidate: &Candidate,
    skim: &RequestSkim,
    body_len: usize,
    counting: &PromptCounting,
) -> Option<u64> {
    let by_body = input_token_bound_with(skim, body_len, counting);
    // every prompt of a batch has a context of its own
    let contexts = candidate.context_tokens.map(|context| context.saturating_mul(skim.n_prompts.max(1)));
    match contexts {
        Some(contexts) if skim.has_unbounded_parts => Some(contexts),
        Some(contexts) => Some(by_body.min(contexts)),
        None if skim.has_unbounded_parts => None,
        None => Some(by_body),
    }
}

/// OpenAI's tables hold for the models the catalogue knows to be of its families; the same name elsewhere may
/// be another model.
fn images_of(candidate: &Candidate) -> Option<ImageRates> {
    candidate.tokenizer.and_then(|_| image_rates(&candidate.model))
}

/// The text of one request, counted at most once by each tokenizer.
struct ExactCounts<'a> {
    skim: &'a RequestSkim,
    body: &'a [u8],
    cl100k: OnceCell<CountedText>,
    o200k: OnceCell<CountedText>,
}

impl<'a> ExactCounts<'a> {
    const fn new(skim: &'a RequestSkim, body: &'a [u8]) -> Self {
        Self { skim, body, cl100k: OnceCell::new(), o200k: OnceCell::new() }
    }

    fn of(&self, tokenizer: Tokenizer) -> CountedText {
        let (cell, encoding) = match tokenizer {
            Tokenizer::Cl100k => (&self.cl100k, Encoding::Cl100k),
            Tokenizer::O200k => (&self.o200k, Encoding::O200k),
        };
        *cell.get_or_init(|| count_text(self.skim.surface, self.body, &encoding))
    }
}
