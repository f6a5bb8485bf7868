//! Checks of what Bedrock and Vertex have of their own: where they are, and what they are asked with.

use tollgate_domain::Secret;
use tollgate_policy::{AwsCredential, Dialect, GoogleCredential, bedrock_region, vertex_location};

use crate::error::Problems;
use crate::parts::CredentialBody;

/// What decides how a credential is used.
#[derive(Clone, Copy, Debug)]
pub(super) struct Place<'a> {
    pub(super) dialect: Dialect,
    pub(super) base_url: &'a str,
    pub(super) region: Option<&'a str>,
}

/// Where Bedrock and Vertex answer in a region.
pub(super) fn base_url(dialect: Dialect, region: Option<&str>) -> Option<String> {
    let region =
        region.filter(|region| region.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-'))?;
    match (dialect, region) {
        (Dialect::Bedrock, _) => Some(format!("https://bedrock-runtime.{region}.amazonaws.com")),
        (Dialect::Vertex, "global") => Some("https://aiplatform.googleapis.com".to_owned()),
        (Dialect::Vertex, "us" | "eu") => Some(format!("https://aiplatform.{region}.rep.googleapis.com")),
        (Dialect::Vertex, _) => Some(format!("https://{region}-aiplatform.googleapis.com")),
        _ => None,
    }
}

/// Bedrock's requests are signed for a region: one must be known.
pub(super) fn check_place(at: &Place<'_>, path: &str, problems: &mut Problems) {
    if at.dialect == Dialect::Bedrock && bedrock_region(at.base_url).or(at.region).is_none() {
        let message =
            "is missing: requests are signed for a region, like us-east-1, which the base URL does not name";
        problems.add(format!("{path}region"), message);
    }
}

/// Every credential that is given anew can be used there.
pub(super) fn check_credentials(
    at: &Place<'_>,
    credentials: &[CredentialBody],
    path: &str,
    problems: &mut Problems,
) {
    for (index, credential) in credentials.iter().enumerate() {
        let path = format!("{path}[{index}]");
        let has_parts = credential.access_key_id.is_some() || credential.session_token.is_some();
        if has_parts && at.dialect != Dialect::Bedrock {
            problems
                .add(format!("{path}.access_key_id"), "only a provider of dialect `bedrock` has access keys");
        }
        if credential.session_token.is_some() && credential.access_key_id.is_none() {
            problems
                .add(format!("{path}.access_key_id"), "is missing: a session token belongs to an access key");
        }
        let Some(secret) = credential.kept_secret().filter(|secret| !secret.is_blank()) else { continue };
        if let Err(message) = check_secret(at, &secret.0) {
            problems.add(format!("{path}.secret"), message);
        }
    }
}

fn check_secret(at: &Place<'_>, secret: &Secret) -> Result<(), String> {
    let is_line = secret.expose().bytes().all(|byte| byte.is_ascii_graphic() || byte == b' ');
    match at.dialect {
        Dialect::Bedrock => AwsCredential::read(secret).map(drop).map_err(|error| error.to_string()),
        Dialect::Vertex => {
            let credential = GoogleCredential::read(secret).map_err(|error| error.to_string())?;
            let has_project = match &credential {
                GoogleCredential::ServiceAccount(account) => account.project_id.is_some(),
                GoogleCredential::Token(_) => false,
            };
            if has_project || at.base_url.contains("/projects/") {
                return Ok(());
            }
            let location = vertex_location(at.base_url).or(at.region).unwrap_or("global");
            Err(format!(
                "names no project: write the base URL as `…/v1/projects/{{project}}/locations/{location}`"
            ))
        }
        _ if is_line => Ok(()),
        _ => Err("must be one line".to_owned()),
    }
}
