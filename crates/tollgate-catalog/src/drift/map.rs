//! Reading somebody else's price map: exact decimals, whatever shape it has.

use std::borrow::Cow;
use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::value::RawValue;
use tollgate_domain::{Meter, PricePerMillion};

use super::Pricing;
use crate::model::points_of;
use crate::{CatalogTier, PriceBand, PriceList, PricePoint, ServiceTier};

/// A price per unit in USD is this power of ten in nano-USD per million units.
const NANO_USD_PER_MILLION: i32 = 15;
/// Of how many units a price is.
const UNITS_PER_PRICE: i128 = 1_000_000;
/// More digits than any list has: what is beyond comes from somebody's binary fractions.
const SIGNIFICANT_DIGITS: usize = 10;
/// Numbers with more digits than this are rounded to [`SIGNIFICANT_DIGITS`].
const LONGEST_HONEST_NUMBER: usize = 12;
/// The most digits that are looked at; `u128` has room for them.
const MOST_DIGITS: usize = 30;

/// Prices by vendor and model, as somebody publishes them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PriceMap {
    models: BTreeMap<(String, String), Pricing>,
}

/// Why a price map could not be read.
#[derive(Debug, thiserror::Error)]
pub enum PriceMapError {
    /// Not JSON, or not of either shape.
    #[error(
        "the price map is not readable: {0}; give LiteLLM's map or `tollgate models catalog --output json`"
    )]
    Malformed(#[from] serde_json::Error),
    /// A number that is no price.
    #[error("the price map's {field} of {model} is no price: `{text}`")]
    BadNumber {
        /// The model as the map calls it.
        model: String,
        /// The field.
        field: String,
        /// What stands there.
        text: String,
    },
    /// Nothing in it has a price.
    #[error("the price map has no model with a price; is it the right file?")]
    Empty,
}

type Fields<'t> = BTreeMap<Cow<'t, str>, &'t RawValue>;

/// Our own export: a page of the catalogue as the admin API answers it.
#[derive(Deserialize)]
struct Export {
    data: Vec<ExportedModel>,
}

#[derive(Deserialize)]
struct ExportedModel {
    vendor: String,
    model: String,
    #[serde(default)]
    aliases: Vec<String>,
    prices: PriceList,
    #[serde(default)]
    bands: Vec<PriceBand>,
    #[serde(default)]
    tiers: Vec<CatalogTier>,
}

impl PriceMap {
    /// Reads LiteLLM's shape (an object of models with prices per token), or our own export.
    ///
    /// # Errors
    /// [`PriceMapError`].
    pub fn from_json(text: &str) -> Result<Self, PriceMapError> {
        let fields: BTreeMap<Cow<'_, str>, &RawValue> = serde_json::from_str(text)?;
        let map = if fields.get("data").is_some_and(|value| value.get().starts_with('[')) {
            Self::of_export(serde_json::from_str(text)?)
        } else {
            Self::of_litellm(&fields)?
        };
        if map.models.is_empty() { Err(PriceMapError::Empty) } else { Ok(map) }
    }

    /// What a model costs there.
    #[must_use]
    pub fn pricing(&self, vendor: &str, model: &str) -> Option<&Pricing> {
        self.models.get(&(vendor.to_owned(), model.to_owned()))
    }

    /// How many models it prices.
    #[must_use]
    pub fn n_models(&self) -> usize {
        self.models.len()
    }

    fn of_export(export: Export) -> Self {
        let mut models = BTreeMap::new();
        for entry in export.data {
            let pricing = Pricing::of_points(points_of(&entry.prices, &entry.bands, &entry.tiers));
            for alias in entry.aliases {
                models.entry((entry.vendor.clone(), alias)).or_insert_with(|| pricing.clone());
            }
            models.insert((entry.vendor, entry.model), pricing);
        }
        Self { models }
    }

    fn of_litellm(entries: &Fields<'_>) -> Result<Self, PriceMapError> {
        let mut models = BTreeMap::new();
        for (key, entry) in entries {
            // Notes and samples stand between the models.
            let Ok(fields) = serde_json::from_str::<Fields<'_>>(entry.get()) else { continue };
            let Some(provider) = text_field(&fields, "litellm_provider") else { continue };
            let vendor = vendor_of(&provider);
            let points = litellm_points(key, &fields)?;
            if points.iter().all(|point| point.price.0 == 0) {
                continue;
            }
            let name = key
                .split_once('/')
                .filter(|(first, _)| *first == provider || *first == vendor)
                .map_or(key.as_ref(), |(_, rest)| rest);
            models.insert((vendor.to_owned(), name.to_owned()), Pricing::of_points(points));
        }
        Ok(Self { models })
    }
}

