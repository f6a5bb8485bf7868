//! Checks of single fields.

use std::fmt;

use tollgate_domain::{Id, KeyHash};
use tollgate_policy::{RateLimits, is_hold_slice};
use uuid::Uuid;

use super::ConvertError;
use crate::v1;

/// An object while it is being read: what errors about its fields name it by.
pub(super) struct Reading {
    object: String,
}

impl Reading {
    /// `kind` and the name (or id) as far as it is known.
    pub(super) fn new(kind: &str, name: &str) -> Self {
        /// Enough to recognise a name; a hostile one must not fill the log.
        const MAX_NAME_CHARS: usize = 64;
        let name: String = name.chars().take(MAX_NAME_CHARS).collect();
        Self { object: format!("{kind} `{}`", name.escape_debug()) }
    }

    pub(super) fn object(&self) -> &str {
        &self.object
    }

    pub(super) fn refuse(&self, field: &'static str, reason: impl fmt::Display) -> ConvertError {
        ConvertError::new(&self.object, field, reason)
    }

    pub(super) fn id<T>(&self, field: &'static str, bytes: &[u8]) -> Result<Id<T>, ConvertError> {
        let uuid = Uuid::from_slice(bytes).map_err(|_| self.refuse(field, "is not 16 bytes"))?;
        if uuid.is_nil() {
            return Err(self.refuse(field, "is zero"));
        }
        Ok(Id::from_uuid(uuid))
    }

    pub(super) fn text(&self, field: &'static str, text: String) -> Result<String, ConvertError> {
        if text.trim().is_empty() { Err(self.refuse(field, "is blank")) } else { Ok(text) }
    }

    pub(super) fn texts(&self, field: &'static str, texts: Vec<String>) -> Result<Vec<String>, ConvertError> {
        texts.into_iter().map(|text| self.text(field, text)).collect()
    }

    pub(super) fn required<T>(&self, field: &'static str, value: Option<T>) -> Result<T, ConvertError> {
        value.ok_or_else(|| self.refuse(field, "is missing"))
    }

    pub(super) fn positive<T: Default + PartialEq>(
        &self,
        field: &'static str,
        value: T,
    ) -> Result<T, ConvertError> {
        if value == T::default() { Err(self.refuse(field, "is zero")) } else { Ok(value) }
    }

    fn optional_positive(
        &self,
        field: &'static str,
        value: Option<u64>,
    ) -> Result<Option<u64>, ConvertError> {
        value.map(|value| self.positive(field, value)).transpose()
    }

    pub(super) fn hold_slice(&self, tokens: Option<u32>) -> Result<Option<u32>, ConvertError> {
        match tokens {
            Some(tokens) if !is_hold_slice(tokens) => {
                Err(self.refuse("hold_slice_tokens", "is too small or too large"))
            }
            tokens => Ok(tokens),
        }
    }

    pub(super) fn hash(&self, field: &'static str, bytes: &[u8]) -> Result<KeyHash, ConvertError> {
        self.bytes_32(field, bytes).map(KeyHash)
    }

    pub(super) fn bytes_32(&self, field: &'static str, bytes: &[u8]) -> Result<[u8; 32], ConvertError> {
        bytes.try_into().map_err(|_| self.refuse(field, "is not 32 bytes"))
    }

    pub(super) fn limits(&self, message: Option<v1::RateLimits>) -> Result<RateLimits, ConvertError> {
        let limits = self.required("limits", message)?;
        Ok(RateLimits {
            requests_per_minute: self.optional_positive("requests_per_minute", limits.requests_per_minute)?,
            tokens_per_minute: self.optional_positive("tokens_per_minute", limits.tokens_per_minute)?,
            concurrent_requests: self.optional_positive("concurrent_requests", limits.concurrent_requests)?,
        })
    }
}
