//! What is left of each credit of a wallet: pure, from the credits and what was charged.
//!
//! A charge uses the credits that are there when it is journaled, the soonest to expire first, of those that
//! expire together grants before what was paid. Each credit remembers what had been charged before it, so that
//! an older charge never uses a younger credit.

use tollgate_domain::{CreditId, NanoUsd, UnixMillis};

use crate::{CreditKind, CreditRecord};

/// A credit of which something may be left.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CreditLot {
    /// The credit.
    pub credit: CreditId,
    /// Why it was given.
    pub kind: CreditKind,
    /// From when on what is left of it is void.
    pub expires_at: Option<UnixMillis>,
    /// What is left of it: zero up to what was given.
    pub remaining: NanoUsd,
    sequence: u64,
}

/// Everything that is left of a wallet's credits.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CreditLots {
    /// In the order of use.
    lots: Vec<CreditLot>,
    /// Charged or taken back beyond all credit; the next credit makes up for it.
    debt: NanoUsd,
    settled: NanoUsd,
}

impl CreditLots {
    /// What is left once `settled` is charged in all; `credits` are all of one wallet in the order of their
    /// sequence.
    #[must_use]
    pub fn of(credits: &[CreditRecord], settled: NanoUsd) -> Self {
        let mut lots = Self::default();
        for credit in credits {
            lots.charge_up_to(credit.settled_before);
            lots.apply(credit);
        }
        lots.charge_up_to(settled);
        lots
    }

    /// The credits in the order in which they are used.
    #[must_use]
    pub fn lots(&self) -> &[CreditLot] {
        &self.lots
    }

    /// What is left of one credit; zero for one that is none.
    #[must_use]
    pub fn remaining(&self, credit: CreditId) -> NanoUsd {
        let lot = self.lots.iter().find(|lot| lot.credit == credit);
        lot.map_or(NanoUsd::ZERO, |lot| lot.remaining)
    }

    /// What can be paid out: what was paid in and is not spent.
    #[must_use]
    pub fn refundable(&self) -> NanoUsd {
        let paid = self.lots.iter().filter(|lot| is_paid(lot.kind));
        paid.fold(NanoUsd::ZERO, |sum, lot| sum.saturating_add(lot.remaining))
    }

    /// What is left of all credits, less what is owed.
    #[must_use]
    pub fn balance(&self) -> NanoUsd {
        let left = self.lots.iter().fold(NanoUsd::ZERO, |sum, lot| sum.saturating_add(lot.remaining));
        left.saturating_sub(self.debt)
    }

    fn charge_up_to(&mut self, settled: NanoUsd) {
        if settled > self.settled {
            let charged = settled.saturating_sub(self.settled);
            self.settled = settled;
            self.owe(charged, |_| true);
        }
    }

    fn apply(&mut self, credit: &CreditRecord) {
        if credit.amount > NanoUsd::ZERO {
            return self.add(credit);
        }
        let taken = NanoUsd(credit.amount.0.saturating_abs());
        let named = |lot: &CreditLot| Some(lot.credit) == credit.corrects;
        let rest = self.take(taken, named);
        match credit.kind {
            CreditKind::Refund => self.owe(rest, |lot| is_paid(lot.kind)),
            _ => self.owe(rest, |_| true),
        }
    }

    fn add(&mut self, credit: &CreditRecord) {
        let owed = self.debt.min(credit.amount);
        self.debt = self.debt.saturating_sub(owed);
        let lot = CreditLot {
            credit: credit.id,
            kind: credit.kind,
            expires_at: credit.expires_at,
            remaining: credit.amount.saturating_sub(owed),
            sequence: credit.sequence,
        };
        let place = self.lots.partition_point(|other| order_of_use(other) < order_of_use(&lot));
        self.lots.insert(place, lot);
    }

    /// Takes from the credits that `first` chooses, then from all, then as debt.
    fn owe(&mut self, amount: NanoUsd, first: impl Fn(&CreditLot) -> bool) {
        let rest = self.take(amount, first);
        let rest = self.take(rest, |_| true);
        self.debt = self.debt.saturating_add(rest);
    }

    /// Takes from the chosen credits in the order of use; answers what they did not have.
    fn take(&mut self, amount: NanoUsd, is_chosen: impl Fn(&CreditLot) -> bool) -> NanoUsd {
        let mut rest = amount;
        for lot in self.lots.iter_mut().filter(|lot| is_chosen(lot)) {
            let taken = rest.min(lot.remaining);
            lot.remaining = lot.remaining.saturating_sub(taken);
            rest = rest.saturating_sub(taken);
        }
        rest
    }
}

fn order_of_use(lot: &CreditLot) -> (UnixMillis, bool, u64) {
    (lot.expires_at.unwrap_or(UnixMillis(i64::MAX)), lot.kind != CreditKind::Grant, lot.sequence)
}

/// Whether somebody paid for it.
const fn is_paid(kind: CreditKind) -> bool {
    matches!(kind, CreditKind::Topup | CreditKind::Refund)
}

#[cfg(test)]
mod tests;
