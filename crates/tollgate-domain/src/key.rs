//! API keys: `tgk_<12 public><40 secret><6 crc>` joined by underscores as `tgk_PPPPPPPPPPPP_SSSS…S` + crc.
//!
//! Only an HMAC-SHA256 of a key under the installation's pepper is ever stored or compared.

use std::fmt;

use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;
use subtle::ConstantTimeEq;

use crate::Secret;

const PREFIX: &str = "tgk_";
const PUBLIC_LEN: usize = 12;
const SECRET_LEN: usize = 40;
const CRC_LEN: usize = 6;
/// Shortest secret an operator may bring: below this a key can be guessed.
const BROUGHT_MIN_LEN: usize = 16;
/// Longest secret an operator may bring: headers are bounded, and so is hashing work.
const BROUGHT_MAX_LEN: usize = 256;
const ALPHABET: &[u8; 62] = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";

/// Why a text cannot be an API key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ApiKeyError {
    /// A `tgk_` key whose shape or checksum is wrong: mistyped or truncated.
    #[error("the key is malformed: copy it again in full")]
    Malformed,
    /// A brought key outside 16 to 256 visible ASCII characters.
    #[error("a key must have 16 to 256 visible ASCII characters")]
    BadLength,
}

/// The text of an API key, as presented or as shown once at creation. Never printed by `Debug`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ApiKeySecret(Secret);

impl ApiKeySecret {
    /// Makes a new key from 64 random bytes (each picks one of 62 letters; bytes past 247 are folded,
    /// a bias below 2⁻⁷ per letter on 40 letters leaves more than 230 bits).
    #[must_use]
    pub fn generate(entropy: &[u8; 64]) -> Self {
        let letter = |byte: &u8| char::from(ALPHABET[usize::from(*byte) % ALPHABET.len()]);
        let public: String = entropy[..PUBLIC_LEN].iter().map(letter).collect();
        let secret: String = entropy[PUBLIC_LEN..PUBLIC_LEN + SECRET_LEN].iter().map(letter).collect();
        let body = format!("{PREFIX}{public}_{secret}");
        let text = format!("{body}{}", checksum(body.as_bytes()));
        Self(Secret::new(text))
    }

    /// Accepts a presented or brought key: a `tgk_` key must have the right shape and checksum, any other
    /// text only the right length.
    ///
    /// # Errors
    /// [`ApiKeyError`], before any look-up.
    pub fn parse(text: &str) -> Result<Self, ApiKeyError> {
        check(text)?;
        Ok(Self(Secret::new(text)))
    }

    /// The key itself, to be shown once or sent as a header.
    #[must_use]
    pub fn expose(&self) -> &str {
        self.0.expose()
    }

    /// What may be shown again: the public part, or the first four letters of a brought key.
    #[must_use]
    pub fn public_prefix(&self) -> String {
        let text = self.0.expose();
        let length = if text.starts_with(PREFIX) { PREFIX.len() + PUBLIC_LEN } else { 4 };
        text.chars().take(length).collect()
    }

    /// The stored form under `pepper`.
    #[must_use]
    pub fn hash(&self, pepper: &KeyPepper) -> KeyHash {
        pepper.hash_unchecked(self.0.expose())
    }
}

fn check(text: &str) -> Result<(), ApiKeyError> {
    if let Some(rest) = text.strip_prefix(PREFIX) {
        if rest.len() != PUBLIC_LEN + 1 + SECRET_LEN + CRC_LEN || !text.is_ascii() {
            return Err(ApiKeyError::Malformed);
        }
        let (body, crc) = text.split_at(text.len() - CRC_LEN);
        return if checksum(body.as_bytes()) == crc { Ok(()) } else { Err(ApiKeyError::Malformed) };
    }
    let visible = text.bytes().all(|byte| byte.is_ascii_graphic());
    if visible && (BROUGHT_MIN_LEN..=BROUGHT_MAX_LEN).contains(&text.len()) {
        Ok(())
    } else {
        Err(ApiKeyError::BadLength)
    }
}

/// CRC-32 of `body` in base 62, six letters.
fn checksum(body: &[u8]) -> String {
    let mut rest = crc32fast::hash(body);
    let mut letters = [b'0'; CRC_LEN];
    for letter in letters.iter_mut().rev() {
        *letter = ALPHABET[(rest % 62) as usize];
        rest /= 62;
    }
    letters.iter().map(|byte| char::from(*byte)).collect()
}

