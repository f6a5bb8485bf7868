//! Amazon's Signature Version 4: what is signed, how, and the header that says so. Pure: the time is an argument, and
//! a body is signed whole.

use std::fmt;

use hmac::{Hmac, Mac};
use http::header::{AUTHORIZATION, HeaderMap, HeaderName, HeaderValue};
use http::{Method, Uri};
use sha2::{Digest, Sha256};
use tollgate_domain::{Secret, UnixMillis};

const ALGORITHM: &str = "AWS4-HMAC-SHA256";
const DATE: &str = "x-amz-date";
const TOKEN: &str = "x-amz-security-token";
/// Letters of `20150830T123600Z` that are the day.
const DAY_CHARS: usize = 8;

/// Who signs, and for which service.
#[derive(Clone, Copy, Debug)]
pub struct Signer<'a> {
    /// The access key's name, which is sent.
    pub access_key_id: &'a str,
    /// What signs, and is never sent.
    pub secret_access_key: &'a Secret,
    /// Of temporary keys; it is sent and signed.
    pub session_token: Option<&'a Secret>,
    /// Like `us-east-1`.
    pub region: &'a str,
    /// Like `bedrock`.
    pub service: &'a str,
}

/// What is signed of a request. `Debug` shows neither headers nor body.
#[derive(Clone, Copy)]
pub struct Signable<'a> {
    /// `POST`.
    pub method: &'a str,
    /// As it is sent: what is percent-encoded there is encoded once more in the signature.
    pub path: &'a str,
    /// As it is sent, without `?`; may be empty.
    pub query: &'a str,
    /// Names in any case, in any order; those of one name in the order in which they are sent. Every one is signed.
    pub headers: &'a [(&'a str, &'a str)],
    /// Whole.
    pub body: &'a [u8],
}

/// Why a request cannot be signed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SigningError {
    /// The time has no four-digit year.
    #[error("the clock shows a time that no signature can have: set it right")]
    Time,
    /// A part of the credential cannot stand in a header.
    #[error("the credential has letters that no header can have: give it again")]
    Credential,
}

impl fmt::Debug for Signable<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Signable({} {}, {} bytes)", self.method, self.path, self.body.len())
    }
}

/// Signs a request to `url` at `now`: adds `x-amz-date`, where there is one the session token, and `authorization`.
/// Host, `content-type` and what is added are signed; other headers may change on the way.
///
/// # Errors
/// [`SigningError`].
pub fn sign(
    signer: &Signer<'_>,
    method: &Method,
    url: &Uri,
    body: &[u8],
    now: UnixMillis,
    headers: &mut HeaderMap,
) -> Result<(), SigningError> {
    let date = amz_date(now).ok_or(SigningError::Time)?;
    let host = host_header(url);
    let content_type = headers.get(http::header::CONTENT_TYPE).and_then(|value| value.to_str().ok());
    let mut signed: Vec<(&str, &str)> = vec![("host", &host), (DATE, &date)];
    signed.extend(content_type.map(|value| ("content-type", value)));
    signed.extend(signer.session_token.map(|token| (TOKEN, token.expose())));
    let (path, query) = (url.path(), url.query().unwrap_or_default());
    let request = Signable { method: method.as_str(), path, query, headers: &signed, body };
    let authorization = authorization(signer, &request, &date);
    headers.insert(HeaderName::from_static(DATE), header(&date)?);
    if let Some(token) = signer.session_token {
        headers.insert(HeaderName::from_static(TOKEN), header(token.expose())?);
    }
    headers.insert(AUTHORIZATION, header(&authorization)?);
    Ok(())
}

fn header(text: &str) -> Result<HeaderValue, SigningError> {
    let mut value = HeaderValue::from_str(text).map_err(|_| SigningError::Credential)?;
    value.set_sensitive(true);
    Ok(value)
}

/// The `authorization` header of a request at `amz_date` (`20150830T123600Z`), which is among its headers.
#[must_use]
pub fn authorization(signer: &Signer<'_>, request: &Signable<'_>, amz_date: &str) -> String {
    let day = amz_date.get(..DAY_CHARS).unwrap_or(amz_date);
    let scope = format!("{day}/{}/{}/aws4_request", signer.region, signer.service);
    let (canonical, signed_headers) = canonical_request(request);
    let to_sign = format!("{ALGORITHM}\n{amz_date}\n{scope}\n{}", sha256_hex(canonical.as_bytes()));
    let signature = hex(&hmac(&signing_key(signer, day), to_sign.as_bytes()));
    format!(
        "{ALGORITHM} Credential={}/{scope}, SignedHeaders={signed_headers}, Signature={signature}",
        signer.access_key_id
    )
}

