//! Which providers may serve a request, in which order.

use std::sync::Arc;

use tollgate_catalog::{PriceTimeline, Tokenizer, VendorQuirks};

use crate::access::matches_pattern;
use crate::{DataPolicy, ModelResponses, ProviderPolicy, RetryPolicy, Timeouts};

/// One place a request can go to.
#[derive(Debug)]
pub struct Candidate {
    /// The provider.
    pub provider: Arc<ProviderPolicy>,
    /// The model's name there, sent verbatim.
    pub model: Arc<str>,
    /// What customers pay for it who have no prices of their own; `None` where it has none at all. Ask
    /// [`crate::KeyContext::price_sheet`].
    pub prices: Option<Arc<PriceTimeline>>,
    /// Whether it has price rows of its own, rather than those of `*`.
    pub is_priced_by_name: bool,
    /// Answer tokens at most, where the catalogue knows.
    pub max_output_tokens: Option<u64>,
    /// Prompt and answer tokens at most, where the catalogue knows.
    pub context_tokens: Option<u64>,
    /// The public tokenizer its prompts are counted with, where the catalogue knows.
    pub tokenizer: Option<Tokenizer>,
    /// Whether every answer token shows in a stream as it is made. Not where the model thinks unseen.
    pub is_output_visible: bool,
    /// How its vendor differs from the dialect it speaks.
    pub quirks: Arc<VendorQuirks>,
    /// How it serves OpenAI's Responses.
    pub responses: ModelResponses,
}

/// The ordered candidates of one requested model.
#[derive(Clone, Debug)]
pub struct RoutePlan {
    /// The model as it is named in policy (virtual name or `provider/model`).
    pub name: Arc<str>,
    /// In the order in which they are tried; never empty.
    pub candidates: Vec<Arc<Candidate>>,
    /// Retries.
    pub retry: RetryPolicy,
    /// Time limits.
    pub timeouts: Timeouts,
    /// Answer tokens that a stream holds for at a time; `None` for the whole answer.
    pub hold_slice_tokens: Option<u64>,
    /// What a candidate lacks is left out where that is harmless, rather than refused: as the model says that was
    /// asked for, also for the candidates of its fallbacks.
    pub drop_unsupported: bool,
}

/// Why there is no plan.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PlanDenied {
    /// No such model; with the nearest names this key may use.
    #[error("the model `{requested}` does not exist{}", did_you_mean(.nearest))]
    NotFound {
        /// What was asked for.
        requested: String,
        /// At most three.
        nearest: Vec<String>,
    },
    /// The key's list does not contain it.
    #[error("this key may not use the model `{requested}`: ask your operator to allow it")]
    NotAllowed {
        /// What was asked for.
        requested: String,
    },
    /// The tenant's data policy leaves no provider.
    #[error("no provider of the model `{requested}` satisfies this account's data policy ({rule})")]
    DataPolicy {
        /// What was asked for.
        requested: String,
        /// The rule that excluded the last candidate.
        rule: &'static str,
    },
}

fn did_you_mean(nearest: &[String]) -> String {
    if nearest.is_empty() {
        return "; GET /v1/models lists what this key may use".to_owned();
    }
    let quoted: Vec<String> = nearest.iter().map(|name| format!("`{name}`")).collect();
    format!("; did you mean {}?", quoted.join(" or "))
}

/// A model as the model list shows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ModelInfo {
    /// What to put into `model`.
    pub id: Arc<str>,
    /// The provider of its first candidate, or `tollgate` for virtual models.
    pub owned_by: Arc<str>,
}

impl DataPolicy {
    /// The rule by which `provider` is excluded, or `None` where it is allowed.
    #[must_use]
    pub fn excludes(&self, provider: &ProviderPolicy) -> Option<&'static str> {
        let region_allowed = self.regions.is_empty()
            || provider.region.as_ref().is_some_and(|region| self.regions.contains(region));
        if !region_allowed {
            return Some("regions");
        }
        let named = |pattern: &String| matches_pattern(pattern, &provider.name);
        if !self.providers.is_empty() && !self.providers.iter().any(named) {
            return Some("providers");
        }
        if self.require_zero_retention && provider.retention.is_none_or(|retention| retention.0 > 0) {
            return Some("require_zero_retention");
        }
        None
    }
}
