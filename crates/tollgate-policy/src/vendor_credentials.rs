//! Credentials of vendors for whom one secret text is not enough: Amazon's keys and Google's service accounts.
//! They are kept and carried as one text like every other, and read here.

use serde::Deserialize;
use tollgate_domain::Secret;

/// Why a credential cannot be read. No text holds any part of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CredentialError {
    /// Amazon's, in braces but not what it should be.
    #[error(
        "is not Amazon's: write an API key, or JSON with `access_key_id`, `secret_access_key` and, for temporary \
         keys, `session_token`"
    )]
    NotAmazons,
    /// Google's, in braces but not what it should be.
    #[error(
        "is not a service account's key: give the JSON file that Google made for it, with `client_email`, \
         `private_key` and `token_uri`"
    )]
    NotGoogles,
    /// The token would be asked for over an open connection.
    #[error("has a `token_uri` that is not https: Google's is https://oauth2.googleapis.com/token")]
    OpenTokenAddress,
}

/// What Bedrock is asked with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AwsCredential {
    /// A Bedrock API key: sent as it is.
    ApiKey(Secret),
    /// An access key, which signs.
    Keys(AwsKeys),
}

/// An access key, lasting or temporary.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AwsKeys {
    /// Its name, which is sent.
    pub access_key_id: String,
    /// What signs, and is never sent.
    pub secret_access_key: Secret,
    /// What proves that temporary keys were given out; it is sent.
    pub session_token: Option<Secret>,
}

/// What Vertex is asked with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum GoogleCredential {
    /// An access token: sent as it is, for as long as it holds.
    Token(Secret),
    /// A service account, for which access tokens are asked for.
    ServiceAccount(ServiceAccount),
}

/// The parts of a service account's key file that matter.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServiceAccount {
    /// Who it is.
    pub client_email: String,
    /// PEM.
    pub private_key: Secret,
    /// Which of its keys this is.
    pub private_key_id: Option<String>,
    /// Where access tokens are given out.
    pub token_uri: String,
    /// The project it belongs to.
    pub project_id: Option<String>,
}

#[derive(Deserialize)]
struct AwsText {
    #[serde(alias = "AccessKeyId")]
    access_key_id: String,
    #[serde(alias = "SecretAccessKey")]
    secret_access_key: String,
    #[serde(default, alias = "SessionToken")]
    session_token: Option<String>,
}

#[derive(Deserialize)]
struct GoogleText {
    client_email: String,
    private_key: String,
    #[serde(default)]
    private_key_id: Option<String>,
    token_uri: String,
    #[serde(default)]
    project_id: Option<String>,
}

fn is_object(secret: &Secret) -> bool {
    secret.expose().trim_start().starts_with('{')
}

/// Whether a text can stand in a header: of one line, without control characters.
fn is_word(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_graphic())
}

impl AwsCredential {
    /// Reads a credential: JSON of an access key, as `aws configure export-credentials` prints it, too; anything
    /// else is an API key.
    ///
    /// # Errors
    /// [`CredentialError::NotAmazons`].
    pub fn read(secret: &Secret) -> Result<Self, CredentialError> {
        if !is_object(secret) {
            return Ok(Self::ApiKey(secret.clone()));
        }
        let text: AwsText = serde_json::from_str(secret.expose()).map_err(|_| CredentialError::NotAmazons)?;
        let session_token = text.session_token.filter(|token| !token.is_empty());
        let is_whole = is_word(&text.access_key_id)
            && is_word(&text.secret_access_key)
            && session_token.as_deref().is_none_or(is_word);
        if !is_whole {
            return Err(CredentialError::NotAmazons);
        }
        Ok(Self::Keys(AwsKeys {
            access_key_id: text.access_key_id,
            secret_access_key: Secret::new(text.secret_access_key),
            session_token: session_token.map(Secret::new),
        }))
    }
}

impl GoogleCredential {
    /// Reads a credential: a service account's JSON; anything else is an access token.
    ///
    /// # Errors
    /// The JSON is no service account's, or its tokens would travel in the open.
    pub fn read(secret: &Secret) -> Result<Self, CredentialError> {
        if !is_object(secret) {
            return Ok(Self::Token(secret.clone()));
        }
        let text: GoogleText =
            serde_json::from_str(secret.expose()).map_err(|_| CredentialError::NotGoogles)?;
        if text.client_email.is_empty() || !text.private_key.contains("PRIVATE KEY-----") {
            return Err(CredentialError::NotGoogles);
        }
        if !is_safe(&text.token_uri) {
            return Err(CredentialError::OpenTokenAddress);
        }
        Ok(Self::ServiceAccount(ServiceAccount {
            client_email: text.client_email,
            private_key: Secret::new(text.private_key),
            private_key_id: text.private_key_id,
            token_uri: text.token_uri,
            project_id: text.project_id.filter(|project| !project.is_empty()),
        }))
    }
}

