//! Values that cannot be printed: credentials and prompts.

use std::fmt;

use secrecy::{ExposeSecret, SecretString};

/// A secret string: zeroised when dropped, `Debug` shows nothing, no `Display`, no `Serialize`.
#[derive(Clone)]
pub struct Secret(SecretString);

impl Secret {
    /// Wraps `text`.
    #[must_use]
    pub fn new(text: impl Into<String>) -> Self {
        Self(SecretString::from(text.into()))
    }

    /// The secret itself; the caller must not let it reach a log, an error or a database in the clear.
    #[must_use]
    pub fn expose(&self) -> &str {
        self.0.expose_secret()
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(…)")
    }
}

impl PartialEq for Secret {
    fn eq(&self, other: &Self) -> bool {
        use subtle::ConstantTimeEq;
        self.expose().as_bytes().ct_eq(other.expose().as_bytes()).into()
    }
}

impl Eq for Secret {}

/// A body that may hold a prompt or a completion: `Debug` shows only its length.
#[derive(Clone, PartialEq, Eq, Default)]
pub struct PromptBytes<B>(pub B);

impl<B: AsRef<[u8]>> fmt::Debug for PromptBytes<B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PromptBytes({} bytes)", self.0.as_ref().len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn debug_shows_nothing() {
        assert_eq!(format!("{:?}", Secret::new("hunter2hunter2")), "Secret(…)");
        assert_eq!(format!("{:?}", PromptBytes(b"hello".to_vec())), "PromptBytes(5 bytes)");
    }
}
