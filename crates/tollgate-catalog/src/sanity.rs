//! Bounds that no real price list leaves: what a slip of the decimal point, a mixed-up column or a copied line
//! looks like. Pure; used for the built-in data by a test and for every row before it is synced.

use std::collections::{BTreeMap, BTreeSet};

use tollgate_domain::{Meter, PricePerMillion};

use crate::{Catalog, CatalogModel, PriceBand, PriceList, ServiceTier, price_text};

/// The surfaces a model may serve; the gateway does not relay all of them yet.
pub const SURFACES: &[&str] = &[
    "chat",
    "completions",
    "responses",
    "messages",
    "generate_content",
    "embeddings",
    "moderations",
    "images",
    "transcriptions",
    "speech",
    "realtime",
    "rerank",
    "ocr",
];

/// Surfaces on which tokens go in and come out, so that both limits must be known.
const SURFACES_WITH_ANSWERS: &[&str] =
    &["chat", "completions", "responses", "messages", "generate_content", "realtime"];

/// No list has a token dearer than this; a price per token taken for one per million is far above.
const DEAREST_TOKENS: PricePerMillion = PricePerMillion(1_000_000_000_000);
/// Nor cheaper, unless free; a price per million taken for one per token is far below.
const CHEAPEST_TOKENS: PricePerMillion = PricePerMillion(1_000_000);
/// Ten dollars for one image, page, second or search: beyond any list.
const DEAREST_UNITS: PricePerMillion = PricePerMillion(10_000_000_000_000_000);
/// A millionth of a dollar: below any list.
const CHEAPEST_UNITS: PricePerMillion = PricePerMillion(1_000_000_000);
/// A price that is this many times another one is not a change but a slip.
pub const LARGEST_CHANGE: i64 = 10;

/// How bad it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Severity {
    /// Unusual; some vendor may mean it.
    Warning,
    /// Cannot be meant.
    Error,
}

/// Something about catalogue data that is not as it should be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// How bad it is.
    pub severity: Severity,
    /// The vendor.
    pub vendor: String,
    /// The model; empty where it is about the vendor.
    pub model: String,
    /// What is wrong, as one sentence.
    pub message: String,
}

/// Every finding about a catalogue. `today` (`YYYY-MM-DD`) is the day from which on retired models count.
#[must_use]
pub fn check_catalog(catalog: &Catalog, today: &str) -> Vec<Finding> {
    let mut findings = Findings::default();
    let mut vendors = BTreeSet::new();
    for vendor in catalog.vendors() {
        findings.of(&vendor.name, "");
        if !vendors.insert(vendor.name.as_str()) {
            findings.error("the vendor stands twice".to_owned());
        }
        let mut names: BTreeMap<&str, &str> = BTreeMap::new();
        let models = vendor.models();
        for model in &models {
            findings.of(&vendor.name, model.name);
            for name in std::iter::once(&model.name).chain(&model.aliases) {
                if let Some(other) = names.insert(name, model.name) {
                    findings.error(format!("`{name}` is also a name of `{other}`"));
                }
            }
            let is_builtin = vendor.dialect == "demo";
            check_facts(model, is_builtin, today, &mut findings);
            check_prices(model, &mut findings);
        }
    }
    findings.found
}

/// What is wrong with one price by itself, as a sentence; `None` where it can be meant.
#[must_use]
pub fn check_price(meter: Meter, price: PricePerMillion) -> Option<String> {
    let shown = price_text(meter, price);
    let name = meter.name();
    if price.0 < 0 {
        return Some(format!("{name} at {shown} USD is negative"));
    }
    if price == PricePerMillion::ZERO {
        return None;
    }
    if meter.is_token() && price > DEAREST_TOKENS {
        return Some(format!("{name} at {shown} USD per million looks like a price per token"));
    }
    if meter.is_token() && price < CHEAPEST_TOKENS {
        return Some(format!("{name} at {shown} USD per million looks like a price per token divided again"));
    }
    if !meter.is_token() && price > DEAREST_UNITS {
        return Some(format!("{name} at {shown} USD each looks like a price per million"));
    }
    if !meter.is_token() && price < CHEAPEST_UNITS {
        return Some(format!("{name} at {shown} USD each looks like a price divided by a million"));
    }
    None
}

/// What is wrong with the step from one price to another; `None` where it can be meant.
#[must_use]
pub fn check_change(from: PricePerMillion, to: PricePerMillion) -> Option<String> {
    if from.0 > 0 && to.0 == 0 {
        return Some("a paid model would be free".to_owned());
    }
    let (low, high) = (from.min(to), from.max(to));
    let is_slip = low.0 > 0 && i128::from(high.0) > i128::from(low.0) * i128::from(LARGEST_CHANGE);
    is_slip.then(|| format!("the price would change by more than {LARGEST_CHANGE} times"))
}

/// What is wrong with prices of one class and threshold beside each other; the worst first.
#[must_use]
pub fn check_together(price: impl Fn(Meter) -> Option<PricePerMillion>) -> Vec<(Severity, String)> {
    let mut found = Vec::new();
    let mut rule = |severity, cheap: Meter, dear: Meter, message: &str| {
        if let (Some(low), Some(high)) = (price(cheap), price(dear))
            && low > high
        {
            let shown = format!("{} > {}", price_text(cheap, low), price_text(dear, high));
            found.push((severity, format!("{message} ({shown})")));
        }
    };
    use Meter::{CacheWrite1h, CacheWrite5m, CachedInput, Input, Output};
    // A fee on top of the input, listed as if it were the price of those tokens, would make them nearly free.
    for write in [CacheWrite5m, CacheWrite1h] {
        rule(Severity::Error, Input, write, "writing the cache is cheaper than input");
    }
    rule(Severity::Error, CachedInput, Output, "output is cheaper than cached input");
    rule(Severity::Warning, CachedInput, Input, "cached input is dearer than input");
    rule(Severity::Warning, Input, Output, "input is dearer than output");
    if let (Some(input), Some(PricePerMillion::ZERO)) = (price(Input), price(Output))
        && input > PricePerMillion::ZERO
    {
        found.push((Severity::Error, "input is paid, but output is free".to_owned()));
    }
    found
}

