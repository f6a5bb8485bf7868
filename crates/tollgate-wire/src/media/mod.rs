//! OpenAI's surfaces beside conversation: moderations, rerank, images, sound. Their bodies pass as they came, but for
//! the model's name; what is read of them is what bounds their cost, and what their answers count.
//!
//! | surface | bounded by |
//! |---|---|
//! | moderations | the body's bytes, and a constant for each image |
//! | rerank | the documents' and the query's bytes: tokens, and searches of a hundred pieces of 500 tokens |
//! | images | `n`, and a table of tokens by size and quality |
//! | speech | the text's characters |
//! | transcriptions, translations | the sound's length, exact for WAV and MP3, else by its bytes |

mod answer;
mod read;
mod sound;
mod stream;
#[cfg(test)]
mod tests;

use bytes::Bytes;
use tollgate_domain::{Meter, Surface, Usage};

pub use self::answer::{counted_usage, read_answer};
pub use self::read::read;
pub(crate) use self::sound::{MP3_BYTES_PER_SECOND, wav_bytes_per_second};
pub use self::sound::{OTHER_SOUND_BYTES_PER_SECOND, SoundLength, sound_length};
pub use self::stream::{MAX_MEDIA_EVENT_BYTES, MediaRelay};
use crate::json::{Node, ReadError, set_members, write_string};
use crate::multipart::Form;
use crate::openai::request::{RequestSkim, empty};

/// What a request can count at most.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct MediaBounds {
    /// Prompt tokens.
    pub input_tokens: u64,
    /// Answer tokens, over all answers.
    pub output_tokens: u64,
    /// Whole units: images, seconds, searches, characters.
    pub units: Usage,
}

/// A request of one of these surfaces.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MediaRequest {
    /// Which.
    pub surface: Surface,
    /// The model as the client spelled it; `None` where it named none.
    pub model: Option<String>,
    /// Whether the client wants events.
    pub stream: bool,
    /// The end user, as the client names it.
    pub user: Option<String>,
    /// Members by which some provider answers with another model than the priced one.
    pub foreign_members: Vec<&'static str>,
    /// What it can count at most.
    pub bounds: MediaBounds,
    /// What it counts for certain or in all likelihood, before anybody has answered: what is charged for what is
    /// lost on the way, and where an answer tells nothing.
    pub expected: Usage,
    /// Images asked for; the answer shows how many there are.
    n_images: u64,
    form: Option<Form>,
}

impl MediaRequest {
    /// A call of which nothing is read.
    #[must_use]
    pub fn passthrough() -> Self {
        read::request(Surface::Passthrough)
    }

    /// What the request path knows of every request.
    #[must_use]
    pub fn skim(&self) -> RequestSkim {
        let mut skim = empty(self.surface);
        skim.model.clone_from(&self.model);
        skim.stream = self.stream;
        skim.user.clone_from(&self.user);
        skim.foreign_members.clone_from(&self.foreign_members);
        skim
    }

    /// Whether its body is a form.
    #[must_use]
    pub const fn is_form(&self) -> bool {
        self.form.is_some()
    }

    /// Whether the answer may be bytes of no known shape: sound, and the texts of subtitles.
    #[must_use]
    pub const fn may_answer_with_anything(&self) -> bool {
        use Surface::{Passthrough, Speech, Transcriptions, Translations};
        matches!(self.surface, Speech | Transcriptions | Translations | Passthrough)
    }

    /// The body for a provider that calls the model `model`; `body` must be the request's own.
    ///
    /// # Errors
    /// The model's name holds what a form cannot carry.
    pub fn body_for(&self, body: &Bytes, model: &str) -> Result<Bytes, ReadError> {
        if self.surface == Surface::Passthrough || self.model.as_deref() == Some(model) {
            return Ok(body.clone());
        }
        if let Some(form) = &self.form {
            if model.chars().any(char::is_control) {
                let message = "must be a name without control characters".to_owned();
                return Err(crate::json::FieldError { path: "model".to_owned(), message }.into());
            }
            return Ok(Bytes::from(form.with_field(body, "model", model)));
        }
        let mut name = Vec::with_capacity(model.len() + 2);
        write_string(&mut name, model);
        let name = String::from_utf8_lossy(&name);
        let root = Node::parse(body)?;
        Ok(Bytes::from(set_members(body, &root, &[(&["model"], &name)])?))
    }

    /// Prompt tokens as rate limits count them.
    #[must_use]
    pub fn input_estimate(&self) -> u64 {
        self.expected.get(Meter::Input)
    }
}
