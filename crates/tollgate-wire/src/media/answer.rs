//! What an answer counts.

use tollgate_domain::{Meter, Surface, Usage, UsageError};

use super::MediaRequest;
use crate::json::{FieldError, Kind, Members, Node, ReadError, validate};
use crate::openai::response::{Answer, AnswerShape};
use crate::openai::usage::{UsageReading, normalise, usage_span};

/// Reads a whole answer. One that is no JSON is what its surface promises where that is sound or a text.
#[must_use]
pub fn read_answer(request: &MediaRequest, is_json: bool, body: &[u8]) -> Answer {
    let empty = |shape| Answer {
        shape,
        usage: UsageReading::Missing,
        service_tier: None,
        text_bytes: 0,
        is_error: false,
    };
    if !is_json && request.may_answer_with_anything() {
        let text_bytes = if request.surface == Surface::Speech { 0 } else { body.len() as u64 };
        let usage = UsageReading::Inferred(counted_usage(request, None, text_bytes));
        return Answer { usage, text_bytes, ..empty(AnswerShape::Json) };
    }
    match read_json(request, body) {
        Ok((usage, text_bytes, is_error)) => {
            Answer { usage, text_bytes, is_error, ..empty(AnswerShape::Json) }
        }
        Err(_) => empty(AnswerShape::NotJson),
    }
}

fn read_json(request: &MediaRequest, body: &[u8]) -> Result<(UsageReading, u64, bool), ReadError> {
    let root = Node::parse(body)?;
    let mut members = root.object()?;
    let is_error = members.take("error").is_some();
    let n_images = members.take("data").and_then(|data| data.array().ok()).map(|data| data.len() as u64);
    let text_bytes = members.take("text").map_or(0, |text| text.span().len() as u64);
    let mut units = Units { n_images, seconds: None, searches: None };
    units.seconds = members.take("duration").and_then(|node| seconds(node.text()));
    let billed = billed_units(&mut members);
    units.searches = billed.as_ref().map(|billed| billed.get(Meter::Search));
    let reading = match members.take("usage").filter(|usage| usage.kind() == Kind::Object) {
        None => billed.map_or(UsageReading::Missing, UsageReading::Told),
        Some(object) => {
            let value = validate(object.text().as_bytes())?;
            let mut span = usage_span(object.text().as_bytes(), &value);
            // it was read by itself: where it stands is where its object does
            let start = object.span().start;
            span.object = object.span();
            span.cost_value = span.cost_value.map(|cost| cost.start + start..cost.end + start);
            match usage_of(request.surface, &object, &mut units) {
                Ok(Some(usage)) => UsageReading::Counted(usage, span),
                Ok(None) => UsageReading::Missing,
                Err(error) => UsageReading::Unusable(error, span),
            }
        }
    };
    let usage = match reading {
        UsageReading::Counted(usage, span) => UsageReading::Counted(units.add_to(request, usage), span),
        UsageReading::Told(usage) => UsageReading::Told(units.add_to(request, usage)),
        UsageReading::Missing => UsageReading::Inferred(counted_usage(request, Some(&units), text_bytes)),
        other => other,
    };
    Ok((usage, text_bytes, is_error))
}

/// The units that an answer shows.
pub struct Units {
    n_images: Option<u64>,
    seconds: Option<u64>,
    searches: Option<u64>,
}

impl Units {
    /// Units that are not told are those that were expected.
    fn add_to(&self, request: &MediaRequest, mut usage: Usage) -> Usage {
        let expected = |meter| request.expected.get(meter);
        usage.set(Meter::Image, self.n_images.unwrap_or(request.n_images));
        usage.set(Meter::Second, self.seconds.unwrap_or_else(|| expected(Meter::Second)));
        usage.set(Meter::Search, self.searches.unwrap_or_else(|| expected(Meter::Search)));
        usage.set(Meter::Character, expected(Meter::Character));
        usage
    }
}

/// What an answer that tells no usage counts: what was expected, and what it shows.
#[must_use]
pub fn counted_usage(request: &MediaRequest, units: Option<&Units>, text_bytes: u64) -> Usage {
    let usage = match units {
        Some(units) => units.add_to(request, request.expected),
        None => request.expected,
    };
    let is_text = matches!(request.surface, Surface::Transcriptions | Surface::Translations);
    if is_text && text_bytes > 0 { usage.with(Meter::Output, text_bytes.div_ceil(4)) } else { usage }
}

/// A usage object's classes: tokens, or seconds.
pub(super) fn usage_of(
    surface: Surface,
    object: &Node<'_>,
    units: &mut Units,
) -> Result<Option<Usage>, UsageError> {
    if let Ok(mut members) = object.object() {
        let told = members.take("seconds").and_then(|node| seconds(node.text()));
        units.seconds = told.or(units.seconds);
        let searches = members.take("search_units").and_then(|node| node.count().ok());
        units.searches = searches.or(units.searches);
        if told.is_some() || searches.is_some() {
            let tokens = normalise(Surface::Chat, object.text().as_bytes())?;
            return Ok(Some(in_classes(surface, tokens.unwrap_or(Usage::ZERO))));
        }
    }
    Ok(normalise(Surface::Chat, object.text().as_bytes())?.map(|usage| in_classes(surface, usage)))
}

/// Answer tokens are those of what the surface makes, where the provider does not tell them apart; what reads and
/// ranks makes none.
fn in_classes(surface: Surface, mut usage: Usage) -> Usage {
    let made = match surface {
        Surface::Images | Surface::ImageEdits | Surface::ImageVariations => Meter::OutputImage,
        Surface::Speech => Meter::OutputAudio,
        _ => return usage,
    };
    if usage.get(made) == 0 {
        usage.set(made, usage.get(Meter::Output));
        usage.set(Meter::Output, 0);
    }
    usage
}

/// Cohere's `meta.billed_units`.
fn billed_units(members: &mut Members<'_>) -> Option<Usage> {
    let mut meta = members.take("meta")?.object().ok()?;
    let mut billed = meta.take("billed_units")?.object().ok()?;
    let mut count = |name: &str| -> Result<Option<u64>, FieldError> {
        // Cohere writes 1.0
        billed
            .take(name)
            .map(|node| node.text().trim_end_matches(".0").parse().map_err(|_| node.error("is no count")))
            .transpose()
    };
    let (searches, input) = (count("search_units").ok()?, count("input_tokens").ok()?);
    (searches.is_some() || input.is_some()).then(|| {
        Usage::ZERO.with(Meter::Search, searches.unwrap_or(0)).with(Meter::Input, input.unwrap_or(0))
    })
}

/// Whole seconds of a number like `8.47`, rounded up; `None` where it is none that a request can last.
fn seconds(text: &str) -> Option<u64> {
    /// A year.
    const MAX_SECONDS: u64 = 366 * 86_400;
    let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
    let more = u64::from(fraction.bytes().any(|byte| byte != b'0'));
    whole.parse::<u64>().ok()?.checked_add(more).filter(|seconds| *seconds <= MAX_SECONDS)
}

impl Units {
    pub(super) const NONE: Self = Self { n_images: None, seconds: None, searches: None };

    pub(super) fn of_images(n_images: u64) -> Self {
        Self { n_images: Some(n_images), ..Self::NONE }
    }

    /// For streams, whose counts come in pieces.
    pub(super) fn finish(&self, request: &MediaRequest, usage: Usage) -> Usage {
        self.add_to(request, usage)
    }
}
