//! The built-in catalogue: vendors and models as data, read once from the embedded file.

use std::collections::HashMap;

use serde::{Deserialize, Serialize};
use tollgate_domain::{Meter, PricePerMillion, UnixMillis};

use crate::{PriceRow, ServiceTier};

const EMBEDDED: &str = include_str!("../data/catalog.json");

/// Why catalogue data was refused.
#[derive(Debug, thiserror::Error)]
pub enum CatalogError {
    /// Not the schema.
    #[error("the catalogue is not valid: {0}")]
    Malformed(#[from] serde_json::Error),
    /// A price that cannot be meant.
    #[error("the catalogue's price of {vendor}/{model} is refused: {reason}")]
    BadPrice {
        /// The vendor.
        vendor: String,
        /// The model.
        model: String,
        /// What is wrong.
        reason: String,
    },
}

/// A vendor: how it is reached and which environment variable holds its key.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CatalogVendor {
    /// The vendor's name, which is also the provider's name `tollgate dev` gives it.
    pub name: String,
    /// `openai`, `demo`, …: the dialect it speaks.
    pub dialect: String,
    /// Base URL of its API; empty where there is none.
    pub base_url: String,
    /// The environment variable its own tools read the key from.
    #[serde(default)]
    pub key_variable: Option<String>,
    /// Where the data goes, where the vendor says so.
    #[serde(default)]
    pub region: Option<String>,
    /// Its models.
    pub models: Vec<CatalogModel>,
}

/// A model of a vendor.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CatalogModel {
    /// The name sent upstream.
    pub name: String,
    /// Other names that mean the same.
    #[serde(default)]
    pub aliases: Vec<String>,
    /// Surfaces it serves: `chat`, `completions`, `embeddings`.
    pub surfaces: Vec<String>,
    /// Prompt and answer tokens together, at most.
    pub context_tokens: u64,
    /// Answer tokens, at most; 0 where it gives none.
    #[serde(default)]
    pub max_output_tokens: u64,
    /// Prices by meter name, USD per million units (per unit for `request` and the like).
    pub prices: HashMap<String, String>,
    /// Other prices for longer prompts.
    #[serde(default)]
    pub bands: Vec<PriceBand>,
    /// The vendor's page the prices stand on.
    pub source: String,
    /// When they were read there, `YYYY-MM-DD`.
    pub as_of: String,
}

/// The prices of a model from some length of the prompt on; they hold for the whole request.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PriceBand {
    /// From how many prompt tokens on.
    pub context_from: u64,
    /// Prices by meter name, as in [`CatalogModel::prices`].
    pub prices: HashMap<String, String>,
}

/// The catalogue.
#[derive(Clone, Debug, Default)]
pub struct Catalog {
    vendors: Vec<CatalogVendor>,
}

impl Catalog {
    /// The catalogue built into this release.
    ///
    /// # Errors
    /// [`CatalogError`]; a test keeps the embedded file from ever causing one.
    pub fn embedded() -> Result<Self, CatalogError> {
        Self::from_json(EMBEDDED)
    }

    /// Reads a catalogue in the project's own schema.
    ///
    /// # Errors
    /// [`CatalogError`] naming the vendor and model.
    pub fn from_json(text: &str) -> Result<Self, CatalogError> {
        let vendors: Vec<CatalogVendor> = serde_json::from_str(text)?;
        for vendor in &vendors {
            for model in &vendor.models {
                price_rows(&vendor.name, model)?;
            }
        }
        Ok(Self { vendors })
    }

    /// Every vendor.
    #[must_use]
    pub fn vendors(&self) -> &[CatalogVendor] {
        &self.vendors
    }

    /// The vendor of that name.
    #[must_use]
    pub fn vendor(&self, name: &str) -> Option<&CatalogVendor> {
        self.vendors.iter().find(|vendor| vendor.name == name)
    }

    /// The vendor a configured provider stands for: by its URL's host, else by its name.
    #[must_use]
    pub fn vendor_of_provider(&self, provider_name: &str, base_url: Option<&str>) -> Option<&CatalogVendor> {
        let host = |url: &str| url.split("://").nth(1)?.split(['/', ':']).next().map(str::to_owned);
        base_url
            .and_then(host)
            .and_then(|wanted| {
                self.vendors.iter().find(|vendor| host(&vendor.base_url).as_ref() == Some(&wanted))
            })
            .or_else(|| self.vendor(provider_name))
    }
}

impl CatalogVendor {
    /// The model of that name or alias.
    #[must_use]
    pub fn model(&self, name: &str) -> Option<&CatalogModel> {
        self.models.iter().find(|model| model.name == name || model.aliases.iter().any(|alias| alias == name))
    }
}

