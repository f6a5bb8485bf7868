//! Money as integers: nano-USD amounts and prices per million units. No floats, one rounding.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::BasisPoints;

/// An amount in 10⁻⁹ USD. Written as a decimal string in USD (`"0.000125"`) wherever people read it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct NanoUsd(pub i64);

/// A price: nano-USD per million units (tokens, or any other meter's unit).
///
/// Written as USD per million: `"2.50"` is 2,500,000,000 nano-USD per million tokens. Per-unit meters such
/// as `request` are written per unit in configuration (`request: "0.01"`) and stored per million here.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PricePerMillion(pub i64);

/// The largest limit a budget or wallet may have: 2⁵³ − 1 nano-USD, about 9,007,199 USD, because the
/// ledger's scripts compare IEEE doubles, which are exact only up to there.
pub const MAX_LIMIT: NanoUsd = NanoUsd((1 << 53) - 1);

const NANOS_PER_USD: i64 = 1_000_000_000;
const UNITS_PER_PRICE: i128 = 1_000_000;

/// Why an amount was refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum MoneyError {
    /// Not a plain decimal number.
    #[error("`{0}` is not an amount in USD; write a decimal like \"12.50\"")]
    Malformed(String),
    /// More than nine digits after the point.
    #[error("`{0}` is finer than 0.000000001 USD; round it to nine decimals")]
    TooPrecise(String),
    /// Outside the range of the type.
    #[error("`{0}` is too large an amount; the largest limit is 9007199.254740991 USD")]
    TooLarge(String),
    /// Negative where only zero or more makes sense.
    #[error("`{0}` is negative; write zero or more")]
    Negative(String),
}

impl NanoUsd {
    /// Nothing.
    pub const ZERO: Self = Self(0);

    /// Whole dollars.
    #[must_use]
    pub const fn from_usd(dollars: i32) -> Self {
        Self(dollars as i64 * NANOS_PER_USD)
    }

    /// Sum, or `None` on overflow.
    #[must_use]
    pub fn checked_add(self, other: Self) -> Option<Self> {
        self.0.checked_add(other.0).map(Self)
    }

    /// Sum, held at the ends of the range.
    #[must_use]
    pub fn saturating_add(self, other: Self) -> Self {
        Self(self.0.saturating_add(other.0))
    }

    /// Difference, held at the ends of the range.
    #[must_use]
    pub fn saturating_sub(self, other: Self) -> Self {
        Self(self.0.saturating_sub(other.0))
    }

    /// Parses a limit or credit: zero or more, at most [`MAX_LIMIT`].
    ///
    /// # Errors
    /// [`MoneyError`] naming the text and what to write instead.
    pub fn parse_limit(text: &str) -> Result<Self, MoneyError> {
        let amount: Self = text.parse()?;
        if amount.0 < 0 {
            return Err(MoneyError::Negative(text.to_owned()));
        }
        if amount > MAX_LIMIT {
            return Err(MoneyError::TooLarge(text.to_owned()));
        }
        Ok(amount)
    }
}

impl NanoUsd {
    /// The amount in USD as decimal text, without an allocation.
    #[must_use]
    pub fn text(self) -> DecimalText {
        DecimalText::of(self.0)
    }
}

impl PricePerMillion {
    /// Free of charge.
    pub const ZERO: Self = Self(0);

    /// The price of `units` in nano-USD × 10⁶: exact, to be summed and then rounded once.
    #[must_use]
    pub fn times(self, units: u64) -> i128 {
        i128::from(self.0) * i128::from(units)
    }

    /// Parses a non-negative USD amount per million units.
    ///
    /// # Errors
    /// [`MoneyError`] naming the text and what to write instead.
    pub fn parse(text: &str) -> Result<Self, MoneyError> {
        let amount: NanoUsd = text.parse()?;
        if amount.0 < 0 {
            return Err(MoneyError::Negative(text.to_owned()));
        }
        Ok(Self(amount.0))
    }

