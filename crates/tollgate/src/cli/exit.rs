//! Exit codes: 0 for success, 2 for bad arguments or configuration, 1 for everything else.

use std::process::ExitCode;

use crate::config::ConfigProblems;

/// Success.
pub const EXIT_OK: u8 = 0;
/// Something went wrong while doing what was asked.
pub const EXIT_FAILURE: u8 = 1;
/// What was asked makes no sense: arguments, environment or configuration.
pub const EXIT_USAGE: u8 = 2;

/// Arguments or environment that cannot be meant: the process ends with [`EXIT_USAGE`].
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct UsageError(String);

impl UsageError {
    /// `message` says what is wrong and what to do, in lower case; it must not repeat a secret.
    #[must_use]
    pub fn new(message: impl Into<String>) -> Self {
        Self(message.into())
    }
}

/// The code an error ends the process with.
#[must_use]
pub fn exit_code(error: &anyhow::Error) -> u8 {
    let is_usage = error.chain().any(|cause| cause.is::<UsageError>() || cause.is::<ConfigProblems>());
    if is_usage { EXIT_USAGE } else { EXIT_FAILURE }
}

/// Prints an error to stderr and gives its code: configuration problems as they are, one per line, anything
/// else as one sentence.
pub(super) fn report(error: &anyhow::Error) -> ExitCode {
    use std::io::Write;
    let mut stderr = std::io::stderr().lock();
    let _ = match error.downcast_ref::<ConfigProblems>() {
        Some(problems) => writeln!(stderr, "{problems}"),
        None => writeln!(stderr, "error: {error:#}"),
    };
    ExitCode::from(exit_code(error))
}