impl CatalogModel {
    /// Its prices as rows of `provider`.
    #[must_use]
    pub fn price_rows(&self, provider: &str) -> Vec<PriceRow> {
        price_rows(provider, self).unwrap_or_default()
    }
}

fn price_rows(vendor: &str, model: &CatalogModel) -> Result<Vec<PriceRow>, CatalogError> {
    let refused = |reason: String| CatalogError::BadPrice {
        vendor: vendor.to_owned(),
        model: model.name.clone(),
        reason,
    };
    let bands = model.bands.iter().map(|band| (band.context_from, &band.prices));
    let mut rows = Vec::with_capacity(model.prices.len());
    for (context_from, prices) in std::iter::once((0, &model.prices)).chain(bands) {
        for (name, text) in prices {
            let meter = Meter::from_name(name).ok_or_else(|| refused(format!("`{name}` is no meter")))?;
            let parsed = if meter.is_token() {
                PricePerMillion::parse(text)
            } else {
                PricePerMillion::parse_per_unit(text)
            };
            let price = parsed.map_err(|error| refused(error.to_string()))?;
            rows.push(PriceRow {
                id: None,
                tenant: None,
                provider: vendor.to_owned(),
                model: model.name.clone(),
                effective_from: UnixMillis(0),
                meter: Some(meter),
                service_tier: ServiceTier::Standard,
                context_from,
                price,
                source: model.source.clone(),
            });
        }
    }
    rows.sort_by_key(|row| (row.context_from, row.meter));
    Ok(rows)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Needs;

    #[test]
    fn the_embedded_catalogue_is_valid_and_priced() {
        let catalog = Catalog::embedded().unwrap();
        assert!(catalog.vendor("demo").is_some());
        for vendor in catalog.vendors() {
            let mut names = std::collections::BTreeSet::new();
            for model in &vendor.models {
                let is_embedding = model.surfaces.iter().all(|surface| surface == "embeddings");
                let needs = if is_embedding { Needs::InputOnly } else { Needs::InputAndOutput };
                let rows = model.price_rows(&vendor.name);
                let checked = crate::PriceSheet::from_rows(&rows).check(ServiceTier::Standard, needs);
                assert_eq!(checked, Ok(()), "{}/{}", vendor.name, model.name);
                assert!(names.insert(model.name.clone()), "{} twice", model.name);
                assert!(model.source.starts_with("https://") || vendor.name == "demo");
                for row in model.price_rows(&vendor.name) {
                    let bound = PricePerMillion::parse("1000").unwrap();
                    assert!(
                        row.price <= bound || !row.meter.unwrap().is_token(),
                        "{} looks per token",
                        model.name
                    );
                }
            }
        }
    }

    #[test]
    fn longer_prompts_cost_what_their_band_says() {
        let catalog = Catalog::embedded().unwrap();
        let model = catalog.vendor("gemini").unwrap().model("gemini-2.5-pro").unwrap();
        let rows = model.price_rows("gemini");
        let sheet = crate::PriceSheet::from_rows(&rows);
        for (n_tokens, nano_usd) in [(200_000, 250_000_000), (200_001, 500_002_500)] {
            let usage = tollgate_domain::Usage::ZERO.with(Meter::Input, n_tokens);
            assert_eq!(sheet.cost(&usage, ServiceTier::Standard).total.0, nano_usd, "{n_tokens}");
        }
    }

    #[test]
    fn vendors_are_reached_by_their_own_key_and_host() {
        let catalog = Catalog::embedded().unwrap();
        let mut seen = std::collections::BTreeSet::new();
        for vendor in catalog.vendors().iter().filter(|vendor| vendor.dialect != "demo") {
            let variable = vendor.key_variable.as_deref().unwrap();
            assert!(variable.ends_with("_API_KEY") && seen.insert(variable), "{variable}");
            assert!(
                vendor.base_url.starts_with("https://") && !vendor.base_url.ends_with('/'),
                "{}",
                vendor.name
            );
            assert_eq!(catalog.vendor_of_provider("mine", Some(&vendor.base_url)), Some(vendor));
        }
        for name in ["OPENAI", "ANTHROPIC", "GEMINI", "GROQ", "MISTRAL", "DEEPSEEK", "XAI", "OPENROUTER"] {
            assert!(seen.contains(format!("{name}_API_KEY").as_str()), "{name}");
        }
    }

    #[test]
    fn providers_find_their_vendor_by_host_then_by_name() {
        let catalog = Catalog::embedded().unwrap();
        let of = |name, url| catalog.vendor_of_provider(name, url).map(|vendor| vendor.name.as_str());
        assert_eq!(of("mine", Some("https://api.openai.com/v1")), Some("openai"));
        assert_eq!(of("openai", Some("http://127.0.0.1:9/v1")), Some("openai"));
        assert_eq!(of("mine", Some("http://127.0.0.1:9/v1")), None);
    }
}
