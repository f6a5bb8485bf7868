//! What the catalogue knows about one model. The texts are borrowed from the file they stand in: there is no
//! second copy of the catalogue.

use std::collections::BTreeMap;
use std::fmt;

use serde::de::{Error as _, MapAccess, Visitor};
use serde::{Deserialize, Deserializer};
use tollgate_domain::{Meter, NanoUsd, PricePerMillion, UnixMillis};

use crate::{PriceRow, ServiceTier};

macro_rules! named {
    ($(#[$doc:meta])* $type:ident { $($(#[$variant_doc:meta])* $variant:ident = $name:literal,)* }) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Deserialize)]
        pub enum $type { $($(#[$variant_doc])* #[serde(rename = $name)] $variant,)* }

        impl $type {
            /// Every one, in the order of declaration.
            pub const ALL: [Self; [$(Self::$variant),*].len()] = [$(Self::$variant),*];

            /// The name in the data and in the admin API.
            #[must_use]
            pub const fn name(self) -> &'static str {
                match self { $(Self::$variant => $name,)* }
            }

            /// The one of that name.
            #[must_use]
            pub fn from_name(name: &str) -> Option<Self> {
                Self::ALL.into_iter().find(|known| known.name() == name)
            }
        }
    };
}

named! {
    /// What a model reads or writes.
    Modality {
        /// Text.
        Text = "text",
        /// Pictures.
        Image = "image",
        /// Sound and speech.
        Audio = "audio",
        /// Moving pictures.
        Video = "video",
        /// PDF documents.
        Pdf = "pdf",
        /// Vectors.
        Embedding = "embedding",
        /// Numbers that rank or classify.
        Score = "score",
    }
}

named! {
    /// What a model can do, as far as its vendor says so.
    Capability {
        /// Answers piece by piece.
        Streaming = "streaming",
        /// Calls functions.
        Tools = "tools",
        /// Calls several functions at once.
        ParallelTools = "parallel_tools",
        /// Answers in a given JSON schema.
        StructuredOutput = "structured_output",
        /// Thinks before it answers.
        Reasoning = "reasoning",
        /// Understands pictures.
        Vision = "vision",
        /// The vendor keeps prompts for cheaper repeats.
        PromptCaching = "prompt_caching",
        /// The vendor searches the web for it.
        WebSearch = "web_search",
        /// Operates a screen.
        ComputerUse = "computer_use",
    }
}

named! {
    /// A public tokenizer, with which prompts can be counted exactly.
    Tokenizer {
        /// OpenAI's of the GPT-4 generation and of its embeddings.
        Cl100k = "cl100k",
        /// OpenAI's since GPT-4o, and of the open-weight GPTs.
        O200k = "o200k",
    }
}

/// Prices by meter, each once; in files an object of decimal texts, USD per million tokens or per single unit.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PriceList(Vec<(Meter, PricePerMillion)>);

/// The prices of a model from some length of the prompt on; they hold for the whole request.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PriceBand {
    /// From how many prompt tokens on.
    pub context_from: u64,
    /// What differs from then on; a meter that is missing costs what it costs below.
    pub prices: PriceList,
}

/// The prices of a model in another processing class than the standard one.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CatalogTier {
    /// Which.
    pub tier: ServiceTier,
    /// Its prices; a meter that is missing costs what it costs in the standard class.
    #[serde(default)]
    pub prices: PriceList,
    /// Its other prices for longer prompts.
    #[serde(default)]
    pub bands: Vec<PriceBand>,
}

/// A model of a vendor.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CatalogModel<'t> {
    /// The name sent upstream.
    pub name: &'t str,
    /// Other names that mean the same.
    #[serde(default, borrow)]
    pub aliases: Vec<&'t str>,
    /// Surfaces it serves: `chat`, `completions`, `responses`, `embeddings`, `images`, ….
    #[serde(borrow)]
    pub surfaces: Vec<&'t str>,
    /// Prompt and answer tokens together, at most; 0 where the vendor does not say.
    pub context_tokens: u64,
    /// Answer tokens, at most; 0 where it gives none.
    #[serde(default)]
    pub max_output_tokens: u64,
    /// What it reads.
    #[serde(default = "only_text")]
    pub input: Vec<Modality>,
    /// What it writes.
    #[serde(default = "only_text")]
    pub output: Vec<Modality>,
    /// What it can do.
    #[serde(default)]
    pub capabilities: Vec<Capability>,
    /// The tokenizer its prompts are counted with, where that one is public and known.
    #[serde(default)]
    pub tokenizer: Option<Tokenizer>,
    /// When the vendor retires it, `YYYY-MM-DD`, where that is known.
    #[serde(default)]
    pub deprecated_on: Option<&'t str>,
    /// The standard class's prices.
    pub prices: PriceList,
    /// Its other prices for longer prompts.
    #[serde(default)]
    pub bands: Vec<PriceBand>,
    /// Prices of the other processing classes.
    #[serde(default)]
    pub tiers: Vec<CatalogTier>,
    /// The vendor's page where its prices should stand; they were taken from price maps that name such pages.
    pub source: &'t str,
    /// The day they were taken, `YYYY-MM-DD`.
    pub as_of: &'t str,
}

