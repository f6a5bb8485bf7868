//! Files of people, read with a bound: also what has no size of its own (`/dev/zero`, a pipe) ends.

use std::fs::File;
use std::io::Read;
use std::path::Path;

/// Why a file gives no text.
#[derive(Debug, thiserror::Error)]
pub(crate) enum BoundedReadError {
    /// It cannot be opened or read.
    #[error("cannot be read: {0}")]
    Io(#[from] std::io::Error),
    /// It goes on after the bound.
    #[error("has more than {max_bytes} bytes; it is the wrong file")]
    TooLong {
        /// The bound.
        max_bytes: u64,
    },
    /// It is something else.
    #[error("is not UTF-8 text")]
    NotText,
}

/// The text of a file of at most `max_bytes` bytes.
pub(crate) fn read_bounded_text(path: &Path, max_bytes: u64) -> Result<String, BoundedReadError> {
    let mut bytes = Vec::new();
    let n_read = File::open(path)?.take(max_bytes + 1).read_to_end(&mut bytes)?;
    if u64::try_from(n_read).is_ok_and(|n_read| n_read > max_bytes) {
        return Err(BoundedReadError::TooLong { max_bytes });
    }
    String::from_utf8(bytes).map_err(|_| BoundedReadError::NotText)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reading_ends_at_the_bound() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("text");
        std::fs::write(&path, "12345").unwrap();
        assert_eq!(read_bounded_text(&path, 5).unwrap(), "12345");
        for (path, max_bytes) in [(path.as_path(), 4), (Path::new("/dev/zero"), 1_000)] {
            let told = read_bounded_text(path, max_bytes).unwrap_err().to_string();
            assert_eq!(told, format!("has more than {max_bytes} bytes; it is the wrong file"));
        }
        std::fs::write(&path, [0xff, 0xfe]).unwrap();
        assert_eq!(read_bounded_text(&path, 5).unwrap_err().to_string(), "is not UTF-8 text");
    }
}
