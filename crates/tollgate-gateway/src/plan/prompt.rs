//! Prompt tokens at most: from bytes at first, from the model's own tokenizer where bytes hold too much.

use std::cell::OnceCell;

use tollgate_catalog::{PriceSheet, Tokenizer};
use tollgate_domain::ErrorKind;
use tollgate_policy::Candidate;
use tollgate_wire::openai::request::{
    CountedText, ImageRates, PromptCounting, RequestSkim, count_text, image_rates, input_token_bound_with,
};
use tollgate_wire::tokens::{Encoding, TokenCounter as _};

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
                "a file, video or sound could cost any amount with {provider}/{model}, whose context length is not known: \
                 send its text, or use another model"
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

/// Tokens written around a prompt and around each of its messages, where its text is counted: the most that a public
/// template has.
const MARKS_PER_MESSAGE: u64 = 8;
/// Tokens of what vendors write before tools (Anthropic's are the longest that are told), and around each.
const TOOLS_PREAMBLE: u64 = 346;
/// Tokens of a picture where no table tells: what the largest one costs at the vendors that tell.
const TOKENS_PER_IMAGE: u64 = 1_600;
/// Tokens of a second of sound.
const TOKENS_PER_SECOND: u64 = 32;
/// Models without a public tokenizer make up to a quarter more tokens of the same text than the public one, in fourths.
const FOURTHS_WITHOUT_TOKENIZER: u64 = 5;

/// What a prompt counts: its text by the model's own tokenizer, else by the one that comes nearest with an addition. Not
/// less than its vendor says where the tokenizer is public.
pub(crate) fn counted_tokens(candidate: Option<&Candidate>, skim: &RequestSkim, body: &[u8]) -> u64 {
    let tokenizer = candidate.and_then(|candidate| candidate.tokenizer);
    let encoding = match tokenizer {
        Some(Tokenizer::Cl100k) => Encoding::Cl100k,
        Some(Tokenizer::O200k) | None => Encoding::O200k,
    };
    let text = count_text(skim.surface, body, &encoding).n_tokens;
    let tools = declared(body).iter().fold(0, |sum: u64, json| sum.saturating_add(encoding.count(json)));
    let marks =
        skim.n_messages.saturating_add(skim.n_tools).saturating_add(1).saturating_mul(MARKS_PER_MESSAGE);
    let preamble = if skim.n_tools > 0 { TOOLS_PREAMBLE } else { 0 };
    // what the dialect of the count has no word for is counted by its bytes
    let unseen = skim.n_unseen_bytes.div_ceil(3);
    let words = [text, tools, marks, preamble, unseen].into_iter().fold(0, u64::saturating_add);
    let words = match tokenizer {
        Some(_) => words,
        None => words.saturating_mul(FOURTHS_WITHOUT_TOKENIZER).div_ceil(4),
    };
    words
        .saturating_add(skim.n_images.saturating_mul(TOKENS_PER_IMAGE))
        .saturating_add(skim.audio_seconds.saturating_mul(TOKENS_PER_SECOND))
}

/// The JSON of a request's tools and of the schema of its answer.
fn declared(body: &[u8]) -> Vec<String> {
    let Ok(root) = tollgate_wire::json::Node::parse(body) else { return Vec::new() };
    let Ok(mut members) = root.object() else { return Vec::new() };
    let names = ["tools", "functions", "response_format"];
    names.iter().filter_map(|name| Some(members.take(name)?.text().to_owned())).collect()
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
