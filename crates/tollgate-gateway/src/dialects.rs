//! Who speaks what: the client's dialect from its path, the provider's from policy, and what differs between
//! providers' HTTP.

use std::sync::{Arc, OnceLock};

use bytes::Bytes;
use http::header::AUTHORIZATION;
use http::{HeaderMap, HeaderName, HeaderValue, Uri};
use tollgate_domain::{ErrorKind, Secret, Surface};
use tollgate_policy::{Candidate, Dialect, ProviderPolicy};
use tollgate_wire::embeddings::GoogleEmbedding;
use tollgate_wire::json::ReadError;
use tollgate_wire::neutral::{ChatDialect, ChatRequest, Mode};
use tollgate_wire::openai::request::RequestSkim;
use tollgate_wire::translate::{
    Asked, Incoming, ProviderRequest, RequestTarget, pass_request, read_chat, read_request, write_request,
};

use crate::edge::percent_decoded;
use crate::error::Refusal;
use crate::objects::ids::ObjectId;
use crate::responses::{self, AskedResponse};
use crate::vendor_keys::VendorKey;
use crate::{bedrock, client_words, embeddings, quirks, vertex};

/// The version of Anthropic's API that is spoken where the client names none.
const ANTHROPIC_VERSION: HeaderValue = HeaderValue::from_static("2023-06-01");
const ANTHROPIC_BETA: &str = "anthropic-beta";
const ANTHROPIC_VERSION_NAME: HeaderName = HeaderName::from_static("anthropic-version");

/// A chat request of another dialect than Chat Completions, with its bytes as they came.
#[derive(Debug)]
pub(crate) struct Foreign {
    pub(crate) incoming: Incoming,
    /// The body as the client sent it.
    pub(crate) body: tollgate_domain::PromptBytes<Bytes>,
    /// What only a provider that speaks Responses itself understands.
    pub(crate) responses: Option<AskedResponse>,
}

/// What the client speaks.
#[derive(Clone, Debug)]
pub(crate) struct Client {
    pub(crate) dialect: ChatDialect,
    /// Where it is not Chat Completions.
    pub(crate) foreign: Option<Arc<Foreign>>,
    /// Texts to embed, as Google's clients ask.
    pub(crate) embedding: Option<Arc<GoogleEmbedding>>,
    /// Where the files are kept that it names.
    pub(crate) files: Option<Arc<ObjectId>>,
    /// What a request of Chat Completions says, once a provider of another dialect is looked at.
    chat: OnceLock<Arc<ChatRequest>>,
}

impl Client {
    /// A client of OpenAI's older surfaces.
    pub(crate) fn openai() -> Self {
        Self {
            dialect: ChatDialect::OpenAiChat,
            foreign: None,
            embedding: None,
            files: None,
            chat: OnceLock::new(),
        }
    }
}

/// The dialect whose shape errors on a path have.
pub(crate) fn of_path(path: &str) -> ChatDialect {
    if path == "/v1/messages" || path.starts_with("/v1/messages/") {
        ChatDialect::Anthropic
    } else if path.starts_with("/v1beta/") || google_call(path).is_some() {
        ChatDialect::Gemini
    } else if path == "/v1/responses" || path.starts_with("/v1/responses/") {
        ChatDialect::OpenAiResponses
    } else {
        ChatDialect::OpenAiChat
    }
}

/// `/v1beta/models/{model}:{call}`, and the same under `/v1` as newer clients write it.
pub(crate) fn google_call(path: &str) -> Option<(&str, &str)> {
    let rest = path.strip_prefix("/v1beta/models/").or_else(|| path.strip_prefix("/v1/models/"))?;
    let (model, call) = rest.rsplit_once(':')?;
    let is_call = matches!(
        call,
        "generateContent" | "streamGenerateContent" | "countTokens" | "embedContent" | "batchEmbedContents"
    );
    (is_call && !model.is_empty()).then_some((model, call))
}