    /// Parses a non-negative USD amount per single unit (`request: "0.01"`).
    ///
    /// # Errors
    /// [`MoneyError`] naming the text and what to write instead.
    pub fn parse_per_unit(text: &str) -> Result<Self, MoneyError> {
        let per_million = Self::parse(text)?;
        per_million.0.checked_mul(1_000_000).map(Self).ok_or_else(|| MoneyError::TooLarge(text.to_owned()))
    }

    /// The price of one unit in nano-USD, where it is whole.
    #[must_use]
    pub fn per_unit_exact(self) -> Option<NanoUsd> {
        (self.0 % 1_000_000 == 0).then_some(NanoUsd(self.0 / 1_000_000))
    }
}

/// The one rounding of the product: a sum of `price × units × margin factor` (nano-USD × 10⁶ × 10⁴) to
/// nano-USD, upwards.
///
/// Saturates at the type's end; a negative sum (it cannot arise from prices and counts) counts as zero.
#[must_use]
fn round_up_to_nano_usd(nano_usd_times_ten_billion: i128) -> NanoUsd {
    const PARTS: i128 = UNITS_PER_PRICE * BasisPoints::UNCHANGED as i128;
    let nanos = nano_usd_times_ten_billion.max(0).saturating_add(PARTS - 1) / PARTS;
    NanoUsd(i64::try_from(nanos).unwrap_or(i64::MAX))
}

impl NanoUsd {
    /// The one rounding of the product, once per request and figure at settlement: a sum of
    /// [`PricePerMillion::times`], each times its [`BasisPoints::factor`], to nano-USD, upwards.
    #[must_use]
    pub fn round_up_with_margin(nano_usd_times_ten_billion: i128) -> Self {
        round_up_to_nano_usd(nano_usd_times_ten_billion)
    }

    /// The same rounding of a sum of [`PricePerMillion::times`] that has no margin on it.
    #[must_use]
    pub fn round_up_from_millionths(nano_usd_times_million: i128) -> Self {
        round_up_to_nano_usd(nano_usd_times_million.saturating_mul(BasisPoints::UNCHANGED.into()))
    }
}

// === decimal text ===

fn parse_nanos(text: &str) -> Result<i64, MoneyError> {
    let malformed = || MoneyError::Malformed(text.to_owned());
    let (negative, digits) = match text.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, text),
    };
    let (whole, fraction) = digits.split_once('.').unwrap_or((digits, ""));
    let all_digits = |part: &str| part.bytes().all(|byte| byte.is_ascii_digit());
    if whole.is_empty() || !all_digits(whole) || !all_digits(fraction) {
        return Err(malformed());
    }
    if digits.contains('.') && fraction.is_empty() {
        return Err(malformed());
    }
    let fraction = fraction.trim_end_matches('0');
    if fraction.len() > 9 {
        return Err(MoneyError::TooPrecise(text.to_owned()));
    }
    let too_large = || MoneyError::TooLarge(text.to_owned());
    let whole: i64 = whole.parse().map_err(|_| too_large())?;
    let fraction: i64 = format!("{fraction:0<9}").parse().map_err(|_| malformed())?;
    let nanos = whole
        .checked_mul(NANOS_PER_USD)
        .and_then(|nanos| nanos.checked_add(fraction))
        .ok_or_else(too_large)?;
    Ok(if negative { -nanos } else { nanos })
}

/// The most characters of an amount: a sign, ten digits, a point and nine digits.
const MAX_TEXT_BYTES: usize = 24;

/// An amount's decimal text, on the stack: it is written into headers, answers and events of every request.
#[derive(Clone, Copy, Debug)]
pub struct DecimalText {
    bytes: [u8; MAX_TEXT_BYTES],
    /// Where the text begins; it ends with the buffer.
    start: usize,
}

