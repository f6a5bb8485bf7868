//! Requests.

use bytes::Bytes;

use crate::json::{Edit, Node, ReadError, set_members};
use crate::neutral::{
    ChatDialect, ChatRequest, Feature, Fidelity, Media, Mode, Part, PartKind, Unsupported, note_losses,
};
use crate::openai::responses::ResponseEcho;
use crate::{anthropic, bedrock, cohere, gemini, openai};

/// What a request says beside its body: Google's stands in the path.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Asked<'a> {
    /// The model of the path.
    pub model: &'a str,
    /// Whether the path asks for a stream.
    pub stream: bool,
}

/// A request of another dialect than Chat Completions, with what stands for it there.
#[derive(Clone, Debug)]
pub struct Incoming {
    /// What it says.
    pub request: ChatRequest,
    /// The same as Chat Completions: what is priced, and what a provider of that dialect gets.
    pub as_chat: Bytes,
    /// What Chat Completions cannot say of it: providers of that dialect do not get it.
    pub chat_lacks: Option<Unsupported>,
    /// The same where the operator allows to leave out what is harmless: `None` where that is all.
    pub chat_lacks_more: Option<Unsupported>,
    /// What is left out of `as_chat`.
    pub chat_dropped: Vec<Feature>,
    /// Whether what Chat Completions cannot say has a length that is not in the body: the prompt cannot be
    /// bounded by it.
    pub has_unbounded_parts: bool,
    /// How much longer the client's body is than what stands for it: what only its own dialect knows counts too.
    pub n_unseen_bytes: u64,
    /// Whether it asks for tools that the vendor runs and bills.
    pub has_vendor_tools: bool,
    /// What its answer repeats of it.
    pub echo: ResponseEcho,
}

/// What differs between requests to providers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RequestTarget<'a> {
    /// Who is asked.
    pub dialect: ChatDialect,
    /// The model as the provider names it.
    pub model: &'a str,
    /// The cap on the answer's tokens that was paid for; `None` where none is to be written.
    pub output_cap: Option<u64>,
    /// The model's own cap, where it is known: written where a dialect must have one.
    pub model_cap: Option<u64>,
}

/// A request as a provider gets it.
#[derive(Clone, Debug)]
pub struct ProviderRequest {
    /// Its body.
    pub body: Bytes,
    /// What was left out or bent.
    pub fidelity: Fidelity,
}

/// The cap where a dialect must have one and nobody names any.
const DEFAULT_OUTPUT_CAP: u64 = 4_096;
/// A target that takes everything that anybody speaking Chat Completions takes. The cap moves to the name that the
/// vendor obeys when the request is spliced for it.
const ANY_CHAT: openai::chat::ChatTarget<'_> = openai::chat::ChatTarget {
    model: "",
    output_cap: None,
    has_completion_cap: false,
    has_top_k: true,
    has_developer_role: false,
};

/// Reads a request of `dialect`, and writes what stands for it in Chat Completions.
///
/// # Errors
/// Invalid JSON, a missing member, one of the wrong type.
pub fn read_request(dialect: ChatDialect, asked: Asked<'_>, body: &[u8]) -> Result<Incoming, ReadError> {
    let request = read(dialect, asked, body)?;
    let target = openai::chat::ChatTarget { model: &request.model, ..ANY_CHAT };
    let written = |mode| {
        let mut fidelity = Fidelity::new(mode);
        openai::chat::write_request(&request, &target, &mut fidelity).map(|body| (body, fidelity))
    };
    let (as_chat, fidelity, chat_lacks, chat_lacks_more) = match written(Mode::Refuse) {
        Ok((body, fidelity)) => (body, fidelity, None, None),
        Err(lacking) => {
            let more = written(Mode::DropHarmless).err();
            let dropped = written(Mode::Drop);
            let (body, fidelity) = dropped.unwrap_or_else(|_| (Vec::new(), Fidelity::new(Mode::Drop)));
            (body, fidelity, Some(lacking), more)
        }
    };
    let echo = match dialect {
        ChatDialect::OpenAiResponses => ResponseEcho::read(body)?,
        _ => ResponseEcho::default(),
    };
    let dropped = fidelity.dropped();
    let is_outside = |name: &str| OUTSIDE_MEMBERS.contains(&name);
    let has_outside = request.rest.iter().any(|(name, _)| is_outside(name));
    let as_chat = Bytes::from(with_rest(as_chat, &request)?);
    Ok(Incoming {
        n_unseen_bytes: body.len().saturating_sub(as_chat.len()) as u64,
        as_chat,
        has_unbounded_parts: has_outside
            || has_untyped_addresses(&request)
            || dropped.iter().any(|feature| holds_prompt(*feature)),
        has_vendor_tools: dropped.contains(&Feature::VendorTools),
        chat_dropped: dropped.to_vec(),
        chat_lacks,
        chat_lacks_more,
        echo,
        request,
    })
}

