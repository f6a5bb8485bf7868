//! Problems of a configuration and how they are printed: `file:line: path: message`.

use std::fmt;

/// More problems than this help nobody.
pub(super) const MAX_PROBLEMS: usize = 100;

/// A problem within one file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Found {
    pub(super) line: usize,
    pub(super) path: String,
    pub(super) message: String,
}

/// One problem of a configuration file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// The file, as it was named.
    pub file: String,
    /// 1-based; 0 where the whole file is meant.
    pub line: usize,
    /// Which field, like `tenants[0].keys[1].limits`; empty for the document itself.
    pub path: String,
    /// What is wrong and what to write instead.
    pub message: String,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.file)?;
        if self.line > 0 {
            write!(f, ":{}", self.line)?;
        }
        f.write_str(": ")?;
        if !self.path.is_empty() {
            write!(f, "{}: ", self.path)?;
        }
        f.write_str(&self.message)
    }
}

/// Every problem of one configuration; never empty. `Display` prints one line each.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConfigProblems(Vec<Problem>);

impl ConfigProblems {
    pub(super) fn new(file: &str, found: Vec<Found>) -> Self {
        let name = |found: Found| Problem {
            file: file.to_owned(),
            line: found.line,
            path: found.path,
            message: found.message,
        };
        Self(found.into_iter().map(name).collect())
    }

    pub(super) fn of_file(file: &str, message: String) -> Self {
        Self::new(file, vec![Found { line: 0, path: String::new(), message }])
    }

    /// The problems in the order of their lines.
    #[must_use]
    pub fn problems(&self) -> &[Problem] {
        &self.0
    }
}

impl fmt::Display for ConfigProblems {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, problem) in self.0.iter().enumerate() {
            if index > 0 {
                f.write_str("\n")?;
            }
            write!(f, "{problem}")?;
        }
        Ok(())
    }
}

impl std::error::Error for ConfigProblems {}
