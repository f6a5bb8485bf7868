//! What must be known of a request before it is paid for.

use bytes::Bytes;
use tollgate_domain::{Meter, Surface, Usage};

use super::sound::sound_length;
use super::{MediaBounds, MediaRequest};
use crate::json::{FieldError, Kind, Members, Node, ReadError};
use crate::multipart::{Form, FormError};
use crate::openai::request::{
    AUDIO_TOKENS_PER_SECOND, FIXED_TOKENS, FOREIGN_MEMBERS, IMAGE_TOKENS_BOUND, MESSAGE_TOKENS, RequestError,
};

/// Names of models are at most so long, in bytes: they stand in every receipt.
const MAX_MODEL_BYTES: usize = 512;
/// Images per request at most; OpenAI makes ten.
const MAX_IMAGES: u64 = 16;
/// Documents per request at most, as Cohere says.
const MAX_DOCUMENTS: usize = 10_000;
/// Cohere cuts documents into pieces of so many tokens, the query with each: no query takes more than half of one.
const PIECE_TOKENS: u64 = 250;
/// And counts a search for every so many pieces.
const PIECES_PER_SEARCH: u64 = 100;
/// Tokens of an image that is edited: OpenAI's tables end at about 7,000 with high fidelity.
const EDITED_IMAGE_TOKENS: u64 = 16_384;
/// Tokens of text that an image model writes or thinks beside its images.
const IMAGE_TEXT_TOKENS: u64 = 2_048;
/// Tokens of each image of a stream that is not whole yet: OpenAI bills 100.
const PARTIAL_IMAGE_TOKENS: u64 = 128;
/// Pixels of an image whose size the provider chooses: OpenAI's largest default has 1.6 million.
const AUTO_PIXELS: u64 = 1_536 * 1_536;
/// Tokens for a thousand pixels at high quality: OpenAI's tables say 3.97.
const TOKENS_PER_1000_PIXELS: u64 = 5;
/// Tokens of a spoken character at most: half a second, of which the dearest model counts 25, and as much again.
const SPOKEN_CHARACTER_TOKENS: u64 = 25;
/// Tokens of a spoken character in all likelihood: 15 of them in a second of 21 tokens.
const LIKELY_CHARACTER_TOKENS: u64 = 2;
/// Tokens of silence around speech.
const SPEECH_TOKENS: u64 = 512;
/// Tokens of text that are said in a second: five times as many as a hasty speaker says.
const TOKENS_SAID_PER_SECOND: u64 = 16;
/// Tokens of text that are said in a second, in all likelihood.
const LIKELY_TOKENS_SAID_PER_SECOND: u64 = 4;
/// Tokens of a second of sound, in all likelihood.
const LIKELY_TOKENS_PER_SECOND: u64 = 17;
/// Bytes of text per token, in all likelihood.
const LIKELY_BYTES_PER_TOKEN: u64 = 4;

/// Reads a request; `content_type` tells a form's boundary.
///
/// # Errors
/// A body that is no JSON or no form, a wrong type, a missing or doubled field.
pub fn read(
    surface: Surface,
    content_type: Option<&str>,
    body: &Bytes,
) -> Result<MediaRequest, RequestError> {
    match surface {
        Surface::Transcriptions | Surface::Translations => transcription(surface, content_type, body),
        Surface::ImageVariations => image_form(surface, content_type, body),
        Surface::ImageEdits if !is_json(content_type) => image_form(surface, content_type, body),
        _ => json(surface, body).map_err(RequestError::from),
    }
}

fn is_json(content_type: Option<&str>) -> bool {
    content_type.is_some_and(|value| value.trim_start().to_ascii_lowercase().starts_with("application/json"))
}

impl From<ReadError> for RequestError {
    fn from(error: ReadError) -> Self {
        Self { param: error.param().map(str::to_owned), message: error.to_string() }
    }
}

impl From<FormError> for RequestError {
    fn from(error: FormError) -> Self {
        let param = match &error {
            FormError::Twice(name) | FormError::NotText(name) => Some(name.clone()),
            _ => None,
        };
        Self { param, message: error.to_string() }
    }
}

