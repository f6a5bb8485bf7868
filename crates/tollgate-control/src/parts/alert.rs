//! When somebody wants to be told: shares of a budget, and balances of a wallet.

use std::fmt;

use serde::de::{self, Visitor};
use serde::{Deserialize, Deserializer, Serialize};
use tollgate_domain::{BudgetShare, NanoUsd};
use utoipa::ToSchema;

use super::limit_amount;

/// Alerts of one budget or wallet: more would tell nobody anything.
const MAX_ALERTS: usize = 20;

/// A share of a budget as a JSON number: above 0 and up to 10, at most four decimals. It becomes a share by its
/// decimal text, so that nothing is rounded.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
#[serde(transparent)]
#[schema(value_type = f64, example = 0.8)]
pub struct ShareNumber(pub serde_json::Number);

/// Readers that take a scalar for text until a number is asked for, as that of the configuration file does, are asked
/// for one.
impl<'de> Deserialize<'de> for ShareNumber {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_f64(NumberVisitor).map(Self)
    }
}

struct NumberVisitor;

impl Visitor<'_> for NumberVisitor {
    type Value = serde_json::Number;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a number")
    }

    fn visit_u64<E: de::Error>(self, number: u64) -> Result<Self::Value, E> {
        Ok(number.into())
    }

    fn visit_i64<E: de::Error>(self, number: i64) -> Result<Self::Value, E> {
        Ok(number.into())
    }

    /// The shortest decimal that reads as this number: what was written, as far as shares go.
    fn visit_f64<E: de::Error>(self, number: f64) -> Result<Self::Value, E> {
        serde_json::Number::from_f64(number).ok_or_else(|| E::custom("is no finite number"))
    }
}

impl From<BudgetShare> for ShareNumber {
    fn from(share: BudgetShare) -> Self {
        let number = share.to_string().parse();
        Self(number.expect("a share's decimal text is a JSON number"))
    }
}

/// The shares in their order. An error names the entry by its index where one is at fault.
pub(crate) fn alert_shares(wanted: &[ShareNumber]) -> Result<Vec<BudgetShare>, (Option<usize>, String)> {
    check_length(wanted.len())?;
    let mut shares = Vec::with_capacity(wanted.len());
    for (index, ShareNumber(number)) in wanted.iter().enumerate() {
        let share: BudgetShare =
            number.to_string().parse().map_err(|error| (Some(index), format!("{error}")))?;
        if shares.contains(&share) {
            return Err((Some(index), format!("{share} stands here twice")));
        }
        shares.push(share);
    }
    shares.sort();
    Ok(shares)
}

/// The balances, the highest first.
pub(crate) fn alert_levels(wanted: &[String]) -> Result<Vec<NanoUsd>, (Option<usize>, String)> {
    check_length(wanted.len())?;
    let mut levels = Vec::with_capacity(wanted.len());
    for (index, text) in wanted.iter().enumerate() {
        let level = limit_amount(text).map_err(|error| (Some(index), error))?;
        if level == NanoUsd::ZERO {
            return Err((Some(index), "must be above zero: a balance is never below that".to_owned()));
        }
        if levels.contains(&level) {
            return Err((Some(index), format!("{level} stands here twice")));
        }
        levels.push(level);
    }
    levels.sort_by(|a, b| b.cmp(a));
    Ok(levels)
}

fn check_length(length: usize) -> Result<(), (Option<usize>, String)> {
    if length > MAX_ALERTS {
        Err((None, format!("has {length} entries: at most {MAX_ALERTS} alerts")))
    } else {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_and_levels_are_checked_and_sorted() {
        let numbers = |text: &str| serde_json::from_str::<Vec<ShareNumber>>(text).unwrap();
        let shares = alert_shares(&numbers("[1.0, 0.5, 0.8]")).unwrap();
        let texts: Vec<String> = shares.iter().map(ToString::to_string).collect();
        assert_eq!(texts, ["0.5", "0.8", "1"]);
        let back: Vec<ShareNumber> = shares.into_iter().map(ShareNumber::from).collect();
        assert_eq!(serde_json::to_string(&back).unwrap(), "[0.5,0.8,1]");
        for (bad, at) in [("[0]", 0), ("[0.5, -1]", 1), ("[10.5]", 0), ("[0.5, 0.50]", 1), ("[1e-9]", 0)] {
            assert_eq!(alert_shares(&numbers(bad)).unwrap_err().0, Some(at), "{bad}");
        }
        let many: Vec<String> = (1..=21).map(|n| format!("0.{n:03}")).collect();
        assert_eq!(alert_shares(&numbers(&format!("[{}]", many.join(",")))).unwrap_err().0, None);
        let levels =
            |texts: &[&str]| alert_levels(&texts.iter().map(|text| (*text).to_owned()).collect::<Vec<_>>());
        assert_eq!(levels(&["1", "5.00"]).unwrap(), [NanoUsd::from_usd(5), NanoUsd::from_usd(1)]);
        for bad in [&["0"][..], &["-1"], &["x"], &["1", "1.0"]] {
            assert!(levels(bad).is_err(), "{bad:?}");
        }
    }
}