/// Reads a request of any dialect; the bytes that stand for it in Chat Completions are what is priced.
pub(crate) fn read(dialect: ChatDialect, path: &str, body: Bytes) -> Result<(Client, Bytes), Refusal> {
    if dialect == ChatDialect::OpenAiChat {
        return Ok((Client::openai(), body));
    }
    let (model, call) = google_call(path).unwrap_or_default();
    let model = percent_decoded(model);
    let is_batch = call == "batchEmbedContents";
    if is_batch || call == "embedContent" {
        let embedding = GoogleEmbedding::read(&model, is_batch, &body)?;
        let as_openai = Bytes::from(embedding.as_openai.clone());
        let client = Client { dialect, embedding: Some(Arc::new(embedding)), ..Client::openai() };
        return Ok((client, as_openai));
    }
    let asked = Asked { model: &model, stream: call == "streamGenerateContent" };
    let incoming = read_request(dialect, asked, &body)?;
    let as_chat = incoming.as_chat.clone();
    let responses = AskedResponse::read(dialect, path, &body)?;
    let foreign = Foreign { incoming, body: tollgate_domain::PromptBytes(body), responses };
    Ok((Client { dialect, foreign: Some(Arc::new(foreign)), ..Client::openai() }, as_chat))
}

/// What Chat Completions has no word for counts all the same.
pub(crate) fn note_foreign(client: &Client, skim: &mut RequestSkim) {
    if let Some(google) = &client.embedding {
        // what only Google knows, titles of documents among it, counts as text
        skim.n_unseen_bytes = google.n_unseen_bytes;
    }
    if let Some(foreign) = &client.foreign {
        skim.has_unbounded_parts |= foreign.incoming.has_unbounded_parts;
        skim.n_unseen_bytes = foreign.incoming.n_unseen_bytes;
        match &foreign.responses {
            Some(asked) => asked.note(skim),
            None => skim.has_provider_tools |= foreign.incoming.has_vendor_tools,
        }
        // what a kept file holds is not in the request
        skim.has_unbounded_parts |= client.files.is_some();
        skim.include_usage = skim.include_usage.or(Some(foreign.incoming.request.wants_stream_usage));
    }
}

/// The chat dialect that a candidate is asked in by such a client.
pub(crate) fn spoken(client: &Client, candidate: &Candidate) -> ChatDialect {
    if responses::is_spoken(client.dialect, candidate) {
        return ChatDialect::OpenAiResponses;
    }
    match candidate.provider.dialect {
        Dialect::Openai | Dialect::AzureOpenai | Dialect::Demo => ChatDialect::OpenAiChat,
        Dialect::Anthropic => ChatDialect::Anthropic,
        Dialect::Gemini => ChatDialect::Gemini,
        Dialect::Cohere => ChatDialect::Cohere,
        Dialect::Bedrock => ChatDialect::Bedrock,
        Dialect::Vertex => vertex::spoken(&candidate.model),
    }
}

/// Whether what a client sends and what a provider takes are the same bytes but for a few members.
pub(crate) fn is_same(client: &Client, candidate: &Candidate) -> bool {
    client.dialect == spoken(client, candidate)
}

/// Refuses a candidate whose dialect cannot say what is asked for; answers what is left out of the request, where
/// `drops` allows to leave out what is harmless.
pub(crate) fn check(
    client: &Client,
    skim: &RequestSkim,
    candidate: &Candidate,
    body: &[u8],
    drops: bool,
) -> Result<Vec<String>, Refusal> {
    let embedding = embeddings::dialect(candidate, skim.surface);
    if let Some(google) = &client.embedding {
        google.check(embedding).map_err(ReadError::from)?;
    }
    if let Some(dialect) = embedding {
        return embeddings::body(candidate, dialect, body).map(|_| Vec::new());
    }
    responses::check(client, candidate)?;
    let dialect = spoken(client, candidate);
    let is_openai = dialect == ChatDialect::OpenAiChat;
    let is_chat_only = !is_openai || candidate.provider.dialect == Dialect::Vertex;
    if is_chat_only && skim.surface != Surface::Chat {
        let (name, surface) = (&candidate.provider.name, skim.surface.name());
        let message = format!("the provider `{name}` does not serve {surface} with this model: use another");
        return Err(Refusal::new(ErrorKind::InvalidRequest, message).with_param("model"));
    }
    if is_openai {
        let mut dropped = match &client.foreign {
            Some(foreign) => left_out_of_chat(&foreign.incoming, drops)?,
            None => Vec::new(),
        };
        dropped.extend(quirks::check(candidate, skim, body, drops)?);
        return Ok(dropped);
    }
    if client.dialect == dialect {
        return Ok(Vec::new());
    }
    let written = translated(client, candidate, None, body, drops)?;
    Ok(written.fidelity.dropped().iter().map(|feature| feature.name().to_owned()).collect())
}

