//! What a ledger is, for one tenant: plain maps and sums, nothing kept that could be counted again.

use std::collections::{BTreeMap, BTreeSet};

/// So long a settled hold is remembered.
const TOMBSTONE_MS: i64 = 600_000;

/// A level: the wallet, or a budget in the period that starts then.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Node {
    Wallet,
    Budget(usize, i64),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub(crate) enum Wallet {
    #[default]
    None,
    Counted,
    Enforced,
}

/// A hold as it must be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Hold {
    pub(crate) amount: i128,
    pub(crate) wallet: Wallet,
    /// Budgets, each with its period and the limit it was admitted under.
    pub(crate) budgets: Vec<(usize, i64, i128)>,
    pub(crate) lease_until: i64,
    pub(crate) progress: i128,
    /// Whether it takes a place among the concurrent requests while its lease lasts.
    pub(crate) is_limited: bool,
}

#[derive(Clone, Debug)]
pub(crate) struct Admission {
    pub(crate) hold: u8,
    pub(crate) is_key_revoked: bool,
    pub(crate) amount: i128,
    pub(crate) minimum: i128,
    pub(crate) wallet: Wallet,
    /// Budgets, each with the period that the ledger's clock chooses, and the limit.
    pub(crate) budgets: Vec<(usize, i64, i128)>,
    pub(crate) concurrent: Option<usize>,
    pub(crate) lease_ms: i64,
}

/// What a reseed says.
#[derive(Clone, Debug)]
pub(crate) struct Reseed {
    pub(crate) wallet_limit: i128,
    pub(crate) wallet_version: u64,
    pub(crate) wallet_settled: i128,
    pub(crate) counters: Vec<(usize, i64, i128)>,
    pub(crate) holds: BTreeMap<u8, Hold>,
    pub(crate) settled: Vec<u8>,
}

/// Who refuses money: the level, its limit, settled and held.
pub(crate) type Refusal = (Node, i128, i128, i128);

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Seen {
    Granted(i128),
    Spent(Refusal),
    Held(Refusal),
    TooMany,
    Cold,
    WrongEpoch,
    Revoked,
    AlreadySettled,
    Settled,
    UnknownHold,
    Refused,
    Renewed(bool),
    Changed,
    Live,
    Nothing,
    /// What must be in the log is not.
    Lost(u8),
    Differs(String),
}

#[derive(Clone, Debug, Default)]
pub(crate) struct Model {
    pub(crate) now: i64,
    pub(crate) is_open: bool,
    pub(crate) is_fenced: bool,
    pub(crate) seeded_at: Option<i64>,
    pub(crate) wallet_limit: Option<(i128, u64)>,
    pub(crate) settled: BTreeMap<Node, i128>,
    pub(crate) is_revoked: bool,
    pub(crate) holds: BTreeMap<u8, Hold>,
    pub(crate) tombstones: BTreeMap<u8, i64>,
    /// The holds whose event was recorded, as often as it was.
    pub(crate) events: Vec<u8>,
}

impl Hold {
    pub(crate) fn nodes(&self) -> BTreeSet<Node> {
        let wallet = (self.wallet != Wallet::None).then_some(Node::Wallet);
        wallet
            .into_iter()
            .chain(self.budgets.iter().map(|(id, start, _)| Node::Budget(*id, *start)))
            .collect()
    }
}

impl Model {
    pub(crate) fn settled(&self, node: Node) -> i128 {
        self.settled.get(&node).copied().unwrap_or(0)
    }

    pub(crate) fn held(&self, node: Node) -> i128 {
        self.holds.values().filter(|hold| hold.nodes().contains(&node)).map(|hold| hold.amount).sum()
    }

    /// Whether the ledger knows what was settled there: it was told, or the period began after it was.
    pub(crate) fn is_known(&self, node: Node) -> bool {
        let Some(seeded_at) = self.seeded_at else { return false };
        match node {
            Node::Wallet => self.wallet_limit.is_some(),
            Node::Budget(_, start) => self.settled.contains_key(&node) || start >= seeded_at,
        }
    }

    fn is_buried(&self, hold: u8) -> bool {
        self.tombstones.get(&hold).is_some_and(|at| self.now - at < TOMBSTONE_MS)
    }

    pub(crate) fn is_suspect(&self, hold: &Hold) -> bool {
        hold.lease_until <= self.now
    }

    pub(crate) fn seed(&mut self, limit: i128, version: u64, wallet: i128, counters: &[(usize, i64, i128)]) {
        if self.is_fenced {
            return;
        }
        self.is_open = true;
        self.credit(limit, version);
        if self.seeded_at.is_none() {
            self.seeded_at = Some(self.now);
            self.settled.insert(Node::Wallet, wallet);
        }
        for (id, start, settled) in counters {
            self.settled.entry(Node::Budget(*id, *start)).or_insert(*settled);
        }
    }

    pub(crate) fn credit(&mut self, limit: i128, version: u64) {
        if self.wallet_limit.is_none_or(|(_, stored)| stored < version) {
            self.wallet_limit = Some((limit, version));
        }
    }

