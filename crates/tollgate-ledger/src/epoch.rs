//! Epochs and what replaces a tenant's state under a new one.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use tollgate_domain::{HoldId, KeyId, NanoUsd, TenantId};

use crate::error::LedgerError;
use crate::holds::OpenHold;
use crate::types::SeedCounter;

/// How the run of an epoch ends that was closed by [`crate::Ledger::fence`]: no server calls itself so. What is
/// before it, and a colon, is the run in which it was closed.
pub(crate) const FENCED: &str = "fenced";

/// Under which a tenant's state was written: a number that never returns, and the run of the server that it
/// was written on. What a server finds with another run than its own is a copy of the past.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Epoch {
    /// Grows with every reseed.
    pub n: u64,
    /// The server's run, and `:fenced` after it while the tenant waits for its reseed.
    pub run: Arc<str>,
}

impl Epoch {
    /// Whether the tenant was closed for a reseed.
    #[must_use]
    pub fn is_fenced(&self) -> bool {
        self.run.strip_suffix(FENCED).is_some_and(|run| run.is_empty() || run.ends_with(':'))
    }
}

impl fmt::Display for Epoch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.n, self.run)
    }
}

impl FromStr for Epoch {
    type Err = LedgerError;

    fn from_str(text: &str) -> Result<Self, LedgerError> {
        let parts = text.split_once(':').and_then(|(n, run)| Some((n.parse().ok()?, run)));
        let (n, run) = parts.ok_or_else(|| LedgerError::Invalid(format!("`{text}` is not an epoch")))?;
        Ok(Self { n, run: run.into() })
    }
}

/// A tenant's epoch as stored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TenantEpoch {
    /// As stored.
    pub epoch: Epoch,
    /// Whether calls are answered under it: it is of the server's present run and not fenced. Where it is not,
    /// the tenant waits for a reseed.
    pub is_live: bool,
}

/// Everything about one tenant, to be written under a new epoch in place of all that is there.
///
/// To be gathered in this order: the epoch ([`crate::Ledger::fence`], also where the ledger knows nothing of the
/// tenant), then the pods' [`crate::OpenReport`]s, then the journal. So nothing can happen in between: the closed
/// epoch answers no call, and where it is lost or comes back with another run, what was gathered is refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reseed {
    /// Whose.
    pub tenant: TenantId,
    /// The epoch that was closed before anything was gathered; where another one is stored by now, or the server
    /// runs anew, nothing is written.
    pub expected: Epoch,
    /// The highest epoch number that a pod knows of the tenant ([`crate::OpenReport::highest_epoch`]); the new
    /// one is above it. Zero where none is known.
    pub above: u64,
    /// All credit ever granted.
    pub wallet_limit: NanoUsd,
    /// See [`crate::Ledger::set_wallet_limit`].
    pub wallet_version: u64,
    /// All charges against the wallet: the journal's, and those of reported events that it does not have yet.
    pub wallet_settled: NanoUsd,
    /// The same of every budget in its present period, and in every period that one of `holds` names.
    pub counters: Vec<SeedCounter>,
    /// The holds that pods reported, except those whose event is journaled or reported by then. They are
    /// written even where they exceed a limit: their requests are under way.
    pub holds: Vec<OpenHold>,
    /// The holds of reported events: a repeated settlement of one of them changes nothing.
    pub settled: Vec<HoldId>,
    /// The keys that must not be used.
    pub revoked: Vec<KeyId>,
}

/// The answer to one reseed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ReseedOutcome {
    /// Written; admission is open under this epoch.
    Reseeded(Epoch),
    /// Nothing was written: the stored epoch is this one and not the expected one, or it was closed in another run
    /// of the server. What was gathered may be too old.
    Changed(Option<Epoch>),
    /// Nothing was written: the epoch is live, and what happens while a reseed is gathered would be lost.
    /// Close it with [`crate::Ledger::fence`] first.
    Live(Epoch),
}
