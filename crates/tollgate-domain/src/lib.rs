//! The words the rest of Tollgate is written in: ids, money, token usage, time windows, keys, error
//! kinds and the usage event. Pure: no I/O, no clock, no randomness; time and entropy are arguments.

mod budget_share;
mod clock;
mod derived;
mod error_kind;
mod event;
mod id;
mod key;
mod margin;
mod money;
mod net;
mod secret;
mod usage;
mod window;

pub use budget_share::{BudgetShare, BudgetShareError};
pub use clock::{Clock, ManualClock, UnixMillis};
pub use error_kind::ErrorKind;
pub use event::{
    Attempt, AttemptBill, AttemptOutcome, ChargeLine, HoldMemo, Labels, MAX_HOLD_MEMO_BYTES, RequestOutcome,
    SettlementBasis, Surface, UnreadableEvent, UnreadableMemo, UsageEvent,
};
pub use id::{
    AlertId, BudgetId, BudgetIncreaseId, CredentialId, CreditId, EntropySource, EventId, HoldId, Id,
    IdParseError, KeyId, MarginId, ModelId, NodeId, PriceId, ProjectId, ProviderId, RequestId, TenantId,
    UserId, WebhookId,
};
pub use key::{ApiKeyError, ApiKeySecret, KeyHash, KeyPepper};
pub use margin::{AppliedMargin, BasisPoints, MarginError};
pub use money::{MAX_LIMIT, MoneyError, NanoUsd, PricePerMillion};
pub use net::{is_loopback_address, is_public_address};
pub use secret::{PromptBytes, Secret};
pub use usage::{Meter, Usage, UsageError};
pub use window::{BudgetWindow, Period, PeriodPair, TimeZoneName, WindowError};
