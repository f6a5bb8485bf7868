//! Segments: the files of the log. Readable by their owner only, as is all that a data directory holds.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use super::frame::Frames;

/// What a segment begins with; the last byte is the layout's version.
const MAGIC: [u8; 8] = *b"TGLEDGE\x01";
const SUFFIX: &str = "log";
/// Names a file that waits to be used again. What it holds means nothing.
const SPARE: &str = "spare";
/// Names segments that could not be journaled: kept for who looks after it, and not read again.
const SET_ASIDE_SUFFIX: &str = "set-aside";

/// The directory of a log.
#[derive(Clone, Debug)]
pub(crate) struct SegmentDirectory(PathBuf);

/// A segment as it is read.
pub(crate) struct SegmentText {
    pub(crate) number: u64,
    /// What follows its head. `None`: the head itself was cut; there is nothing behind it.
    pub(crate) frames: Option<Vec<u8>>,
    /// When it was written to last, in Unix milliseconds.
    pub(crate) written_at_ms: i64,
}

impl SegmentDirectory {
    /// The directory, made where it is missing.
    pub(crate) fn open(path: &Path) -> io::Result<Self> {
        fs::DirBuilder::new().recursive(true).mode(0o700).create(path)?;
        let this = Self(path.to_owned());
        // an earlier process's; it might begin with a number that comes again
        ignore_missing(fs::remove_file(this.0.join(SPARE)))?;
        Ok(this)
    }

    pub(crate) fn path(&self) -> &Path {
        &self.0
    }

    fn file(&self, number: u64) -> PathBuf {
        self.0.join(format!("{number:016x}.{SUFFIX}"))
    }

    /// The numbers of the segments that there are, ascending.
    pub(crate) fn numbers(&self) -> io::Result<Vec<u64>> {
        let mut numbers = Vec::new();
        for entry in fs::read_dir(&self.0)? {
            let name = entry?.file_name();
            let number = name.to_str().and_then(|name| name.split_once('.'));
            let number = number.filter(|(_, suffix)| *suffix == SUFFIX);
            numbers.extend(number.and_then(|(number, _)| u64::from_str_radix(number, 16).ok()));
        }
        numbers.sort_unstable();
        Ok(numbers)
    }

    /// Makes a segment, from the spare file where there is one.
    pub(crate) fn create(&self, number: u64) -> io::Result<File> {
        let (spare, path) = (self.0.join(SPARE), self.file(number));
        let mut file =
            OpenOptions::new().write(true).create(true).truncate(false).mode(0o600).open(&spare)?;
        file.write_all(&head(number))?;
        // by then its head says that what follows is of another segment
        fs::rename(&spare, &path)?;
        Ok(file)
    }

    /// Reads a segment whole.
    pub(crate) fn read(&self, number: u64) -> io::Result<SegmentText> {
        let mut file = File::open(self.file(number))?;
        let modified = file.metadata()?.modified()?.duration_since(std::time::UNIX_EPOCH);
        let written_at_ms = modified.map_or(0, |since| i64::try_from(since.as_millis()).unwrap_or(i64::MAX));
        let mut bytes = Vec::new();
        file.read_to_end(&mut bytes)?;
        let expected = head(number);
        let frames = if bytes.len() < expected.len() {
            None
        } else if bytes.starts_with(&expected) {
            Some(bytes.split_off(expected.len()))
        } else {
            return Err(io::Error::new(
                io::ErrorKind::InvalidData,
                "it is no segment that this release knows",
            ));
        };
        Ok(SegmentText { number, frames, written_at_ms })
    }

    /// Removes segments; one becomes the spare file where that is free.
    pub(crate) fn remove(&self, numbers: &[u64]) -> io::Result<()> {
        for number in numbers {
            let (path, spare) = (self.file(*number), self.0.join(SPARE));
            ignore_missing(if spare.exists() { fs::remove_file(path) } else { fs::rename(path, spare) })?;
        }
        Ok(())
    }

    /// Deletes segments for good.
    pub(crate) fn delete(&self, numbers: &[u64]) -> io::Result<()> {
        numbers.iter().try_for_each(|number| ignore_missing(fs::remove_file(self.file(*number))))
    }

    /// Renames segments so that nobody reads them any more.
    pub(crate) fn set_aside(&self, numbers: &[u64]) -> io::Result<()> {
        for number in numbers {
            let path = self.file(*number);
            ignore_missing(fs::rename(&path, path.with_extension(SET_ASIDE_SUFFIX)))?;
        }
        Ok(())
    }
}

fn head(number: u64) -> Vec<u8> {
    let mut head = MAGIC.to_vec();
    Frames::of_segment(number).append(&mut head, |out| out.extend_from_slice(&number.to_le_bytes()));
    head
}

fn ignore_missing(result: io::Result<()>) -> io::Result<()> {
    match result {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        other => other,
    }
}
