#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use proptest::prelude::*;
use tollgate_domain::TenantId;

use super::*;

const DAY_MS: i64 = 86_400_000;

/// What happens to a wallet, in small amounts.
#[derive(Clone, Debug)]
enum Step {
    Charge(u8),
    Grant(u8, Option<u8>),
    Topup(u8, Option<u8>),
    /// Takes back some of the nth credit, as it was paid out, corrected or as it expired.
    Take(CreditKind, u8, u8),
}

/// A wallet whose money is single coins: each remembers where it came from.
#[derive(Default)]
struct Coins {
    coins: Vec<(CreditId, CreditKind, Option<UnixMillis>, u64)>,
    debt: u64,
}

impl Coins {
    fn spend(
        &mut self,
        n: u64,
        wanted: impl Fn(&(CreditId, CreditKind, Option<UnixMillis>, u64)) -> bool,
    ) -> u64 {
        for spent in 0..n {
            let best =
                (0..self.coins.len()).filter(|index| wanted(&self.coins[*index])).min_by_key(|index| {
                    let (_, kind, expires_at, sequence) = self.coins[*index];
                    (expires_at.is_none(), expires_at, kind != CreditKind::Grant, sequence)
                });
            let Some(index) = best else { return n - spent };
            self.coins.swap_remove(index);
        }
        0
    }
}

fn record(
    sequence: u64,
    kind: CreditKind,
    amount: i64,
    settled_before: u64,
    days: Option<u8>,
    corrects: Option<u64>,
) -> CreditRecord {
    CreditRecord {
        id: CreditId::from_u128(u128::from(sequence)),
        tenant: TenantId::from_u128(1),
        kind,
        amount: NanoUsd(amount),
        reference: None,
        expires_at: days.map(|days| UnixMillis(i64::from(days) * DAY_MS)),
        corrects: corrects.map(|sequence| CreditId::from_u128(u128::from(sequence))),
        sequence,
        settled_before: NanoUsd(i64::try_from(settled_before).unwrap()),
        actor: "ada".to_owned(),
        created_at: UnixMillis(0),
    }
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let days = || proptest::option::of(1_u8..4);
    let taken =
        prop_oneof![Just(CreditKind::Refund), Just(CreditKind::Adjustment), Just(CreditKind::Expire),];
    let step = prop_oneof![
        (0_u8..20).prop_map(Step::Charge),
        (1_u8..20, days()).prop_map(|(amount, days)| Step::Grant(amount, days)),
        (1_u8..20, days()).prop_map(|(amount, days)| Step::Topup(amount, days)),
        (taken, 1_u8..20, 0_u8..6).prop_map(|(kind, amount, credit)| Step::Take(kind, amount, credit)),
    ];
    proptest::collection::vec(step, 0..24)
}

