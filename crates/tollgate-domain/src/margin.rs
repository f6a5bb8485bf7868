//! Margins: what a customer pays more (or less) than the provider's price, in hundredths of a percent.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::MarginId;

/// Basis points of the provider's price itself: a margin of so many is no margin more than the whole.
const WHOLE: i32 = 10_000;

/// A margin in basis points (hundredths of a percent): −10,000 makes free of charge, 0 passes the provider's
/// price on, 1,000 adds a tenth. Written as a percentage with at most two decimals: `"12.5"`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "i32", into = "i32")]
pub struct BasisPoints(i32);

/// Why a margin was refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum MarginError {
    /// Not a plain decimal number.
    #[error("`{0}` is not a percentage; write a decimal like \"10\" or \"-2.5\"")]
    Malformed(String),
    /// More than two digits after the point.
    #[error("`{0}` is finer than a hundredth of a percent; round it to two decimals")]
    TooPrecise(String),
    /// Below −100 % or above 10,000 %.
    #[error("`{0}` is out of range; write a percentage from -100 to 10000")]
    OutOfRange(String),
}

impl BasisPoints {
    /// The provider's price as it is.
    pub const ZERO: Self = Self(0);
    /// Free of charge.
    pub const LEAST: Self = Self(-WHOLE);
    /// A hundred times the provider's price on top of it.
    pub const MOST: Self = Self(1_000_000);
    /// The factor that changes nothing; see [`BasisPoints::factor`].
    pub const UNCHANGED: u32 = WHOLE.unsigned_abs();

    /// A margin of so many basis points; `None` outside −10,000 to 1,000,000.
    #[must_use]
    pub const fn new(basis_points: i32) -> Option<Self> {
        if basis_points < Self::LEAST.0 || basis_points > Self::MOST.0 {
            return None;
        }
        Some(Self(basis_points))
    }

    /// The number of basis points.
    #[must_use]
    pub const fn get(self) -> i32 {
        self.0
    }

    /// By what a sum of provider's prices is multiplied, in ten-thousandths: 11,000 for a margin of a tenth.
    #[must_use]
    pub const fn factor(self) -> u32 {
        // never below zero: the type begins at −10,000
        (WHOLE + self.0).unsigned_abs()
    }
}

impl TryFrom<i32> for BasisPoints {
    type Error = MarginError;

    fn try_from(basis_points: i32) -> Result<Self, MarginError> {
        Self::new(basis_points).ok_or_else(|| MarginError::OutOfRange(format!("{basis_points} basis points")))
    }
}

impl From<BasisPoints> for i32 {
    fn from(margin: BasisPoints) -> Self {
        margin.0
    }
}

impl FromStr for BasisPoints {
    type Err = MarginError;

    fn from_str(text: &str) -> Result<Self, MarginError> {
        let malformed = || MarginError::Malformed(text.to_owned());
        let (is_negative, digits) = match text.strip_prefix('-') {
            Some(rest) => (true, rest),
            None => (false, text),
        };
        let (whole, fraction) = digits.split_once('.').unwrap_or((digits, "0"));
        let is_number = |part: &str| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit());
        if !is_number(whole) || !is_number(fraction) {
            return Err(malformed());
        }
        let fraction = fraction.trim_end_matches('0');
        if fraction.len() > 2 {
            return Err(MarginError::TooPrecise(text.to_owned()));
        }
        let out_of_range = || MarginError::OutOfRange(text.to_owned());
        let whole: i32 = whole.parse().map_err(|_| out_of_range())?;
        let hundredths: i32 = format!("{fraction:0<2}").parse().map_err(|_| malformed())?;
        let magnitude =
            whole.checked_mul(100).and_then(|all| all.checked_add(hundredths)).ok_or_else(out_of_range)?;
        Self::new(if is_negative { -magnitude } else { magnitude }).ok_or_else(out_of_range)
    }
}

/// The percentage, without zeros at its end: `12.5`.
impl fmt::Display for BasisPoints {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let sign = if self.0 < 0 { "-" } else { "" };
        let (whole, hundredths) = (self.0.unsigned_abs() / 100, self.0.unsigned_abs() % 100);
        match (hundredths, hundredths % 10) {
            (0, _) => write!(f, "{sign}{whole}"),
            (_, 0) => write!(f, "{sign}{whole}.{}", hundredths / 10),
            _ => write!(f, "{sign}{whole}.{hundredths:02}"),
        }
    }
}

/// A margin and the rule that says so.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct AppliedMargin {
    /// The rule.
    pub rule: MarginId,
    /// How much.
    pub basis_points: BasisPoints,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    #[expect(clippy::type_complexity, reason = "a table of what is written, and what comes of it")]
    fn percentages_are_read_and_written() {
        let cases: &[(&str, Result<(i32, &str), &str>)] = &[
            ("10", Ok((1_000, "10"))),
            ("10.00", Ok((1_000, "10"))),
            ("12.5", Ok((1_250, "12.5"))),
            ("0.01", Ok((1, "0.01"))),
            ("0.10", Ok((10, "0.1"))),
            ("-0.05", Ok((-5, "-0.05"))),
            ("-0", Ok((0, "0"))),
            ("33.33", Ok((3_333, "33.33"))),
            ("1.2300", Ok((123, "1.23"))),
            ("-100", Ok((-10_000, "-100"))),
            ("10000", Ok((1_000_000, "10000"))),
            ("-100.01", Err("out of range")),
            ("10000.01", Err("out of range")),
            ("99999999999", Err("out of range")),
            ("21474837", Err("out of range")),
            ("1.234", Err("finer")),
            ("", Err("not a percentage")),
            ("-", Err("not a percentage")),
            ("10%", Err("not a percentage")),
            (".5", Err("not a percentage")),
            ("5.", Err("not a percentage")),
            ("+5", Err("not a percentage")),
            ("1e2", Err("not a percentage")),
        ];
        for (text, expected) in cases {
            match (text.parse::<BasisPoints>(), expected) {
                (Ok(margin), Ok((points, shown))) => {
                    assert_eq!((margin.get(), margin.to_string().as_str()), (*points, *shown), "{text}");
                }
                (Err(error), Err(part)) => assert!(error.to_string().contains(part), "{text}: {error}"),
                (got, want) => panic!("{text}: got {got:?}, wanted {want:?}"),
            }
        }
    }

    #[test]
    fn every_margin_survives_its_text_and_its_number() {
        for points in (BasisPoints::LEAST.get()..=BasisPoints::MOST.get()).step_by(37) {
            let margin = BasisPoints::new(points).unwrap();
            assert_eq!(margin.to_string().parse(), Ok(margin));
            assert_eq!(i64::from(margin.factor()), 10_000 + i64::from(points));
            let json = serde_json::to_string(&margin).unwrap();
            assert_eq!(serde_json::from_str::<BasisPoints>(&json).unwrap(), margin);
        }
        assert!(serde_json::from_str::<BasisPoints>("-10001").is_err());
    }
}
