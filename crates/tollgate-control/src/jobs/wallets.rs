//! Wallet limits on their way to the ledger: at once where it answers, else again until it does.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio_util::sync::CancellationToken;
use tollgate_domain::{NanoUsd, TenantId};
use tollgate_ledger::Ledger;
use tollgate_store::Store;

use crate::AppError;

/// How often limits that did not arrive are sent again.
const RETRY_EVERY: Duration = Duration::from_secs(1);

/// Tenants whose wallet limit the ledger has not taken yet; at most one entry per tenant.
#[derive(Clone, Debug, Default)]
pub(crate) struct WalletPushes {
    pending: Arc<Mutex<BTreeSet<TenantId>>>,
}

impl WalletPushes {
    /// Sends the tenant's limit now; where that fails it is sent again later.
    pub(crate) async fn push(&self, store: &Store, ledger: &Ledger, tenant: TenantId) {
        if let Err(error) = send(store, ledger, tenant).await {
            tracing::warn!(%tenant, %error, "the ledger did not take a wallet's limit yet; it is sent again");
            self.pending.lock().insert(tenant);
        }
    }

    /// Sends what is pending again and again until `stop`.
    pub(crate) async fn run(self, store: Store, ledger: Ledger, stop: CancellationToken) {
        while stop.run_until_cancelled(tokio::time::sleep(RETRY_EVERY)).await.is_some() {
            let pending: Vec<TenantId> = self.pending.lock().iter().copied().collect();
            for tenant in pending {
                if send(&store, &ledger, tenant).await.is_ok() {
                    self.pending.lock().remove(&tenant);
                }
            }
        }
    }
}

async fn send(store: &Store, ledger: &Ledger, tenant: TenantId) -> Result<(), AppError> {
    let credit = store.credit_total(tenant).await?;
    Ok(ledger.set_wallet_limit(tenant, credit.sum.max(NanoUsd::ZERO), credit.version).await?)
}