impl DecimalText {
    fn of(nanos: i64) -> Self {
        let mut text = Self { bytes: [0; MAX_TEXT_BYTES], start: MAX_TEXT_BYTES };
        let magnitude = nanos.unsigned_abs();
        let (mut whole, mut fraction) =
            (magnitude / NANOS_PER_USD.unsigned_abs(), magnitude % NANOS_PER_USD.unsigned_abs());
        if fraction > 0 {
            let mut n_digits = 9;
            while fraction.is_multiple_of(10) {
                fraction /= 10;
                n_digits -= 1;
            }
            for _ in 0..n_digits {
                text.push_front(b'0' + (fraction % 10) as u8);
                fraction /= 10;
            }
            text.push_front(b'.');
        }
        loop {
            text.push_front(b'0' + (whole % 10) as u8);
            whole /= 10;
            if whole == 0 {
                break;
            }
        }
        if nanos < 0 {
            text.push_front(b'-');
        }
        text
    }

    fn push_front(&mut self, byte: u8) {
        self.start -= 1;
        self.bytes[self.start] = byte;
    }

    /// The text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        std::str::from_utf8(&self.bytes[self.start..]).expect("digits, a sign and a point are ASCII")
    }
}

impl FromStr for NanoUsd {
    type Err = MoneyError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        parse_nanos(text).map(Self)
    }
}

macro_rules! decimal_text {
    ($name:ident, $parse:expr) => {
        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(DecimalText::of(self.0).as_str())
            }
        }
        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.serialize_str(DecimalText::of(self.0).as_str())
            }
        }
        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                let text = std::borrow::Cow::<'de, str>::deserialize(deserializer)?;
                $parse(&text).map_err(serde::de::Error::custom)
            }
        }
    };
}

decimal_text!(NanoUsd, str::parse::<NanoUsd>);
decimal_text!(PricePerMillion, PricePerMillion::parse);

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn decimal_text_table() {
        let cases: &[(&str, Result<i64, &str>)] = &[
            ("0", Ok(0)),
            ("5.00", Ok(5_000_000_000)),
            ("0.000000001", Ok(1)),
            ("-1.5", Ok(-1_500_000_000)),
            ("9007199.254740991", Ok(MAX_LIMIT.0)),
            ("0.0000000001", Err("finer")),
            ("", Err("decimal")),
            ("1.", Err("decimal")),
            (".5", Err("decimal")),
            ("1e3", Err("decimal")),
            ("+1", Err("decimal")),
            ("$1", Err("decimal")),
            ("99999999999999", Err("too large")),
        ];
        for (text, expected) in cases {
            match (text.parse::<NanoUsd>(), expected) {
                (Ok(amount), Ok(nanos)) => assert_eq!(amount.0, *nanos, "{text}"),
                (Err(error), Err(part)) => assert!(error.to_string().contains(part), "{text}: {error}"),
                (got, want) => panic!("{text}: got {got:?}, wanted {want:?}"),
            }
        }
    }

    #[test]
    fn limits_are_bounded() {
        assert_eq!(NanoUsd::parse_limit("9007199.254740991"), Ok(MAX_LIMIT));
        assert!(matches!(NanoUsd::parse_limit("9007199.254740992"), Err(MoneyError::TooLarge(_))));
        assert!(matches!(NanoUsd::parse_limit("-1"), Err(MoneyError::Negative(_))));
    }

    #[test]
    fn rounding_is_upward_and_once() {
        for (sum, nanos) in
            [(0, 0), (1, 1), (1_000_000, 1), (1_000_001, 2), (-1, 0), (i128::MAX / 2, i64::MAX)]
        {
            assert_eq!(NanoUsd::round_up_from_millionths(sum), NanoUsd(nanos), "{sum}");
        }
        let ten_percent = |sum: i128| NanoUsd::round_up_with_margin(sum * 11_000);
        for (sum, nanos) in [(0, 0), (1, 1), (909_090, 1), (909_091, 2), (10_000_000, 11), (10_000_001, 12)] {
            assert_eq!(ten_percent(sum), NanoUsd(nanos), "{sum}");
        }
        assert_eq!(NanoUsd::round_up_with_margin(i128::MAX), NanoUsd(i64::MAX));
    }

    proptest! {
        #[test]
        fn text_round_trips(nanos in any::<i64>().prop_filter("abs", |n| *n != i64::MIN)) {
            let amount = NanoUsd(nanos);
            prop_assert_eq!(amount.to_string().parse::<NanoUsd>(), Ok(amount));
        }
    }
}