pub(super) fn request(surface: Surface) -> MediaRequest {
    MediaRequest {
        surface,
        model: None,
        stream: false,
        user: None,
        foreign_members: Vec::new(),
        bounds: MediaBounds::default(),
        expected: Usage::ZERO,
        n_images: 0,
        form: None,
    }
}

fn checked_model(model: Option<String>) -> Result<Option<String>, FieldError> {
    let wrong = |message: String| Err(FieldError { path: "model".to_owned(), message });
    match model.as_deref().map(str::len) {
        Some(0) => wrong("must not be empty".to_owned()),
        Some(n) if n > MAX_MODEL_BYTES => wrong(format!("must be at most {MAX_MODEL_BYTES} bytes long")),
        _ => Ok(model),
    }
}

// === JSON ===

fn json(surface: Surface, body: &Bytes) -> Result<MediaRequest, ReadError> {
    let root = Node::parse(body)?;
    let mut members = root.object().map_err(|error| match error.path.is_empty() {
        true if root.kind() != Kind::Object => {
            FieldError { path: String::new(), message: "the request body must be a JSON object".to_owned() }
        }
        _ => error,
    })?;
    let mut request = request(surface);
    request.model = checked_model(members.string("model")?)?;
    request.user = members.string("user")?;
    // what one surface calls a foreign member may be another's own
    let is_own = |name: &&&str| surface == Surface::Speech && **name == "speed";
    for name in FOREIGN_MEMBERS.iter().filter(|name| !is_own(name)) {
        let is_set = members.take(name).is_some_and(|node| node.kind() != Kind::False);
        if is_set {
            request.foreign_members.push(name);
        }
    }
    match surface {
        Surface::Moderations => moderation(&mut members, body, &mut request)?,
        Surface::Rerank => rerank(&mut members, body, &mut request)?,
        Surface::Speech => speech(&mut members, &mut request)?,
        _ => image_json(&mut members, &mut request)?,
    }
    refuse_other_case(members)?;
    Ok(request)
}

/// Some providers match members without regard to case, the last one winning.
fn refuse_other_case(members: Members<'_>) -> Result<(), FieldError> {
    const READ: &[&str] = &[
        "model",
        "user",
        "input",
        "query",
        "documents",
        "stream",
        "stream_format",
        "instructions",
        "speed",
        "n",
        "size",
        "quality",
        "partial_images",
        "images",
        "mask",
        "prompt",
        "response_format",
    ];
    for (name, _) in members.rest().iter() {
        let known = READ.iter().chain(FOREIGN_MEMBERS).find(|known| known.eq_ignore_ascii_case(name));
        if let Some(known) = known.filter(|known| **known != name) {
            let message = "is written in lower case".to_owned();
            return Err(FieldError { path: (*known).to_owned(), message });
        }
    }
    Ok(())
}

fn n_bytes(node: &Node<'_>) -> u64 {
    node.span().len() as u64
}

fn tokens_of_bytes(n_bytes: u64) -> u64 {
    n_bytes.div_ceil(LIKELY_BYTES_PER_TOKEN)
}

fn moderation(members: &mut Members<'_>, body: &Bytes, request: &mut MediaRequest) -> Result<(), FieldError> {
    let input = members.required("input")?;
    let mut n_images = 0;
    match input.kind() {
        Kind::String => {}
        Kind::Array => {
            for element in input.array()? {
                match element.kind() {
                    Kind::String => {}
                    Kind::Object => n_images += u64::from(element.object()?.take("image_url").is_some()),
                    _ => return Err(element.error("must be a string, or an object with a `type`")),
                }
            }
        }
        _ => return Err(input.error("must be a string or an array")),
    }
    let n_bytes = body.len() as u64;
    request.bounds.input_tokens =
        n_bytes.saturating_add(FIXED_TOKENS).saturating_add(n_images * IMAGE_TOKENS_BOUND);
    request.expected = Usage::ZERO.with(Meter::Input, tokens_of_bytes(n_bytes_of(&input)));
    Ok(())
}

