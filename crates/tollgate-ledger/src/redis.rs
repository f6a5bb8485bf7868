//! The ledger in Redis (7.0 or later, or Valkey), shared by all processes.
//!
//! Every call is one script, so it is atomic. All keys of a tenant and the outbox it writes to share one hash
//! tag, so that a script touches one slot only; tenants spread over [`keys::N_SHARDS`] tags. The scripts lie
//! beside this file; each names its arguments and its version.

mod admit;
mod breaker;
mod client;
mod config;
mod events;
mod holds;
mod idempotency;
mod keys;
mod link;
mod outbox;
mod recovery;
mod register;
mod reply;
mod scripts;
mod server;
mod settle;
mod slab;
mod tenant;

use std::fmt;
use std::sync::Arc;

use crate::error::LedgerError;
use client::Client;
use outbox::OutboxReader;
use register::Register;

pub use config::{DEFAULT_RESPONSE_TIMEOUT_MS, RedisConfig};

/// A ledger in Redis. Cloning gives the same ledger over the same connections.
#[derive(Clone)]
pub struct RedisLedger {
    shared: Arc<Shared>,
}

struct Shared {
    client: Client,
    outbox: OutboxReader,
    register: Register,
}

impl RedisLedger {
    /// Connects, checks the server's version and that it does not evict, loads the scripts and creates the
    /// outbox's groups.
    ///
    /// # Errors
    /// [`LedgerError::Unavailable`] when Redis does not answer in time, [`LedgerError::Misconfigured`] when
    /// the URL is none or money would not be safe there.
    pub async fn connect(config: &RedisConfig) -> Result<Self, LedgerError> {
        let client = Client::connect(config).await?;
        let outbox = OutboxReader::new(&client, config);
        outbox.create_groups(&client).await?;
        let ledger = Self { shared: Arc::new(Shared { client, outbox, register: Register::default() }) };
        // Sees the streams' marks before anything is written to them.
        ledger.confirm_journaled().await?;
        Ok(ledger)
    }

    pub(crate) fn has_room(&self) -> bool {
        self.shared.register.has_room()
    }

    pub(crate) async fn ping(&self) -> Result<(), LedgerError> {
        self.shared.client.call(&redis::cmd("PING")).await.map(drop)
    }
}

impl fmt::Debug for RedisLedger {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RedisLedger").finish_non_exhaustive()
    }
}
