//! The relay of one streamed answer from one dialect into another: the same interface as
//! [`crate::openai::stream::StreamRelay`].

use bytes::Bytes;
use tollgate_domain::Usage;

use super::cut::CutPoint;
use super::passing::WholeEvents;
use super::streams::{StreamReader, StreamWriter};
use crate::neutral::{ChatDialect, PartStart, StreamEvent, TextTally};
use crate::openai::error::ProviderError;
use crate::openai::responses::ResponseEcho;
use crate::openai::stream::{RelayEvent, StreamEnd, UsageFrame};
use crate::sse::SseError;

/// What a picture in an answer counts as in bytes of text: as many as the dearest one that is known costs tokens.
const BYTES_PER_IMAGE: u64 = 4_096;

/// Reads steps in one dialect and writes them in another.
#[derive(Debug)]
pub struct TranslatingRelay {
    reader: StreamReader,
    /// Gone once the last event is written; never there where both sides speak the same.
    pub(super) writer: Option<StreamWriter>,
    /// Where the bytes pass as they are.
    passing: Option<WholeEvents>,
    pub(super) context: RelayContext,
    pub(super) cut_point: CutPoint,
    steps: Vec<StreamEvent>,
    content_begun: bool,
    n_finished: u64,
    pub(super) is_over: bool,
    has_failed: bool,
    usage: Option<Usage>,
    text: TextTally,
}

/// What a relay is told of its request.
#[derive(Clone, Debug)]
pub struct RelayContext {
    /// Who answers.
    pub provider: ChatDialect,
    /// Who asked.
    pub client: ChatDialect,
    /// Now, in Unix seconds.
    pub created: u64,
    /// Whether a client of Chat Completions asked for the usage chunk.
    pub wants_usage: bool,
    /// Answers that will each have a finish reason.
    pub n_choices: u64,
    /// What the answer repeats of its request.
    pub echo: ResponseEcho,
    /// The id and the model where the provider tells none.
    pub stand_in: (String, String),
}

impl TranslatingRelay {
    /// A relay at the start of an answer.
    #[must_use]
    pub fn new(context: RelayContext) -> Self {
        let RelayContext { provider, client, created, wants_usage, .. } = context;
        let is_passing = provider == client;
        let writer = || StreamWriter::new(client, created, wants_usage, context.echo.clone());
        Self {
            reader: StreamReader::new(provider),
            writer: (!is_passing).then(writer),
            passing: is_passing.then(WholeEvents::default),
            context,
            cut_point: CutPoint::default(),
            steps: Vec::new(),
            content_begun: false,
            n_finished: 0,
            is_over: false,
            has_failed: false,
            usage: None,
            text: TextTally::default(),
        }
    }

    /// Keeps the text that comes for [`Self::take_text`].
    pub fn collect_text(&mut self) {
        self.text.collect();
    }

    /// Appends the text since the last time to `into`.
    pub fn take_text(&mut self, into: &mut String) {
        self.text.take(into);
    }

    /// Takes the next chunk and appends what it leads to. After the end or an error everything is dropped.
    ///
    /// # Errors
    /// An event is too large or cannot be read; the stream is to be treated as broken.
    pub fn push(&mut self, chunk: Bytes, out: &mut Vec<RelayEvent>) -> Result<(), SseError> {
        if self.is_over {
            return Ok(());
        }
        let mut steps = std::mem::take(&mut self.steps);
        let passing = self.passing.is_some().then(|| chunk.clone());
        let outcome = self.reader.push(chunk, &mut steps);
        steps.drain(..).for_each(|step| self.step(step, out));
        self.steps = steps;
        // a chunk with the provider's error is told in our words instead
        if let (Some(chunk), Some(events)) = (passing, &mut self.passing)
            && !self.has_failed
            && outcome.is_ok()
        {
            out.extend(events.push(&chunk).map(RelayEvent::Forward));
        }
        outcome
    }

