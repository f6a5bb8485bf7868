//! What Bedrock's HTTP has of its own: its paths, its signature, its errors' names.

use http::{HeaderMap, Method, Uri};
use tollgate_domain::UnixMillis;
use tollgate_policy::{AwsCredential, ProviderPolicy, bedrock_region};
use tollgate_upstream::sigv4::{Signer, sign};
use tollgate_wire::openai::error::ProviderError;

/// The name that Bedrock's signatures have for it.
const SERVICE: &str = "bedrock";
/// Where Bedrock names an error beside its message.
const ERROR_TYPE: &str = "x-amzn-errortype";

/// Where Converse answers for a model. Ids have colons, and those of inference profiles and imported models are ARNs
/// with slashes: all of that is one segment.
pub(crate) fn converse_url(base: &str, model: &str, is_stream: bool) -> String {
    call_url(base, model, if is_stream { "converse-stream" } else { "converse" })
}

/// Where a call of a model is answered.
pub(crate) fn call_url(base: &str, model: &str, call: &str) -> String {
    let mut segment = String::with_capacity(model.len() + 16);
    for byte in model.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            segment.push(char::from(byte));
        } else {
            segment.push_str(&format!("%{byte:02X}"));
        }
    }
    format!("{base}/model/{segment}/{call}")
}

/// Signs a request with an access key.
///
/// # Errors
/// One sentence for the operator that shows no part of the credential.
pub(crate) fn authorize(
    provider: &ProviderPolicy,
    credential: &AwsCredential,
    (method, url): (&Method, &Uri),
    body: &[u8],
    now: UnixMillis,
    headers: &mut HeaderMap,
) -> Result<(), String> {
    let keys = match credential {
        AwsCredential::ApiKey(key) => {
            crate::dialects::present_bearer(headers, key);
            return Ok(());
        }
        AwsCredential::Keys(keys) => keys,
    };
    let region = bedrock_region(&provider.base_url).or(provider.region.as_deref());
    let region = region.ok_or("neither the base URL nor `region` says in which region to sign")?;
    let signer = Signer {
        access_key_id: &keys.access_key_id,
        secret_access_key: &keys.secret_access_key,
        session_token: keys.session_token.as_ref(),
        region,
        service: SERVICE,
    };
    sign(&signer, method, url, body, now, headers).map_err(|error| error.to_string())
}

/// The name of an error from its header, where the body has none: `ValidationException:http://…` is cut.
pub(crate) fn name_error(error: &mut ProviderError, headers: &HeaderMap) {
    const MAX_NAME_CHARS: usize = 100;
    let Some(value) = headers.get(ERROR_TYPE).and_then(|value| value.to_str().ok()) else { return };
    let name = value.split(':').next().unwrap_or_default();
    if error.error_type.is_none() && !name.is_empty() && name.len() <= MAX_NAME_CHARS {
        error.error_type = Some(name.to_owned());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_models_id_is_one_segment() {
        let base = "https://bedrock-runtime.us-east-1.amazonaws.com";
        assert_eq!(
            converse_url(base, "anthropic.claude-haiku-4-5-20251001-v1:0", false),
            format!("{base}/model/anthropic.claude-haiku-4-5-20251001-v1%3A0/converse")
        );
        assert_eq!(
            converse_url(base, "arn:aws:bedrock:us-east-1:1:inference-profile/us.x", true),
            format!(
                "{base}/model/arn%3Aaws%3Abedrock%3Aus-east-1%3A1%3Ainference-profile%2Fus.x/converse-stream"
            )
        );
        assert!(converse_url(base, "../é", false).ends_with("/model/..%2F%C3%A9/converse"));
    }

    #[test]
    fn errors_are_named_by_their_header() {
        let mut headers = HeaderMap::new();
        headers.insert(ERROR_TYPE, "ValidationException:http://internal.amazon.com/".parse().unwrap());
        let nameless = ProviderError { message: "m".to_owned(), error_type: None, code: None, param: None };
        let mut error = nameless.clone();
        name_error(&mut error, &headers);
        assert_eq!(error.error_type.as_deref(), Some("ValidationException"));
        let mut error = ProviderError { error_type: Some("x".to_owned()), ..nameless };
        name_error(&mut error, &headers);
        assert_eq!(error.error_type.as_deref(), Some("x"));
    }
}
