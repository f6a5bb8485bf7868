//! The closed label sets that belong to no domain type.

/// A call to the ledger.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LedgerCall {
    /// Reserve before the request is sent.
    Admit,
    /// Charge after it has ended.
    Settle,
    /// Several settlements in one round trip.
    SettleMany,
    /// Extend the leases of long requests.
    Renew,
    /// Hand over what the journal knows.
    Seed,
    /// Read what is left.
    Balances,
    /// Change a wallet's limit.
    SetWalletLimit,
    /// Revoke a key at once.
    SetKeyRevoked,
    /// Read events for the journal.
    OutboxRead,
    /// Acknowledge journaled events.
    OutboxAcknowledge,
    /// Hold for the next slice of an answer.
    Grow,
}

impl LedgerCall {
    /// Every call, in the order of declaration.
    pub const ALL: [Self; 11] = [
        Self::Admit,
        Self::Settle,
        Self::SettleMany,
        Self::Renew,
        Self::Seed,
        Self::Balances,
        Self::SetWalletLimit,
        Self::SetKeyRevoked,
        Self::OutboxRead,
        Self::OutboxAcknowledge,
        Self::Grow,
    ];

    /// The label.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Admit => "admit",
            Self::Settle => "settle",
            Self::SettleMany => "settle_many",
            Self::Renew => "renew",
            Self::Seed => "seed",
            Self::Balances => "balances",
            Self::SetWalletLimit => "set_wallet_limit",
            Self::SetKeyRevoked => "set_key_revoked",
            Self::OutboxRead => "outbox_read",
            Self::OutboxAcknowledge => "outbox_acknowledge",
            Self::Grow => "grow",
        }
    }
}

/// How a call to the ledger ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LedgerResult {
    /// Done.
    Ok,
    /// The ledger said no: budget, credit or limit.
    Refused,
    /// The ledger wants to be seeded first.
    Unseeded,
    /// It could not be reached in time.
    Unavailable,
    /// Any other failure.
    Error,
}

impl LedgerResult {
    /// Every result, in the order of declaration.
    pub const ALL: [Self; 5] = [Self::Ok, Self::Refused, Self::Unseeded, Self::Unavailable, Self::Error];

    /// The label.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Refused => "refused",
            Self::Unseeded => "unseeded",
            Self::Unavailable => "unavailable",
            Self::Error => "error",
        }
    }
}
