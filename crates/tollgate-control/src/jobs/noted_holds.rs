//! Holds that no pod would report any more, noted in the database while the ledger still has them: those whose lease has
//! ended, because their pod died, and those that stand for days, which may outlive theirs. Where the ledger is lost before
//! they are settled, a reseed reads them back.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use tokio_util::sync::CancellationToken;
use tollgate_domain::{Clock, HoldId, TenantId};
use tollgate_ledger::{HoldView, Ledger, LedgerError, OpenHold, OpenReport, TenantEpoch};
use tollgate_store::{NotedHold, PageRequest, Store, StoreError};

use super::WalletReservation;
use crate::AppError;

/// How often it is looked for them: a lease is a minute, so a note comes little later than that.
const LOOK_EVERY: Duration = Duration::from_secs(10);
/// Suspects read per look; more have waited for a moment only.
const MAX_SUSPECTS: usize = 10_000;
/// Notes read per look.
const MAX_NOTED: u32 = 10_000;
/// Tenants looked at per look whether they have suspects or not, one after the other: for what stands.
const TENANTS_PER_LOOK: u32 = 50;
/// Holds read per call.
const HOLDS_PER_PAGE: usize = 500;
/// A lease that ends so long after the admission is that of something that goes on without its request.
const STANDING_MS: i64 = 24 * 3_600_000;

/// The job.
#[derive(Debug)]
pub(crate) struct HoldNoter {
    pub(crate) store: Store,
    pub(crate) ledger: Ledger,
    pub(crate) clock: Arc<dyn Clock>,
    /// The last tenant of the part that was looked at.
    pub(crate) looked_at: Option<TenantId>,
}

impl HoldNoter {
    /// Notes and forgets until `stop`.
    pub(crate) async fn run(mut self, stop: CancellationToken) {
        while stop.run_until_cancelled(tokio::time::sleep(LOOK_EVERY)).await.is_some() {
            if let Err(error) = self.look().await {
                tracing::warn!(%error, "abandoned holds were not noted; it is tried again");
            }
        }
    }

    /// Notes what is to be noted and is not, and forgets what has ended.
    pub(crate) async fn look(&mut self) -> Result<(), AppError> {
        let mut suspects: BTreeMap<TenantId, BTreeSet<HoldId>> = BTreeMap::new();
        for suspect in self.ledger.suspect_holds(MAX_SUSPECTS, 0).await? {
            if !WalletReservation::is_one(suspect.key) {
                suspects.entry(suspect.tenant).or_default().insert(suspect.hold);
            }
        }
        let mut noted: BTreeMap<TenantId, BTreeSet<HoldId>> = BTreeMap::new();
        for one in self.store.list_noted_holds(MAX_NOTED).await? {
            noted.entry(one.tenant).or_default().insert(one.hold);
        }
        let mut tenants: BTreeSet<TenantId> = self.next_part().await?;
        let changed = |tenant: &&TenantId| suspects.get(tenant) != noted.get(tenant);
        tenants.extend(suspects.keys().chain(noted.keys()).filter(changed));
        for tenant in tenants {
            self.look_at(tenant, noted.remove(&tenant).unwrap_or_default()).await?;
        }
        Ok(())
    }

    async fn next_part(&mut self) -> Result<BTreeSet<TenantId>, StoreError> {
        let page = match self.looked_at {
            Some(after) => PageRequest::after(TENANTS_PER_LOOK, after),
            None => PageRequest::first(TENANTS_PER_LOOK),
        };
        let part = self.store.list_tenants(page).await?;
        self.looked_at = part.next;
        Ok(part.items.iter().map(|tenant| tenant.id).collect())
    }

    async fn look_at(&self, tenant: TenantId, noted: BTreeSet<HoldId>) -> Result<(), AppError> {
        let Some(holds) = self.holds_of(tenant).await? else { return Ok(()) };
        let is_new = |view: &&HoldView| is_to_be_noted(view) && !noted.contains(&view.hold);
        let new: Vec<NotedHold> =
            holds.iter().filter(is_new).filter_map(|view| note(&view.to_open(tenant))).collect();
        if !new.is_empty() {
            self.store.note_holds(&new, self.clock.now()).await?;
        }
        let there: BTreeSet<HoldId> = holds.iter().map(|view| view.hold).collect();
        let gone: Vec<HoldId> = noted.difference(&there).copied().collect();
        if !gone.is_empty() {
            self.store.forget_noted_holds(&gone).await?;
        }
        Ok(())
    }

    /// All holds of a tenant; `None` where the ledger may have been lost meanwhile: then nothing of them is known.
    async fn holds_of(&self, tenant: TenantId) -> Result<Option<Vec<HoldView>>, LedgerError> {
        let Some(before) = self.live_epoch(tenant).await? else { return Ok(None) };
        let (mut holds, mut cursor) = (Vec::new(), None);
        loop {
            let page = self.ledger.list_holds(tenant, cursor.as_deref(), HOLDS_PER_PAGE).await?;
            holds.extend(page.holds);
            cursor = page.next;
            if cursor.is_none() {
                break;
            }
        }
        let after = self.live_epoch(tenant).await?;
        Ok((after.as_ref() == Some(&before)).then_some(holds))
    }

    async fn live_epoch(&self, tenant: TenantId) -> Result<Option<TenantEpoch>, LedgerError> {
        let epoch = self.ledger.epochs(&[tenant]).await?.into_iter().next().flatten();
        Ok(epoch.filter(|epoch| epoch.is_live))
    }
}

/// Whether nobody may be left to report it.
fn is_to_be_noted(view: &HoldView) -> bool {
    let stands = view.lease_until.since(view.admitted_at) > STANDING_MS;
    (view.is_suspect || stands) && !WalletReservation::is_one(view.key)
}

fn note(hold: &OpenHold) -> Option<NotedHold> {
    let body = serde_json::to_string(hold).ok()?;
    Some(NotedHold { hold: hold.hold, tenant: hold.tenant, body })
}

/// What was noted of `tenants`, as a pod would report it.
pub(super) async fn noted_report(store: &Store, tenants: &[TenantId]) -> Result<OpenReport, StoreError> {
    let mut report = OpenReport::default();
    for noted in store.noted_holds_of(tenants).await? {
        match serde_json::from_str(&noted.body) {
            Ok(hold) => report.holds.push(hold),
            Err(error) => tracing::error!(hold = %noted.hold, %error, "a noted hold cannot be read"),
        }
    }
    Ok(report)
}
