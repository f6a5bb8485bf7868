//! Work in the background: finished requests into the journal, tenants into the ledger and again when it was
//! lost, holds of pods that died, wallet limits and flags of keys that the ledger did not take at once.

mod credit_expiry;
mod journal;
mod recovered;
mod reseed;
mod reservation;
mod revocations;
mod seed;
mod suspects;
mod verification;
mod wallets;

pub(crate) use credit_expiry::CreditExpiry;
pub use journal::JournalStatus;
pub(crate) use journal::JournalWriter;
pub use recovered::{RecoveredReport, journal_recovered};
pub(crate) use reseed::{ReseedCounters, ReseedQueue, Reseeder, Reseeds, sweep};
pub(crate) use reservation::{Reserved, WalletReservation};
pub(crate) use revocations::RevocationPushes;
pub(crate) use seed::seed_of;
pub(crate) use suspects::{SuspectCounters, SuspectSettler};
pub(crate) use verification::Verifications;
pub(crate) use wallets::WalletPushes;