/// The installation's secret under which keys are hashed: 32 bytes.
#[derive(Clone)]
pub struct KeyPepper {
    bytes: [u8; 32],
    keyed: Hmac<Sha256>,
}

impl KeyPepper {
    /// Wraps 32 secret bytes.
    #[must_use]
    pub fn new(bytes: [u8; 32]) -> Self {
        let keyed = Hmac::<Sha256>::new_from_slice(&bytes).expect("HMAC takes keys of any length");
        Self { bytes, keyed }
    }

    /// The bytes, for the policy channel only.
    #[must_use]
    pub fn expose(&self) -> &[u8; 32] {
        &self.bytes
    }

    /// Hashes a presented key after its shape was checked; nothing is copied.
    ///
    /// # Errors
    /// [`ApiKeyError`] when the shape or the checksum is wrong.
    pub fn hash_presented(&self, text: &str) -> Result<KeyHash, ApiKeyError> {
        check(text)?;
        Ok(self.hash_unchecked(text))
    }

    /// A seal over parts, each with its length, so that no two lists of parts run together alike. No key's text begins
    /// like what is sealed.
    #[must_use]
    pub fn seal(&self, parts: &[&[u8]]) -> [u8; 32] {
        let mut mac = self.keyed.clone();
        mac.update(b"\0tollgate seal v1");
        for part in parts {
            mac.update(&(part.len() as u64).to_be_bytes());
            mac.update(part);
        }
        mac.finalize().into_bytes().into()
    }

    fn hash_unchecked(&self, text: &str) -> KeyHash {
        let mut mac = self.keyed.clone();
        mac.update(text.as_bytes());
        KeyHash(mac.finalize().into_bytes().into())
    }
}

impl fmt::Debug for KeyPepper {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("KeyPepper(…)")
    }
}

impl PartialEq for KeyPepper {
    fn eq(&self, other: &Self) -> bool {
        self.bytes.ct_eq(&other.bytes).into()
    }
}

impl Eq for KeyPepper {}

/// HMAC-SHA256 of a key under the pepper: what is stored, sent to pods and looked up. Equality takes the
/// same time for every pair.
#[derive(Clone, Copy, Eq)]
pub struct KeyHash(pub [u8; 32]);

impl PartialEq for KeyHash {
    fn eq(&self, other: &Self) -> bool {
        self.0.ct_eq(&other.0).into()
    }
}

impl std::hash::Hash for KeyHash {
    fn hash<H: std::hash::Hasher>(&self, state: &mut H) {
        self.0.hash(state);
    }
}

impl fmt::Debug for KeyHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "KeyHash({:02x}{:02x}…)", self.0[0], self.0[1])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entropy() -> [u8; 64] {
        std::array::from_fn(|index| (index * 37 % 256) as u8)
    }

    #[test]
    fn generated_keys_parse_and_hash_alike() {
        let key = ApiKeySecret::generate(&entropy());
        assert_eq!(key.expose().len(), 4 + 12 + 1 + 40 + 6);
        let parsed = ApiKeySecret::parse(key.expose()).unwrap();
        let pepper = KeyPepper::new([7; 32]);
        assert_eq!(parsed.hash(&pepper), key.hash(&pepper));
        assert_eq!(pepper.hash_presented(key.expose()), Ok(key.hash(&pepper)));
        assert_ne!(parsed.hash(&pepper), key.hash(&KeyPepper::new([8; 32])));
        assert!(key.public_prefix().len() == 16 && !format!("{key:?}").contains(&key.expose()[4..]));
    }

    #[test]
    fn every_single_letter_change_is_refused() {
        let key = ApiKeySecret::generate(&entropy()).expose().to_owned();
        for index in 4..key.len() {
            let mut bytes = key.clone().into_bytes();
            bytes[index] = if bytes[index] == b'x' { b'y' } else { b'x' };
            let changed = String::from_utf8(bytes).unwrap();
            assert_eq!(ApiKeySecret::parse(&changed), Err(ApiKeyError::Malformed), "{index}");
        }
        assert_eq!(ApiKeySecret::parse(&key[..key.len() - 1]), Err(ApiKeyError::Malformed));
    }

    #[test]
    fn brought_keys_need_length_and_visible_letters() {
        assert!(ApiKeySecret::parse("sk-0123456789abcdef").is_ok());
        for bad in ["short", "0123456789 abcdef", &"x".repeat(257), "ключключключключ"] {
            assert_eq!(ApiKeySecret::parse(bad), Err(ApiKeyError::BadLength), "{bad}");
        }
    }
}