/// Our name of one of LiteLLM's providers.
fn vendor_of(provider: &str) -> &str {
    match provider {
        "together_ai" => "together",
        "fireworks_ai" | "fireworks_ai-embedding-models" => "fireworks",
        "cohere_chat" => "cohere",
        "text-completion-openai" => "openai",
        same => same,
    }
}

fn text_field(fields: &Fields<'_>, name: &str) -> Option<String> {
    fields.get(name).and_then(|value| serde_json::from_str(value.get()).ok())
}

// === LiteLLM's fields ===

/// Prices per token: what the field begins with, and the class. Longer beginnings first.
const TOKEN_FIELDS: &[(&str, Meter)] = &[
    ("cache_creation_input_token_cost_above_1hr", Meter::CacheWrite1h),
    ("cache_creation_input_token_cost", Meter::CacheWrite5m),
    ("cache_read_input_token_cost", Meter::CachedInput),
    ("input_cost_per_audio_token", Meter::InputAudio),
    ("input_cost_per_image_token", Meter::InputImage),
    ("input_cost_per_token", Meter::Input),
    ("output_cost_per_audio_token", Meter::OutputAudio),
    ("output_cost_per_image_token", Meter::OutputImage),
    ("output_cost_per_reasoning_token", Meter::Reasoning),
    ("output_cost_per_token", Meter::Output),
];

/// Prices per unit, looked at only where no token has a price: else they say the same in another way.
const UNIT_FIELDS: &[(&str, &str, Meter)] = &[
    ("audio_transcription", "input_cost_per_second", Meter::Second),
    ("image_generation", "output_cost_per_image", Meter::Image),
    ("ocr", "ocr_cost_per_page", Meter::Page),
    ("rerank", "input_cost_per_query", Meter::Search),
];

/// What follows a price field's beginning: `_above_200k_tokens`, then `_batches`, `_flex` or `_priority`.
fn suffix(text: &str) -> Option<(ServiceTier, u64)> {
    let (context_from, rest) = match text.strip_prefix("_above_") {
        None => (0, text),
        Some(rest) => {
            let (thousands, rest) = rest.split_once("k_tokens")?;
            // "Above" is from the next token on.
            (thousands.parse::<u64>().ok()?.checked_mul(1_000)? + 1, rest)
        }
    };
    let tier = match rest {
        "" => ServiceTier::Standard,
        "_batches" => ServiceTier::Batch,
        "_flex" => ServiceTier::Flex,
        "_priority" => ServiceTier::Priority,
        _ => return None,
    };
    Some((tier, context_from))
}

fn litellm_points(model: &str, fields: &Fields<'_>) -> Result<Vec<PricePoint>, PriceMapError> {
    let mut points = token_points(model, fields)?;
    for step in fields.get("tiered_pricing").map_or(Vec::new(), |steps| steps_of(steps)) {
        let from = step.get("range").and_then(|range| {
            let bounds: Vec<&RawValue> = serde_json::from_str(range.get()).ok()?;
            scaled(bounds.first()?.get(), 0)
        });
        let context_from = match from {
            Some(from) if from > 0 => from.unsigned_abs() + 1,
            _ => 0,
        };
        points.extend(
            token_points(model, &step)?.into_iter().map(|point| PricePoint { context_from, ..point }),
        );
    }
    if points.iter().any(|point| point.price.0 > 0) {
        return Ok(points);
    }
    let mode = text_field(fields, "mode").unwrap_or_default();
    let unit = UNIT_FIELDS.iter().find(|(of_mode, field, _)| *of_mode == mode && fields.contains_key(*field));
    let Some((_, field, meter)) = unit else { return Ok(points) };
    Ok(match fields.get(*field) {
        Some(value) => {
            let price = in_whole_nano_usd(number(model, field, value.get())?);
            vec![PricePoint { tier: ServiceTier::Standard, context_from: 0, meter: *meter, price }]
        }
        None => points,
    })
}

fn steps_of(value: &RawValue) -> Vec<Fields<'_>> {
    serde_json::from_str(value.get()).unwrap_or_default()
}

fn token_points(model: &str, fields: &Fields<'_>) -> Result<Vec<PricePoint>, PriceMapError> {
    let mut points = Vec::new();
    for (field, value) in fields {
        let known = TOKEN_FIELDS.iter().find_map(|(start, meter)| {
            let (tier, context_from) = suffix(field.strip_prefix(start)?)?;
            Some((tier, context_from, *meter))
        });
        let Some((tier, context_from, meter)) = known else { continue };
        if value.get() == "null" {
            continue;
        }
        let price = number(model, field, value.get())?;
        // Zero for writing a cache says that nothing comes on top, not that those tokens are free.
        let is_surcharge = matches!(meter, Meter::CacheWrite5m | Meter::CacheWrite1h);
        if !is_surcharge || price > PricePerMillion::ZERO {
            points.push(PricePoint { tier, context_from, meter, price });
        }
    }
    Ok(points)
}

