//! One pass over a request's body.

use tollgate_domain::Surface;

use super::parts::{messages, prompts};
use super::{
    BodyCounts, FOREIGN_MEMBERS, MAX_CHOICES, OUTSIDE_MEMBERS, Refusal, RequestError, RequestSkim, Spans,
    StreamOptionsSpan,
};
use crate::json::{Fault, JsonProblem, KeySet, Kind, Scanner, Value, decode_string};

/// Names of models are shorter than this, in bytes: they stand in every receipt.
const MAX_MODEL_BYTES: usize = 513;
/// Members that decide what a request costs or who serves it.
const READ_MEMBERS: &[&str] = &[
    "model",
    "messages",
    "prompt",
    "input",
    "stream",
    "stream_options",
    "max_tokens",
    "max_completion_tokens",
    "n",
    "best_of",
    "user",
    "service_tier",
    "tools",
    "functions",
    "tool_choice",
    "response_format",
    "modalities",
    "audio",
    "prediction",
    "web_search_options",
    "suffix",
];

/// Reads what must be known of a request, checking the whole body.
///
/// # Errors
/// Invalid JSON, a duplicate member, a wrong type, a missing prompt.
pub fn skim(surface: Surface, body: &[u8]) -> Result<RequestSkim, RequestError> {
    match walk(surface, body) {
        Ok(skim) => Ok(skim),
        Err(Refusal::Request(error)) => Err(*error),
        Err(Refusal::Json(fault)) => Err(json_error(fault, body)),
    }
}

#[cold]
fn json_error(fault: Fault, body: &[u8]) -> RequestError {
    let mut error = RequestError::from(fault.locate(body));
    if fault.problem == JsonProblem::NotAnObject {
        error.message = match &error.param {
            None => "the request body must be a JSON object".to_owned(),
            Some(param) => format!("`{param}` must be an object"),
        };
    }
    error
}

fn walk(surface: Surface, body: &[u8]) -> Result<RequestSkim, Refusal> {
    let mut scanner = Scanner::new(body)?;
    let mut skim = empty(surface);
    let mut keys = KeySet::default();
    let mut has_prompt = false;
    scanner.object(|scanner, key| {
        if skim.spans.first_member == 0 {
            // The quote before the first key: an insertion there is the first member.
            skim.spans.first_member = key.span.start - 1;
        }
        keys.insert(body, &key)?;
        let name = key.name(body);
        refuse_other_case(&name)?;
        if &*name == prompt_member(surface).as_bytes() {
            has_prompt = true;
            return prompt(scanner, &mut skim);
        }
        member(scanner, &name, &mut skim)
    })?;
    scanner.end()?;
    if !has_prompt {
        let name = prompt_member(surface);
        return Err(RequestError::new(name, format!("`{name}` is required")).into());
    }
    if skim.best_of.is_some_and(|best_of| best_of < skim.n) {
        return Err(RequestError::new("best_of", "`best_of` must be at least `n`").into());
    }
    Ok(skim)
}

pub(crate) fn empty(surface: Surface) -> RequestSkim {
    RequestSkim {
        surface,
        model: None,
        stream: false,
        include_usage: None,
        max_tokens: None,
        max_completion_tokens: None,
        n: 1,
        best_of: None,
        n_prompts: 1,
        user: None,
        service_tier: None,
        n_messages: 0,
        n_tools: 0,
        has_provider_tools: false,
        n_images: 0,
        images: Vec::new(),
        has_unbounded_parts: false,
        has_audio_input: false,
        audio_seconds: 0,
        wants_audio_output: false,
        has_web_search: false,
        foreign_members: Vec::new(),
        n_unseen_bytes: 0,
        prediction_bytes: 0,
        counts: BodyCounts::default(),
        spans: Spans::default(),
    }
}

const fn prompt_member(surface: Surface) -> &'static str {
    match surface {
        Surface::Chat => "messages",
        Surface::Completions => "prompt",
        _ => "input",
    }
}

fn prompt(scanner: &mut Scanner<'_>, skim: &mut RequestSkim) -> Result<(), Refusal> {
    match skim.surface {
        Surface::Chat => messages(scanner, skim),
        _ => prompts(scanner, skim, prompt_member(skim.surface)),
    }
}

/// Some providers match members without regard to case, the last one winning: what is read here under one name
/// must not be overruled by another spelling of it.
fn refuse_other_case(name: &[u8]) -> Result<(), Refusal> {
    if !name.iter().any(u8::is_ascii_uppercase) {
        return Ok(());
    }
    let known = READ_MEMBERS.iter().chain(FOREIGN_MEMBERS).chain(OUTSIDE_MEMBERS);
    match known.copied().find(|known| known.as_bytes().eq_ignore_ascii_case(name)) {
        Some(known) => Err(RequestError::new(known, format!("`{known}` is written in lower case")).into()),
        None => Ok(()),
    }
}

