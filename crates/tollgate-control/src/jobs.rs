//! Work in the background: finished requests into the journal, tenants into the ledger, wallet limits and
//! flags of keys that the ledger did not take at once.

mod journal;
mod revocations;
mod seed;
mod wallets;

pub use journal::JournalStatus;
pub(crate) use journal::JournalWriter;
pub(crate) use revocations::RevocationPushes;
pub(crate) use seed::seed;
pub(crate) use wallets::WalletPushes;