    /// The end of the provider's body (`clean`) or its failure.
    pub fn finish(&mut self, clean: bool, out: &mut Vec<RelayEvent>) -> StreamEnd {
        if clean && !self.is_over {
            let mut steps = Vec::new();
            self.reader.end(&mut steps);
            steps.into_iter().for_each(|step| self.step(step, out));
            let rest = self.passing.as_mut().and_then(WholeEvents::take_rest);
            out.extend(rest.filter(|_| !self.has_failed).map(RelayEvent::Forward));
            if !self.is_over && self.finish_seen() {
                // a clean end without the terminator
                self.step(StreamEvent::End, out);
            }
        }
        if self.is_over && !self.has_failed { StreamEnd::Complete } else { StreamEnd::Broken }
    }

    fn step(&mut self, step: StreamEvent, out: &mut Vec<RelayEvent>) {
        if self.is_over {
            return;
        }
        match step {
            StreamEvent::Error { message, kind } => {
                self.is_over = true;
                self.has_failed = true;
                let error = ProviderError { message, error_type: kind, code: None, param: None };
                out.push(RelayEvent::ProviderError(error));
                return;
            }
            StreamEvent::End => {
                self.is_over = true;
                out.extend(self.end());
                return;
            }
            StreamEvent::Usage(usage) => {
                self.usage = Some(usage);
                self.text.told();
            }
            StreamEvent::Finish { .. } => self.n_finished += 1,
            StreamEvent::PartStart { ref start, .. } => self.begin(start),
            StreamEvent::Delta { ref text, .. } => self.say(text),
            _ => {}
        }
        let step = self.named(step);
        self.cut_point.note(&step);
        let written = self.writer.as_mut().and_then(|writer| writer.event(&step, None));
        out.extend(written.map(RelayEvent::Forward));
    }

    /// A text that begins is empty: an error may still follow it, and nobody has lost anything by waiting.
    fn begin(&mut self, start: &PartStart) {
        match start {
            PartStart::Text | PartStart::Thinking | PartStart::Refusal => {}
            PartStart::HiddenThinking { data } => self.say(data),
            PartStart::ToolCall { name, .. } => self.say(name),
            PartStart::Image { .. } => {
                self.content_begun = true;
                self.text.show(BYTES_PER_IMAGE);
            }
        }
    }

    fn say(&mut self, text: &str) {
        self.content_begun = true;
        self.text.say(text);
    }

    /// The first step with the id and model that stand in where the provider tells none.
    fn named(&self, step: StreamEvent) -> StreamEvent {
        let StreamEvent::Start { id, model, created } = step else { return step };
        let or = |text: String, stand_in: &String| if text.is_empty() { stand_in.clone() } else { text };
        let stand_in = &self.context.stand_in;
        let (id, model) = (or(id, &stand_in.0), or(model, &stand_in.1));
        StreamEvent::Start { id, model, created }
    }

    /// The last event waits for the cost where there is one to tell.
    fn end(&mut self) -> Option<RelayEvent> {
        let mut writer = self.writer.take()?;
        let Some(usage) = self.usage else {
            return writer.event(&StreamEvent::End, None).map(RelayEvent::Forward);
        };
        let frame = UsageFrame::written(move |cost| writer.event(&StreamEvent::End, cost));
        Some(RelayEvent::Usage { usage: Ok(usage), frame })
    }

    /// Whether content has come: from here on there is no failover.
    #[must_use]
    pub const fn content_begun(&self) -> bool {
        self.content_begun
    }

    /// Whether every answer has its finish reason.
    #[must_use]
    pub const fn finish_seen(&self) -> bool {
        self.n_finished > 0 && self.n_finished >= self.context.n_choices
    }

    /// Whether the provider's terminator has come.
    #[must_use]
    pub const fn done_seen(&self) -> bool {
        self.is_over && !self.has_failed
    }

    /// The last usable usage.
    #[must_use]
    pub const fn usage(&self) -> Option<Usage> {
        self.usage
    }

    /// Whether text has come since the usage was told: its count of the answer is not the last one.
    #[must_use]
    pub const fn has_text_since_usage(&self) -> bool {
        self.text.has_grown()
    }

    /// Bytes of text relayed: content, reasoning, refusals, names and arguments of tool calls.
    #[must_use]
    pub const fn text_bytes(&self) -> u64 {
        self.text.n_bytes
    }

    /// Steps that carried text.
    #[must_use]
    pub const fn n_text_events(&self) -> u64 {
        self.text.n_events
    }
}