/// Members every surface knows, then those that cost output.
fn member(scanner: &mut Scanner<'_>, name: &[u8], skim: &mut RequestSkim) -> Result<(), Refusal> {
    match name {
        b"model" => {
            let value = scanner.skip()?;
            skim.model = text(scanner.bytes(), &value, "model")?;
            match skim.model.as_deref().map(str::len) {
                Some(0) => return Err(RequestError::new("model", "`model` must not be empty").into()),
                Some(MAX_MODEL_BYTES..) => {
                    let message = format!("`model` is longer than {} bytes", MAX_MODEL_BYTES - 1);
                    return Err(RequestError::new("model", message).into());
                }
                _ => {}
            }
            skim.spans.model = Some(value.span);
        }
        b"user" => skim.user = text(scanner.bytes(), &scanner.skip()?, "user")?,
        b"service_tier" => skim.service_tier = text(scanner.bytes(), &scanner.skip()?, "service_tier")?,
        _ => match foreign_member(name) {
            Some(foreign) => {
                if !matches!(scanner.skip()?.kind, Kind::Null | Kind::False) {
                    skim.foreign_members.push(foreign);
                }
            }
            None if OUTSIDE_MEMBERS.iter().any(|outside| outside.as_bytes() == name) => {
                skim.has_unbounded_parts |= scanner.skip()?.kind != Kind::Null;
            }
            None if skim.surface != Surface::Embeddings => output_member(scanner, name, skim)?,
            None => scanner.pass()?,
        },
    }
    Ok(())
}

fn foreign_member(name: &[u8]) -> Option<&'static str> {
    FOREIGN_MEMBERS.iter().copied().find(|foreign| foreign.as_bytes() == name)
}

fn output_member(scanner: &mut Scanner<'_>, name: &[u8], skim: &mut RequestSkim) -> Result<(), Refusal> {
    match name {
        b"stream" => skim.stream = flag(&scanner.skip()?, "stream")?.unwrap_or(false),
        b"stream_options" => stream_options(scanner, skim)?,
        b"max_tokens" => {
            // Completions may ask for no new token at all, to score their prompt.
            let lowest = u64::from(skim.surface == Surface::Chat);
            let value = scanner.skip()?;
            skim.max_tokens = count(scanner.bytes(), &value, "max_tokens", lowest, u64::MAX)?;
            skim.spans.max_tokens = Some(value.span);
        }
        b"n" => {
            skim.n = count(scanner.bytes(), &scanner.skip()?, "n", 1, MAX_CHOICES)?.unwrap_or(1);
        }
        b"best_of" if skim.surface == Surface::Completions => {
            skim.best_of = count(scanner.bytes(), &scanner.skip()?, "best_of", 1, MAX_CHOICES)?;
        }
        _ if skim.surface == Surface::Chat => chat_member(scanner, name, skim)?,
        _ => scanner.pass()?,
    }
    Ok(())
}

fn chat_member(scanner: &mut Scanner<'_>, name: &[u8], skim: &mut RequestSkim) -> Result<(), Refusal> {
    match name {
        b"max_completion_tokens" => {
            let value = scanner.skip()?;
            skim.max_completion_tokens =
                count(scanner.bytes(), &value, "max_completion_tokens", 1, u64::MAX)?;
            skim.spans.max_completion_tokens = Some(value.span);
        }
        b"tools" => tools(scanner, skim, "tools")?,
        b"functions" => tools(scanner, skim, "functions")?,
        b"modalities" => modalities(scanner, skim)?,
        b"web_search_options" => skim.has_web_search = scanner.skip()?.kind != Kind::Null,
        b"prediction" => {
            let value = scanner.skip()?;
            if value.kind != Kind::Null {
                skim.prediction_bytes = value.span.len() as u64;
            }
        }
        _ => scanner.pass()?,
    }
    Ok(())
}

fn stream_options(scanner: &mut Scanner<'_>, skim: &mut RequestSkim) -> Result<(), Refusal> {
    let is_object = match scanner.peek()? {
        Kind::Object => true,
        Kind::Null => false,
        _ => return Err(wrong_type("stream_options", "an object").into()),
    };
    let start = scanner.position();
    let mut include_usage = None;
    let mut n_members = 0;
    if is_object {
        let mut keys = KeySet::default();
        scanner.object(|scanner, key| {
            n_members += 1;
            keys.insert(scanner.bytes(), &key)?;
            let is_usage = &*key.name(scanner.bytes()) == b"include_usage";
            let value = scanner.skip()?;
            if is_usage {
                skim.include_usage = flag(&value, "stream_options.include_usage")?;
                include_usage = Some(value.span);
            }
            Ok::<_, Refusal>(())
        })?;
    } else {
        scanner.skip()?;
    }
    let value = start..scanner.position();
    skim.spans.stream_options =
        Some(StreamOptionsSpan { value, is_object, is_empty: n_members == 0, include_usage });
    Ok(())
}