/// Members that name prompt text which is not in the body.
const OUTSIDE_MEMBERS: [&str; 5] =
    ["cachedContent", "cached_content", "previous_response_id", "conversation", "prompt"];

/// Google takes what an address leads to for what it is, not for the type that stands beside it: a picture may be an
/// hour of film.
fn has_untyped_addresses(request: &ChatRequest) -> bool {
    let is_address = |part: &Part| {
        use PartKind::{Audio, File, Image, Video};
        matches!(
            &part.kind,
            Image { source: Media::Url { .. }, .. }
                | Audio { source: Media::Url { .. } }
                | Video { source: Media::Url { .. } }
                | File { source: Media::Url { .. }, .. }
        )
    };
    request.dialect == ChatDialect::Gemini
        && request.messages.iter().flat_map(|message| &message.parts).any(is_address)
}

/// What is priced also has the members that nobody understood: their bytes count, and some are refused by
/// name. It is never sent: where there are any, Chat Completions lacks them.
fn with_rest(as_chat: Vec<u8>, request: &ChatRequest) -> Result<Vec<u8>, ReadError> {
    if request.rest.is_empty() {
        return Ok(as_chat);
    }
    let root = Node::parse(&as_chat)?;
    let mut members = root.object()?;
    let unknown: Vec<(&str, &str)> = request
        .rest
        .iter()
        .filter(|(name, _)| members.take_any(name).is_none())
        .map(|(name, value)| (name, value.text()))
        .collect();
    let paths: Vec<[&str; 1]> = unknown.iter().map(|(name, _)| [*name]).collect();
    let edits: Vec<Edit<'_>> =
        paths.iter().zip(&unknown).map(|(path, (_, value))| (path.as_slice(), *value)).collect();
    Ok(set_members(&as_chat, &root, &edits)?)
}

/// Whether leaving it out leaves out a part of the prompt.
const fn holds_prompt(feature: Feature) -> bool {
    matches!(
        feature,
        Feature::ImageUrl
            | Feature::ImageInline
            | Feature::AudioInput
            | Feature::VideoInput
            | Feature::FileInput
            | Feature::FileId
            | Feature::ToolResultMedia
            | Feature::UnknownContent
    )
}

/// Reads a request of any dialect that clients speak.
fn read(dialect: ChatDialect, asked: Asked<'_>, body: &[u8]) -> Result<ChatRequest, ReadError> {
    match dialect {
        ChatDialect::OpenAiChat | ChatDialect::Cohere | ChatDialect::Bedrock => {
            openai::chat::read_request(body)
        }
        ChatDialect::OpenAiResponses => openai::responses::read_request(body),
        ChatDialect::Anthropic => anthropic::read_request(body),
        ChatDialect::Gemini => gemini::read_request(asked.model, asked.stream, body),
    }
}

/// Reads a request of Chat Completions, to be written in another dialect.
///
/// # Errors
/// Invalid JSON, a missing member, one of the wrong type.
pub fn read_chat(body: &[u8]) -> Result<ChatRequest, ReadError> {
    openai::chat::read_request(body)
}

