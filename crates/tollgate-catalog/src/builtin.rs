//! The built-in catalogue: a small table of vendors, and per vendor a file of models that is read when somebody
//! asks for it. Who never asks pays nothing: the files are part of the binary and need no memory of their own.

use std::borrow::Cow;

use serde::Deserialize;

use crate::{CatalogModel, VendorQuirks, VendorResponses};

const VENDORS: &str = include_str!("../data/vendors.json");

macro_rules! model_files {
    ($($vendor:literal)*) => {
        /// The models of each vendor, as they stand in the binary.
        const MODEL_FILES: &[(&str, &str)] =
            &[$(($vendor, include_str!(concat!("../data/models/", $vendor, ".json")))),*];
    };
}

model_files! {
    "demo" "openai" "anthropic" "gemini" "groq" "mistral" "deepseek" "xai" "openrouter" "together" "fireworks"
    "cerebras" "perplexity" "cohere" "moonshot" "zai" "minimax" "dashscope" "voyage" "deepinfra" "sambanova"
    "nebius" "novita" "baseten" "meta" "scaleway" "ovhcloud" "wandb" "inception" "xiaomi_mimo"
    "bedrock" "vertex"
}

/// Why catalogue data was refused.
#[derive(Debug, thiserror::Error)]
pub enum CatalogError {
    /// Not the schema.
    #[error("the catalogue is not valid: {0}")]
    Malformed(#[from] serde_json::Error),
    /// A vendor's models are not the schema.
    #[error("the catalogue's models of {vendor} are not valid: {error}")]
    BadModels {
        /// The vendor.
        vendor: String,
        /// What is wrong, and where.
        error: serde_json::Error,
    },
    /// A vendor without a file of models.
    #[error("the catalogue has no models of {0}")]
    NoModels(String),
}

/// A vendor: how it is reached and which environment variable holds its key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CatalogVendor {
    /// The vendor's name, which is also the provider's name `tollgate dev` gives it.
    pub name: String,
    /// `openai`, `demo`, …: the dialect it speaks.
    pub dialect: String,
    /// Base URL of its API; empty where there is none.
    pub base_url: String,
    /// The environment variable its own tools read the key from.
    pub key_variable: Option<String>,
    /// Where the data goes, where the vendor says so.
    pub region: Option<String>,
    /// Whether what its models think shows in a stream: `reasoning` or `reasoning_content`. Else they may think
    /// unseen, and bill it.
    pub streams_thoughts: bool,
    /// How its dialect differs from what its name says.
    pub quirks: VendorQuirks,
    /// How it serves OpenAI's Responses, where it does.
    pub responses: Option<VendorResponses>,
    models: Cow<'static, str>,
}

/// A vendor in a file; its models stand there too, or in a file of their own.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct VendorRecord {
    name: String,
    dialect: String,
    base_url: String,
    #[serde(default)]
    key_variable: Option<String>,
    #[serde(default)]
    region: Option<String>,
    #[serde(default)]
    streams_thoughts: bool,
    #[serde(default)]
    quirks: VendorQuirks,
    #[serde(default)]
    responses: Option<VendorResponses>,
    #[serde(default)]
    models: Option<serde_json::Value>,
}

/// The catalogue.
#[derive(Clone, Debug, Default)]
pub struct Catalog {
    vendors: Vec<CatalogVendor>,
}

impl Catalog {
    /// The catalogue built into this release. Reads the vendors only; see [`CatalogVendor::models`].
    ///
    /// # Errors
    /// [`CatalogError`]; a test keeps the embedded files from ever causing one.
    pub fn embedded() -> Result<Self, CatalogError> {
        let records: Vec<VendorRecord> = serde_json::from_str(VENDORS)?;
        let vendor = |record: VendorRecord| {
            let file = MODEL_FILES.iter().find(|(name, _)| *name == record.name);
            let (_, text) = file.ok_or_else(|| CatalogError::NoModels(record.name.clone()))?;
            Ok(record.with_models(Cow::Borrowed(text)))
        };
        Ok(Self { vendors: records.into_iter().map(vendor).collect::<Result<_, CatalogError>>()? })
    }

    /// Reads a catalogue in the project's own schema: vendors, each with its `models`.
    ///
    /// # Errors
    /// [`CatalogError`] naming the vendor.
    pub fn from_json(text: &str) -> Result<Self, CatalogError> {
        let records: Vec<VendorRecord> = serde_json::from_str(text)?;
        let mut vendors = Vec::with_capacity(records.len());
        for mut record in records {
            let models = record.models.take().ok_or_else(|| CatalogError::NoModels(record.name.clone()))?;
            let vendor = record.with_models(Cow::Owned(models.to_string()));
            vendor.check()?;
            vendors.push(vendor);
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

    /// The cloud whose dialect a provider speaks: it has an address in every region, and any name.
    #[must_use]
    pub fn cloud(&self, dialect: &str) -> Option<&CatalogVendor> {
        self.vendors.iter().find(|vendor| vendor.is_cloud() && vendor.dialect == dialect)
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

impl VendorRecord {
    fn with_models(self, models: Cow<'static, str>) -> CatalogVendor {
        CatalogVendor {
            name: self.name,
            dialect: self.dialect,
            base_url: self.base_url,
            key_variable: self.key_variable,
            region: self.region,
            streams_thoughts: self.streams_thoughts,
            quirks: self.quirks,
            responses: self.responses,
            models,
        }
    }
}

impl CatalogVendor {
    /// Whether it is a cloud that sells others' models, told by its dialect.
    #[must_use]
    pub fn is_cloud(&self) -> bool {
        matches!(self.dialect.as_str(), "bedrock" | "vertex")
    }

    /// Its models, read anew: whoever needs them more than once keeps what it needs of them.
    #[must_use]
    pub fn models(&self) -> Vec<CatalogModel<'_>> {
        self.read().expect("from_json checked its text, and a test checks every embedded file")
    }

    /// The model of that name or alias.
    #[must_use]
    pub fn model(&self, name: &str) -> Option<CatalogModel<'_>> {
        self.models().into_iter().find(|model| model.is_called(name))
    }

    fn read(&self) -> Result<Vec<CatalogModel<'_>>, serde_json::Error> {
        serde_json::from_str(&self.models)
    }

    fn check(&self) -> Result<(), CatalogError> {
        let refused = |error| CatalogError::BadModels { vendor: self.name.clone(), error };
        self.read().map(drop).map_err(refused)
    }
}

#[cfg(test)]
mod tests;
