//! Time as an argument: wall-clock milliseconds and the trait that reads them.

use std::fmt;
use std::sync::atomic::{AtomicI64, Ordering};

use serde::{Deserialize, Serialize};

/// Milliseconds since 1970-01-01T00:00:00Z; may be negative before it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct UnixMillis(pub i64);

impl UnixMillis {
    /// This moment moved by `ms` milliseconds, saturating.
    #[must_use]
    pub fn plus_ms(self, ms: i64) -> Self {
        Self(self.0.saturating_add(ms))
    }

    /// Milliseconds from `earlier` to this moment; negative when `earlier` is later.
    #[must_use]
    pub fn since(self, earlier: Self) -> i64 {
        self.0.saturating_sub(earlier.0)
    }

    /// RFC 3339 in UTC with milliseconds, or `None` outside years -9999..=9999.
    #[must_use]
    pub fn to_rfc3339(self) -> Option<String> {
        let timestamp = jiff::Timestamp::from_millisecond(self.0).ok()?;
        Some(format!("{timestamp:.3}"))
    }

    /// Parses an RFC 3339 timestamp with an offset.
    ///
    /// # Errors
    /// The text is no RFC 3339 timestamp; the message says what was expected.
    pub fn parse_rfc3339(text: &str) -> Result<Self, String> {
        text.parse::<jiff::Timestamp>()
            .map(|timestamp| Self(timestamp.as_millisecond()))
            .map_err(|_| format!("`{text}` is not a time like 2027-01-01T00:00:00Z"))
    }
}

impl fmt::Display for UnixMillis {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.to_rfc3339() {
            Some(text) => f.write_str(&text),
            None => write!(f, "{}ms", self.0),
        }
    }
}

/// Where wall-clock time comes from. The binary owns the one that reads the system's clock.
pub trait Clock: Send + Sync + fmt::Debug {
    /// The present moment.
    fn now(&self) -> UnixMillis;
}

/// A clock that stands still until it is told to move; for tests and simulations.
#[derive(Debug, Default)]
pub struct ManualClock(AtomicI64);

impl ManualClock {
    /// A clock that reads `start`.
    #[must_use]
    pub fn new(start: UnixMillis) -> Self {
        Self(AtomicI64::new(start.0))
    }

    /// Moves the clock forwards (or back, when negative) by `ms` milliseconds.
    pub fn advance_ms(&self, ms: i64) {
        self.0.fetch_add(ms, Ordering::SeqCst);
    }

    /// Sets the clock to `now`.
    pub fn set(&self, now: UnixMillis) {
        self.0.store(now.0, Ordering::SeqCst);
    }
}

impl Clock for ManualClock {
    fn now(&self) -> UnixMillis {
        UnixMillis(self.0.load(Ordering::SeqCst))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rfc3339_round_trip() {
        let now = UnixMillis(1_767_225_600_123);
        assert_eq!(now.to_string(), "2026-01-01T00:00:00.123Z");
        assert_eq!(UnixMillis::parse_rfc3339("2026-01-01T00:00:00.123Z"), Ok(now));
        assert!(UnixMillis::parse_rfc3339("yesterday").unwrap_err().contains("2027-01-01T00:00:00Z"));
    }
}
