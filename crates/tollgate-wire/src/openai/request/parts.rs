//! Prompts: messages with their parts, and the string or token arrays of the older surfaces.

use super::audio::seconds_of;
use super::images::size_of_data_url;
use super::skim::wrong_type;
use super::{ImageDetail, ImagePart, Refusal, RequestError, RequestSkim};
use crate::json::{Kind, Scanner, decode_string};

/// Walks a chat's `messages`.
pub(super) fn messages(scanner: &mut Scanner<'_>, skim: &mut RequestSkim) -> Result<(), Refusal> {
    if scanner.peek()? != Kind::Array {
        return Err(wrong_type("messages", "an array of messages").into());
    }
    scanner.array(|scanner| {
        if scanner.peek()? != Kind::Object {
            let param = format!("messages[{}]", skim.n_messages);
            return Err(Refusal::from(wrong_type(&param, "an object")));
        }
        scanner.object(|scanner, key| match &*key.name(scanner.bytes()) {
            b"content" => content(scanner, skim),
            // An earlier spoken answer, by its id.
            b"audio" => {
                let value = scanner.skip()?;
                skim.has_unbounded_parts |= value.kind != Kind::Null;
                skim.has_audio_input |= value.kind != Kind::Null;
                Ok(())
            }
            _ => scanner.pass().map_err(Refusal::from),
        })?;
        skim.n_messages += 1;
        Ok(())
    })?;
    if skim.n_messages == 0 {
        return Err(RequestError::new("messages", "`messages` must have at least one message").into());
    }
    Ok(())
}

fn content(scanner: &mut Scanner<'_>, skim: &mut RequestSkim) -> Result<(), Refusal> {
    match scanner.peek()? {
        Kind::String | Kind::Null => {
            scanner.skip()?;
            Ok(())
        }
        Kind::Array => scanner.array(|scanner| part(scanner, skim)),
        _ => {
            let param = format!("messages[{}].content", skim.n_messages);
            Err(wrong_type(&param, "a string or an array of parts").into())
        }
    }
}

/// What a part is, by its `type` and by the members it has: both count, as servers differ in what they read.
#[derive(Default)]
struct Part {
    n_images: u64,
    is_image: bool,
    is_audio: bool,
    /// The member with the sound is there and was read.
    has_sound: bool,
    is_unbounded: bool,
    has_type: bool,
}

fn part(scanner: &mut Scanner<'_>, skim: &mut RequestSkim) -> Result<(), Refusal> {
    if scanner.peek()? == Kind::String {
        scanner.skip()?;
        return Ok(());
    }
    if scanner.peek()? != Kind::Object {
        let param = format!("messages[{}].content", skim.n_messages);
        return Err(wrong_type(&param, "a string or an array of parts").into());
    }
    let mut part = Part::default();
    scanner.object(|scanner, key| {
        match &*key.name(scanner.bytes()) {
            b"type" => {
                let value = scanner.skip()?;
                if value.kind == Kind::String {
                    part.see_type(&decode_string(&scanner.bytes()[value.inside()]));
                }
            }
            b"image_url" => {
                part.n_images += 1;
                image(scanner, skim)?;
            }
            b"input_audio" => {
                part.is_audio = true;
                part.has_sound = true;
                sound(scanner, skim)?;
            }
            b"file" | b"video_url" | b"video" | b"audio_url" | b"input_file" | b"document" => {
                part.is_unbounded = true;
                scanner.skip()?;
            }
            _ => scanner.pass()?,
        }
        Ok::<_, Refusal>(())
    })?;
    skim.n_images += part.n_images.max(u64::from(part.is_image));
    skim.has_audio_input |= part.is_audio;
    skim.has_unbounded_parts |= part.is_unbounded || !part.has_type || (part.is_audio && !part.has_sound);
    Ok(())
}

impl Part {
    fn see_type(&mut self, name: &str) {
        self.has_type = true;
        match name {
            "text" | "refusal" | "thinking" | "input_text" | "output_text" => {}
            "image_url" => self.is_image = true,
            "input_audio" => self.is_audio = true,
            _ => self.is_unbounded = true,
        }
    }
}