fn n_bytes_of(node: &Node<'_>) -> u64 {
    // without its quotes
    n_bytes(node).saturating_sub(2)
}

fn rerank(members: &mut Members<'_>, body: &Bytes, request: &mut MediaRequest) -> Result<(), FieldError> {
    let query = members.required("query")?;
    if query.kind() != Kind::String {
        return Err(query.error("must be a string"));
    }
    let list = members.required("documents")?;
    let documents = list.array()?;
    if documents.is_empty() || documents.len() > MAX_DOCUMENTS {
        return Err(list.error(format!("must hold 1 to {MAX_DOCUMENTS} documents")));
    }
    for document in &documents {
        if !matches!(document.kind(), Kind::String | Kind::Object) {
            return Err(document.error("must be a string or an object"));
        }
    }
    let n_documents = documents.len() as u64;
    let pieces = |bytes_per_token: u64| {
        let of = |node: &Node<'_>| (n_bytes(node) / bytes_per_token).div_ceil(PIECE_TOKENS).max(1);
        documents.iter().map(of).sum::<u64>().div_ceil(PIECES_PER_SEARCH)
    };
    let query_bytes = n_bytes(&query);
    let tokens = (body.len() as u64)
        .saturating_add(query_bytes.saturating_mul(n_documents))
        .saturating_add(MESSAGE_TOKENS.saturating_mul(n_documents))
        .saturating_add(FIXED_TOKENS);
    request.bounds.input_tokens = tokens;
    request.bounds.units = Usage::ZERO.with(Meter::Search, pieces(1));
    let text: u64 = documents.iter().map(n_bytes).sum();
    let likely = tokens_of_bytes(text.saturating_add(query_bytes.saturating_mul(n_documents)));
    request.expected =
        Usage::ZERO.with(Meter::Input, likely).with(Meter::Search, pieces(2 * LIKELY_BYTES_PER_TOKEN));
    Ok(())
}

fn speech(members: &mut Members<'_>, request: &mut MediaRequest) -> Result<(), FieldError> {
    let input = members.required("input")?;
    let text = input.string()?;
    if text.is_empty() {
        return Err(input.error("must not be empty"));
    }
    let n_characters = text.chars().count() as u64;
    let instructions = members.take("instructions").map(|node| node.string()).transpose()?;
    let text_bytes = text.len() as u64 + instructions.map_or(0, |text| text.len() as u64);
    request.stream = members.string("stream_format")?.as_deref() == Some("sse");
    // slower speech is longer
    let speed = members.number("speed")?.and_then(|number| slowness(number.text()));
    let slowness = speed.unwrap_or(1);
    request.bounds = MediaBounds {
        input_tokens: text_bytes.saturating_add(FIXED_TOKENS),
        output_tokens: n_characters
            .saturating_mul(SPOKEN_CHARACTER_TOKENS)
            .saturating_mul(slowness)
            .saturating_add(SPEECH_TOKENS),
        units: Usage::ZERO.with(Meter::Character, n_characters),
    };
    request.expected = Usage::ZERO
        .with(Meter::Input, tokens_of_bytes(text_bytes))
        .with(Meter::OutputAudio, n_characters * LIKELY_CHARACTER_TOKENS)
        .with(Meter::Character, n_characters);
    Ok(())
}

/// How many times as long speech at that speed is, at least once and at most ten times.
fn slowness(speed: &str) -> Option<u64> {
    let (whole, fraction) = speed.split_once('.')?;
    let tenths: u64 = fraction.get(..1)?.parse().ok()?;
    (whole == "0").then(|| 10_u64.div_ceil(tenths.max(1)))
}