// === one model ===

fn check_facts(model: &CatalogModel<'_>, is_builtin: bool, today: &str, findings: &mut Findings) {
    if model.name.is_empty() || model.aliases.iter().any(|alias| alias.is_empty()) {
        findings.error("a name is empty".to_owned());
    }
    if !is_builtin && !model.source.starts_with("https://") {
        findings.error(format!("the source `{}` is no page of the vendor", model.source));
    }
    for (field, date) in [("as_of", Some(model.as_of)), ("deprecated_on", model.deprecated_on)] {
        if date.is_some_and(|date| !is_date(date)) {
            findings.error(format!("`{field}` is no date like 2026-11-22"));
        }
    }
    if model.deprecated_on.is_some_and(|date| date <= today) {
        findings.error("the vendor has retired it".to_owned());
    }
    if model.surfaces.is_empty() {
        findings.error("it serves no surface".to_owned());
    }
    for surface in model.surfaces.iter().filter(|surface| !SURFACES.contains(surface)) {
        findings.error(format!("`{surface}` is no surface"));
    }
    if model.surfaces.iter().any(|surface| SURFACES_WITH_ANSWERS.contains(surface)) {
        if model.context_tokens == 0 {
            findings.error("its context window is 0".to_owned());
        }
        if model.max_output_tokens == 0 {
            findings.error("its output limit is 0".to_owned());
        }
    }
    if model.context_tokens > 0 && model.max_output_tokens > model.context_tokens {
        findings.error("its output limit is above its context window".to_owned());
    }
    if model.input.is_empty() || model.output.is_empty() {
        findings.error("it reads or writes nothing".to_owned());
    }
}

fn check_prices(model: &CatalogModel<'_>, findings: &mut Findings) {
    if model.prices.is_empty() {
        findings.error("it has no price".to_owned());
    }
    check_class(ServiceTier::Standard, &model.prices, &model.bands, findings);
    let mut seen = BTreeSet::from([ServiceTier::Standard]);
    for tier in &model.tiers {
        if !seen.insert(tier.tier) {
            findings.error(format!("the class {} stands twice", tier.tier.name()));
        }
        check_class(tier.tier, &tier.prices, &tier.bands, findings);
        for (meter, price) in tier.prices.iter() {
            let Some(standard) = model.prices.get(meter) else { continue };
            let is_odd = match tier.tier {
                ServiceTier::Batch | ServiceTier::Flex => price > standard,
                ServiceTier::Priority => price < standard,
                ServiceTier::Standard => false,
            };
            if is_odd {
                let (class, meter) = (tier.tier.name(), meter.name());
                findings.warning(format!("{class} {meter} is on the wrong side of the standard price"));
            }
        }
    }
}

fn check_class(tier: ServiceTier, prices: &PriceList, bands: &[PriceBand], findings: &mut Findings) {
    let tier = tier.name();
    for (from, list) in
        std::iter::once((0, prices)).chain(bands.iter().map(|band| (band.context_from, &band.prices)))
    {
        for (meter, price) in list.iter() {
            if let Some(message) = check_price(meter, price) {
                findings.error(format!("{tier}: {message}"));
            }
        }
        for (severity, message) in check_together(|meter| list.get(meter).or_else(|| prices.get(meter))) {
            findings.add(severity, format!("{tier} from {from}: {message}"));
        }
    }
    let mut below = 0;
    for band in bands {
        if band.context_from <= below {
            findings.error(format!("{tier}: the thresholds do not ascend"));
        }
        below = band.context_from;
        if band.prices.is_empty() {
            findings.error(format!("{tier}: the threshold {} changes nothing", band.context_from));
        }
        for (meter, price) in band.prices.iter() {
            if prices.get(meter).is_some_and(|base| price < base) {
                findings.warning(format!("{tier}: {} is cheaper for longer prompts", meter.name()));
            }
        }
    }
}

/// `YYYY-MM-DD` with a month and a day that exist in some year.
fn is_date(text: &str) -> bool {
    let parts: Vec<&str> = text.split('-').collect();
    let [year, month, day] = parts[..] else { return false };
    let number = |part: &str, length: usize| {
        let is_plain = part.len() == length && part.bytes().all(|byte| byte.is_ascii_digit());
        is_plain.then(|| part.parse::<u32>().ok()).flatten()
    };
    number(year, 4).is_some()
        && number(month, 2).is_some_and(|month| (1..=12).contains(&month))
        && number(day, 2).is_some_and(|day| (1..=31).contains(&day))
}

#[derive(Default)]
struct Findings {
    found: Vec<Finding>,
    vendor: String,
    model: String,
}

impl Findings {
    fn of(&mut self, vendor: &str, model: &str) {
        (self.vendor, self.model) = (vendor.to_owned(), model.to_owned());
    }

    fn add(&mut self, severity: Severity, message: String) {
        let (vendor, model) = (self.vendor.clone(), self.model.clone());
        self.found.push(Finding { severity, vendor, model, message });
    }

    fn error(&mut self, message: String) {
        self.add(Severity::Error, message);
    }

    fn warning(&mut self, message: String) {
        self.add(Severity::Warning, message);
    }
}

#[cfg(test)]
mod tests;
