//! How a provider is asked for OpenAI's Responses, as the admin API writes it.

use serde::{Deserialize, Serialize};
use tollgate_policy::{Dialect, ResponsesMode};
use utoipa::ToSchema;

use crate::error::Problems;

/// Whether clients' Responses pass to a provider.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum ProviderResponses {
    /// They pass as they are: the provider serves `POST {base_url}/responses`.
    Native,
    /// They are translated into Chat Completions.
    Translated,
}

impl From<ResponsesMode> for ProviderResponses {
    fn from(mode: ResponsesMode) -> Self {
        match mode {
            ResponsesMode::Native => Self::Native,
            ResponsesMode::Translated => Self::Translated,
        }
    }
}

impl From<ProviderResponses> for ResponsesMode {
    fn from(mode: ProviderResponses) -> Self {
        match mode {
            ProviderResponses::Native => Self::Native,
            ProviderResponses::Translated => Self::Translated,
        }
    }
}

/// Notes that a provider cannot serve them, where its dialect has none.
pub(super) fn check(
    mode: Option<ProviderResponses>,
    dialect: Option<Dialect>,
    path: &str,
    problems: &mut Problems,
) {
    let is_openai = matches!(dialect, None | Some(Dialect::Openai | Dialect::AzureOpenai));
    if mode == Some(ProviderResponses::Native) && !is_openai {
        problems.add(
            path,
            "only providers of the dialects openai and azure_openai serve Responses: leave it out",
        );
    }
}