fn image_json(members: &mut Members<'_>, request: &mut MediaRequest) -> Result<(), FieldError> {
    let prompt = members.required("prompt")?;
    prompt.string()?;
    let n = members.count("n")?.unwrap_or(1);
    if !(1..=MAX_IMAGES).contains(&n) {
        let message = format!("must be between 1 and {MAX_IMAGES}");
        return Err(FieldError { path: "n".to_owned(), message });
    }
    request.stream = members.flag("stream")?.unwrap_or(false);
    let mut n_edited = 0;
    if request.surface == Surface::ImageEdits {
        let images = members.required("images")?;
        n_edited = images.array()?.len() as u64;
        if n_edited == 0 || n_edited > MAX_IMAGES {
            return Err(images.error(format!("must hold 1 to {MAX_IMAGES} images")));
        }
        n_edited += u64::from(members.take("mask").is_some());
    }
    let (size, quality) = (members.string("size")?, members.string("quality")?);
    let n_partial = members.count("partial_images")?.unwrap_or(0);
    bound_images(
        request,
        &ImageAsk {
            n,
            n_partial,
            n_edited,
            size: size.as_deref(),
            quality: quality.as_deref(),
            prompt_bytes: n_bytes(&prompt),
        },
    );
    Ok(())
}

struct ImageAsk<'a> {
    n: u64,
    n_partial: u64,
    n_edited: u64,
    size: Option<&'a str>,
    quality: Option<&'a str>,
    prompt_bytes: u64,
}

fn bound_images(request: &mut MediaRequest, ask: &ImageAsk<'_>) {
    let pixels = ask.size.and_then(pixels_of).unwrap_or(AUTO_PIXELS);
    let at_best = pixels.saturating_mul(TOKENS_PER_1000_PIXELS).div_ceil(1_000);
    // in OpenAI's tables a fourth and a fifteenth
    let each = match ask.quality {
        Some("medium") => at_best.div_ceil(3),
        Some("low") => at_best.div_ceil(10),
        _ => at_best,
    };
    let partial = ask.n_partial.saturating_mul(PARTIAL_IMAGE_TOKENS);
    let images = ask.n.saturating_mul(each.saturating_add(partial));
    request.n_images = ask.n;
    request.bounds = MediaBounds {
        input_tokens: ask.prompt_bytes + FIXED_TOKENS + ask.n_edited * EDITED_IMAGE_TOKENS,
        output_tokens: images.saturating_add(IMAGE_TEXT_TOKENS),
        units: Usage::ZERO.with(Meter::Image, ask.n),
    };
    request.expected = Usage::ZERO.with(Meter::Input, tokens_of_bytes(ask.prompt_bytes));
}

/// The pixels of a size like `1024x1536`.
fn pixels_of(size: &str) -> Option<u64> {
    let (width, height) = size.split_once(['x', '*'])?;
    width.parse::<u64>().ok()?.checked_mul(height.parse().ok()?).filter(|pixels| *pixels > 0)
}

// === forms ===

/// What every form holds; refuses what is spelled in another case than it is read in.
fn form(
    surface: Surface,
    content_type: Option<&str>,
    body: &Bytes,
    read: &[&str],
) -> Result<(Form, MediaRequest), RequestError> {
    let form = Form::read(content_type, body)?;
    for part in &form.parts {
        let known =
            read.iter().chain(&["model", "user"]).find(|known| known.eq_ignore_ascii_case(&part.name));
        if let Some(known) = known.filter(|known| **known != part.name) {
            return Err(RequestError::new(*known, format!("`{known}` is written in lower case")));
        }
    }
    let mut request = request(surface);
    let text = |name: &str| form.text(body, name).map(|text| text.map(str::to_owned));
    request.model = checked_model(text("model")?).map_err(ReadError::from)?;
    request.user = text("user")?;
    for name in FOREIGN_MEMBERS {
        if form.parts.iter().any(|part| part.name == *name) {
            request.foreign_members.push(name);
        }
    }
    Ok((form, request))
}

fn count_field(form: &Form, body: &[u8], name: &str) -> Result<Option<u64>, RequestError> {
    let Some(text) = form.text(body, name)? else { return Ok(None) };
    let count = text
        .trim()
        .parse()
        .map_err(|_| RequestError::new(name, format!("`{name}` must be a whole number from 0 upwards")))?;
    Ok(Some(count))
}

