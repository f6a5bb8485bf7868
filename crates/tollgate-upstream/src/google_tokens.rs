//! Access tokens for Google's service accounts: a signed assertion goes to the token endpoint, the token that comes
//! back is kept and asked for again before its end.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use bytes::Bytes;
use foldhash::{HashMap, HashMapExt as _};
use http::header::{ACCEPT, CONTENT_TYPE, HeaderMap, HeaderValue};
use http::{Method, Uri};
use http_body_util::{BodyExt as _, Limited};
use parking_lot::Mutex;
use rustls::SignatureScheme;
use rustls::crypto::ring::sign::any_supported_type;
use rustls::pki_types::PrivateKeyDer;
use rustls::pki_types::pem::PemObject as _;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use tollgate_domain::{Secret, UnixMillis};

use crate::{UpstreamClient, UpstreamRequest};

/// What a token may be used for: Vertex has no narrower scope.
const SCOPE: &str = "https://www.googleapis.com/auth/cloud-platform";
/// How long an assertion holds: the longest that Google takes.
const ASSERTION_SECONDS: i64 = 3_600;
/// A token is asked for anew when less than this is left of it: requests that begin with it take a while.
const REFRESH_BEFORE_MS: i64 = 300_000;
/// With less than this left a token is not used: it could end on the way.
const UNUSABLE_BEFORE_MS: i64 = 10_000;
/// Where the endpoint does not say how long a token holds, or says more than a day.
const DEFAULT_LIFETIME_SECONDS: i64 = 3_600;
/// A token that is said to hold longer is asked for anew all the same.
const MAX_LIFETIME_SECONDS: i64 = 86_400;
/// After a failure the endpoint is left alone this long: those who waited get the same answer.
const FAILURE_PAUSE_MS: i64 = 1_000;
/// From the name's look-up to the end of the answer; the endpoint answers in tens of milliseconds.
const ENDPOINT_TIMEOUT: Duration = Duration::from_secs(10);
/// A token is 1 to 2 KiB.
const MAX_ANSWER_BYTES: usize = 64 << 10;
/// Accounts whose tokens are kept; operators have a handful.
const MAX_ACCOUNTS: usize = 1_024;

/// The service account a token is asked for.
#[derive(Clone, Copy, Debug)]
pub struct TokenAccount<'a> {
    /// Who asks.
    pub client_email: &'a str,
    /// PEM, PKCS #8 or PKCS #1, RSA.
    pub private_key: &'a Secret,
    /// Which of its keys this is, where it is known.
    pub private_key_id: Option<&'a str>,
    /// Where tokens are given out.
    pub token_uri: &'a str,
}

/// Why there is no token. No text holds any part of a credential.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TokenError {
    /// The private key is none.
    #[error("the service account's private key cannot be used: it must be an RSA key in PEM")]
    BadKey,
    /// The endpoint knows the account and says no.
    #[error("the token endpoint refused the service account with status {status}{code}")]
    Refused {
        /// Its status.
        status: u16,
        /// ` (invalid_grant)`, or nothing.
        code: String,
    },
    /// The endpoint failed, or could not be reached.
    #[error("the token endpoint cannot be used: {0}")]
    Unavailable(String),
}

/// The tokens of every account that has asked. Clones share them. `Debug` shows none.
#[derive(Clone)]
pub struct GoogleTokens {
    client: UpstreamClient,
    accounts: Arc<Mutex<HashMap<[u8; 32], Arc<Account>>>>,
}

#[derive(Default)]
struct Account {
    state: Mutex<State>,
    /// Held by whoever asks the endpoint: one at a time.
    asking: tokio::sync::Mutex<()>,
}

#[derive(Default)]
struct State {
    token: Option<(Secret, UnixMillis)>,
    failed: Option<(TokenError, UnixMillis)>,
}

impl fmt::Debug for GoogleTokens {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "GoogleTokens({} accounts)", self.accounts.lock().len())
    }
}

impl GoogleTokens {
    /// No tokens yet.
    #[must_use]
    pub fn new(client: UpstreamClient) -> Self {
        Self { client, accounts: Arc::new(Mutex::new(HashMap::new())) }
    }

    /// A token that holds at `now`: one that is kept, or a new one. While one request asks for it, others of the same
    /// account go on with the old one for as long as that holds, else they wait.
    ///
    /// # Errors
    /// [`TokenError`], for as long as no token is left that holds.
    pub async fn token(&self, account: TokenAccount<'_>, now: UnixMillis) -> Result<Secret, TokenError> {
        let kept = self.account(account);
        if let Some(token) = kept.token_with_left(now, REFRESH_BEFORE_MS) {
            return Ok(token);
        }
        let usable = kept.token_with_left(now, UNUSABLE_BEFORE_MS);
        let _asking = match (kept.asking.try_lock(), usable.clone()) {
            (Ok(asking), _) => asking,
            (Err(_), Some(token)) => return Ok(token),
            (Err(_), None) => kept.asking.lock().await,
        };
        // whoever was before may have brought one, or failed just now
        if let Some(token) = kept.token_with_left(now, REFRESH_BEFORE_MS) {
            return Ok(token);
        }
        if let Some(error) = kept.failed_just_before(now) {
            return usable.ok_or(error);
        }
        let asked = Box::pin(ask(&self.client, account, now)).await;
        let mut state = kept.state.lock();
        match asked {
            Ok((token, until)) => {
                *state = State { token: Some((token.clone(), until)), failed: None };
                Ok(token)
            }
            Err(error) => {
                state.failed = Some((error.clone(), now));
                usable.ok_or(error)
            }
        }
    }

