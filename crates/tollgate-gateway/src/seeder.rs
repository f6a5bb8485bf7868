//! How a pod asks for a tenant's counters to be written into a ledger that does not know them.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Semaphore;
use tollgate_domain::TenantId;

/// Seedings under way at once: each reads the journal.
const MAX_CONCURRENT_SEEDINGS: usize = 16;

/// A seeding under way; the error is for the log.
pub type SeedFuture = Pin<Box<dyn Future<Output = Result<(), String>> + Send>>;

/// Asks the control plane, wherever it is, to seed a tenant.
#[derive(Clone)]
pub struct Seeder {
    seed: Arc<dyn Fn(TenantId) -> SeedFuture + Send + Sync>,
    places: Arc<Semaphore>,
}

impl Seeder {
    /// Seeds through `seed`.
    pub fn new(seed: impl Fn(TenantId) -> SeedFuture + Send + Sync + 'static) -> Self {
        Self { seed: Arc::new(seed), places: Arc::new(Semaphore::new(MAX_CONCURRENT_SEEDINGS)) }
    }

    /// Seeds `tenant`, waiting at most `timeout`.
    ///
    /// # Errors
    /// A sentence for the log.
    pub(crate) async fn seed(&self, tenant: TenantId, timeout: Duration) -> Result<(), String> {
        let seeding = async {
            let _place = self.places.acquire().await.map_err(|_| "seeding has ended".to_owned())?;
            (self.seed)(tenant).await
        };
        match tokio::time::timeout(timeout, seeding).await {
            Ok(outcome) => outcome,
            Err(_) => Err(format!("no answer within {} ms", timeout.as_millis())),
        }
    }
}

impl fmt::Debug for Seeder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Seeder")
    }
}