/// What Chat Completions cannot say of a request of another dialect.
fn left_out_of_chat(incoming: &Incoming, drops: bool) -> Result<Vec<String>, Refusal> {
    let lacks = if drops { &incoming.chat_lacks_more } else { &incoming.chat_lacks };
    match lacks {
        Some(lacks) => Err(client_words::unsupported(incoming.request.dialect, lacks)),
        None => Ok(incoming.chat_dropped.iter().map(|feature| feature.name().to_owned()).collect()),
    }
}

/// A request's body for a provider that does not speak Chat Completions.
pub(crate) fn provider_body(
    client: &Client,
    candidate: &Candidate,
    cap: Option<u64>,
    body: &[u8],
    drops: bool,
) -> Result<Bytes, Refusal> {
    let written = match &client.foreign {
        Some(foreign) if is_same(client, candidate) => match &foreign.responses {
            Some(asked) => asked.body_for(&foreign.body.0, candidate, cap)?,
            None => pass_request(&foreign.body.0, &target(client, candidate, cap))?,
        },
        _ => translated(client, candidate, cap, body, drops)?.body,
    };
    if candidate.provider.dialect == Dialect::Vertex && spoken(client, candidate) == ChatDialect::Anthropic {
        return Ok(vertex::anthropic_body(&written)?);
    }
    Ok(written)
}

fn target<'a>(client: &Client, candidate: &'a Candidate, output_cap: Option<u64>) -> RequestTarget<'a> {
    RequestTarget {
        dialect: spoken(client, candidate),
        model: &candidate.model,
        output_cap,
        model_cap: candidate.max_output_tokens,
    }
}

fn translated(
    client: &Client,
    candidate: &Candidate,
    cap: Option<u64>,
    body: &[u8],
    drops: bool,
) -> Result<ProviderRequest, Refusal> {
    let request = match (&client.foreign, client.chat.get()) {
        (Some(foreign), _) => &foreign.incoming.request,
        (None, Some(read)) => read,
        (None, None) => {
            let read = Arc::new(read_chat(body)?);
            client.chat.get_or_init(|| read)
        }
    };
    let mode = if drops { Mode::DropHarmless } else { Mode::Refuse };
    write_request(request, &target(client, candidate, cap), mode)
        .map_err(|lacks| client_words::unsupported(client.dialect, &lacks))
}

impl From<ReadError> for Refusal {
    fn from(error: ReadError) -> Self {
        let param = error.param().map(str::to_owned);
        Self { param, ..Self::new(ErrorKind::InvalidRequest, error.to_string()) }
    }
}

// === HTTP ===