fn flag_field(form: &Form, body: &[u8], name: &str) -> Result<bool, RequestError> {
    match form.text(body, name)?.map(str::trim) {
        None | Some("" | "false" | "False") => Ok(false),
        Some("true" | "True") => Ok(true),
        Some(_) => Err(RequestError::new(name, format!("`{name}` must be true or false"))),
    }
}

fn image_form(
    surface: Surface,
    content_type: Option<&str>,
    body: &Bytes,
) -> Result<MediaRequest, RequestError> {
    const READ: [&str; 8] = ["prompt", "n", "size", "quality", "stream", "partial_images", "image", "mask"];
    let (form, mut request) = form(surface, content_type, body, &READ)?;
    let is_image = |name: &str| name == "image" || name.starts_with("image[");
    let n_images = form.parts.iter().filter(|part| is_image(&part.name)).count() as u64;
    if n_images == 0 {
        return Err(RequestError::new("image", "`image` is required: send it as a file of the form"));
    }
    if n_images > MAX_IMAGES {
        return Err(RequestError::new("image", format!("at most {MAX_IMAGES} images can be edited at once")));
    }
    let prompt = form.text(body, "prompt")?;
    if prompt.is_none() && surface == Surface::ImageEdits {
        return Err(RequestError::new("prompt", "`prompt` is required"));
    }
    let n = count_field(&form, body, "n")?.unwrap_or(1);
    if !(1..=MAX_IMAGES).contains(&n) {
        return Err(RequestError::new("n", format!("`n` must be between 1 and {MAX_IMAGES}")));
    }
    request.stream = flag_field(&form, body, "stream")?;
    let n_masks = form.parts.iter().filter(|part| part.name == "mask").count() as u64;
    let ask = ImageAsk {
        n,
        n_partial: count_field(&form, body, "partial_images")?.unwrap_or(0),
        n_edited: n_images + n_masks,
        size: form.text(body, "size")?,
        quality: form.text(body, "quality")?,
        prompt_bytes: prompt.map_or(0, |prompt| prompt.len() as u64),
    };
    bound_images(&mut request, &ask);
    request.form = Some(form);
    Ok(request)
}

fn transcription(
    surface: Surface,
    content_type: Option<&str>,
    body: &Bytes,
) -> Result<MediaRequest, RequestError> {
    const READ: [&str; 5] = ["file", "stream", "prompt", "response_format", "url"];
    let (form, mut request) = form(surface, content_type, body, &READ)?;
    // some servers fetch sound themselves: nothing would bound it
    if let Some(part) =
        form.parts.iter().find(|part| matches!(part.name.as_str(), "url" | "file_url" | "file_id"))
    {
        let message = format!("`{}` cannot be bounded: send the sound as `file`", part.name);
        return Err(RequestError::new(part.name.clone(), message));
    }
    let mut files = form.parts.iter().filter(|part| part.name == "file");
    let file = files.next().ok_or_else(|| {
        RequestError::new("file", "`file` is required: send the sound as a file of the form")
    })?;
    if files.next().is_some() {
        return Err(FormError::Twice("file".to_owned()).into());
    }
    request.stream = flag_field(&form, body, "stream")?;
    let length = sound_length(&body[file.content.clone()]);
    let prompt_bytes = form.text(body, "prompt")?.map_or(0, |prompt| prompt.len() as u64);
    let (most, likely) = (length.most, length.likely);
    request.bounds = MediaBounds {
        input_tokens: most.saturating_mul(AUDIO_TOKENS_PER_SECOND) + prompt_bytes + FIXED_TOKENS,
        output_tokens: most.saturating_mul(TOKENS_SAID_PER_SECOND) + FIXED_TOKENS,
        units: Usage::ZERO.with(Meter::Second, most),
    };
    request.expected = Usage::ZERO
        .with(Meter::Input, tokens_of_bytes(prompt_bytes))
        .with(Meter::InputAudio, likely.saturating_mul(LIKELY_TOKENS_PER_SECOND))
        .with(Meter::Output, likely.saturating_mul(LIKELY_TOKENS_SAID_PER_SECOND))
        .with(Meter::Second, likely);
    request.form = Some(form);
    Ok(request)
}
