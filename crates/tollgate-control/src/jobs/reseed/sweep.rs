//! Tenants whose epoch does not answer, found before anybody asks for them.

use std::time::Duration;

use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use tollgate_domain::TenantId;
use tollgate_ledger::{Ledger, LedgerError, TenantEpoch};
use tollgate_store::{PageRequest, Store};

use super::Reseeds;

/// How often a part of the tenants is looked at for wrong epochs that nobody has met yet.
const SWEEP_EVERY: Duration = Duration::from_secs(1);
/// Tenants looked at per step of the sweep.
const SWEEP_PAGE: u32 = 500;

/// Looks at all tenants again and again for epochs that do not answer and that nobody has met: a part every
/// second, everything at once when something was lost.
pub(crate) async fn sweep(reseeds: Reseeds, store: Store, ledger: Ledger, stop: CancellationToken) {
    let work = async {
        loop {
            tokio::select! {
                () = reseeds.sweep_now.notified() => {}
                () = tokio::time::sleep(SWEEP_EVERY) => {}
            }
            let mut page = PageRequest::first(SWEEP_PAGE);
            loop {
                let Ok(part) = store.list_tenants(page).await else { break };
                let tenants: Vec<TenantId> = part.items.iter().map(|tenant| tenant.id).collect();
                let Ok(n_wrong) = sweep_page(&reseeds, &ledger, &tenants).await else { break };
                let Some(next) = part.next else { break };
                page = PageRequest::after(SWEEP_PAGE, next);
                if n_wrong == 0 {
                    tokio::select! {
                        () = reseeds.sweep_now.notified() => {}
                        () = tokio::time::sleep(SWEEP_EVERY) => {}
                    }
                }
            }
        }
    };
    stop.run_until_cancelled(work).await;
}

/// Reseeds those of `tenants` whose epoch does not answer; answers how many there were.
async fn sweep_page(reseeds: &Reseeds, ledger: &Ledger, tenants: &[TenantId]) -> Result<usize, LedgerError> {
    let epochs = ledger.epochs(tenants).await?;
    let is_wrong = |epoch: &Option<TenantEpoch>| epoch.as_ref().is_none_or(|epoch| !epoch.is_live);
    let wrong: Vec<TenantId> =
        tenants.iter().zip(&epochs).filter(|(_, epoch)| is_wrong(epoch)).map(|(tenant, _)| *tenant).collect();
    let mut asking = JoinSet::new();
    for tenant in &wrong {
        let (reseeds, tenant) = (reseeds.clone(), *tenant);
        asking.spawn(async move { reseeds.reseed(tenant, None).await });
    }
    // each failure is logged where it happens
    asking.join_all().await;
    Ok(wrong.len())
}