fn only_text() -> Vec<Modality> {
    vec![Modality::Text]
}

/// A price of a model with all it depends on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct PricePoint {
    /// The processing class.
    pub tier: ServiceTier,
    /// From how many prompt tokens on.
    pub context_from: u64,
    /// What it prices.
    pub meter: Meter,
    /// Nano-USD per million units.
    pub price: PricePerMillion,
}

// === impl CatalogModel ===

impl CatalogModel<'_> {
    /// Whether it is called that.
    #[must_use]
    pub fn is_called(&self, name: &str) -> bool {
        self.name == name || self.aliases.contains(&name)
    }

    /// All its prices, by class, threshold and meter.
    #[must_use]
    pub fn price_points(&self) -> Vec<PricePoint> {
        points_of(&self.prices, &self.bands, &self.tiers)
    }

    /// Its prices as rows of `provider`.
    #[must_use]
    pub fn price_rows(&self, provider: &str) -> Vec<PriceRow> {
        let row = |point: PricePoint| PriceRow {
            id: None,
            tenant: None,
            provider: provider.to_owned(),
            model: self.name.to_owned(),
            effective_from: UnixMillis(0),
            meter: Some(point.meter),
            service_tier: point.tier,
            context_from: point.context_from,
            price: point.price,
            source: self.source.to_owned(),
        };
        self.price_points().into_iter().map(row).collect()
    }
}

/// All prices of a model, by class, threshold and meter.
pub(crate) fn points_of(prices: &PriceList, bands: &[PriceBand], tiers: &[CatalogTier]) -> Vec<PricePoint> {
    let standard = std::iter::once((ServiceTier::Standard, prices, bands));
    let others = tiers.iter().map(|tier| (tier.tier, &tier.prices, tier.bands.as_slice()));
    let mut points = Vec::new();
    for (tier, prices, bands) in standard.chain(others) {
        let bands = bands.iter().map(|band| (band.context_from, &band.prices));
        for (context_from, prices) in std::iter::once((0, prices)).chain(bands) {
            let point = |(meter, price)| PricePoint { tier, context_from, meter, price };
            points.extend(prices.iter().map(point));
        }
    }
    points.sort_unstable();
    points
}

// === impl PriceList ===

impl PriceList {
    /// The meters with a price, in the order of [`Meter::ALL`].
    pub fn iter(&self) -> impl Iterator<Item = (Meter, PricePerMillion)> + '_ {
        self.0.iter().copied()
    }

    /// The price of a meter.
    #[must_use]
    pub fn get(&self, meter: Meter) -> Option<PricePerMillion> {
        self.iter().find(|(known, _)| *known == meter).map(|(_, price)| price)
    }

    /// Whether no meter has a price.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// By the meters' names, as people write it.
    #[must_use]
    pub fn texts(&self) -> BTreeMap<String, String> {
        self.iter().map(|(meter, price)| (meter.name().to_owned(), price_text(meter, price))).collect()
    }
}

/// A price as people write it: USD per million tokens, or per single unit.
#[must_use]
pub fn price_text(meter: Meter, price: PricePerMillion) -> String {
    if meter.is_token() {
        return price.to_string();
    }
    price.per_unit_exact().map_or_else(|| format!("{price} per million"), |unit: NanoUsd| unit.to_string())
}

/// A price as people write it, read: exact, never negative.
///
/// # Errors
/// One sentence that says what to write instead.
pub fn parse_price(meter: Meter, text: &str) -> Result<PricePerMillion, tollgate_domain::MoneyError> {
    if meter.is_token() { PricePerMillion::parse(text) } else { PricePerMillion::parse_per_unit(text) }
}

impl<'de> Deserialize<'de> for PriceList {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(PriceListVisitor)
    }
}

struct PriceListVisitor;

impl<'de> Visitor<'de> for PriceListVisitor {
    type Value = PriceList;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("prices by meter, as decimal texts")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<PriceList, A::Error> {
        let mut prices: Vec<(Meter, PricePerMillion)> = Vec::new();
        while let Some(meter) = entries.next_key::<Meter>()? {
            let text = entries.next_value::<std::borrow::Cow<'de, str>>()?;
            if prices.iter().any(|(known, _)| *known == meter) {
                return Err(A::Error::custom(format!("two prices for {}", meter.name())));
            }
            prices.push((meter, parse_price(meter, &text).map_err(A::Error::custom)?));
        }
        prices.sort_unstable_by_key(|(meter, _)| *meter);
        Ok(PriceList(prices))
    }
}
