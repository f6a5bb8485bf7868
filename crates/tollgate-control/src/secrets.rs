//! The installation's master key and what hangs on it: the key pepper and the encryption of provider
//! credentials at rest.
//!
//! A credential is sealed with AES-256-GCM under a data key of its own; the data key is wrapped with
//! AES-256-GCM under a key derived from the master key. Both seals are bound to the provider's id and to
//! the host of its base URL, so that a blob moved to another provider or host does not open.
//!
//! Layout: version (1) ‖ wrap nonce (12) ‖ wrapped data key (32 + 16) ‖ nonce (12) ‖ ciphertext ‖ tag (16).

use std::fmt;

use aes_gcm::aead::{Aead, KeyInit, Payload};
use aes_gcm::{Aes256Gcm, Key, Nonce};
use base64::Engine;
use hmac::{Hmac, Mac};
use sha2::Sha256;
use tollgate_domain::{EntropySource, KeyPepper, ProviderId, Secret};
use zeroize::Zeroizing;

const VERSION: u8 = 1;
const NONCE_LEN: usize = 12;
const KEY_LEN: usize = 32;
const TAG_LEN: usize = 16;
const HEADER_LEN: usize = 1 + NONCE_LEN + KEY_LEN + TAG_LEN + NONCE_LEN;

/// Why something about secrets failed. No text holds any part of one.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SecretsError {
    /// The master key's text is not one.
    #[error("TOLLGATE_MASTER_KEY must be 32 bytes in base64; make one with `openssl rand -base64 32`")]
    BadMasterKey,
    /// The database was written under another master key.
    #[error(
        "TOLLGATE_MASTER_KEY is not the one this database was set up with; \
         start with that key, or with an empty database"
    )]
    WrongMasterKey,
    /// A stored credential does not open.
    #[error(
        "a stored credential cannot be decrypted: it was changed, or belongs to another provider or host"
    )]
    CannotOpen,
    /// The operating system gives no randomness.
    #[error("the operating system gives no random bytes: {0}")]
    NoEntropy(String),
}

/// The installation's master key: 32 bytes.
#[derive(Clone)]
pub struct MasterKey(Zeroizing<[u8; KEY_LEN]>);

impl fmt::Debug for MasterKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("MasterKey(…)")
    }
}

impl MasterKey {
    /// Wraps 32 secret bytes.
    #[must_use]
    pub fn new(bytes: [u8; KEY_LEN]) -> Self {
        Self(Zeroizing::new(bytes))
    }

    /// Reads the key as `TOLLGATE_MASTER_KEY` holds it: base64 of 32 bytes.
    ///
    /// # Errors
    /// [`SecretsError::BadMasterKey`].
    pub fn from_base64(text: &str) -> Result<Self, SecretsError> {
        let bytes = base64::engine::general_purpose::STANDARD.decode(text.trim()).map(Zeroizing::new);
        let bytes = bytes.map_err(|_| SecretsError::BadMasterKey)?;
        bytes.as_slice().try_into().map(Self::new).map_err(|_| SecretsError::BadMasterKey)
    }

    /// Makes a new random key.
    ///
    /// # Errors
    /// [`SecretsError::NoEntropy`].
    pub fn generate() -> Result<Self, SecretsError> {
        random_bytes().map(Self::new)
    }

    /// The key as text, to be kept in a file that only the owner reads.
    #[must_use]
    pub fn to_base64(&self) -> Secret {
        Secret::new(base64::engine::general_purpose::STANDARD.encode(*self.0))
    }

    /// A key for one purpose: HMAC-SHA256 of a label under the master key.
    fn derive(&self, label: &str) -> Zeroizing<[u8; KEY_LEN]> {
        let mut mac = <Hmac<Sha256> as hmac::KeyInit>::new_from_slice(self.0.as_slice())
            .expect("HMAC takes keys of any length");
        mac.update(b"tollgate:v1:");
        mac.update(label.as_bytes());
        Zeroizing::new(mac.finalize().into_bytes().into())
    }

    /// The pepper under which API keys are hashed.
    #[must_use]
    pub fn key_pepper(&self) -> KeyPepper {
        KeyPepper::new(*self.derive("key-pepper"))
    }