fn tools(scanner: &mut Scanner<'_>, skim: &mut RequestSkim, param: &str) -> Result<(), Refusal> {
    let n_values = scanner.n_values();
    match scanner.peek()? {
        Kind::Null => scanner.pass()?,
        Kind::Array => scanner.array(|scanner| {
            skim.n_tools += 1;
            let is_known = tool(scanner, skim)?;
            // what is no tool of this API may be one that the provider runs
            skim.has_provider_tools |= param == "tools" && !is_known;
            Ok::<_, Fault>(())
        })?,
        _ => return Err(wrong_type(param, "an array").into()),
    }
    skim.counts.n_tool_values += scanner.n_values() - n_values;
    Ok(())
}

/// Reads whether a tool is the client's own: only `function` and `custom` are called by the client, and a
/// function whose name begins with `$` is one of the provider's. Answers whether it
/// is of a shape that a client's tool has.
fn tool(scanner: &mut Scanner<'_>, skim: &mut RequestSkim) -> Result<bool, Fault> {
    let mut is_known = false;
    if scanner.peek()? != Kind::Object {
        scanner.pass()?;
        return Ok(true);
    }
    scanner.object(|scanner, key| {
        let name = key.name(scanner.bytes());
        is_known |= matches!(&*name, b"type" | b"function" | b"custom" | b"name");
        match &*name {
            b"type" => {
                let value = scanner.skip()?;
                if value.kind == Kind::String {
                    let text = decode_string(&scanner.bytes()[value.inside()]);
                    skim.has_provider_tools |= !matches!(&*text, "function" | "custom");
                }
                Ok(())
            }
            b"function" if scanner.peek()? == Kind::Object => scanner.object(|scanner, key| {
                if &*key.name(scanner.bytes()) != b"name" {
                    return scanner.pass();
                }
                let value = scanner.skip()?;
                skim.has_provider_tools |= value.kind == Kind::String
                    && decode_string(&scanner.bytes()[value.inside()]).starts_with('$');
                Ok(())
            }),
            _ => scanner.pass(),
        }
    })?;
    Ok(is_known)
}

fn modalities(scanner: &mut Scanner<'_>, skim: &mut RequestSkim) -> Result<(), Refusal> {
    match scanner.peek()? {
        Kind::Null => scanner.pass()?,
        Kind::Array => scanner.array(|scanner| {
            let value = scanner.skip()?;
            let name = text(scanner.bytes(), &value, "modalities")?;
            skim.wants_audio_output |= name.as_deref() == Some("audio");
            Ok::<_, Refusal>(())
        })?,
        _ => return Err(wrong_type("modalities", "an array of strings").into()),
    }
    Ok(())
}

pub(super) fn wrong_type(param: &str, expected: &str) -> RequestError {
    RequestError::new(param, format!("`{param}` must be {expected}"))
}

fn text(body: &[u8], value: &Value, param: &str) -> Result<Option<String>, RequestError> {
    match value.kind {
        Kind::String => Ok(Some(decode_string(&body[value.inside()]).into_owned())),
        Kind::Null => Ok(None),
        _ => Err(wrong_type(param, "a string")),
    }
}

fn flag(value: &Value, param: &str) -> Result<Option<bool>, RequestError> {
    match value.kind {
        Kind::True => Ok(Some(true)),
        Kind::False => Ok(Some(false)),
        Kind::Null => Ok(None),
        _ => Err(wrong_type(param, "true or false")),
    }
}

fn count(
    body: &[u8],
    value: &Value,
    param: &str,
    lowest: u64,
    highest: u64,
) -> Result<Option<u64>, RequestError> {
    let digits = match value.kind {
        Kind::Null => return Ok(None),
        Kind::Number => &body[value.span.clone()],
        _ => return Err(wrong_type(param, "an integer")),
    };
    if !digits.iter().all(u8::is_ascii_digit) && digits.first() != Some(&b'-') {
        return Err(wrong_type(param, "an integer"));
    }
    let number = std::str::from_utf8(digits).ok().and_then(|digits| digits.parse::<u64>().ok());
    match number {
        Some(number) if (lowest..=highest).contains(&number) => Ok(Some(number)),
        _ if highest == u64::MAX => {
            Err(RequestError::new(param, format!("`{param}` must be an integer of at least {lowest}")))
        }
        _ => Err(RequestError::new(
            param,
            format!("`{param}` must be an integer between {lowest} and {highest}"),
        )),
    }
}