/// Where a provider answers a request; `responses_path` is where it does in Responses.
///
/// # Errors
/// One sentence for the operator.
pub(crate) fn url(
    candidate: &Candidate,
    (spoken, responses_path): (ChatDialect, &'static str),
    surface: Surface,
    is_stream: bool,
    key: Option<&VendorKey>,
) -> Result<Uri, String> {
    let ProviderPolicy { base_url, dialect, .. } = &*candidate.provider;
    let base = base_url.trim_end_matches('/');
    if let Some(dialect) = embeddings::dialect(candidate, surface) {
        let text = embeddings::url(candidate, dialect, key)?;
        return Uri::try_from(text).map_err(|_| "the provider's base URL is not a URL".to_owned());
    }
    let openai_path = match spoken {
        ChatDialect::OpenAiResponses => responses_path,
        _ => openai_path(surface),
    };
    let text = match dialect {
        Dialect::Openai | Dialect::Demo => joined(base, openai_path),
        Dialect::AzureOpenai => joined(&openai_base(&candidate.provider), openai_path),
        Dialect::Anthropic => format!("{}/v1/messages", without(base, "/v1")),
        Dialect::Cohere if surface == Surface::Rerank => format!("{}/v2/rerank", without(base, "/v2")),
        Dialect::Cohere => format!("{}/v2/chat", without(base, "/v2")),
        Dialect::Bedrock => bedrock::converse_url(base, &candidate.model, is_stream),
        Dialect::Vertex => {
            let credential = key.and_then(VendorKey::as_google);
            vertex::url(&candidate.provider, &candidate.model, credential, is_stream)?
        }
        Dialect::Gemini => {
            let call = if is_stream { "streamGenerateContent?alt=sse" } else { "generateContent" };
            let model = path_segment(candidate.model.trim_start_matches("models/"));
            format!("{}/v1beta/models/{model}:{call}", without(base, "/v1beta"))
        }
    };
    Uri::try_from(text).map_err(|_| "the provider's base URL is not a URL".to_owned())
}

/// Below which a provider has OpenAI's paths.
pub(crate) fn openai_base(provider: &ProviderPolicy) -> String {
    let base = provider.base_url.trim_end_matches('/');
    // the resource's own address, with or without the path that all of its calls share
    let is_bare = provider.dialect == Dialect::AzureOpenai && !base.contains("/openai");
    if is_bare { format!("{base}/openai/v1") } else { base.to_owned() }
}

/// Put together in one piece: every request's address is.
fn joined(base: &str, path: &str) -> String {
    let mut text = String::with_capacity(base.len() + path.len());
    text.push_str(base);
    text.push_str(path);
    text
}

const fn openai_path(surface: Surface) -> &'static str {
    match surface {
        Surface::Chat => "/chat/completions",
        Surface::Completions => "/completions",
        Surface::Embeddings => "/embeddings",
        Surface::Moderations => "/moderations",
        Surface::Rerank => "/rerank",
        Surface::Images => "/images/generations",
        Surface::ImageEdits => "/images/edits",
        Surface::ImageVariations => "/images/variations",
        Surface::Speech => "/audio/speech",
        Surface::Transcriptions => "/audio/transcriptions",
        Surface::Translations => "/audio/translations",
        // have paths of their own
        Surface::Passthrough | Surface::Files | Surface::Batches | Surface::Responses => "",
    }
}

fn without<'a>(base: &'a str, version: &str) -> &'a str {
    base.strip_suffix(version).unwrap_or(base)
}

/// A model's name as one segment of a path.
pub(crate) fn path_segment(name: &str) -> String {
    let mut out = String::with_capacity(name.len());
    for byte in name.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~@:".contains(&byte) {
            out.push(char::from(byte));
        } else {
            out.push_str(&format!("%{byte:02X}"));
        }
    }
    out
}

/// Presents a credential as `Authorization: Bearer`.
pub(crate) fn present_bearer(headers: &mut HeaderMap, secret: &Secret) {
    present(headers, Dialect::Openai, secret);
}

/// Presents a credential as the provider's dialect wants it, where it is sent as it is.
pub(crate) fn present(headers: &mut HeaderMap, dialect: Dialect, secret: &Secret) {
    let (name, text) = match dialect {
        Dialect::Openai | Dialect::Cohere | Dialect::Demo | Dialect::Bedrock | Dialect::Vertex => {
            (AUTHORIZATION, bearer(secret.expose()))
        }
        Dialect::AzureOpenai => (HeaderName::from_static("api-key"), secret.expose().to_owned()),
        Dialect::Anthropic => (HeaderName::from_static("x-api-key"), secret.expose().to_owned()),
        Dialect::Gemini => (HeaderName::from_static("x-goog-api-key"), secret.expose().to_owned()),
    };
    if let Ok(mut value) = HeaderValue::from_maybe_shared(Bytes::from(text)) {
        value.set_sensitive(true);
        headers.insert(name, value);
    }
}