    /// What a database remembers of its master key, to recognise a wrong one: 32 hexadecimal letters.
    #[must_use]
    pub fn fingerprint(&self) -> String {
        use fmt::Write;
        let digest = self.derive("fingerprint");
        digest.iter().take(16).fold(String::with_capacity(32), |mut text, byte| {
            let _ = write!(text, "{byte:02x}");
            text
        })
    }

    /// The box that seals and opens provider credentials.
    #[must_use]
    pub fn credential_box(&self) -> CredentialBox {
        CredentialBox { wrapping: cipher(&self.derive("credential-wrap")) }
    }

    /// The box for answers of idempotent writes, which may hold a key's text.
    pub(crate) fn answer_box(&self) -> CredentialBox {
        CredentialBox { wrapping: cipher(&self.derive("answer-wrap")) }
    }
}

/// Which provider, at which host (with port), a credential belongs to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CredentialBinding {
    provider: ProviderId,
    host: String,
}

impl CredentialBinding {
    /// The binding of a provider's credentials; `base_url` may be empty (the demo provider).
    #[must_use]
    pub fn new(provider: ProviderId, base_url: &str) -> Self {
        Self { provider, host: host_of(base_url) }
    }

    fn associated_data(&self) -> Vec<u8> {
        let mut data = b"tollgate:credential:v1:".to_vec();
        data.extend_from_slice(self.provider.as_uuid().as_bytes());
        data.extend_from_slice(self.host.as_bytes());
        data
    }
}

/// Host and port of a base URL, lower case; empty where it has none.
pub(crate) fn host_of(base_url: &str) -> String {
    let rest = base_url.split_once("://").map_or("", |(_, rest)| rest);
    let authority = rest.split(['/', '?', '#']).next().unwrap_or("");
    authority.rsplit('@').next().unwrap_or("").to_ascii_lowercase()
}

/// Seals and opens what must not lie in the database in the clear: provider credentials first of all.
#[derive(Clone)]
pub struct CredentialBox {
    wrapping: Aes256Gcm,
}

impl fmt::Debug for CredentialBox {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("CredentialBox(…)")
    }
}

impl CredentialBox {
    /// Encrypts `secret` for its provider and host.
    ///
    /// # Errors
    /// [`SecretsError::NoEntropy`].
    pub fn seal(&self, binding: &CredentialBinding, secret: &Secret) -> Result<Vec<u8>, SecretsError> {
        self.seal_bound(&binding.associated_data(), secret.expose().as_bytes())
    }

    /// Decrypts what [`Self::seal`] made for the same provider and host.
    ///
    /// # Errors
    /// [`SecretsError::CannotOpen`] for anything else.
    pub fn open(&self, binding: &CredentialBinding, blob: &[u8]) -> Result<Secret, SecretsError> {
        let plain = self.open_bound(&binding.associated_data(), blob)?;
        let text = std::str::from_utf8(&plain).map_err(|_| SecretsError::CannotOpen)?;
        Ok(Secret::new(text))
    }

    /// Encrypts bytes so that they open only together with the same `aad`.
    pub(crate) fn seal_bound(&self, aad: &[u8], plain: &[u8]) -> Result<Vec<u8>, SecretsError> {
        let data_key = Zeroizing::new(random_bytes::<KEY_LEN>()?);
        let (wrap_nonce, nonce) = (random_bytes::<NONCE_LEN>()?, random_bytes::<NONCE_LEN>()?);
        let encrypt = |cipher: &Aes256Gcm, nonce: &[u8; NONCE_LEN], plain: &[u8]| {
            let payload = Payload { msg: plain, aad };
            cipher.encrypt(&Nonce::from(*nonce), payload).map_err(|_| SecretsError::CannotOpen)
        };
        let wrapped = encrypt(&self.wrapping, &wrap_nonce, data_key.as_slice())?;
        let sealed = encrypt(&cipher(&data_key), &nonce, plain)?;
        Ok([&[VERSION][..], &wrap_nonce, &wrapped, &nonce, &sealed].concat())
    }

