//! Which vendors serve OpenAI's Responses themselves, as data with its sources.

use serde::Deserialize;

/// How a vendor serves `POST {base_url}/responses`.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct VendorResponses {
    /// Whether it keeps responses: to be read, continued, cancelled and deleted by their ids. Who keeps none refuses
    /// `store` and `previous_response_id`.
    pub stored: bool,
    /// Whether only models serve it whose `surfaces` name it. Else every chat model of the vendor does.
    #[serde(default)]
    pub listed_models_only: bool,
    /// Where all of this is from.
    pub sources: Vec<String>,
}

impl VendorResponses {
    /// Whether a model serves it that is known to serve these surfaces; one that is not known yet does.
    #[must_use]
    pub fn covers(&self, surfaces: Option<&[&str]>) -> bool {
        match surfaces {
            Some(surfaces) if self.listed_models_only => surfaces.contains(&"responses"),
            Some(surfaces) => surfaces.contains(&"responses") || surfaces.contains(&"chat"),
            None => true,
        }
    }
}
