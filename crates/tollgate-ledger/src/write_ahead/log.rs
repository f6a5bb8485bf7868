//! The log as it is written: records gather in one buffer, and one `write` hands them to the system.

use std::fs::File;
use std::io::{self, Write as _};
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use tollgate_domain::{EventId, HoldId, UsageEvent};

use super::Recovered;
use super::frame::Frames;
use super::record::{self, HoldRecord};
use super::replay::replay;
use super::segment::SegmentDirectory;
use crate::error::LedgerError;

/// Bytes after which a checkpoint is due: about ten thousand requests, read within a few milliseconds at a start.
pub(crate) const CHECKPOINT_BYTES: u64 = 8 * 1024 * 1024;
/// The next checkpoint is due after so many times what the last one had to copy: copying stays a small part of all
/// writing when much is open.
const CHECKPOINT_SHARE: u64 = 2;
/// Settlements that nothing was written after for so long are written on their own.
const SETTLED_WAIT_AT_MOST: Duration = Duration::from_millis(20);
/// The buffer is written when it has so many bytes, whoever waits for it.
const MAX_BUFFERED_BYTES: usize = 256 * 1024;
/// After a write that failed the next one is tried after this time; meanwhile nothing is admitted.
const RETRY_AFTER: Duration = Duration::from_millis(100);
/// Room that the buffer keeps: a batch of settlements and an admission.
const USUAL_BUFFER_BYTES: usize = 64 * 1024;

/// Where a record ends, counted from the log's beginning in this process.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Position(u64);

/// The log of a ledger in this process.
#[derive(Debug)]
pub(crate) struct WriteAheadLog {
    directory: SegmentDirectory,
    state: Mutex<State>,
    /// Kept beside the state so that an admission can look without its lock.
    is_failing: AtomicBool,
    is_checkpointing: AtomicBool,
    /// Segments of the processes before, until what they tell is journaled.
    inherited: Mutex<Vec<u64>>,
}

#[derive(Debug)]
struct State {
    file: File,
    number: u64,
    frames: Frames,
    /// Records that are not written yet; always whole ones of the present segment, save that its beginning may be
    /// written already.
    buffer: Vec<u8>,
    /// Bytes appended and bytes written since the beginning.
    appended: u64,
    written: u64,
    written_at: Instant,
    failed_at: Option<Instant>,
    /// Appended bytes at which the next checkpoint is due.
    checkpoint_at: u64,
    /// Segments of this process that are not removed yet, the present one included.
    own: Vec<u64>,
}

impl State {
    /// Whether a write failed so lately that the next one is not tried yet.
    fn has_just_failed(&self) -> bool {
        self.failed_at.is_some_and(|at| at.elapsed() < RETRY_AFTER)
    }
}

impl WriteAheadLog {
    /// Reads what is in the directory and begins a new segment.
    ///
    /// # Errors
    /// [`LedgerError::Unavailable`] where the directory cannot be used, [`LedgerError::Misconfigured`] where it
    /// holds what this release cannot read.
    pub(crate) fn open(path: &Path) -> Result<(Self, Recovered), LedgerError> {
        let told = |error: io::Error| {
            let text = format!("the ledger's log in {} cannot be used: {error}", path.display());
            match error.kind() {
                io::ErrorKind::InvalidData => LedgerError::Misconfigured(text),
                _ => LedgerError::Unavailable(text),
            }
        };
        let directory = SegmentDirectory::open(path).map_err(told)?;
        let inherited = directory.numbers().map_err(told)?;
        let segments: Result<Vec<_>, _> = inherited.iter().map(|number| directory.read(*number)).collect();
        let recovered = replay(&segments.map_err(told)?).map_err(|_| {
            LedgerError::Misconfigured(format!(
                "the log in {} was written by another release: start that one once and end it with SIGTERM, or \
                 move the directory away, which loses what it tells of the last requests",
                path.display()
            ))
        })?;
        let number = inherited.last().map_or(1, |last| last + 1);
        let file = directory.create(number).map_err(told)?;
        let state = State {
            file,
            number,
            frames: Frames::of_segment(number),
            buffer: Vec::with_capacity(USUAL_BUFFER_BYTES),
            appended: 0,
            written: 0,
            written_at: Instant::now(),
            failed_at: None,
            checkpoint_at: CHECKPOINT_BYTES,
            own: vec![number],
        };
        let log = Self {
            directory,
            state: Mutex::new(state),
            is_failing: AtomicBool::new(false),
            is_checkpointing: AtomicBool::new(false),
            inherited: Mutex::new(inherited),
        };
        Ok((log, recovered))
    }

