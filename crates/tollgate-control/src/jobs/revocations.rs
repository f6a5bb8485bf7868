//! Flags of keys that must not be used, on their way to the ledger: at once where it answers, else again
//! until it does. Pods hear of the same by policy; the flag spares the moment until it arrives.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio_util::sync::CancellationToken;
use tollgate_domain::{KeyId, TenantId};
use tollgate_ledger::Ledger;
use tollgate_policy::KeyState;
use tollgate_store::{Store, StoreError};

use crate::AppError;

/// How often flags that did not arrive are sent again.
const RETRY_EVERY: Duration = Duration::from_secs(1);
/// Keys per call to the ledger: some ten kilobytes.
const MAX_KEYS_PER_CALL: usize = 500;
/// How often flags are written anew because the keys changed meanwhile, before that is left to a retry.
const MAX_ROUNDS: usize = 5;

/// Keys whose flag the ledger has not taken yet; at most one entry per key.
#[derive(Clone, Debug, Default)]
pub(crate) struct RevocationPushes {
    pending: Arc<Mutex<BTreeSet<(TenantId, KeyId)>>>,
}

impl RevocationPushes {
    /// Sends the flags that follow from what is stored of `keys`; what fails is sent again later.
    pub(crate) async fn push(&self, store: &Store, ledger: &Ledger, tenant: TenantId, keys: &[KeyId]) {
        let all = || keys.iter().map(|key| (tenant, *key));
        // Before the call: its caller may give up in the middle of it.
        self.pending.lock().extend(all());
        if let Err(error) = self.send_all(store, ledger, tenant, keys).await {
            tracing::warn!(%tenant, %error, "the ledger did not take flags of keys yet; they are sent again");
            self.pending.lock().extend(all());
        }
    }

    /// Sends what is pending again and again until `stop`.
    pub(crate) async fn run(self, store: Store, ledger: Ledger, stop: CancellationToken) {
        let work = async {
            loop {
                tokio::time::sleep(RETRY_EVERY).await;
                let mut by_tenant: BTreeMap<TenantId, Vec<KeyId>> = BTreeMap::new();
                for (tenant, key) in self.pending.lock().iter() {
                    by_tenant.entry(*tenant).or_default().push(*key);
                }
                for (tenant, keys) in by_tenant {
                    if let Err(error) = self.send_all(&store, &ledger, tenant, &keys).await {
                        tracing::debug!(%tenant, %error, "the ledger did not take flags of keys yet");
                    }
                }
            }
        };
        // A call that is cut off may have happened: what it wrote follows from what is stored.
        stop.run_until_cancelled(work).await;
    }

    async fn send_all(
        &self,
        store: &Store,
        ledger: &Ledger,
        tenant: TenantId,
        keys: &[KeyId],
    ) -> Result<(), AppError> {
        for part in keys.chunks(MAX_KEYS_PER_CALL) {
            send(store, ledger, tenant, part).await?;
            let mut pending = self.pending.lock();
            for key in part {
                pending.remove(&(tenant, *key));
            }
        }
        Ok(())
    }
}

/// Writes the flags and looks again: two that write the same key at once cannot leave what is out of date,
/// because whoever wrote last reads what the other one stored.
async fn send(store: &Store, ledger: &Ledger, tenant: TenantId, keys: &[KeyId]) -> Result<(), AppError> {
    let mut usable = usable(store, tenant, keys).await?;
    for _ in 0..MAX_ROUNDS {
        let (allowed, refused): (Vec<KeyId>, Vec<KeyId>) = keys.iter().partition(|key| usable.contains(key));
        ledger.set_keys_revoked(tenant, &refused, true).await?;
        ledger.set_keys_revoked(tenant, &allowed, false).await?;
        let before = std::mem::replace(&mut usable, self::usable(store, tenant, keys).await?);
        if before == usable {
            return Ok(());
        }
    }
    Err(AppError::Unavailable("the keys change faster than their flags are written".to_owned()))
}

/// Those of `keys` that may be used.
async fn usable(store: &Store, tenant: TenantId, keys: &[KeyId]) -> Result<BTreeSet<KeyId>, AppError> {
    let mut usable = BTreeSet::new();
    match store.tenant(tenant).await {
        Ok(tenant) if !tenant.blocked => {}
        Ok(_) | Err(StoreError::NotFound { .. }) => return Ok(usable),
        Err(error) => return Err(error.into()),
    }
    for key in keys {
        match store.key(*key).await {
            Ok(record) if record.state == KeyState::Active => {
                usable.insert(*key);
            }
            Ok(_) | Err(StoreError::NotFound { .. }) => {}
            Err(error) => return Err(error.into()),
        }
    }
    Ok(usable)
}