/// A request for a provider that speaks the client's own dialect: its bytes, with the model and the cap set.
///
/// # Errors
/// A member on the way to the cap is no object.
pub fn pass_request(body: &[u8], target: &RequestTarget<'_>) -> Result<Bytes, ReadError> {
    let root = Node::parse(body)?;
    let mut model = Vec::with_capacity(target.model.len() + 2);
    crate::json::write_string(&mut model, target.model);
    let model = String::from_utf8_lossy(&model).into_owned();
    let cap = target.output_cap.map(|cap| cap.to_string());
    let mut edits: Vec<Edit<'_>> = Vec::with_capacity(2);
    let cap_path: &[&str] = match target.dialect {
        ChatDialect::Anthropic => {
            edits.push((&["model"], &model));
            &["max_tokens"]
        }
        ChatDialect::OpenAiResponses => {
            edits.push((&["model"], &model));
            &["max_output_tokens"]
        }
        _ => gemini_cap_path(&root)?,
    };
    if let Some(cap) = &cap {
        edits.push((cap_path, cap));
    }
    Ok(Bytes::from(set_members(body, &root, &edits)?))
}

/// Google's clients write names in either spelling: the cap goes where they wrote it.
fn gemini_cap_path(root: &Node<'_>) -> Result<&'static [&'static str], ReadError> {
    let mut members = root.google_object()?;
    let (snake, camel) = (members.take("generation_config"), members.take("generationConfig"));
    let is_snake = camel.is_none() && snake.is_some();
    let has_snake_cap = match snake.or(camel) {
        Some(config) => config.google_object()?.take("max_output_tokens").is_some(),
        None => false,
    };
    Ok(match (is_snake, has_snake_cap) {
        (true, true) => &["generation_config", "max_output_tokens"],
        (true, false) => &["generation_config", "maxOutputTokens"],
        (false, true) => &["generationConfig", "max_output_tokens"],
        (false, false) => &["generationConfig", "maxOutputTokens"],
    })
}

/// Writes a request as a provider gets it.
///
/// # Errors
/// The request has something that the provider's dialect lacks, and `mode` does not allow to leave it out.
pub fn write_request(
    request: &ChatRequest,
    target: &RequestTarget<'_>,
    mode: Mode,
) -> Result<ProviderRequest, Unsupported> {
    let mut fidelity = Fidelity::new(mode);
    let RequestTarget { dialect, model, output_cap, model_cap } = *target;
    let body = match dialect {
        ChatDialect::OpenAiChat => {
            let target = openai::chat::ChatTarget { model, output_cap, ..ANY_CHAT };
            openai::chat::write_request(request, &target, &mut fidelity)
        }
        ChatDialect::OpenAiResponses => {
            let target = openai::responses::ResponsesTarget { model, output_cap };
            openai::responses::write_request(request, &target, &mut fidelity)
        }
        ChatDialect::Anthropic => {
            let cap = output_cap.or(request.output_cap).or(model_cap).unwrap_or(DEFAULT_OUTPUT_CAP);
            let has_effort = takes_effort(model);
            let target = anthropic::AnthropicTarget { model: Some(model), output_cap: cap, has_effort };
            anthropic::write_request(request, &target, &mut fidelity)
        }
        ChatDialect::Gemini => {
            let target = gemini::GeminiTarget { output_cap, has_thinking_level: model.contains("gemini-3") };
            gemini::write_request(request, &target, &mut fidelity)
        }
        ChatDialect::Bedrock => {
            let is_anthropic = model.contains("anthropic.") || model.contains("claude");
            bedrock::write_request(
                request,
                &bedrock::BedrockTarget { output_cap, is_anthropic },
                &mut fidelity,
            )
        }
        ChatDialect::Cohere => {
            cohere::write_request(request, &cohere::CohereTarget { model, output_cap }, &mut fidelity)
        }
    };
    let body = Bytes::from(body?);
    note_losses(request, dialect, &mut fidelity);
    Ok(ProviderRequest { body, fidelity })
}

/// Whether one of Anthropic's models takes `output_config.effort`: from the fifth Opus' predecessor on.
fn takes_effort(model: &str) -> bool {
    ["opus-4-5", "opus-4-6", "opus-4-7", "sonnet-4-6", "sonnet-4-7", "-5-", "-5"].iter().any(|mark| {
        model.contains(mark)
            && !model.contains("-3-5")
            && !model.contains("haiku-4-5")
            && !model.contains("sonnet-4-5")
    })
}
