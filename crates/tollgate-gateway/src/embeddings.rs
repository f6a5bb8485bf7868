//! `/v1/embeddings` for providers that do not speak OpenAI's.

use bytes::Bytes;
use http::HeaderMap;
use tollgate_domain::{ErrorKind, Surface};
use tollgate_policy::{Candidate, Dialect};
use tollgate_wire::embeddings::{EmbeddingDialect, as_openai, read_request, write_request};
use tollgate_wire::json::ReadError;

use crate::bedrock;
use crate::dialects::path_segment;
use crate::error::Refusal;
use crate::vendor_keys::VendorKey;
use crate::vertex::{self, Publisher};

/// Where Bedrock counts the prompt's tokens for models that do not tell them in their answer.
const BEDROCK_INPUT_TOKENS: &str = "x-amzn-bedrock-input-token-count";

/// The dialect in which a candidate embeds texts; `None` for OpenAI's own, for other surfaces, and where it cannot.
pub(crate) fn dialect(candidate: &Candidate, surface: Surface) -> Option<EmbeddingDialect> {
    if surface != Surface::Embeddings {
        return None;
    }
    let model = &*candidate.model;
    match candidate.provider.dialect {
        Dialect::Gemini => Some(EmbeddingDialect::Gemini),
        Dialect::Cohere => Some(EmbeddingDialect::Cohere),
        Dialect::Vertex => {
            (vertex::publisher(model).0 == Publisher::Google).then_some(EmbeddingDialect::Vertex)
        }
        Dialect::Bedrock if model.contains("cohere.") => Some(EmbeddingDialect::CohereOnBedrock),
        Dialect::Bedrock if model.contains("titan-embed") => Some(EmbeddingDialect::Titan),
        _ => None,
    }
}

/// The request as the candidate gets it.
pub(crate) fn body(candidate: &Candidate, dialect: EmbeddingDialect, body: &[u8]) -> Result<Bytes, Refusal> {
    let request = read_request(body)?;
    let written = write_request(&request, dialect, &candidate.model).map_err(ReadError::from)?;
    Ok(Bytes::from(written))
}

/// Where the candidate embeds.
///
/// # Errors
/// One sentence for the operator.
pub(crate) fn url(
    candidate: &Candidate,
    dialect: EmbeddingDialect,
    key: Option<&VendorKey>,
) -> Result<String, String> {
    let base = candidate.provider.base_url.trim_end_matches('/');
    let without = |version: &str| base.strip_suffix(version).unwrap_or(base);
    Ok(match dialect {
        EmbeddingDialect::Gemini => {
            let model = path_segment(candidate.model.trim_start_matches("models/"));
            format!("{}/v1beta/models/{model}:batchEmbedContents", without("/v1beta"))
        }
        EmbeddingDialect::Cohere => format!("{}/v2/embed", without("/v2")),
        EmbeddingDialect::Vertex => {
            let credential = key.and_then(VendorKey::as_google);
            vertex::predict_url(&candidate.provider, &candidate.model, credential)?
        }
        EmbeddingDialect::Titan | EmbeddingDialect::CohereOnBedrock => {
            bedrock::call_url(base, &candidate.model, "invoke")
        }
    })
}

/// The answer as OpenAI's.
pub(crate) fn answer(
    candidate: &Candidate,
    dialect: EmbeddingDialect,
    asked: &[u8],
    headers: &HeaderMap,
    body: &[u8],
) -> Result<Bytes, Refusal> {
    let is_base64 = read_request(asked)?.is_base64;
    let is_bedrock = matches!(dialect, EmbeddingDialect::Titan | EmbeddingDialect::CohereOnBedrock);
    let told = headers.get(BEDROCK_INPUT_TOKENS).filter(|_| is_bedrock);
    let told = told.and_then(|value| value.to_str().ok()?.parse().ok());
    as_openai(dialect, body, &candidate.model, is_base64, told)
        .map(Bytes::from)
        .map_err(|error| Refusal::new(ErrorKind::UpstreamError, error.to_string()))
}
