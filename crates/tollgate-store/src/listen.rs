//! Hints that there is a new policy revision: from PostgreSQL's NOTIFY, or from this process's own writes.

use std::time::Duration;

use sqlx::postgres::PgListener;
use tokio::sync::watch;
use tokio::task::JoinHandle;

use crate::store::Pools;
use crate::{Store, StoreError};

/// The channel that carries revisions; each policy change notifies it in its transaction.
pub(crate) const CHANNEL: &str = "tollgate_policy";
/// The wait before connecting again after a failure: short, because policy is late meanwhile.
const RECONNECT_WAIT: Duration = Duration::from_millis(500);

/// Receives hints of new revisions. Dropping it ends its task.
#[derive(Debug)]
pub struct PolicyListener {
    revision: watch::Receiver<u64>,
    /// Present on PostgreSQL.
    task: Option<JoinHandle<()>>,
}

impl PolicyListener {
    /// The newest revision heard of.
    #[must_use]
    pub fn revision(&self) -> u64 {
        *self.revision.borrow()
    }

    /// Waits until a revision is heard of that this did not answer yet, and answers it; several may have
    /// passed. After a lost connection the revision is read anew, so none is missed for ever. Cancel safe.
    ///
    /// # Errors
    /// `Unavailable` when the store was closed.
    pub async fn changed(&mut self) -> Result<u64, StoreError> {
        match self.revision.changed().await {
            Ok(()) => Ok(*self.revision.borrow_and_update()),
            Err(_) => Err(StoreError::Unavailable(sqlx::Error::PoolClosed)),
        }
    }
}

impl Drop for PolicyListener {
    fn drop(&mut self) {
        if let Some(task) = &self.task {
            task.abort();
        }
    }
}

impl Store {
    /// Starts to listen for new revisions, beginning with the present one.
    ///
    /// # Errors
    /// Only the database's own, at the start; afterwards it reconnects by itself.
    pub async fn listen(&self) -> Result<PolicyListener, StoreError> {
        let Pools::Postgres(pool) = &self.pools else {
            // Subscribed before the revision is read: no change falls between the two.
            let receiver = self.committed_revision.subscribe();
            let revision = self.policy_revision().await?;
            self.committed_revision.send_if_modified(|newest| {
                *newest = revision.max(*newest);
                false
            });
            return Ok(PolicyListener { revision: receiver, task: None });
        };
        let listener = subscribe(pool).await?;
        let (sender, receiver) = watch::channel(self.policy_revision().await?);
        let task = tokio::spawn(relay(self.clone(), listener, sender));
        Ok(PolicyListener { revision: receiver, task: Some(task) })
    }
}

async fn subscribe(pool: &sqlx::PgPool) -> Result<PgListener, StoreError> {
    let mut listener = PgListener::connect_with(pool).await?;
    listener.listen(CHANNEL).await?;
    Ok(listener)
}

/// Passes hints on until the store is closed or the task is aborted.
async fn relay(store: Store, mut listener: PgListener, sender: watch::Sender<u64>) {
    let Pools::Postgres(pool) = &store.pools else { return };
    loop {
        match listener.try_recv().await {
            Ok(Some(notification)) => {
                if let Ok(revision) = notification.payload().parse() {
                    publish(&sender, revision);
                }
            }
            // The connection was lost, and with it whatever was notified meanwhile.
            Ok(None) | Err(_) if pool.is_closed() => return,
            Ok(None) | Err(_) => {
                tracing::warn!("lost the connection that listens for policy changes, connecting again");
                listener = match reconnect(&store, pool, &sender).await {
                    Some(listener) => listener,
                    None => return,
                };
            }
        }
    }
}

/// Subscribes anew, then reads the revision: in this order nothing falls in between.
async fn reconnect(store: &Store, pool: &sqlx::PgPool, sender: &watch::Sender<u64>) -> Option<PgListener> {
    while !pool.is_closed() {
        if let Ok(listener) = subscribe(pool).await
            && let Ok(revision) = store.policy_revision().await
        {
            publish(sender, revision);
            return Some(listener);
        }
        tokio::time::sleep(RECONNECT_WAIT).await;
    }
    None
}

fn publish(sender: &watch::Sender<u64>, revision: u64) {
    sender.send_if_modified(|newest| {
        let is_newer = *newest < revision;
        *newest = revision.max(*newest);
        is_newer
    });
}
