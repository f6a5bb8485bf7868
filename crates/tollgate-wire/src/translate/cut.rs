//! The end of a stream that the gateway cuts, in the client's dialect: as if the answer's cap had been reached.

use bytes::{Bytes, BytesMut};
use tollgate_domain::{Meter, NanoUsd, Surface, Usage};

use super::TranslatingRelay;
use super::streams::StreamWriter;
use crate::neutral::{ChatDialect, FinishReason, StreamEvent};
use crate::openai::stream::{CutNotice, CutUsage, StreamHead, cut_events};

/// Which parts are open and which answers have ended, so that a stream can be ended in the middle.
#[derive(Debug, Default)]
pub(super) struct CutPoint {
    /// Id, model and time as they were told.
    start: Option<StreamEvent>,
    open: Vec<(u64, u64)>,
    finished: Vec<u64>,
}

impl CutPoint {
    pub(super) fn note(&mut self, step: &StreamEvent) {
        match step {
            StreamEvent::Start { .. } => self.start = Some(step.clone()),
            StreamEvent::PartStart { choice, part, .. } => self.open.push((*choice, *part)),
            StreamEvent::PartEnd { choice, part } => self.open.retain(|open| *open != (*choice, *part)),
            StreamEvent::Finish { choice, .. } => self.finished.push(*choice),
            _ => {}
        }
    }

    /// What ends the parts and answers that have not ended.
    fn steps(&self, n_choices: u64) -> Vec<StreamEvent> {
        let ends =
            self.open.iter().map(|(choice, part)| StreamEvent::PartEnd { choice: *choice, part: *part });
        let open = (0..n_choices.max(1)).filter(|choice| !self.finished.contains(choice));
        let finishes = open.map(|choice| StreamEvent::Finish {
            choice,
            reason: FinishReason::Length,
            stop_sequence: None,
        });
        ends.chain(finishes).collect()
    }

    fn head(&self) -> StreamHead {
        match &self.start {
            Some(StreamEvent::Start { id, model, created }) => {
                StreamHead::of(id, *created, model, self.finished.clone())
            }
            _ => StreamHead::default(),
        }
    }
}

impl TranslatingRelay {
    /// The last events of the client's stream: whatever is open ends, the answers with `length`, `notice` says why
    /// where the dialect has a place for it. Nothing of the provider's is relayed any more.
    pub fn cut(&mut self, usage: &Usage, cost: NanoUsd, notice: Option<&CutNotice<'_>>) -> Bytes {
        self.is_over = true;
        if self.context.client == ChatDialect::OpenAiChat {
            let counts = CutUsage::of(usage, cost);
            let counts = self.context.wants_usage.then_some(counts);
            let created = self.context.created;
            let head = self.cut_point.head().created_or(created);
            return cut_events(&head, Surface::Chat, self.context.n_choices, notice, counts);
        }
        let mut out = BytesMut::new();
        let mut writer = self.writer.take().unwrap_or_else(|| self.passing_writer());
        writer.note_cut(notice);
        let steps = self.cut_point.steps(self.context.n_choices);
        for step in steps.into_iter().chain([StreamEvent::Usage(*usage)]) {
            out.extend(writer.event(&step, None).unwrap_or_default());
        }
        out.extend(writer.event(&StreamEvent::End, Some(cost)).unwrap_or_default());
        out.freeze()
    }

    /// A writer that goes on where bytes have passed.
    fn passing_writer(&self) -> StreamWriter {
        let context = &self.context;
        let mut writer =
            StreamWriter::new(context.client, context.created, context.wants_usage, context.echo.clone());
        writer.resume(self.cut_point.start.as_ref(), &self.cut_point.open);
        writer
    }
}

impl CutUsage {
    /// The counts of the dialect.
    #[must_use]
    pub fn of(usage: &Usage, cost: NanoUsd) -> Self {
        // the units beside tokens have no place here
        debug_assert!(usage.get(Meter::Request) <= 1, "one request is cut");
        Self { prompt_tokens: usage.input_tokens(), completion_tokens: usage.output_tokens(), cost }
    }
}