fn bearer(secret: &str) -> String {
    const SCHEME: &str = "Bearer ";
    let mut text = String::with_capacity(SCHEME.len() + secret.len());
    text.push_str(SCHEME);
    text.push_str(secret);
    text
}

/// Headers that a dialect must have, and those of others that it must not see.
pub(crate) fn dialect_headers(headers: &mut HeaderMap, dialect: Dialect, is_same: bool) {
    match dialect {
        Dialect::Anthropic => {
            headers.entry(ANTHROPIC_VERSION_NAME).or_insert(ANTHROPIC_VERSION);
        }
        _ => {
            headers.remove(ANTHROPIC_VERSION_NAME);
        }
    }
    if !is_same {
        headers.remove(ANTHROPIC_BETA);
        headers.remove("openai-beta");
    } else if headers.contains_key(ANTHROPIC_BETA) {
        drop_wider_contexts(headers);
    }
}

fn drop_wider_contexts(headers: &mut HeaderMap) {
    let betas = headers.get_all(ANTHROPIC_BETA).iter().filter_map(|value| value.to_str().ok());
    let betas = betas.flat_map(|value| value.split(',')).map(str::trim).filter(|beta| !widens_context(beta));
    let betas = betas.collect::<Vec<_>>().join(",");
    headers.remove(ANTHROPIC_BETA);
    if let Some(betas) = HeaderValue::try_from(betas).ok().filter(|betas| !betas.is_empty()) {
        headers.insert(ANTHROPIC_BETA, betas);
    }
}

/// A longer context than the catalogue knows would cost more than is held: `context-1m-…`.
fn widens_context(beta: &str) -> bool {
    beta.strip_prefix("context-").is_some_and(|rest| rest.starts_with(|first: char| first.is_ascii_digit()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_tell_the_dialect() {
        let cases = [
            ("/v1/chat/completions", ChatDialect::OpenAiChat),
            ("/v1/responses", ChatDialect::OpenAiResponses),
            ("/v1/messages", ChatDialect::Anthropic),
            ("/v1/messages/count_tokens", ChatDialect::Anthropic),
            ("/v1/messagesx", ChatDialect::OpenAiChat),
            ("/v1beta/models", ChatDialect::Gemini),
            ("/v1/models/gemini-3:streamGenerateContent", ChatDialect::Gemini),
            ("/v1/models/ft:gpt:x", ChatDialect::OpenAiChat),
        ];
        for (path, expected) in cases {
            assert_eq!(of_path(path), expected, "{path}");
        }
        assert_eq!(google_call("/v1beta/models/a/b:generateContent"), Some(("a/b", "generateContent")));
        assert_eq!(google_call("/v1beta/models/a:delete"), None);
        assert_eq!(google_call("/v1beta/models/:generateContent"), None);
    }

    #[test]
    fn betas_reach_their_own_dialect_but_for_longer_contexts() {
        let betas = "context-1m-2025-08-07, context-management-2025-06-27,interleaved-thinking-2025-05-14";
        let mut headers = HeaderMap::new();
        headers.insert(ANTHROPIC_BETA, HeaderValue::from_static(betas));
        let mut other = headers.clone();
        dialect_headers(&mut headers, Dialect::Anthropic, true);
        assert_eq!(headers[ANTHROPIC_BETA], "context-management-2025-06-27,interleaved-thinking-2025-05-14");
        dialect_headers(&mut other, Dialect::Gemini, false);
        assert!(!other.contains_key(ANTHROPIC_BETA));
        let mut only = HeaderMap::new();
        only.insert(ANTHROPIC_BETA, HeaderValue::from_static("context-1m-2025-08-07"));
        dialect_headers(&mut only, Dialect::Anthropic, true);
        assert!(!only.contains_key(ANTHROPIC_BETA));
    }

    #[test]
    fn names_are_one_segment() {
        assert_eq!(path_segment("gemini-3-pro"), "gemini-3-pro");
        assert_eq!(path_segment("a/b?c#d é"), "a%2Fb%3Fc%23d%20%C3%A9");
    }
}
