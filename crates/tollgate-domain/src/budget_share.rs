//! Shares of a budget at which somebody wants to be told.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::NanoUsd;

/// The whole of a budget.
const WHOLE: u32 = 10_000;
/// The largest share: ten times the budget. It is passed where the limit was lowered meanwhile.
const MAX: u32 = 10 * WHOLE;

/// A share of a budget in ten-thousandths: `0.5` is half of it. More than zero, at most ten times the budget.
/// Written as a decimal number of at most four places.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct BudgetShare(u32);

/// A text or number that is no share.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "`{0}` is no share of a budget: write a number above 0 and up to 10 with at most four decimals, like 0.8"
)]
pub struct BudgetShareError(pub String);

impl BudgetShare {
    /// The share of that many ten-thousandths.
    ///
    /// # Errors
    /// Zero, or more than ten times the budget.
    pub fn from_ten_thousandths(share: u32) -> Result<Self, BudgetShareError> {
        if share == 0 || share > MAX {
            Err(BudgetShareError(format!("{share}/{WHOLE}")))
        } else {
            Ok(Self(share))
        }
    }

    /// In ten-thousandths.
    #[must_use]
    pub const fn ten_thousandths(self) -> u32 {
        self.0
    }

    /// This share of `limit`, rounded up: spend that has reached it has passed the share.
    #[must_use]
    pub fn of(self, limit: NanoUsd) -> NanoUsd {
        let product = i128::from(limit.0.max(0)) * i128::from(self.0);
        let whole = i128::from(WHOLE);
        let share = (product + whole - 1) / whole;
        NanoUsd(i64::try_from(share).unwrap_or(i64::MAX))
    }
}

impl FromStr for BudgetShare {
    type Err = BudgetShareError;

    fn from_str(text: &str) -> Result<Self, BudgetShareError> {
        let refused =
            || BudgetShareError(text.chars().take(32).collect::<String>().escape_debug().to_string());
        let (whole, places) = text.split_once('.').unwrap_or((text, "0"));
        let is_digits = |part: &str| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit());
        let places = places.trim_end_matches('0');
        if !is_digits(whole)
            || whole.len() > 2
            || places.len() > 4
            || !(places.is_empty() || is_digits(places))
        {
            return Err(refused());
        }
        let whole: u32 = whole.parse().map_err(|_| refused())?;
        let parts: u32 = format!("{places:0<4}").parse().map_err(|_| refused())?;
        let share = whole * WHOLE + parts;
        if share == 0 || share > MAX { Err(refused()) } else { Ok(Self(share)) }
    }
}

impl fmt::Display for BudgetShare {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (whole, parts) = (self.0 / WHOLE, self.0 % WHOLE);
        let parts = format!("{parts:04}");
        let parts = parts.trim_end_matches('0');
        if parts.is_empty() { write!(f, "{whole}") } else { write!(f, "{whole}.{parts}") }
    }
}

/// Written as decimal text, as money is.
impl Serialize for BudgetShare {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for BudgetShare {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_are_exact_decimals() {
        for (text, share, shown) in [
            ("0.5", 5_000, "0.5"),
            ("1.0", 10_000, "1"),
            ("1", 10_000, "1"),
            ("0.0001", 1, "0.0001"),
            ("0.8500", 8_500, "0.85"),
            ("10", 100_000, "10"),
            ("2.5", 25_000, "2.5"),
        ] {
            let parsed: BudgetShare = text.parse().unwrap();
            assert_eq!((parsed.ten_thousandths(), parsed.to_string().as_str()), (share, shown), "{text}");
        }
        for bad in ["", "0", "0.0", "-0.5", "10.0001", "11", "100", "0.00001", "1e-1", ".5", "a", "٣", "+1"]
        {
            assert!(bad.parse::<BudgetShare>().is_err(), "{bad}");
        }
        assert!(
            BudgetShare::from_ten_thousandths(0).is_err()
                && BudgetShare::from_ten_thousandths(100_001).is_err()
        );
    }

    #[test]
    fn stored_as_text() {
        let shares: Vec<BudgetShare> = serde_json::from_str("[\"0.5\", \"1.0\"]").unwrap();
        assert_eq!(serde_json::to_string(&shares).unwrap(), "[\"0.5\",\"1\"]");
        assert!(serde_json::from_str::<BudgetShare>("\"0\"").is_err());
    }

    #[test]
    fn a_share_of_money_is_rounded_up_and_never_overflows() {
        let share = |text: &str| text.parse::<BudgetShare>().unwrap();
        assert_eq!(share("0.8").of(NanoUsd::from_usd(500)), NanoUsd::from_usd(400));
        assert_eq!(share("0.5").of(NanoUsd(3)), NanoUsd(2));
        assert_eq!(share("1").of(crate::MAX_LIMIT), crate::MAX_LIMIT);
        assert_eq!(share("10").of(NanoUsd(i64::MAX)), NanoUsd(i64::MAX));
        assert_eq!(share("0.0001").of(NanoUsd::ZERO), NanoUsd::ZERO);
    }
}