/// A unit's price is written in nano-USD: what is finer (an hour's price by the second) goes up.
fn in_whole_nano_usd(price: PricePerMillion) -> PricePerMillion {
    let per_unit = (i128::from(price.0) + UNITS_PER_PRICE - 1) / UNITS_PER_PRICE * UNITS_PER_PRICE;
    PricePerMillion(i64::try_from(per_unit).unwrap_or(i64::MAX))
}

fn number(model: &str, field: &str, text: &str) -> Result<PricePerMillion, PriceMapError> {
    scaled(text, NANO_USD_PER_MILLION).map(PricePerMillion).ok_or_else(|| PriceMapError::BadNumber {
        model: model.to_owned(),
        field: field.to_owned(),
        text: text.chars().take(MOST_DIGITS).collect(),
    })
}

/// A JSON number times a power of ten, as a whole number; halves go up. `None` where it is negative, too large
/// or no number.
fn scaled(text: &str, power: i32) -> Option<i64> {
    let (mantissa, exponent) = match text.split_once(['e', 'E']) {
        Some((mantissa, exponent)) => (mantissa, exponent.parse::<i32>().ok()?),
        None => (text, 0),
    };
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    let all = format!("{whole}{fraction}");
    if whole.is_empty() || !all.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let digits = all.trim_start_matches('0').trim_end_matches('0');
    let n_zeros_cut = all.len() - all.trim_end_matches('0').len();
    if digits.is_empty() {
        return Some(0);
    }
    let mut power = exponent
        .checked_sub(i32::try_from(fraction.len()).ok()?)?
        .checked_add(i32::try_from(n_zeros_cut).ok()?)?
        .checked_add(power)?;
    if digits.len() > MOST_DIGITS {
        return None;
    }
    let mut value: u128 = digits.parse().ok()?;
    if digits.len() > LONGEST_HONEST_NUMBER {
        let n_cut = u32::try_from(digits.len() - SIGNIFICANT_DIGITS).ok()?;
        value = divided_half_up(value, n_cut)?;
        power = power.checked_add(i32::try_from(n_cut).ok()?)?;
    }
    let magnitude = power.unsigned_abs();
    let result = if power >= 0 {
        value.checked_mul(10_u128.checked_pow(magnitude)?)?
    } else {
        divided_half_up(value, magnitude).unwrap_or(0)
    };
    i64::try_from(result).ok()
}

fn divided_half_up(value: u128, power: u32) -> Option<u128> {
    let divisor = 10_u128.checked_pow(power)?;
    Some((value + divisor / 2) / divisor)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn decimals_are_exact_and_noise_is_dropped() {
        let cases = [
            ("2.5e-06", Some(2_500_000_000)),
            ("2.5e-6", Some(2_500_000_000)),
            ("0.0000025", Some(2_500_000_000)),
            ("1E-8", Some(10_000_000)),
            ("0.00018", Some(180_000_000_000)),
            ("0", Some(0)),
            ("0.0", Some(0)),
            ("9.499999999999999e-07", Some(950_000_000)),
            ("1.6000000000000001e-06", Some(1_600_000_000)),
            ("2.875e-09", Some(2_875_000)),
            ("0.04", Some(40_000_000_000_000)),
            ("1e-15", Some(1)),
            ("4e-16", Some(0)),
            ("5e-16", Some(1)),
            ("-1", None),
            ("1e30", None),
            ("1e999999999999", None),
            ("true", None),
            ("\"1\"", None),
            (".5", None),
        ];
        for (text, expected) in cases {
            assert_eq!(scaled(text, NANO_USD_PER_MILLION), expected, "{text}");
        }
        assert_eq!(scaled("128000.0", 0), Some(128_000));
    }

    #[test]
    fn suffixes_name_a_tier_and_a_threshold() {
        let cases = [
            ("", Some((ServiceTier::Standard, 0))),
            ("_above_272k_tokens", Some((ServiceTier::Standard, 272_001))),
            ("_above_272k_tokens_priority", Some((ServiceTier::Priority, 272_001))),
            ("_flex", Some((ServiceTier::Flex, 0))),
            ("_batches", Some((ServiceTier::Batch, 0))),
            ("_ultrafast", None),
            ("_above_12hr", None),
            ("_above_1hr_above_200k_tokens", None),
        ];
        for (text, expected) in cases {
            assert_eq!(suffix(text), expected, "{text}");
        }
    }
}