    pub(crate) fn admit(&mut self, ask: &Admission) -> Seen {
        if self.is_fenced {
            return Seen::WrongEpoch;
        }
        if let Some(hold) = self.holds.get(&ask.hold) {
            return Seen::Granted(hold.amount);
        }
        if self.is_buried(ask.hold) {
            return Seen::AlreadySettled;
        }
        if ask.is_key_revoked && self.is_revoked {
            return Seen::Revoked;
        }
        let is_free = ask.amount == 0;
        let (wallet, budgets) =
            if is_free { (Wallet::None, Vec::new()) } else { (ask.wallet, ask.budgets.clone()) };
        let hold = Hold {
            amount: ask.amount,
            wallet,
            budgets,
            lease_until: self.now + ask.lease_ms,
            progress: 0,
            is_limited: ask.concurrent.is_some(),
        };
        if hold.nodes().iter().any(|node| !self.is_known(*node)) {
            return Seen::Cold;
        }
        let in_flight = self.holds.values().filter(|hold| hold.is_limited && !self.is_suspect(hold)).count();
        if ask.concurrent.is_some_and(|limit| in_flight >= limit) {
            return Seen::TooMany;
        }
        match self.decide(&hold, ask.amount, ask.minimum) {
            Ok(amount) => {
                for node in hold.nodes() {
                    self.settled.entry(node).or_insert(0);
                }
                self.holds.insert(ask.hold, Hold { amount, ..hold });
                Seen::Granted(amount)
            }
            Err(refused) => refused,
        }
    }

    /// Every enforced level of a hold with its limit, the wallet first.
    fn enforced(&self, hold: &Hold) -> Vec<(Node, i128)> {
        let limit = self.wallet_limit.map_or(0, |(limit, _)| limit);
        let wallet = (hold.wallet == Wallet::Enforced).then_some((Node::Wallet, limit));
        let budgets = hold.budgets.iter().map(|(id, start, limit)| (Node::Budget(*id, *start), *limit));
        wallet.into_iter().chain(budgets).collect()
    }

    fn decide(&self, hold: &Hold, amount: i128, minimum: i128) -> Result<i128, Seen> {
        let levels: Vec<Refusal> = self
            .enforced(hold)
            .into_iter()
            .map(|(node, limit)| (node, limit, self.settled(node), self.held(node)))
            .collect();
        let available = |level: &Refusal| level.1 - level.2 - level.3;
        let granted = levels.iter().map(available).fold(amount, i128::min);
        if granted >= minimum {
            return Ok(granted);
        }
        let unsettled = |level: &Refusal| level.1 - level.2;
        let spent =
            levels.iter().filter(|level| unsettled(level) < minimum).min_by_key(|level| unsettled(level));
        if let Some(level) = spent {
            return Err(Seen::Spent(*level));
        }
        Err(Seen::Held(*levels.iter().min_by_key(|level| available(level)).expect("some level refused")))
    }

    pub(crate) fn settle(&mut self, hold: u8, charge: i128, has_event: bool) -> Seen {
        if self.is_fenced {
            return Seen::WrongEpoch;
        }
        let Some(ended) = self.holds.remove(&hold) else {
            if self.is_buried(hold) {
                return Seen::AlreadySettled;
            }
            self.bury(hold, has_event);
            return Seen::UnknownHold;
        };
        for node in ended.nodes() {
            *self.settled.entry(node).or_insert(0) += charge;
        }
        self.bury(hold, has_event);
        Seen::Settled
    }

    fn bury(&mut self, hold: u8, has_event: bool) {
        self.tombstones.insert(hold, self.now);
        if has_event {
            self.events.push(hold);
        }
    }

    pub(crate) fn grow(&mut self, id: u8, new_total: i128) -> Seen {
        if self.is_fenced {
            return Seen::WrongEpoch;
        }
        let Some(hold) = self.holds.get(&id).cloned() else { return Seen::UnknownHold };
        let more = new_total - hold.amount;
        if more > 0 && self.decide(&hold, more, more).is_err() {
            return Seen::Refused;
        }
        let amount = hold.amount.max(new_total);
        self.holds.insert(id, Hold { amount, ..hold });
        Seen::Granted(amount)
    }

    pub(crate) fn renew(&mut self, id: u8, cost: i128, lease_ms: i64) -> Seen {
        if self.is_fenced {
            return Seen::WrongEpoch;
        }
        let lease_until = self.now + lease_ms;
        let Some(hold) = self.holds.get_mut(&id) else { return Seen::Renewed(false) };
        hold.lease_until = hold.lease_until.max(lease_until);
        hold.progress = hold.progress.max(cost);
        Seen::Renewed(true)
    }

    pub(crate) fn fence(&mut self) {
        self.is_fenced = true;
        self.is_open = true;
    }

    pub(crate) fn reseed(&mut self, reseed: &Reseed, saw_this_epoch: bool) -> Seen {
        if !saw_this_epoch {
            return Seen::Changed;
        }
        if self.is_open && !self.is_fenced {
            return Seen::Live;
        }
        (self.is_open, self.is_fenced) = (true, false);
        self.seeded_at = Some(self.now);
        self.is_revoked = false;
        if self.wallet_limit.is_none_or(|(_, stored)| stored <= reseed.wallet_version) {
            self.wallet_limit = Some((reseed.wallet_limit, reseed.wallet_version));
        }
        let counters =
            reseed.counters.iter().map(|(id, start, settled)| (Node::Budget(*id, *start), *settled));
        self.settled = counters.chain([(Node::Wallet, reseed.wallet_settled)]).collect();
        self.holds.clone_from(&reseed.holds);
        for hold in self.holds.keys() {
            self.tombstones.remove(hold);
        }
        for hold in &reseed.settled {
            self.tombstones.insert(*hold, self.now);
        }
        Seen::Nothing
    }
}