    // --- records: each is appended under the lock under which what it tells has changed ---

    pub(crate) fn hold(&self, hold: &HoldRecord<'_>) -> Position {
        self.append(|out| hold.append(out))
    }

    pub(crate) fn settled(&self, event: &UsageEvent) -> Position {
        self.append(|out| record::append_settled(out, event))
    }

    pub(crate) fn ended(&self, hold: HoldId) -> Position {
        self.append(|out| record::append_ended(out, hold))
    }

    pub(crate) fn journaled(&self, events: &[EventId]) -> Position {
        self.append(|out| record::append_journaled(out, events))
    }

    fn append(&self, write: impl FnOnce(&mut Vec<u8>)) -> Position {
        let mut state = self.state.lock();
        let State { frames, buffer, .. } = &mut *state;
        let n_before = buffer.len();
        frames.append(buffer, write);
        let n_bytes = buffer.len() - n_before;
        state.appended += bytes(n_bytes);
        Position(state.appended)
    }

    // --- writing ---

    /// Whether records can be written, as far as is known. To be asked before anything is changed that must be
    /// written: while writes fail one is tried now and then.
    ///
    /// # Errors
    /// [`LedgerError::Unavailable`]: they cannot.
    pub(crate) fn is_writable(&self) -> Result<(), LedgerError> {
        if !self.is_failing.load(Ordering::Acquire) {
            return Ok(());
        }
        let mut state = self.state.lock();
        if state.has_just_failed() {
            return Err(unwritable());
        }
        self.write(&mut state)
    }

    /// Has everything written up to `position`.
    ///
    /// # Errors
    /// [`LedgerError::Unavailable`]: it is not written. It stays in memory and is written as soon as that is
    /// possible.
    pub(crate) fn write_through(&self, position: Position) -> Result<(), LedgerError> {
        let mut state = self.state.lock();
        if state.written >= position.0 {
            return Ok(());
        }
        if state.has_just_failed() {
            // those who were decided together do not try one after the other
            return Err(unwritable());
        }
        self.write(&mut state)
    }

    /// Writes settlements that no admission has taken along for a while.
    pub(crate) fn write_settled(&self) {
        let mut state = self.state.lock();
        let is_due = state.written_at.elapsed() >= SETTLED_WAIT_AT_MOST;
        if is_due || state.buffer.len() >= MAX_BUFFERED_BYTES {
            self.write_unless_failed(&mut state);
        }
    }

    /// Writes all there is.
    pub(crate) fn write_all(&self) {
        self.write_unless_failed(&mut self.state.lock());
    }

    /// What fails is logged and stays in the buffer.
    fn write_unless_failed(&self, state: &mut State) {
        if !state.buffer.is_empty() && !state.has_just_failed() {
            let _ = self.write(state);
        }
    }

    fn write(&self, state: &mut State) -> Result<(), LedgerError> {
        let mut n_written = 0;
        let outcome = loop {
            if n_written == state.buffer.len() {
                break Ok(());
            }
            match state.file.write(&state.buffer[n_written..]) {
                Ok(0) => break Err(io::ErrorKind::WriteZero.into()),
                Ok(n) => n_written += n,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => break Err(error),
            }
        };
        state.written += bytes(n_written);
        match outcome {
            Ok(()) => {
                state.buffer.clear();
                state.buffer.shrink_to(MAX_BUFFERED_BYTES);
                state.written_at = Instant::now();
                if state.failed_at.take().is_some() {
                    self.is_failing.store(false, Ordering::Release);
                    tracing::info!("the ledger's log is written again: requests are admitted");
                }
                Ok(())
            }
            Err(error) => {
                // the rest of a record that was cut follows it when the write is repeated
                state.buffer.drain(..n_written);
                self.failed(state, &error);
                Err(unwritable())
            }
        }
    }