    fn account(&self, account: TokenAccount<'_>) -> Arc<Account> {
        let mut hash = Sha256::new();
        for part in [account.client_email, account.token_uri, account.private_key.expose()] {
            hash.update(part.len().to_le_bytes());
            hash.update(part.as_bytes());
        }
        let mut accounts = self.accounts.lock();
        if accounts.len() >= MAX_ACCOUNTS {
            // keys that are used come back at their next request
            accounts.clear();
        }
        Arc::clone(accounts.entry(hash.finalize().into()).or_default())
    }
}

impl Account {
    fn token_with_left(&self, now: UnixMillis, left_ms: i64) -> Option<Secret> {
        let state = self.state.lock();
        let (token, until) = state.token.as_ref()?;
        (until.since(now) > left_ms).then(|| token.clone())
    }

    fn failed_just_before(&self, now: UnixMillis) -> Option<TokenError> {
        let state = self.state.lock();
        let (error, at) = state.failed.as_ref()?;
        (0..FAILURE_PAUSE_MS).contains(&now.since(*at)).then(|| error.clone())
    }
}

/// The token and until when it holds.
async fn ask(
    client: &UpstreamClient,
    account: TokenAccount<'_>,
    now: UnixMillis,
) -> Result<(Secret, UnixMillis), TokenError> {
    let unavailable = |reason: &str| TokenError::Unavailable(reason.to_owned());
    let url = Uri::try_from(account.token_uri).map_err(|_| unavailable("its address is no URL"))?;
    let assertion = assertion(account, now)?;
    let grant = "urn%3Aietf%3Aparams%3Aoauth%3Agrant-type%3Ajwt-bearer";
    let body = Bytes::from(format!("grant_type={grant}&assertion={assertion}"));
    let mut headers = HeaderMap::new();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/x-www-form-urlencoded"));
    headers.insert(ACCEPT, HeaderValue::from_static("application/json"));
    let request = UpstreamRequest {
        method: Method::POST,
        url,
        headers,
        body: body.into(),
        connect_timeout: ENDPOINT_TIMEOUT,
        first_byte_timeout: ENDPOINT_TIMEOUT,
        idle_timeout: ENDPOINT_TIMEOUT,
    };
    let exchange = async {
        let answer = client.send(request).await.map_err(|error| TokenError::Unavailable(error.message))?;
        let status = answer.status();
        let body = Limited::new(answer.into_body(), MAX_ANSWER_BYTES).collect().await;
        let body = body.map_err(|_| unavailable("its answer cannot be read"))?.to_bytes();
        Ok((status, body))
    };
    let (status, body) = tokio::time::timeout(ENDPOINT_TIMEOUT, exchange)
        .await
        .map_err(|_| unavailable("it took too long"))??;
    read_answer(status.as_u16(), &body, now)
}

fn read_answer(status: u16, body: &[u8], now: UnixMillis) -> Result<(Secret, UnixMillis), TokenError> {
    let answer: Value = serde_json::from_slice(body).unwrap_or_default();
    if (400..500).contains(&status) && !matches!(status, 408 | 429) {
        // OAuth's words are a closed set; anything longer could repeat what was sent
        let is_word = |code: &&str| {
            code.len() <= 40 && code.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'_')
        };
        let code =
            answer["error"].as_str().filter(is_word).map_or(String::new(), |code| format!(" ({code})"));
        return Err(TokenError::Refused { status, code });
    }
    if !(200..300).contains(&status) {
        return Err(TokenError::Unavailable(format!("it answered with status {status}")));
    }
    let is_token = |text: &&str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_graphic());
    let token = answer["access_token"].as_str().filter(is_token);
    let token = token.ok_or_else(|| TokenError::Unavailable("its answer has no access token".to_owned()))?;
    let lifetime =
        answer["expires_in"].as_i64().unwrap_or(DEFAULT_LIFETIME_SECONDS).clamp(0, MAX_LIFETIME_SECONDS);
    Ok((Secret::new(token), now.plus_ms(lifetime * 1_000)))
}

/// The assertion: who asks, for what, until when, signed with RS256.
fn assertion(account: TokenAccount<'_>, now: UnixMillis) -> Result<String, TokenError> {
    let key = PrivateKeyDer::from_pem_slice(account.private_key.expose().as_bytes());
    let key = any_supported_type(&key.map_err(|_| TokenError::BadKey)?).map_err(|_| TokenError::BadKey)?;
    let signer = key.choose_scheme(&[SignatureScheme::RSA_PKCS1_SHA256]).ok_or(TokenError::BadKey)?;
    let mut header = json!({ "alg": "RS256", "typ": "JWT" });
    if let Some(id) = account.private_key_id {
        header["kid"] = json!(id);
    }
    let issued_at = now.0.div_euclid(1_000);
    let claims = json!({
        "iss": account.client_email,
        "scope": SCOPE,
        "aud": account.token_uri,
        "iat": issued_at,
        "exp": issued_at + ASSERTION_SECONDS,
    });
    let encoded = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
    let signed = format!("{}.{}", encoded(&header), encoded(&claims));
    let signature = signer.sign(signed.as_bytes()).map_err(|_| TokenError::BadKey)?;
    Ok(format!("{signed}.{}", URL_SAFE_NO_PAD.encode(signature)))
}

#[cfg(test)]
mod tests;
