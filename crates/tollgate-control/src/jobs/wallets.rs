//! Wallet limits on their way to the ledger: at once where it answers, else again until it does. All of them
//! are also sent at every start and every minute, so that a credit whose sender died between the journal and
//! the ledger arrives as well.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tollgate_domain::{NanoUsd, TenantId};
use tollgate_ledger::Ledger;
use tollgate_store::{CreditTotal, PageRequest, Store};

use crate::AppError;

/// How often limits that did not arrive are sent again.
const RETRY_EVERY: Duration = Duration::from_secs(1);
/// How often all limits are sent: one small call per prepaid tenant.
const SEND_ALL_EVERY: Duration = Duration::from_secs(60);
/// How many totals are read at a time.
const READ_PAGE: u32 = 1_000;

/// Tenants whose wallet limit the ledger has not taken yet; at most one entry per tenant.
#[derive(Clone, Debug, Default)]
pub(crate) struct WalletPushes {
    pending: Arc<Mutex<BTreeSet<TenantId>>>,
}

impl WalletPushes {
    /// Sends the tenant's limit now; where that fails it is sent again later. Answers whether the ledger has it.
    pub(crate) async fn push(&self, store: &Store, ledger: &Ledger, tenant: TenantId) -> bool {
        if let Err(error) = send(store, ledger, tenant).await {
            tracing::warn!(%tenant, %error, "the ledger did not take a wallet's limit yet; it is sent again");
            self.pending.lock().insert(tenant);
            return false;
        }
        true
    }

    /// Sends all limits now and then, and what is pending again and again, until `stop`.
    pub(crate) async fn run(self, store: Store, ledger: Ledger, stop: CancellationToken) {
        let work = async {
            let mut send_all_at = Instant::now();
            loop {
                if Instant::now() >= send_all_at {
                    send_all_at = Instant::now() + SEND_ALL_EVERY;
                    if let Err(error) = send_all(&store, &ledger).await {
                        tracing::warn!(%error, "not all wallet limits reached the ledger; they are sent again");
                    }
                }
                tokio::time::sleep(RETRY_EVERY).await;
                self.retry(&store, &ledger).await;
            }
        };
        // A call that is cut off may have happened: a limit is sent with its version, so that is harmless.
        stop.run_until_cancelled(work).await;
    }

    async fn retry(&self, store: &Store, ledger: &Ledger) {
        let pending: Vec<TenantId> = self.pending.lock().iter().copied().collect();
        for tenant in pending {
            if send(store, ledger, tenant).await.is_ok() {
                self.pending.lock().remove(&tenant);
            }
        }
    }
}

/// Ends at the first failure: the next round begins anew.
async fn send_all(store: &Store, ledger: &Ledger) -> Result<(), AppError> {
    let mut page = PageRequest::first(READ_PAGE);
    loop {
        let part = store.list_prepaid_credit_totals(page).await?;
        for (tenant, total) in part.items {
            send_total(ledger, tenant, total).await?;
        }
        let Some(next) = part.next else { return Ok(()) };
        page = PageRequest::after(READ_PAGE, next);
    }
}

async fn send(store: &Store, ledger: &Ledger, tenant: TenantId) -> Result<(), AppError> {
    send_total(ledger, tenant, store.credit_total(tenant).await?).await
}

async fn send_total(ledger: &Ledger, tenant: TenantId, total: CreditTotal) -> Result<(), AppError> {
    Ok(ledger.set_wallet_limit(tenant, total.sum.max(NanoUsd::ZERO), total.version).await?)
}
