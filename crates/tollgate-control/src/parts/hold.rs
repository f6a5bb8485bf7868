//! How much of an answer is held for at a time.

use serde::{Deserialize, Serialize};
use tollgate_policy::{MAX_HOLD_SLICE_TOKENS, MIN_HOLD_SLICE_TOKENS, is_hold_slice};
use utoipa::ToSchema;

use crate::error::Problems;

/// How much of a streamed answer money is held for at a time.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct HoldBody {
    /// Answer tokens that a stream holds for at a time, 256 at least; it holds for more as it goes on. 0 holds
    /// for the whole answer before it begins. Where absent, a model does as the installation says, and the
    /// installation holds for whole answers.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(minimum = 0, maximum = 1_000_000, example = 4096)]
    pub slice_tokens: Option<u32>,
}

impl HoldBody {
    /// Whether it says nothing.
    pub(crate) fn is_empty(&self) -> bool {
        self.slice_tokens.is_none()
    }

    pub(crate) fn check(self, path: &str, problems: &mut Problems) -> Option<u32> {
        if !self.slice_tokens.is_none_or(is_hold_slice) {
            let text = format!(
                "must be within {MIN_HOLD_SLICE_TOKENS} and {MAX_HOLD_SLICE_TOKENS}, or 0 to hold for whole answers"
            );
            problems.add(format!("{path}.slice_tokens"), text);
        }
        self.slice_tokens
    }
}