    /// Decrypts what [`Self::seal_bound`] made with the same `aad`.
    pub(crate) fn open_bound(&self, aad: &[u8], blob: &[u8]) -> Result<Zeroizing<Vec<u8>>, SecretsError> {
        if blob.len() < HEADER_LEN + TAG_LEN || blob[0] != VERSION {
            return Err(SecretsError::CannotOpen);
        }
        let (wrap_nonce, rest) = blob[1..].split_at(NONCE_LEN);
        let (wrapped, rest) = rest.split_at(KEY_LEN + TAG_LEN);
        let (nonce, sealed) = rest.split_at(NONCE_LEN);
        let decrypt = |cipher: &Aes256Gcm, nonce: &[u8], sealed: &[u8]| {
            let nonce: [u8; NONCE_LEN] = nonce.try_into().map_err(|_| SecretsError::CannotOpen)?;
            let payload = Payload { msg: sealed, aad };
            let plain = cipher.decrypt(&Nonce::from(nonce), payload);
            plain.map(Zeroizing::new).map_err(|_| SecretsError::CannotOpen)
        };
        let data_key = decrypt(&self.wrapping, wrap_nonce, wrapped)?;
        let data_key: [u8; KEY_LEN] = data_key.as_slice().try_into().map_err(|_| SecretsError::CannotOpen)?;
        decrypt(&cipher(&Zeroizing::new(data_key)), nonce, sealed)
    }
}

fn cipher(key: &[u8; KEY_LEN]) -> Aes256Gcm {
    Aes256Gcm::new(&Key::<Aes256Gcm>::from(*key))
}

/// Random bytes of the operating system.
pub(crate) fn random_bytes<const N: usize>() -> Result<[u8; N], SecretsError> {
    let mut bytes = [0; N];
    getrandom::fill(&mut bytes).map_err(|error| SecretsError::NoEntropy(error.to_string()))?;
    Ok(bytes)
}

/// Randomness for one id.
pub(crate) fn id_entropy() -> Result<EntropySource, SecretsError> {
    random_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn binding(provider: u128, url: &str) -> CredentialBinding {
        CredentialBinding::new(ProviderId::from_u128(provider), url)
    }

    #[test]
    fn credentials_open_only_under_key_provider_and_host() {
        let secrets = MasterKey::new([1; 32]).credential_box();
        let own = binding(1, "https://api.example.com/v1");
        let blob = secrets.seal(&own, &Secret::new("sk-canary")).unwrap();
        assert!(!blob.windows(9).any(|window| window == b"sk-canary"));
        assert_eq!(secrets.open(&own, &blob).unwrap().expose(), "sk-canary");
        assert_eq!(
            secrets.open(&binding(1, "https://API.example.com/v2"), &blob).unwrap().expose(),
            "sk-canary"
        );
        for other in [
            binding(2, "https://api.example.com/v1"),
            binding(1, "https://evil.example/v1"),
            binding(1, "https://api.example.com:8443/v1"),
            binding(1, ""),
        ] {
            assert_eq!(secrets.open(&other, &blob), Err(SecretsError::CannotOpen), "{other:?}");
        }
        let other_key = MasterKey::new([2; 32]).credential_box();
        assert_eq!(other_key.open(&own, &blob), Err(SecretsError::CannotOpen));
        assert_ne!(secrets.seal(&own, &Secret::new("sk-canary")).unwrap(), blob);
    }

    #[test]
    fn every_changed_or_missing_byte_is_noticed() {
        let secrets = MasterKey::new([1; 32]).credential_box();
        let own = binding(1, "https://api.example.com/v1");
        let blob = secrets.seal(&own, &Secret::new("sk-canary")).unwrap();
        for at in 0..blob.len() {
            let mut changed = blob.clone();
            changed[at] ^= 1;
            assert_eq!(secrets.open(&own, &changed), Err(SecretsError::CannotOpen), "{at}");
            assert_eq!(secrets.open(&own, &blob[..at]), Err(SecretsError::CannotOpen), "{at}");
        }
    }

    #[test]
    fn master_keys_are_32_bytes_of_base64() {
        let key = MasterKey::generate().unwrap();
        let same = MasterKey::from_base64(key.to_base64().expose()).unwrap();
        assert_eq!(same.fingerprint(), key.fingerprint());
        assert_eq!(same.key_pepper(), key.key_pepper());
        assert_ne!(MasterKey::new([1; 32]).fingerprint(), key.fingerprint());
        for bad in ["", "abc", "AAAA", &"A".repeat(64)] {
            assert_eq!(MasterKey::from_base64(bad).unwrap_err(), SecretsError::BadMasterKey, "{bad}");
        }
        assert_eq!(format!("{key:?}"), "MasterKey(…)");
    }
}