/// Over TLS, or to this machine.
fn is_safe(url: &str) -> bool {
    if let Some(rest) = url.strip_prefix("https://") {
        return !rest.is_empty();
    }
    let Some(rest) = url.strip_prefix("http://") else { return false };
    let host = rest.split(['/', '?', '#']).next().unwrap_or_default();
    let host = match host.rsplit_once(':') {
        Some((name, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) => name,
        _ => host,
    };
    matches!(host, "127.0.0.1" | "localhost" | "[::1]")
}

/// The region in the address of a Bedrock endpoint (`bedrock-runtime.eu-west-1.amazonaws.com`, also behind a private
/// link), or `None` where the host is another.
#[must_use]
pub fn bedrock_region(base_url: &str) -> Option<&str> {
    let host = host_of(base_url)?;
    let mut labels = host.split('.');
    labels.by_ref().find(|label| label.starts_with("bedrock-runtime"))?;
    let region = labels.next()?;
    host.contains(".amazonaws.com").then_some(region)
}

/// The location in the address of a Vertex endpoint (`europe-west4-aiplatform.googleapis.com`), `global` where the
/// address has none, or `None` where the host is another.
#[must_use]
pub fn vertex_location(base_url: &str) -> Option<&str> {
    let host = host_of(base_url)?.strip_suffix(".googleapis.com")?;
    if host == "aiplatform" {
        return Some("global");
    }
    let multi_region = host.strip_prefix("aiplatform.").and_then(|rest| rest.strip_suffix(".rep"));
    multi_region.or_else(|| host.strip_suffix("-aiplatform"))
}

fn host_of(base_url: &str) -> Option<&str> {
    base_url.split("://").nth(1)?.split(['/', ':']).next()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn amazons_credentials_are_keys_or_an_api_key() {
        let read = |text: &str| AwsCredential::read(&Secret::new(text));
        assert_eq!(read("ABSKabc="), Ok(AwsCredential::ApiKey(Secret::new("ABSKabc="))));
        let keys = |token: Option<&str>| {
            Ok(AwsCredential::Keys(AwsKeys {
                access_key_id: "AKID".to_owned(),
                secret_access_key: Secret::new("s/1+"),
                session_token: token.map(Secret::new),
            }))
        };
        let cases = [
            (r#"{"access_key_id":"AKID","secret_access_key":"s/1+"}"#, keys(None)),
            (
                r#" {"Version":1,"AccessKeyId":"AKID","SecretAccessKey":"s/1+","SessionToken":"t"}"#,
                keys(Some("t")),
            ),
            (r#"{"access_key_id":"AKID","secret_access_key":"s/1+","session_token":""}"#, keys(None)),
            (r#"{"access_key_id":"AKID"}"#, Err(CredentialError::NotAmazons)),
            (r#"{"access_key_id":"","secret_access_key":"s"}"#, Err(CredentialError::NotAmazons)),
            (r#"{"access_key_id":"A\nB","secret_access_key":"s"}"#, Err(CredentialError::NotAmazons)),
            ("{", Err(CredentialError::NotAmazons)),
        ];
        for (text, expected) in cases {
            assert_eq!(read(text), expected, "{text}");
        }
        let shown = format!("{:?}", read(r#"{"access_key_id":"AKID","secret_access_key":"canary"}"#));
        assert!(shown.contains("AKID") && !shown.contains("canary"), "{shown}");
    }

    #[test]
    fn googles_credentials_are_a_service_account_or_a_token() {
        let read = |text: &str| GoogleCredential::read(&Secret::new(text));
        assert_eq!(read("ya29.x"), Ok(GoogleCredential::Token(Secret::new("ya29.x"))));
        let with_uri = |uri: &str| {
            format!(
                r#"{{"type":"service_account","project_id":"p","client_email":"a@p.iam","token_uri":"{uri}",
                "private_key":"-----BEGIN PRIVATE KEY-----\ncanary\n-----END PRIVATE KEY-----\n"}}"#
            )
        };
        let account = read(&with_uri("https://oauth2.googleapis.com/token")).unwrap();
        assert!(!format!("{account:?}").contains("canary"));
        let GoogleCredential::ServiceAccount(account) = account else { panic!("{account:?}") };
        assert_eq!((account.client_email.as_str(), account.project_id.as_deref()), ("a@p.iam", Some("p")));
        for uri in ["http://127.0.0.1:9/token", "http://localhost/t", "http://[::1]:80/t"] {
            assert!(read(&with_uri(uri)).is_ok(), "{uri}");
        }
        for uri in ["http://example.com/t", "http://127.0.0.1.example.com/t", "ftp://x", "", "https://"] {
            assert_eq!(read(&with_uri(uri)), Err(CredentialError::OpenTokenAddress), "{uri}");
        }
        for text in [r#"{"client_email":"a"}"#, "{}", "{"] {
            assert_eq!(read(text), Err(CredentialError::NotGoogles), "{text}");
        }
    }

    #[test]
    fn addresses_tell_where_they_are() {
        let bedrock = [
            ("https://bedrock-runtime.us-east-1.amazonaws.com", Some("us-east-1")),
            ("https://bedrock-runtime-fips.us-gov-west-1.amazonaws.com/", Some("us-gov-west-1")),
            ("https://vpce-0a-b.bedrock-runtime.eu-west-1.vpce.amazonaws.com:443", Some("eu-west-1")),
            ("https://bedrock-runtime.cn-north-1.amazonaws.com.cn", Some("cn-north-1")),
            ("http://127.0.0.1:8080", None),
            ("https://bedrock-runtime.example.com", None),
        ];
        for (url, expected) in bedrock {
            assert_eq!(bedrock_region(url), expected, "{url}");
        }
        let vertex = [
            ("https://europe-west4-aiplatform.googleapis.com", Some("europe-west4")),
            ("https://aiplatform.googleapis.com/v1", Some("global")),
            ("https://aiplatform.us.rep.googleapis.com", Some("us")),
            ("http://127.0.0.1:1", None),
        ];
        for (url, expected) in vertex {
            assert_eq!(vertex_location(url), expected, "{url}");
        }
    }
}
