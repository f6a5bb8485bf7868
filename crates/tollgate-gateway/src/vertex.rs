//! What Vertex AI has of its own: publishers with dialects of their own, paths with project and location.

use bytes::Bytes;
use tollgate_policy::{GoogleCredential, ProviderPolicy, vertex_location};
use tollgate_wire::json::{JsonWriter, Node, ReadError};
use tollgate_wire::neutral::ChatDialect;

use crate::dialects::path_segment;

/// The version of Anthropic's API on Vertex, which stands in the body there.
const ANTHROPIC_VERSION: &str = "vertex-2023-10-16";
/// The location whose endpoint has none in its name.
const GLOBAL: &str = "global";

/// Who made a model, as far as its path and dialect go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Publisher {
    Google,
    Anthropic,
    /// Through the endpoint that speaks Chat Completions.
    Other,
}

/// The publisher of a model and its name there: `gemini-2.5-pro`, `claude-haiku-4-5@20251001`,
/// `anthropic/claude-…`, `publishers/google/models/…`, `meta/llama-…`.
pub(crate) fn publisher(model: &str) -> (Publisher, &str) {
    let plain = model.strip_prefix("publishers/").and_then(|rest| rest.split_once("/models/"));
    match plain.or_else(|| model.split_once('/')) {
        Some(("google", name)) => (Publisher::Google, name),
        Some(("anthropic", name)) => (Publisher::Anthropic, name),
        Some(_) => (Publisher::Other, model),
        None if model.starts_with("claude") => (Publisher::Anthropic, model),
        None => (Publisher::Google, model),
    }
}

/// The chat dialect that a model speaks there.
pub(crate) fn spoken(model: &str) -> ChatDialect {
    match publisher(model).0 {
        Publisher::Google => ChatDialect::Gemini,
        Publisher::Anthropic => ChatDialect::Anthropic,
        Publisher::Other => ChatDialect::OpenAiChat,
    }
}

/// Where a model answers.
///
/// # Errors
/// No project is known; a sentence for the operator.
pub(crate) fn url(
    provider: &ProviderPolicy,
    model: &str,
    credential: Option<&GoogleCredential>,
    is_stream: bool,
) -> Result<String, String> {
    let prefix = prefix(provider, credential)?;
    let (publisher, name) = publisher(model);
    let name = path_segment(name);
    Ok(match (publisher, is_stream) {
        (Publisher::Google, false) => format!("{prefix}/publishers/google/models/{name}:generateContent"),
        (Publisher::Google, true) => {
            format!("{prefix}/publishers/google/models/{name}:streamGenerateContent?alt=sse")
        }
        (Publisher::Anthropic, false) => format!("{prefix}/publishers/anthropic/models/{name}:rawPredict"),
        (Publisher::Anthropic, true) => {
            format!("{prefix}/publishers/anthropic/models/{name}:streamRawPredict")
        }
        (Publisher::Other, _) => format!("{prefix}/endpoints/openapi/chat/completions"),
    })
}

/// Where one of Google's models answers with predictions, embeddings among them.
///
/// # Errors
/// No project is known; a sentence for the operator.
pub(crate) fn predict_url(
    provider: &ProviderPolicy,
    model: &str,
    credential: Option<&GoogleCredential>,
) -> Result<String, String> {
    let name = path_segment(publisher(model).1);
    Ok(format!("{}/publishers/google/models/{name}:predict", prefix(provider, credential)?))
}

/// `…/v1/projects/{project}/locations/{location}`: as the base URL has it, else from the service account and from where
/// the provider is.
fn prefix(provider: &ProviderPolicy, credential: Option<&GoogleCredential>) -> Result<String, String> {
    let base = provider.base_url.trim_end_matches('/');
    if base.contains("/projects/") {
        return Ok(base.to_owned());
    }
    let project = match credential {
        Some(GoogleCredential::ServiceAccount(account)) => account.project_id.as_deref(),
        Some(GoogleCredential::Token(_)) | None => None,
    };
    let project = project.ok_or(
        "no project is known: write it into the base URL, `…/v1/projects/{project}/locations/{location}`",
    )?;
    let location = vertex_location(base).or(provider.region.as_deref()).unwrap_or(GLOBAL);
    let base = base.strip_suffix("/v1").unwrap_or(base);
    Ok(format!("{base}/v1/projects/{}/locations/{}", path_segment(project), path_segment(location)))
}

