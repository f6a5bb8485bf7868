//! Credit whose end has come leaves its wallet: what is unspent and not held at once, the rest as soon as the
//! requests in flight have ended without using it.

use std::sync::Arc;
use std::time::Duration;

use tokio_util::sync::CancellationToken;
use tollgate_domain::{Clock, Id, NanoUsd};
use tollgate_ledger::Ledger;
use tollgate_policy::Billing;
use tollgate_store::{CreditRecord, PageRequest, Store, StoreError, WriteContext};

use super::reservation::{Reserved, WalletReservation};
use super::wallets::WalletPushes;
use crate::AppError;
use crate::secrets::id_entropy;

/// How often it is looked for credit whose end has come: nobody counts on more than the minute.
const EVERY: Duration = Duration::from_secs(30);
/// How many credits are read at a time.
const READ_PAGE: u32 = 500;

/// The job. Cheap to clone; one task runs it.
#[derive(Clone, Debug)]
pub(crate) struct CreditExpiry {
    store: Store,
    ledger: Ledger,
    clock: Arc<dyn Clock>,
    wallets: WalletPushes,
}

impl CreditExpiry {
    pub(crate) fn new(
        store: &Store,
        ledger: &Ledger,
        clock: &Arc<dyn Clock>,
        wallets: &WalletPushes,
    ) -> Self {
        let (store, ledger) = (store.clone(), ledger.clone());
        Self { store, ledger, clock: Arc::clone(clock), wallets: wallets.clone() }
    }

    /// Takes back what has expired, again and again, until `stop`.
    pub(crate) async fn run(self, stop: CancellationToken) {
        let work = async {
            loop {
                if let Err(error) = self.expire_all().await {
                    tracing::warn!(%error, "not all expired credit was taken back; it is tried again");
                }
                tokio::time::sleep(EVERY).await;
            }
        };
        // A credit that is cut off in the middle is looked at again: what is posted follows from the journal.
        stop.run_until_cancelled(work).await;
    }

    /// Takes back everything that has expired by now. One credit that cannot be does not keep the others.
    ///
    /// # Errors
    /// The first failure; the others were tried all the same.
    pub(crate) async fn expire_all(&self) -> Result<(), AppError> {
        let mut page = PageRequest::first(READ_PAGE);
        let mut failure = Ok(());
        loop {
            let part = self.store.list_expired_credits(self.clock.now(), page).await?;
            for credit in &part.items {
                let expired = self.expire(credit).await;
                failure = failure.and(expired);
            }
            let Some(next) = part.next else { return failure };
            page = PageRequest::after(READ_PAGE, next);
        }
    }

    async fn expire(&self, credit: &CreditRecord) -> Result<(), AppError> {
        let left = self.left(credit).await?;
        if left > NanoUsd::ZERO {
            match self.store.tenant(credit.tenant).await {
                Ok(tenant) if tenant.billing == Billing::Prepaid => self.take_back_held(credit, left).await?,
                // Nothing is held against the wallet of who pays by invoice, or is gone.
                Ok(_) | Err(StoreError::NotFound { .. }) => {
                    self.take_back(credit, NanoUsd::ZERO, left).await?;
                }
                Err(error) => return Err(error.into()),
            }
        }
        if self.left(credit).await? == NanoUsd::ZERO {
            self.store.close_expired_credit(credit.id).await?;
        }
        Ok(())
    }

    /// By the journal: what is charged later can only make it less.
    async fn left(&self, credit: &CreditRecord) -> Result<NanoUsd, AppError> {
        Ok(self.store.credit_lots(credit.tenant, NanoUsd::ZERO).await?.remaining(credit.id))
    }

    async fn take_back_held(&self, credit: &CreditRecord, left: NanoUsd) -> Result<(), AppError> {
        let asked =
            WalletReservation::ask(&self.ledger, self.clock.now(), credit.tenant, left, NanoUsd(1)).await?;
        // What is spent or held by others, and what the ledger does not know yet, is for a later round.
        let Reserved::Granted(reservation) = asked else { return Ok(()) };
        let taken = self.take_back(credit, reservation.used, reservation.granted).await;
        // where the ledger may not have the lower limit, the reservation stays in its place until it ends as a dead
        // pod's hold
        if matches!(taken, Ok(true)) {
            reservation.release(&self.ledger).await;
        }
        taken.map(drop)
    }

    /// Answers whether the ledger has the limit that follows.
    async fn take_back(
        &self,
        credit: &CreditRecord,
        used: NanoUsd,
        at_most: NanoUsd,
    ) -> Result<bool, AppError> {
        let now = self.clock.now();
        let context = WriteContext::system("credit-expiry", now);
        let id = Id::generate(now, id_entropy()?);
        let Some(expiry) = self.store.expire_credit(&context, credit.id, id, used, at_most).await? else {
            return Ok(true);
        };
        let (tenant, amount) = (credit.tenant, expiry.amount);
        tracing::info!(%tenant, credit = %credit.id, %amount, "credit has expired");
        Ok(self.wallets.push(&self.store, &self.ledger, tenant).await)
    }
}
