//! Streams: a provider's bytes into steps, steps into a client's bytes.

use bytes::Bytes;
use tollgate_domain::NanoUsd;

use crate::anthropic::{AnthropicStreamReader, AnthropicStreamWriter};
use crate::bedrock::{BedrockStreamReader, event_stream};
use crate::cohere::CohereStreamReader;
use crate::gemini::{GeminiStreamReader, GeminiStreamWriter};
use crate::json::ReadError;
use crate::neutral::{ChatDialect, StreamEvent};
use crate::openai::chat::{ChatStreamReader, ChatStreamWriter};
use crate::openai::responses::{ResponseEcho, ResponsesStreamReader, ResponsesStreamWriter};
use crate::openai::stream::CutNotice;
use crate::sse::{Decoder, SseError};

/// Reads a provider's stream in its dialect, however it is split.
#[derive(Debug)]
pub struct StreamReader {
    framing: Framing,
    reader: Reader,
}

#[derive(Debug)]
enum Framing {
    Events(Decoder),
    Messages(event_stream::Decoder),
}

#[derive(Debug)]
enum Reader {
    Chat(ChatStreamReader),
    Responses(ResponsesStreamReader),
    Anthropic(AnthropicStreamReader),
    Gemini(GeminiStreamReader),
    Bedrock(BedrockStreamReader),
    Cohere(CohereStreamReader),
}

impl StreamReader {
    /// A reader at the start of an answer.
    #[must_use]
    pub fn new(dialect: ChatDialect) -> Self {
        let reader = match dialect {
            ChatDialect::OpenAiChat => Reader::Chat(ChatStreamReader::default()),
            ChatDialect::OpenAiResponses => Reader::Responses(ResponsesStreamReader::default()),
            ChatDialect::Anthropic => Reader::Anthropic(AnthropicStreamReader::default()),
            ChatDialect::Gemini => Reader::Gemini(GeminiStreamReader::default()),
            ChatDialect::Bedrock => Reader::Bedrock(BedrockStreamReader::default()),
            ChatDialect::Cohere => Reader::Cohere(CohereStreamReader::default()),
        };
        let framing = match dialect {
            ChatDialect::Bedrock => Framing::Messages(event_stream::Decoder::default()),
            _ => Framing::Events(Decoder::new()),
        };
        Self { framing, reader }
    }

    /// Takes the next chunk and appends the steps it completes.
    ///
    /// # Errors
    /// An event is too large, damaged, or not what the dialect has.
    pub fn push(&mut self, chunk: Bytes, out: &mut Vec<StreamEvent>) -> Result<(), SseError> {
        match (&mut self.framing, &mut self.reader) {
            (Framing::Messages(decoder), Reader::Bedrock(reader)) => {
                let mut messages = Vec::new();
                // what was whole before the damage counts, however it was split
                let outcome = decoder.push(&chunk, &mut messages).map_err(|_| SseError::Unreadable);
                for message in &messages {
                    reader.message(message, out).map_err(unreadable)?;
                }
                outcome?;
            }
            (Framing::Events(decoder), reader) => {
                let mut frames = Vec::new();
                let outcome = decoder.push(chunk, &mut frames);
                for frame in &frames {
                    if let Some(data) = frame.data() {
                        read_data(reader, &data, out).map_err(unreadable)?;
                    }
                }
                outcome?;
            }
            (Framing::Messages(_), _) => return Err(SseError::Unreadable),
        }
        Ok(())
    }

    /// The end of the provider's body. A last event without its blank line counts, where it is whole;
    /// dialects without a terminator end here.
    pub fn end(&mut self, out: &mut Vec<StreamEvent>) {
        if let Framing::Events(decoder) = &mut self.framing {
            let rest = decoder.take_rest();
            if let Some(data) = crate::sse::frame_data(&rest) {
                // what cannot be read was cut off in the middle
                let _ = read_data(&mut self.reader, &data, out);
            }
        }
        match &mut self.reader {
            Reader::Gemini(reader) => drop(reader.end(out)),
            Reader::Bedrock(reader) => drop(reader.end(out)),
            _ => {}
        }
    }
}

fn unreadable(_: ReadError) -> SseError {
    SseError::Unreadable
}

fn read_data(reader: &mut Reader, data: &[u8], out: &mut Vec<StreamEvent>) -> Result<(), ReadError> {
    match reader {
        Reader::Chat(reader) => reader.data(data, out),
        Reader::Responses(reader) => reader.data(data, out),
        Reader::Anthropic(reader) => reader.data(data, out),
        Reader::Gemini(reader) => reader.data(data, out),
        Reader::Cohere(reader) => reader.data(data, out),
        Reader::Bedrock(_) => Ok(()),
    }
}

/// Writes a client's stream in its dialect.
#[derive(Debug)]
pub(super) enum StreamWriter {
    Chat(ChatStreamWriter),
    Responses(Box<ResponsesStreamWriter>),
    Anthropic(AnthropicStreamWriter),
    Gemini(GeminiStreamWriter),
}

impl StreamWriter {
    pub(super) fn new(dialect: ChatDialect, created: u64, wants_usage: bool, echo: ResponseEcho) -> Self {
        match dialect {
            ChatDialect::Anthropic => Self::Anthropic(AnthropicStreamWriter::default()),
            ChatDialect::Gemini => Self::Gemini(GeminiStreamWriter::default()),
            ChatDialect::OpenAiResponses => {
                Self::Responses(Box::new(ResponsesStreamWriter::new(echo, created)))
            }
            ChatDialect::OpenAiChat | ChatDialect::Bedrock | ChatDialect::Cohere => {
                Self::Chat(ChatStreamWriter::new(created, wants_usage))
            }
        }
    }

    /// The next events end a stream that is cut: the last one says why.
    pub(super) fn note_cut(&mut self, notice: Option<&CutNotice<'_>>) {
        let Some(notice) = notice else { return };
        match self {
            // has an end of its own
            Self::Chat(_) => {}
            Self::Responses(writer) => writer.note_cut(notice.to_json()),
            Self::Anthropic(writer) => writer.note_cut(notice.to_json()),
            Self::Gemini(writer) => writer.note_cut(notice.message.to_owned()),
        }
    }

    /// Goes on after `start` and with `open` parts, whose bytes have passed.
    pub(super) fn resume(&mut self, start: Option<&StreamEvent>, open: &[(u64, u64)]) {
        let _passed = start.and_then(|start| self.event(start, None));
        if let Self::Anthropic(writer) = self {
            writer.resume(open.first().map(|(_, part)| *part));
        }
    }

    pub(super) fn event(&mut self, event: &StreamEvent, cost: Option<NanoUsd>) -> Option<Bytes> {
        match self {
            Self::Chat(writer) => writer.event(event, cost),
            Self::Responses(writer) => writer.event(event, cost),
            Self::Anthropic(writer) => writer.event(event),
            Self::Gemini(writer) => writer.event(event),
        }
    }
}