proptest! {
    /// Credit by credit the same as coins that are spent one at a time, and nothing appears or disappears.
    #[test]
    fn lots_are_what_coins_would_be(steps in steps()) {
        let (mut coins, mut credits, mut settled) = (Coins::default(), Vec::new(), 0_u64);
        for step in steps {
            let sequence = credits.len() as u64 + 1;
            let (kind, amount, days, corrects) = match step {
                Step::Charge(amount) => {
                    settled += u64::from(amount);
                    let missing = coins.spend(u64::from(amount), |_| true);
                    coins.debt += missing;
                    continue;
                }
                Step::Grant(amount, days) => (CreditKind::Grant, i64::from(amount), days, None),
                Step::Topup(amount, days) => (CreditKind::Topup, i64::from(amount), days, None),
                Step::Take(kind, amount, credit) => (kind, -i64::from(amount), None, Some(u64::from(credit))),
            };
            let record = record(sequence, kind, amount, settled, days, corrects);
            if amount > 0 {
                for _ in 0..amount {
                    if coins.debt > 0 {
                        coins.debt -= 1;
                    } else {
                        coins.coins.push((record.id, kind, record.expires_at, sequence));
                    }
                }
            } else {
                let rest = coins.spend(amount.unsigned_abs(), |coin| Some(coin.0) == record.corrects);
                let is_refund = kind == CreditKind::Refund;
                let rest = coins.spend(rest, |coin| !is_refund || coin.1 == CreditKind::Topup);
                let rest = coins.spend(rest, |_| true);
                coins.debt += rest;
            }
            credits.push(record);
        }
        let lots = CreditLots::of(&credits, NanoUsd(i64::try_from(settled).unwrap()));
        for credit in &credits {
            let left = coins.coins.iter().filter(|coin| coin.0 == credit.id).count();
            prop_assert_eq!(lots.remaining(credit.id), NanoUsd(i64::try_from(left).unwrap()), "{:?}", credit);
        }
        let given: i64 = credits.iter().map(|credit| credit.amount.0).sum();
        prop_assert_eq!(lots.balance(), NanoUsd(given - i64::try_from(settled).unwrap()));
        let paid = coins.coins.iter().filter(|coin| coin.1 == CreditKind::Topup).count();
        prop_assert_eq!(lots.refundable(), NanoUsd(i64::try_from(paid).unwrap()));
    }

    /// Taking back what is left of a credit leaves nothing of it and all of the others.
    #[test]
    fn what_expires_is_taken_from_nobody_else(
        amounts in proptest::collection::vec((1_i64..50, proptest::option::of(1_u8..4), any::<bool>()), 1..8),
        charged in 0_u64..200,
        chosen in any::<prop::sample::Index>(),
    ) {
        let mut credits: Vec<_> = (1..).zip(&amounts).map(|(sequence, (amount, days, is_grant))| {
            let kind = if *is_grant { CreditKind::Grant } else { CreditKind::Topup };
            record(sequence, kind, *amount, 0, *days, None)
        }).collect();
        let settled = NanoUsd(i64::try_from(charged).unwrap());
        let before = CreditLots::of(&credits, settled);
        let lapsed = credits[chosen.index(credits.len())].clone();
        let left = before.remaining(lapsed.id);
        prop_assume!(left > NanoUsd::ZERO);
        let sequence = credits.len() as u64 + 1;
        credits.push(record(sequence, CreditKind::Expire, -left.0, charged, None, Some(lapsed.sequence)));
        let after = CreditLots::of(&credits, settled);
        for lot in before.lots() {
            let expected = if lot.credit == lapsed.id { NanoUsd::ZERO } else { lot.remaining };
            prop_assert_eq!(after.remaining(lot.credit), expected);
        }
        prop_assert_eq!(after.balance(), before.balance().saturating_sub(left));
    }
}

#[test]
fn order_of_use() {
    use CreditKind::{Grant, Topup};
    // kind, amount, days, charged before; then what is left of each after so much was charged in all
    let credits = [
        record(1, Topup, 100, 0, None, None),
        record(2, Grant, 50, 10, Some(2), None),
        record(3, Grant, 30, 10, None, None),
        record(4, Topup, 20, 15, Some(1), None),
    ];
    for (settled, left) in [
        // the first ten were spent when only the first was there, the next five with the trial there
        (15, [90, 45, 30, 20]),
        (30, [90, 45, 30, 5]),
        (40, [90, 40, 30, 0]),
        (80, [90, 0, 30, 0]),
        (105, [90, 0, 5, 0]),
        (200, [0, 0, 0, 0]),
        (250, [0, 0, 0, 0]),
    ] {
        let lots = CreditLots::of(&credits, NanoUsd(settled));
        let found = credits.each_ref().map(|credit| lots.remaining(credit.id).0);
        assert_eq!(found, left, "{settled}");
        assert_eq!(lots.balance(), NanoUsd(200 - settled));
    }
    let lots = CreditLots::of(&credits, NanoUsd(15));
    assert_eq!(lots.refundable(), NanoUsd(110));
}
