//! Credentials that are not simply sent: Amazon's sign each request, Google's buy an access token.

use http::{HeaderMap, Method, Uri};
use tollgate_domain::{AttemptOutcome, ErrorKind};
use tollgate_policy::{AwsCredential, CredentialPolicy, Dialect, GoogleCredential, ProviderPolicy};
use tollgate_upstream::{TokenAccount, TokenError};

use crate::attempt::Failed;
use crate::gateway::Shared;
use crate::{bedrock, dialects};

/// A credential of a provider that wants more than a header.
#[derive(Debug)]
pub(crate) enum VendorKey {
    Aws(AwsCredential),
    Google(GoogleCredential),
}

impl VendorKey {
    /// Reads the credential of a provider whose dialect has such; `None` for all others.
    pub(crate) fn read(
        provider: &ProviderPolicy,
        credential: Option<&CredentialPolicy>,
    ) -> Result<Option<Self>, Failed> {
        let Some(credential) = credential else { return Ok(None) };
        let read = match provider.dialect {
            Dialect::Bedrock => AwsCredential::read(&credential.secret).map(Self::Aws),
            Dialect::Vertex => GoogleCredential::read(&credential.secret).map(Self::Google),
            _ => return Ok(None),
        };
        read.map(Some).map_err(|error| unusable(provider, credential.name.as_str(), &error.to_string()))
    }

    pub(crate) fn as_google(&self) -> Option<&GoogleCredential> {
        match self {
            Self::Google(credential) => Some(credential),
            Self::Aws(_) => None,
        }
    }

    /// Adds what shows the provider who asks: a signature over all of the request, or a token that holds.
    pub(crate) async fn authorize(
        &self,
        pod: &Shared,
        provider: &ProviderPolicy,
        (method, url): (&Method, &Uri),
        body: &[u8],
        headers: &mut HeaderMap,
    ) -> Result<(), Failed> {
        let now = pod.clock.now();
        match self {
            Self::Aws(credential) => {
                bedrock::authorize(provider, credential, (method, url), body, now, headers)
                    .map_err(|reason| unusable(provider, "", &reason))
            }
            Self::Google(GoogleCredential::Token(token)) => {
                dialects::present_bearer(headers, token);
                Ok(())
            }
            Self::Google(GoogleCredential::ServiceAccount(account)) => {
                let account = TokenAccount {
                    client_email: &account.client_email,
                    private_key: &account.private_key,
                    private_key_id: account.private_key_id.as_deref(),
                    token_uri: &account.token_uri,
                };
                let token = pod.google_tokens.token(account, now).await;
                let token = token.map_err(|error| no_token(provider, &error))?;
                dialects::present_bearer(headers, &token);
                Ok(())
            }
        }
    }
}

/// The operator reads why in the log; the client learns whom to ask.
fn unusable(provider: &ProviderPolicy, credential: &str, reason: &str) -> Failed {
    tracing::warn!(provider = %provider.name, credential, reason, "a provider's credential cannot be used");
    let message = "the gateway's credential cannot be used: tell your operator";
    Failed::new(AttemptOutcome::CredentialRefused, false, ErrorKind::UpstreamCredentialsExhausted, message)
}

fn no_token(provider: &ProviderPolicy, error: &TokenError) -> Failed {
    match error {
        TokenError::BadKey | TokenError::Refused { .. } => unusable(provider, "", &error.to_string()),
        TokenError::Unavailable(_) => {
            tracing::warn!(provider = %provider.name, %error, "no access token for a provider");
            let message = "the gateway gets no access token: the provider's token endpoint fails";
            Failed::new(AttemptOutcome::ConnectFailed, false, ErrorKind::UpstreamError, message)
        }
    }
}
