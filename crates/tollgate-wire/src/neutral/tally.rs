//! What a relay has shown of an answer: what is charged where the provider tells no usage, and what is counted where its
//! tokenizer is public.

/// The text of one streamed answer.
#[derive(Debug, Default)]
pub(crate) struct TextTally {
    /// Bytes of it.
    pub(crate) n_bytes: u64,
    /// Steps that carried some.
    pub(crate) n_events: u64,
    /// Bytes that had come when the usage was told.
    n_bytes_told: u64,
    /// What has come since it was last taken, where somebody counts it.
    collected: Option<String>,
}

impl TextTally {
    /// Keeps the text that comes from now on for [`Self::take`].
    pub(crate) fn collect(&mut self) {
        self.collected.get_or_insert_default();
    }

    /// Appends the text since the last time to `into`.
    pub(crate) fn take(&mut self, into: &mut String) {
        if let Some(text) = &mut self.collected {
            into.push_str(text);
            text.clear();
        }
    }

    /// Text has come.
    pub(crate) fn say(&mut self, text: &str) {
        self.n_bytes += text.len() as u64;
        self.n_events += 1;
        if let Some(collected) = &mut self.collected {
            collected.push_str(text);
        }
    }

    /// Something has come that counts as so much text.
    pub(crate) const fn show(&mut self, n_bytes: u64) {
        self.n_bytes += n_bytes;
    }

    /// The usage was told.
    pub(crate) const fn told(&mut self) {
        self.n_bytes_told = self.n_bytes;
    }

    /// Whether text has come since the usage was told: its count of the answer is not the last one.
    pub(crate) const fn has_grown(&self) -> bool {
        self.n_bytes > self.n_bytes_told
    }
}