    fn failed(&self, state: &mut State, error: &io::Error) {
        if state.failed_at.replace(Instant::now()).is_none() {
            self.is_failing.store(true, Ordering::Release);
            let directory = self.directory.path().display();
            tracing::error!(%directory, %error, "the ledger's log cannot be written: nothing is admitted until it can");
        }
    }

    // --- checkpoints ---

    /// Whether so much was written that what is still open is worth copying.
    pub(crate) fn is_checkpoint_due(&self) -> bool {
        let state = self.state.lock();
        state.appended >= state.checkpoint_at
    }

    /// Begins a new segment, has `copy` append all that is open to it, and frees the segments before. Does nothing
    /// while another one is under way.
    pub(crate) fn checkpoint(&self, copy: impl FnOnce(&Self)) {
        if self.is_checkpointing.swap(true, Ordering::AcqRel) {
            return;
        }
        if let Err(error) = self.try_checkpoint(copy) {
            let mut state = self.state.lock();
            state.checkpoint_at = state.appended + CHECKPOINT_BYTES;
            drop(state);
            let directory = self.directory.path().display();
            tracing::warn!(%directory, %error, "the ledger's log was not made shorter; it is tried again");
        }
        self.is_checkpointing.store(false, Ordering::Release);
    }

    fn try_checkpoint(&self, copy: impl FnOnce(&Self)) -> io::Result<()> {
        let number = self.state.lock().number + 1;
        let file = self.directory.create(number)?;
        let begins_at = {
            let mut state = self.state.lock();
            state.own.push(number);
            // the buffer's records are of the segment before
            if self.write(&mut state).is_err() {
                state.own.pop();
                drop(state);
                self.directory.delete(&[number])?;
                return Err(io::Error::other("what is appended cannot be written"));
            }
            state.file = file;
            state.number = number;
            state.frames = Frames::of_segment(number);
            state.appended
        };
        copy(self);
        let mut state = self.state.lock();
        self.write(&mut state).map_err(|_| io::Error::other("what is open cannot be written"))?;
        let n_bytes = state.appended - begins_at;
        state.checkpoint_at = state.appended + CHECKPOINT_BYTES.max(n_bytes * CHECKPOINT_SHARE);
        let old: Vec<u64> = state.own.iter().copied().filter(|own| *own < number).collect();
        state.own.retain(|own| *own >= number);
        drop(state);
        self.directory.remove(&old)
    }

    /// Writes what a long copy has gathered.
    pub(crate) fn write_if_much(&self) {
        let mut state = self.state.lock();
        if state.buffer.len() >= MAX_BUFFERED_BYTES {
            self.write_unless_failed(&mut state);
        }
    }

    /// Has everything written elsewhere; answers where it was written until now.
    #[cfg(test)]
    pub(crate) fn replace_file(&self, file: File) -> File {
        std::mem::replace(&mut self.state.lock().file, file)
    }

    /// Lets go of what the processes before left, once it is journaled; `is_complete` says whether all of it is,
    /// else it is set aside for who looks after it.
    pub(crate) fn forget_inherited(&self, is_complete: bool) -> Result<(), LedgerError> {
        let inherited = std::mem::take(&mut *self.inherited.lock());
        let outcome = if is_complete {
            self.directory.delete(&inherited)
        } else {
            self.directory.set_aside(&inherited)
        };
        outcome.map_err(|error| LedgerError::Unavailable(format!("the ledger's old log stays: {error}")))
    }
}

fn bytes(n: usize) -> u64 {
    u64::try_from(n).expect("a buffer's length fits")
}

/// The cause is in the log: a client is told nothing of our files.
fn unwritable() -> LedgerError {
    LedgerError::Unavailable("its log cannot be written".to_owned())
}
