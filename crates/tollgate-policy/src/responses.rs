//! Who serves OpenAI's Responses itself, and for whom it is translated.

use serde::{Deserialize, Serialize};
use tollgate_catalog::{CatalogModel, CatalogVendor};

use crate::{Dialect, ProviderPolicy};

/// What an operator says about a provider and Responses.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ResponsesMode {
    /// The provider serves `POST {base_url}/responses`: clients' requests pass to it.
    Native,
    /// It does not: they are translated into Chat Completions.
    Translated,
}

impl ResponsesMode {
    /// Both.
    pub const ALL: [Self; 2] = [Self::Native, Self::Translated];

    /// The name in configuration.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Native => "native",
            Self::Translated => "translated",
        }
    }

    /// The one of that name.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|mode| mode.name() == name)
    }
}

/// How a model of a provider serves Responses.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ResponsesService {
    /// Not at all: requests are translated.
    #[default]
    Translated,
    /// Each request for itself; nothing is kept.
    Stateless,
    /// Responses are kept, and named again by their ids.
    Stored,
}

/// What is known of a model and Responses.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ModelResponses {
    /// How it serves them.
    pub service: ResponsesService,
    /// Whether it serves nothing else: requests of every other dialect are translated into Responses.
    pub is_only: bool,
}

impl ModelResponses {
    /// Whether requests pass as they are.
    #[must_use]
    pub fn is_native(self) -> bool {
        self.service != ResponsesService::Translated
    }
}

/// How a provider serves Responses, whatever the model.
pub(crate) fn service_of(provider: &ProviderPolicy, vendor: Option<&CatalogVendor>) -> ResponsesService {
    if !matches!(provider.dialect, Dialect::Openai | Dialect::AzureOpenai) {
        return ResponsesService::Translated;
    }
    let of_vendor = vendor.and_then(|vendor| vendor.responses.as_ref());
    let stored = of_vendor.map(|responses| responses.stored);
    // Azure's resources stand in no vendor's place: https://learn.microsoft.com/azure/ai-services/openai/how-to/responses
    let stored = stored.or((provider.dialect == Dialect::AzureOpenai).then_some(true));
    match (provider.responses, stored) {
        (Some(ResponsesMode::Translated), _) | (None, None) => ResponsesService::Translated,
        (_, Some(false)) => ResponsesService::Stateless,
        // who serves them and of whom nothing else is known says itself what it does not keep
        (_, Some(true)) | (Some(ResponsesMode::Native), None) => ResponsesService::Stored,
    }
}

/// The same for one of its models; `None` for one that the catalogue does not know.
pub(crate) fn of_model(
    service: ResponsesService,
    vendor: Option<&CatalogVendor>,
    model: Option<&CatalogModel<'_>>,
) -> ModelResponses {
    let surfaces = model.map(|model| model.surfaces.as_slice());
    let is_covered =
        vendor.and_then(|vendor| vendor.responses.as_ref()).is_none_or(|known| known.covers(surfaces));
    if service == ResponsesService::Translated || !is_covered {
        return ModelResponses::default();
    }
    let is_only =
        surfaces.is_some_and(|surfaces| surfaces.contains(&"responses") && !surfaces.contains(&"chat"));
    ModelResponses { service, is_only }
}
