//! Money taken out of a wallet: first held in the ledger, so that no request can take it meanwhile, then out of
//! the journal, then out of the wallet's limit, then no longer held. In this order what requests are charged and
//! hold is at no moment more than the limit. Between the last two steps the reservation itself still counts as
//! held, above a limit that it has left already: for that moment the ledger refuses rather than overspends.

use tollgate_domain::{HoldId, Id, KeyId, NanoUsd, NodeId, TenantId, UnixMillis};
use tollgate_ledger::{Admission, AdmitOutcome, Ledger, SettleOutcome, Settlement, WalletRule};

use crate::AppError;
use crate::secrets::id_entropy;

/// How long the hold lasts should this process die: far longer than what is done under it.
const LEASE_MS: u64 = 60_000;
/// Tries to give a reservation back, and the pause between them: a reseed takes less than all of them.
const RELEASE_TRIES: u32 = 10;
const RELEASE_PAUSE: std::time::Duration = std::time::Duration::from_millis(200);
/// No key and no pod asks.
const NO_KEY: KeyId = KeyId::from_u128(0);
const NO_NODE: NodeId = NodeId::from_u128(0);

/// An amount of a wallet that nobody else can spend. It is to be released, whatever comes in between.
#[must_use = "what is reserved stays held until it is released"]
#[derive(Debug)]
pub(crate) struct WalletReservation {
    tenant: TenantId,
    hold: HoldId,
    /// How much.
    pub(crate) granted: NanoUsd,
    /// What others have been charged or hold, by the ledger.
    pub(crate) used: NanoUsd,
}

/// The answer to a wish to reserve.
#[derive(Debug)]
pub(crate) enum Reserved {
    /// It is reserved.
    Granted(WalletReservation),
    /// Only requests in flight are in the way.
    HeldByOthers,
    /// It is spent.
    Spent,
    /// The ledger does not know the tenant, or is to have it written anew.
    Cold,
}

impl WalletReservation {
    /// Whether a hold under this key is a reservation, and no request.
    pub(crate) fn is_one(key: KeyId) -> bool {
        key == NO_KEY
    }

    /// Reserves up to `amount`, at least `minimum`.
    ///
    /// # Errors
    /// The ledger is unavailable; nothing stays held for longer than a lease.
    pub(crate) async fn ask(
        ledger: &Ledger,
        now: UnixMillis,
        tenant: TenantId,
        amount: NanoUsd,
        minimum: NanoUsd,
    ) -> Result<Reserved, AppError> {
        let hold: HoldId = Id::generate(now, id_entropy()?);
        let admission = Admission {
            tenant,
            key: NO_KEY,
            node: NO_NODE,
            hold,
            amount,
            minimum,
            wallet: WalletRule::Enforced,
            budgets: &[],
            limits: &[],
            tokens: 0,
            lease_ms: LEASE_MS,
            memo: &[],
        };
        let mut reservation = Self { tenant, hold, granted: NanoUsd::ZERO, used: NanoUsd::ZERO };
        let outcome = match ledger.admit(&admission).await {
            Ok(outcome) => outcome,
            Err(error) => {
                // It may have been written.
                reservation.release(ledger).await;
                return Err(error.into());
            }
        };
        match outcome {
            AdmitOutcome::Admitted(grant) => reservation.granted = grant.granted,
            AdmitOutcome::Held(_) => return Ok(Reserved::HeldByOthers),
            AdmitOutcome::Spent(_) => return Ok(Reserved::Spent),
            _ => return Ok(Reserved::Cold),
        }
        match ledger.balances(tenant, true, &[]).await {
            Ok(balances) => {
                let Some(wallet) = balances.wallet.filter(|_| !balances.is_cold) else {
                    reservation.release(ledger).await;
                    return Ok(Reserved::Cold);
                };
                let all = wallet.settled.saturating_add(wallet.held);
                reservation.used = all.saturating_sub(reservation.granted);
                Ok(Reserved::Granted(reservation))
            }
            Err(error) => {
                reservation.release(ledger).await;
                Err(error.into())
            }
        }
    }

    /// Gives back what is reserved. Where the ledger does not answer, the hold ends as that of a dead pod does.
    pub(crate) async fn release(self, ledger: &Ledger) {
        let settlement = Settlement {
            tenant: self.tenant,
            hold: self.hold,
            actual: NanoUsd::ZERO,
            tokens: 0,
            event: None,
        };
        let mut outcome = ledger.settle(&settlement).await;
        for _ in 0..RELEASE_TRIES {
            // a reseed under way has the reservation, too: it is given back when that is done
            if !matches!(outcome, Err(_) | Ok(SettleOutcome::WrongEpoch)) {
                return;
            }
            tokio::time::sleep(RELEASE_PAUSE).await;
            outcome = ledger.settle(&settlement).await;
        }
        if matches!(outcome, Err(_) | Ok(SettleOutcome::WrongEpoch)) {
            let (tenant, hold) = (self.tenant, self.hold);
            tracing::warn!(%tenant, %hold, ?outcome, "a reserved part of a wallet was not given back");
        }
    }
}