/// Reads an `image_url`: how closely to look, and the size and bytes of an image that is in the body.
fn image(scanner: &mut Scanner<'_>, skim: &mut RequestSkim) -> Result<(), Refusal> {
    let mut image = ImagePart { detail: ImageDetail::Full, size: None };
    if scanner.peek()? == Kind::Object {
        let (mut n_urls, mut n_details) = (0, 0);
        scanner.object(|scanner, key| {
            let name = key.name(scanner.bytes());
            let (is_url, is_detail) = (&*name == b"url", &*name == b"detail");
            let value = scanner.skip()?;
            if value.kind != Kind::String {
                return Ok::<_, Refusal>(());
            }
            let text = &scanner.bytes()[value.inside()];
            if is_url {
                n_urls += 1;
                image.size = inline_image(text, skim);
            } else if is_detail {
                n_details += 1;
                let is_low = n_details == 1 && &*decode_string(text) == "low";
                image.detail = if is_low { ImageDetail::Low } else { ImageDetail::Full };
            }
            Ok(())
        })?;
        if n_urls > 1 {
            // which of them is read is the provider's choice
            image.size = None;
        }
    } else {
        let value = scanner.skip()?;
        if value.kind == Kind::String {
            image.size = inline_image(&scanner.bytes()[value.inside()], skim);
        }
    }
    skim.images.push(image);
    Ok(())
}

/// Counts the bytes of an image that is in the body; its size, where it can be read.
fn inline_image(url: &[u8], skim: &mut RequestSkim) -> Option<(u32, u32)> {
    if !url.starts_with(b"data:image/") {
        return None;
    }
    skim.counts.n_image_bytes += url.len() as u64;
    size_of_data_url(url)
}

/// Reads an `input_audio`: how long it can last at most.
fn sound(scanner: &mut Scanner<'_>, skim: &mut RequestSkim) -> Result<(), Refusal> {
    let mut data = None;
    if scanner.peek()? == Kind::Object {
        scanner.object(|scanner, key| {
            let is_data = &*key.name(scanner.bytes()) == b"data";
            let value = scanner.skip()?;
            if is_data && value.kind == Kind::String {
                data = Some(value.inside());
            }
            Ok::<_, Refusal>(())
        })?;
    } else {
        // Mistral takes the text itself
        let value = scanner.skip()?;
        data = (value.kind == Kind::String).then(|| value.inside());
    }
    let seconds = data.clone().and_then(|data| seconds_of(&scanner.bytes()[data]));
    match (data, seconds) {
        (Some(data), Some(seconds)) => {
            skim.audio_seconds = skim.audio_seconds.saturating_add(seconds);
            skim.counts.n_audio_bytes += data.len() as u64;
        }
        _ => skim.has_unbounded_parts = true,
    }
    Ok(())
}

/// Walks `prompt` or `input`: a string, strings, token ids, or arrays of token ids.
pub(super) fn prompts(scanner: &mut Scanner<'_>, skim: &mut RequestSkim, param: &str) -> Result<(), Refusal> {
    let expected = "a string, an array of strings, or token ids";
    match scanner.peek()? {
        Kind::String => scanner.pass()?,
        Kind::Array => {
            let start = scanner.position();
            let (mut n_elements, mut n_ids) = (0, 0);
            scanner.array(|scanner| {
                n_elements += 1;
                match scanner.peek()? {
                    Kind::Number => {
                        n_ids += 1;
                        scanner.skip()?;
                    }
                    Kind::String => scanner.pass()?,
                    Kind::Array => token_ids(scanner, skim, param)?,
                    // Some embedding servers take objects (images, text) here.
                    Kind::Object => {
                        skim.has_unbounded_parts = true;
                        scanner.skip()?;
                    }
                    _ => return Err(wrong_type(param, expected).into()),
                }
                Ok::<_, Refusal>(())
            })?;
            if n_elements == 0 {
                return Err(RequestError::new(param, format!("`{param}` must not be empty")).into());
            }
            if n_ids == n_elements {
                skim.counts.n_ids = n_ids;
                skim.counts.n_id_bytes = (scanner.position() - start) as u64;
            } else {
                skim.n_prompts = n_elements;
            }
        }
        _ => return Err(wrong_type(param, expected).into()),
    }
    Ok(())
}

fn token_ids(scanner: &mut Scanner<'_>, skim: &mut RequestSkim, param: &str) -> Result<(), Refusal> {
    let start = scanner.position();
    scanner.array(|scanner| {
        skim.counts.n_ids += 1;
        match scanner.skip()?.kind {
            Kind::Number => Ok::<_, Refusal>(()),
            _ => Err(wrong_type(param, "token ids as integers").into()),
        }
    })?;
    skim.counts.n_id_bytes += (scanner.position() - start) as u64;
    Ok(())
}
