//! `Debug` of the messages that carry secrets: everything but the secret.

use std::fmt;

use crate::v1;

impl fmt::Debug for v1::Settings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Settings").field("default_models", &self.default_models).finish_non_exhaustive()
    }
}

impl fmt::Debug for v1::Credential {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Credential")
            .field("id", &self.id)
            .field("name", &self.name)
            .field("weight", &self.weight)
            .finish_non_exhaustive()
    }
}

impl fmt::Debug for v1::Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Key")
            .field("id", &self.id)
            .field("project", &self.project)
            .field("name", &self.name)
            .field("models", &self.models)
            .field("limits", &self.limits)
            .field("expires_at_ms", &self.expires_at_ms)
            .field("state", &self.state)
            .field("labels", &self.labels)
            .finish_non_exhaustive()
    }
}

impl fmt::Debug for v1::PreviousHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PreviousHash").field("until_ms", &self.until_ms).finish_non_exhaustive()
    }
}