/// A body in Anthropic's dialect as Vertex takes it: the model stands in the path, the version in the body.
///
/// # Errors
/// The body is no object.
pub(crate) fn anthropic_body(body: &[u8]) -> Result<Bytes, ReadError> {
    let members = Node::parse(body)?.object()?.rest();
    let is_kept = |name: &str| !matches!(name, "model" | "anthropic_version");
    let written = JsonWriter::document(body.len() + 64, |writer| {
        writer.member_string("anthropic_version", ANTHROPIC_VERSION);
        members
            .iter()
            .filter(|(name, _)| is_kept(name))
            .for_each(|(name, value)| writer.member_raw(name, value));
    });
    Ok(Bytes::from(written))
}

#[cfg(test)]
mod tests {
    use tollgate_domain::{ProviderId, Secret};
    use tollgate_policy::{Dialect, ServiceAccount};

    use super::*;

    fn provider(base_url: &str, region: Option<&str>) -> ProviderPolicy {
        ProviderPolicy {
            id: ProviderId::from_u128(1),
            name: "vertex".to_owned(),
            dialect: Dialect::Vertex,
            base_url: base_url.to_owned(),
            credentials: Vec::new(),
            region: region.map(str::to_owned),
            retention: None,
            trains_on_data: None,
            max_concurrent_requests: None,
            responses: None,
        }
    }

    fn account() -> GoogleCredential {
        GoogleCredential::ServiceAccount(ServiceAccount {
            client_email: "a@p.iam".to_owned(),
            private_key: Secret::new("k"),
            private_key_id: None,
            token_uri: "https://oauth2.googleapis.com/token".to_owned(),
            project_id: Some("p-1".to_owned()),
        })
    }

    #[test]
    fn a_model_has_its_publishers_path() {
        let at = provider("https://europe-west4-aiplatform.googleapis.com", Some("eu"));
        let root = "https://europe-west4-aiplatform.googleapis.com/v1/projects/p-1/locations/europe-west4";
        let cases = [
            ("gemini-2.5-pro", false, "/publishers/google/models/gemini-2.5-pro:generateContent"),
            ("google/gemini-x", true, "/publishers/google/models/gemini-x:streamGenerateContent?alt=sse"),
            (
                "claude-haiku-4-5@20251001",
                false,
                "/publishers/anthropic/models/claude-haiku-4-5@20251001:rawPredict",
            ),
            (
                "publishers/anthropic/models/claude-x",
                true,
                "/publishers/anthropic/models/claude-x:streamRawPredict",
            ),
            ("meta/llama-4-maas", true, "/endpoints/openapi/chat/completions"),
        ];
        for (model, is_stream, expected) in cases {
            let url = url(&at, model, Some(&account()), is_stream).unwrap();
            assert_eq!(url, format!("{root}{expected}"), "{model}");
        }
    }

    #[test]
    fn project_and_location_come_from_where_they_are_known() {
        let project = "/v1/projects/p-1/locations";
        let cases = [
            (
                "https://aiplatform.googleapis.com/v1",
                None,
                format!("https://aiplatform.googleapis.com{project}/global"),
            ),
            ("http://127.0.0.1:1/", Some("us-east5"), format!("http://127.0.0.1:1{project}/us-east5")),
            (
                "http://127.0.0.1:1/v1/projects/q/locations/l",
                None,
                "http://127.0.0.1:1/v1/projects/q/locations/l".to_owned(),
            ),
        ];
        for (base_url, region, expected) in cases {
            assert_eq!(prefix(&provider(base_url, region), Some(&account())), Ok(expected), "{base_url}");
        }
        let token = GoogleCredential::Token(Secret::new("ya29.x"));
        assert!(prefix(&provider("http://127.0.0.1:1", None), Some(&token)).unwrap_err().contains("project"));
    }

    #[test]
    fn anthropics_body_has_its_version_and_no_model() {
        let cases = [
            (
                r#"{"model":"m","max_tokens":5}"#,
                r#"{"anthropic_version":"vertex-2023-10-16","max_tokens":5}"#,
            ),
            (
                r#"{"a":{"b" : 1.50}, "model" : "m"}"#,
                r#"{"anthropic_version":"vertex-2023-10-16","a":{"b" : 1.50}}"#,
            ),
            (r#"{"anthropic_version":"x","a":null}"#, r#"{"anthropic_version":"vertex-2023-10-16"}"#),
            (r#"{"model":"m"}"#, r#"{"anthropic_version":"vertex-2023-10-16"}"#),
        ];
        for (body, expected) in cases {
            let out = anthropic_body(body.as_bytes()).unwrap();
            assert_eq!(String::from_utf8(out.to_vec()).unwrap(), expected, "{body}");
        }
    }
}
