//! Work in the background: finished requests into the journal, tenants into the ledger and again when it was
//! lost, holds of pods that died, wallet limits and flags of keys that the ledger did not take at once.

mod alerts;
mod credit_expiry;
mod deliveries;
mod drift;
mod end_user_seed;
mod journal;
mod noted_holds;
mod recovered;
mod reseed;
mod reservation;
mod revocations;
mod seed;
mod suspects;
mod verification;
mod wallets;

pub use alerts::AlertStatus;
#[cfg(test)]
pub(crate) use alerts::Touched;
pub(crate) use alerts::messages as alert_messages;
pub(crate) use alerts::{AlertCounters, AlertJob, AlertSignals};
pub(crate) use credit_expiry::CreditExpiry;
pub(crate) use deliveries::WebhookDispatcher;
pub use drift::DriftStatus;
pub(crate) use drift::{DriftJob, Drifts};
pub(crate) use end_user_seed::{counters_of_rule, named_counters};
pub use journal::JournalStatus;
pub(crate) use journal::JournalWriter;
pub(crate) use noted_holds::HoldNoter;
pub use recovered::{RecoveredReport, journal_recovered};
pub(crate) use reseed::{ReseedCounters, ReseedQueue, Reseeder, Reseeds, sweep};
pub(crate) use reservation::{Reserved, WalletReservation};
pub(crate) use revocations::RevocationPushes;
pub(crate) use seed::seed_of;
pub(crate) use suspects::{SuspectCounters, SuspectSettler};
pub(crate) use verification::Verifications;
#[cfg(test)]
pub(crate) use verification::{Compared, compare};
pub(crate) use wallets::WalletPushes;