/// The moment as signatures write it, or `None` where its year has not four digits.
#[must_use]
pub fn amz_date(now: UnixMillis) -> Option<String> {
    // a year of more digits, or before the first, puts its dash elsewhere
    let text = now.to_rfc3339().filter(|text| text.as_bytes().get(4) == Some(&b'-'))?;
    let to_seconds = text.get(.."2015-08-30T12:36:00".len())?;
    let plain: String = to_seconds.chars().filter(|letter| !matches!(letter, '-' | ':')).collect();
    (plain.len() == "20150830T123600".len()).then(|| plain + "Z")
}

fn host_header(url: &Uri) -> String {
    let host = url.host().unwrap_or_default();
    let default = if url.scheme_str() == Some("http") { 80 } else { 443 };
    match url.port_u16() {
        Some(port) if port != default => format!("{host}:{port}"),
        _ => host.to_owned(),
    }
}

// === the canonical request ===

/// The request as it is signed, and the names of its headers.
fn canonical_request(request: &Signable<'_>) -> (String, String) {
    let mut headers: Vec<(String, String)> = Vec::with_capacity(request.headers.len());
    for (name, value) in request.headers {
        let (name, value) = (name.to_ascii_lowercase(), trimmed(value));
        match headers.iter_mut().find(|(known, _)| *known == name) {
            Some((_, values)) => {
                values.push(',');
                values.push_str(&value);
            }
            None => headers.push((name, value)),
        }
    }
    headers.sort();
    let names: Vec<&str> = headers.iter().map(|(name, _)| name.as_str()).collect();
    let names = names.join(";");
    let lines: String = headers.iter().map(|(name, value)| format!("{name}:{value}\n")).collect();
    let canonical = format!(
        "{}\n{}\n{}\n{lines}\n{names}\n{}",
        request.method,
        canonical_path(request.path),
        canonical_query(request.query),
        sha256_hex(request.body)
    );
    (canonical, names)
}

/// Without spaces around it, and one where there are several.
fn trimmed(value: &str) -> String {
    let words: Vec<&str> = value.split_ascii_whitespace().collect();
    words.join(" ")
}

/// Without empty segments and dots, every segment encoded.
fn canonical_path(path: &str) -> String {
    let mut segments: Vec<&str> = Vec::new();
    for segment in path.split('/') {
        match segment {
            "" | "." => {}
            ".." => drop(segments.pop()),
            _ => segments.push(segment),
        }
    }
    let mut out = String::with_capacity(path.len() + 16);
    for segment in &segments {
        out.push('/');
        encode(segment.as_bytes(), &mut out);
    }
    if segments.is_empty() || path.ends_with('/') {
        out.push('/');
    }
    out
}

/// Sorted by name, then by value; what is encoded already is not encoded again.
fn canonical_query(query: &str) -> String {
    let encoded = |text: &str| {
        let mut out = String::with_capacity(text.len());
        encode(&decoded(text), &mut out);
        out
    };
    let pairs = query.split('&').filter(|pair| !pair.is_empty());
    let mut pairs: Vec<(String, String)> = pairs
        .map(|pair| pair.split_once('=').unwrap_or((pair, "")))
        .map(|(name, value)| (encoded(name), encoded(value)))
        .collect();
    pairs.sort();
    let pairs: Vec<String> = pairs.iter().map(|(name, value)| format!("{name}={value}")).collect();
    pairs.join("&")
}

/// Everything but letters, digits and `-._~` as `%XX`.
fn encode(bytes: &[u8], out: &mut String) {
    for byte in bytes {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(byte) {
            out.push(char::from(*byte));
        } else {
            out.push_str(&format!("%{byte:02X}"));
        }
    }
}

fn decoded(text: &str) -> Vec<u8> {
    let mut out = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((first, after)) = rest.split_first() {
        let pair = after.get(..2).filter(|_| *first == b'%').and_then(|pair| std::str::from_utf8(pair).ok());
        match pair.and_then(|pair| u8::from_str_radix(pair, 16).ok()) {
            Some(byte) => {
                out.push(byte);
                rest = &after[2..];
            }
            None => {
                out.push(*first);
                rest = after;
            }
        }
    }
    out
}

// === hashes ===

fn signing_key(signer: &Signer<'_>, day: &str) -> [u8; 32] {
    let start = Secret::new(format!("AWS4{}", signer.secret_access_key.expose()));
    let key = hmac(start.expose().as_bytes(), day.as_bytes());
    let key = hmac(&key, signer.region.as_bytes());
    let key = hmac(&key, signer.service.as_bytes());
    hmac(&key, b"aws4_request")
}

fn hmac(key: &[u8], data: &[u8]) -> [u8; 32] {
    let mut mac =
        <Hmac<Sha256> as hmac::KeyInit>::new_from_slice(key).expect("HMAC takes keys of any length");
    mac.update(data);
    mac.finalize().into_bytes().into()
}

fn sha256_hex(data: &[u8]) -> String {
    hex(&Sha256::digest(data))
}

fn hex(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let digit = |value: u8| char::from(DIGITS[usize::from(value & 15)]);
    bytes.iter().flat_map(|byte| [digit(byte >> 4), digit(*byte)]).collect()
}

#[cfg(test)]
mod tests;
