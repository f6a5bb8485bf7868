//! Where one event ends and the next begins, whatever the chunks are.

use memchr::memchr2;

/// Finds the blank lines that end events. It remembers of the past only what the standard makes necessary:
/// whether the line is empty so far, and whether a CR may still get its LF.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Splitter {
    line_has_bytes: bool,
    after_cr: AfterCr,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum AfterCr {
    #[default]
    No,
    /// The CR ended a line with bytes.
    Line,
    /// The CR ended an empty line, and with it an event; an LF still belongs to it.
    Event,
}

impl Splitter {
    /// The end of the event that goes on at `start` of `bytes`, with its blank line; `None` where it goes on
    /// in the next chunk. An event that ends in a bare CR ends when the byte after it is known, so that
    /// frames do not depend on where a chunk ends.
    pub(super) fn event_end(&mut self, bytes: &[u8], start: usize) -> Option<usize> {
        let mut at = start;
        loop {
            if self.after_cr != AfterCr::No {
                let next = *bytes.get(at)?;
                let ended_event = self.after_cr == AfterCr::Event;
                self.after_cr = AfterCr::No;
                at += usize::from(next == b'\n');
                if ended_event {
                    return Some(at);
                }
            }
            let rest = &bytes[at..];
            let Some(length) = memchr2(b'\r', b'\n', rest) else {
                self.line_has_bytes |= !rest.is_empty();
                return None;
            };
            let is_blank = length == 0 && !self.line_has_bytes;
            self.line_has_bytes = false;
            at += length + 1;
            if bytes[at - 1] == b'\r' {
                self.after_cr = if is_blank { AfterCr::Event } else { AfterCr::Line };
            } else if is_blank {
                return Some(at);
            }
        }
    }
}
