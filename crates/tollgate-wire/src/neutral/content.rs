//! Messages and what they are made of.

use super::ChatDialect;
use crate::json::{RawJson, Rest};

/// Who speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// The operator of the application; stands above the user.
    System,
    /// OpenAI's newer word for [`Role::System`]; kept apart, since it may stand between turns.
    Developer,
    /// The user.
    User,
    /// The model.
    Assistant,
    /// A tool's answer.
    Tool,
}

/// One turn, or a part of one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Message {
    /// Who speaks.
    pub role: Role,
    /// What is said, in order.
    pub parts: Vec<Part>,
    /// The speaker's name, where several share a role.
    pub name: Option<String>,
    /// Members without a place here.
    pub rest: Rest,
}

/// One piece of a message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Part {
    /// What it is.
    pub kind: PartKind,
    /// The prompt up to here is to be cached.
    pub cache: Option<CacheMark>,
    /// Members without a place here.
    pub rest: Rest,
}

/// What a piece is. `Debug` is for tests' data only: nothing logs it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PartKind {
    /// Text.
    Text {
        /// The characters.
        text: String,
        /// Sources it cites, in the dialect they came in.
        citations: Option<RawJson>,
    },
    /// A picture.
    Image {
        /// Where it is.
        source: Media,
        /// OpenAI's `detail`: `low`, `high`, `auto`.
        detail: Option<String>,
    },
    /// A sound.
    Audio {
        /// Where it is.
        source: Media,
    },
    /// A film.
    Video {
        /// Where it is.
        source: Media,
    },
    /// A document.
    File {
        /// Where it is.
        source: Media,
        /// Its file name or title.
        name: Option<String>,
    },
    /// The model asks for a tool.
    ToolCall(ToolCall),
    /// A tool's answer.
    ToolResult(ToolResult),
    /// The model's reasoning, shown or summarised.
    Thinking {
        /// The characters; may be empty where only the signature is shown.
        text: String,
        /// What proves to its vendor that it is unchanged.
        signature: Option<String>,
    },
    /// Reasoning that only its vendor can read.
    HiddenThinking {
        /// The vendor's bytes.
        data: String,
    },
    /// The model declines.
    Refusal {
        /// Why.
        text: String,
    },
    /// A piece that only one dialect knows.
    Foreign {
        /// That dialect.
        dialect: ChatDialect,
        /// Its type there, for messages.
        name: String,
        /// The whole piece.
        raw: RawJson,
        /// Whether it stands beside messages, as the items of Responses do, not in one.
        is_item: bool,
    },
}

/// Where bytes are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Media {
    /// At an address.
    Url {
        /// The address.
        url: String,
        /// Its type, where it is told.
        media_type: Option<String>,
    },
    /// Here.
    Inline {
        /// Their type, like `image/png`.
        media_type: String,
        /// Standard base64.
        base64: String,
    },
    /// Uploaded to the provider before.
    FileId(String),
    /// Plain text, as Anthropic's documents may be.
    Text(String),
}

/// A tool that the model asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ToolCall {
    /// What its result refers to.
    pub id: String,
    /// The tool's name.
    pub name: String,
    /// Arguments as JSON text, exactly as the model wrote them; free text for a custom tool.
    pub arguments: String,
    /// Whether it is a custom tool, whose input is free text.
    pub is_custom: bool,
    /// What Gemini wants back with it on later turns.
    pub signature: Option<String>,
}

/// A tool's answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ToolResult {
    /// The call it answers.
    pub call_id: String,
    /// The tool's name, where the dialect tells it.
    pub name: Option<String>,
    /// What it said: text, pictures, files.
    pub content: Vec<Part>,
    /// Whether the tool failed.
    pub is_error: bool,
}

/// A mark that the prompt up to here is to be cached.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CacheMark {
    /// `5m` or `1h`, where it is told.
    pub ttl: Option<String>,
}

// === impl Message ===

impl Message {
    /// A message of some parts.
    #[must_use]
    pub fn new(role: Role, parts: Vec<Part>) -> Self {
        Self { role, parts, name: None, rest: Rest::default() }
    }

    /// A message of one text.
    #[must_use]
    pub fn text(role: Role, text: impl Into<String>) -> Self {
        Self::new(role, vec![Part::text(text)])
    }
}

// === impl Part ===

impl Part {
    /// A part of that kind and nothing beside it.
    #[must_use]
    pub fn new(kind: PartKind) -> Self {
        Self { kind, cache: None, rest: Rest::default() }
    }

    /// A text.
    #[must_use]
    pub fn text(text: impl Into<String>) -> Self {
        Self::new(PartKind::Text { text: text.into(), citations: None })
    }
}

impl From<PartKind> for Part {
    fn from(kind: PartKind) -> Self {
        Self::new(kind)
    }
}

// === impl Media ===

impl Media {
    /// An address, or the bytes that a `data:` address holds.
    #[must_use]
    pub fn from_url(url: &str) -> Self {
        let inline = url.strip_prefix("data:").and_then(|rest| rest.split_once(";base64,"));
        match inline {
            Some((media_type, base64)) => {
                Self::Inline { media_type: media_type.to_owned(), base64: base64.to_owned() }
            }
            None => Self::Url { url: url.to_owned(), media_type: None },
        }
    }

    /// As an address: bytes that are here as a `data:` address; `None` for what has none.
    #[must_use]
    pub fn to_url(&self) -> Option<String> {
        match self {
            Self::Url { url, .. } => Some(url.clone()),
            Self::Inline { media_type, base64 } => Some(format!("data:{media_type};base64,{base64}")),
            Self::FileId(_) | Self::Text(_) => None,
        }
    }
}
