//! Values written as text: names, money, moments, durations, retention, secrets.

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use tollgate_domain::{NanoUsd, Secret, TimeZoneName, UnixMillis};
use tollgate_policy::Retention;
use utoipa::ToSchema;

/// Longest name of anything: it stands in headers, metrics and URLs.
pub const MAX_NAME_CHARS: usize = 64;

/// An amount in USD, written as a decimal string.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, ToSchema)]
#[serde(transparent)]
#[schema(value_type = String, example = "12.50")]
pub struct Usd(pub NanoUsd);

/// A moment, written in RFC 3339.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, ToSchema)]
#[schema(value_type = String, format = DateTime, example = "2027-01-01T00:00:00.000Z")]
pub struct Time(pub UnixMillis);

impl Serialize for Time {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&self.0)
    }
}

impl<'de> Deserialize<'de> for Time {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        UnixMillis::parse_rfc3339(&text).map(Self).map_err(serde::de::Error::custom)
    }
}

/// A secret in a request body or a configuration document. `Debug` shows nothing; `Serialize` **does** write
/// it out, because the command line sends such documents to the control plane.
#[derive(Clone, Debug, PartialEq, Eq, ToSchema)]
#[schema(value_type = String)]
pub struct SecretText(pub Secret);

impl SecretText {
    /// Wraps `text`.
    #[must_use]
    pub fn new(text: impl Into<String>) -> Self {
        Self(Secret::new(text))
    }

    /// Whether nothing stands there, as after `${VARIABLE:-}`.
    #[must_use]
    pub fn is_blank(&self) -> bool {
        self.0.expose().trim().is_empty()
    }
}

impl Serialize for SecretText {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.0.expose())
    }
}

impl<'de> Deserialize<'de> for SecretText {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer).map(Self::new)
    }
}

/// Checks a name: `[a-z0-9][a-zA-Z0-9._-]*`, at most [`MAX_NAME_CHARS`]; never in the form of an id.
pub(crate) fn name(text: &str) -> Result<(), String> {
    let mut bytes = text.bytes();
    let begins_well = bytes.next().is_some_and(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit());
    let goes_on_well = bytes.all(|byte| byte.is_ascii_alphanumeric() || b"._-".contains(&byte));
    if !begins_well || !goes_on_well || text.len() > MAX_NAME_CHARS {
        return Err(format!(
            "`{}` is not a name: write 1 to {MAX_NAME_CHARS} letters, digits, `.`, `_` or `-`, beginning with a \
             lower-case letter or a digit",
            text.chars().take(MAX_NAME_CHARS).collect::<String>().escape_debug()
        ));
    }
    if text.parse::<tollgate_domain::TenantId>().is_ok() {
        return Err(format!("`{text}` looks like an id: choose a name"));
    }
    Ok(())
}

/// An amount that may be a limit or a credit.
pub(crate) fn limit_amount(text: &str) -> Result<NanoUsd, String> {
    NanoUsd::parse_limit(text).map_err(|error| error.to_string())
}

/// A moment with an offset.
pub(crate) fn time(text: &str) -> Result<UnixMillis, String> {
    UnixMillis::parse_rfc3339(text)
}

/// An IANA time zone; UTC where none is given.
pub(crate) fn time_zone(text: Option<&str>) -> Result<TimeZoneName, String> {
    text.map_or_else(
        || Ok(TimeZoneName::utc()),
        |text| TimeZoneName::parse(text).map_err(|error| error.to_string()),
    )
}

const UNITS_MS: [(&str, u64); 4] = [("ms", 1), ("s", 1_000), ("m", 60_000), ("h", 3_600_000)];
/// No wait of a request can be meant to be longer than a day.
const MAX_DURATION_MS: u64 = 24 * 3_600_000;

/// A duration like `200ms`, `2s`, `5m`, `1h`, in milliseconds.
pub(crate) fn duration_ms(text: &str) -> Result<u64, String> {
    let refused = || format!("`{text}` is not a duration: write `200ms`, `2s`, `5m` or `1h`, at most a day");
    let digits = text.find(|letter: char| !letter.is_ascii_digit()).unwrap_or(text.len());
    let (number, unit) = text.split_at(digits);
    let unit_ms = UNITS_MS.iter().find(|(name, _)| *name == unit).map(|(_, ms)| *ms).ok_or_else(refused)?;
    let number: u64 = number.parse().map_err(|_| refused())?;
    number.checked_mul(unit_ms).filter(|ms| *ms <= MAX_DURATION_MS).ok_or_else(refused)
}

/// A duration in its largest whole unit.
pub(crate) fn duration_text(ms: u64) -> String {
    let fits = |unit: &&(&str, u64)| ms > 0 && ms.is_multiple_of(unit.1);
    let (unit, unit_ms) = UNITS_MS.iter().rev().find(fits).copied().unwrap_or(UNITS_MS[0]);
    format!("{}{unit}", ms / unit_ms)
}

/// What a vendor keeps: `none`, or days like `30d`.
pub(crate) fn retention(text: &str) -> Result<Retention, String> {
    if text == "none" {
        return Ok(Retention(0));
    }
    let days = text.strip_suffix('d').and_then(|days| days.parse::<u32>().ok());
    days.map(Retention).ok_or_else(|| format!("`{text}` is not a retention: write `none` or days like `30d`"))
}

/// A retention as it is written.
pub(crate) fn retention_text(retention: Retention) -> String {
    if retention.0 == 0 { "none".to_owned() } else { format!("{}d", retention.0) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names() {
        let longest = "a".repeat(MAX_NAME_CHARS);
        for good in ["acme", "9lives", "a.B_c-d", longest.as_str()] {
            assert_eq!(name(good), Ok(()), "{good}");
        }
        let too_long = "a".repeat(MAX_NAME_CHARS + 1);
        let id = "019a2b3c-4d5e-7f60-8a9b-0c1d2e3f4a5b";
        for bad in ["", "Acme", "-a", ".a", "a/b", "a b", "ä", "a\n", too_long.as_str(), id] {
            assert!(name(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn durations_and_retention() {
        for (text, ms) in [("200ms", 200), ("2s", 2_000), ("5m", 300_000), ("1h", 3_600_000), ("0ms", 0)] {
            assert_eq!(duration_ms(text), Ok(ms), "{text}");
            assert_eq!(duration_text(ms), text);
        }
        assert_eq!(duration_text(1_500), "1500ms");
        for bad in ["", "2", "s", "2 s", "-2s", "2d", "1.5s", "25h", "99999999999999999999s"] {
            assert!(duration_ms(bad).is_err(), "{bad}");
        }
        assert_eq!(retention("none"), Ok(Retention(0)));
        assert_eq!(retention("30d"), Ok(Retention(30)));
        assert_eq!(retention_text(Retention(30)), "30d");
        assert!(retention("30").is_err() && retention("d").is_err() && retention("forever").is_err());
    }

    #[test]
    fn secrets_are_not_printed_and_times_are_rfc3339() {
        assert!(!format!("{:?}", SecretText::new("sk-canary")).contains("canary"));
        let time: Time = serde_json::from_str("\"2027-01-01T00:00:00Z\"").unwrap();
        assert_eq!(serde_json::to_string(&time).unwrap(), "\"2027-01-01T00:00:00.000Z\"");
    }
}
