//! Signatures after the Standard Webhooks specification: HMAC-SHA256 over `id.timestamp.body`.

use std::fmt;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;
use tollgate_domain::Secret;
use zeroize::Zeroizing;

use crate::secrets::{SecretsError, random_bytes};

const PREFIX: &str = "whsec_";
/// By the specification.
const MIN_BYTES: usize = 24;
/// By the specification.
const MAX_BYTES: usize = 64;
/// Of a secret that is made here.
const NEW_BYTES: usize = 32;

/// A webhook's signing key.
pub(crate) struct SigningKey(Zeroizing<Vec<u8>>);

impl fmt::Debug for SigningKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SigningKey(…)")
    }
}

impl SigningKey {
    /// Reads `whsec_…`. The error does not repeat it.
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        let bytes = text.trim().strip_prefix(PREFIX).and_then(|text| STANDARD.decode(text).ok());
        let bytes = bytes.map(Zeroizing::new).filter(|bytes| (MIN_BYTES..=MAX_BYTES).contains(&bytes.len()));
        bytes.map(Self).ok_or_else(|| {
            format!(
                "is no signing secret: write `{PREFIX}` and {MIN_BYTES} to {MAX_BYTES} random bytes in base64, as \
                 `echo {PREFIX}$(openssl rand -base64 32)` makes"
            )
        })
    }

    /// A new secret's text.
    pub(crate) fn generate() -> Result<Secret, SecretsError> {
        let bytes = Zeroizing::new(random_bytes::<NEW_BYTES>()?);
        Ok(Secret::new(format!("{PREFIX}{}", STANDARD.encode(bytes.as_slice()))))
    }

    /// The value of `webhook-signature`.
    pub(crate) fn sign(&self, id: &str, timestamp: i64, body: &str) -> String {
        let mut mac = Hmac::<Sha256>::new_from_slice(&self.0).expect("HMAC takes keys of any length");
        mac.update(format!("{id}.{timestamp}.").as_bytes());
        mac.update(body.as_bytes());
        format!("v1,{}", STANDARD.encode(mac.finalize().into_bytes()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The example that the specification's libraries are tested with.
    #[test]
    fn the_published_example_is_signed_alike() {
        let key = SigningKey::parse("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw").unwrap();
        let signature = key.sign("msg_p5jXN8AQM9LWM0D4loKWxJek", 1_614_265_330, r#"{"test": 2432232314}"#);
        assert_eq!(signature, "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=");
    }

    #[test]
    fn secrets_are_checked_and_never_repeated() {
        let text = SigningKey::generate().unwrap();
        assert!(text.expose().starts_with("whsec_"));
        SigningKey::parse(text.expose()).unwrap();
        let short = format!("whsec_{}", STANDARD.encode([7; 23]));
        let long = format!("whsec_{}", STANDARD.encode([7; 65]));
        for bad in ["", "whsec_", "MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw", "whsec_!!!", &short, &long] {
            let error = SigningKey::parse(bad).unwrap_err();
            assert!(bad.len() < 7 || !error.contains(&bad[6..]), "{error}");
        }
        assert!(!format!("{:?}", SigningKey::parse(text.expose()).unwrap()).contains(&text.expose()[6..]));
    }
}
