//! The record: PostgreSQL and SQLite behind one [`Store`].
//!
//! Read `db` first: one SQL text runs on both databases through `db::Statement`, and every write is a
//! transaction through `store::run_tx`. Then one file per aggregate, each showing its SQL whole:
//! `tenants`, `projects`, `keys`, `budgets`, `providers`, `models`, `prices`, `margins`, `settings` are
//! policy; `policy_log` numbers their changes; `audit` says who made them. `credits` and `journal`
//! are money, `requests` and `usage_report` read it. `alerts` are told once each, by `webhooks` and their
//! `webhook_deliveries`.
//!
//! Every write takes a [`WriteContext`] first, appends an audit row, and, where it changes policy, a row of
//! `policy_changes` with the next revision, all in the same transaction.

mod alerts;
mod audit;
mod budget_increases;
mod budgets;
mod constraints;
mod context;
mod credit_lots;
mod credits;
mod db;
mod end_users;
mod error;
mod idempotency;
mod job_runs;
mod journal;
mod keys;
mod listen;
mod margins;
mod migrate;
mod models;
mod names;
mod noted_holds;
mod page;
mod partitions;
mod policy_log;
mod prices;
mod projects;
mod providers;
mod requests;
mod reseed;
mod roles;
mod settings;
mod statements;
mod store;
mod tenant_accounts;
mod tenants;
mod usage_report;
mod verify;
mod webhook_deliveries;
mod webhooks;

pub use alerts::{AlertKind, NewAlert, WalletHistory};
pub use audit::{AuditFilter, AuditRecord};
pub use budget_increases::{BudgetIncreaseRecord, MAX_ACTIVE_INCREASES, NewBudgetIncrease};
pub use budgets::{BudgetFilter, BudgetRecord};
pub use context::{ActorKind, WriteContext};
pub use credit_lots::{CreditLot, CreditLots};
pub use credits::{CreditKind, CreditRecord, CreditTotal, NewCredit};
pub use end_users::EndUserSpend;
pub use error::StoreError;
pub use idempotency::{IDEMPOTENCY_LIFETIME_MS, IdempotencyKey, IdempotencyState, StoredResponse};
pub use journal::{JournalEntry, JournalKind};
pub use keys::{KeyFilter, KeyRecord};
pub use listen::PolicyListener;
pub use margins::{MarginFilter, MarginRecord};
pub use models::ModelRecord;
pub use noted_holds::NotedHold;
pub use page::{MAX_PAGE, Page, PageRequest};
pub use partitions::DAYS_AHEAD;
pub use policy_log::{CHANGES_RETAINED, LoadedPolicy, PolicyRecord};
pub use prices::{PriceFilter, PriceRecord};
pub use projects::{ProjectFilter, ProjectRecord};
pub use providers::{CredentialRecord, NewCredential, NewProvider, ProviderRecord};
pub use requests::{RequestCursor, RequestFilter, RequestRecord};
pub use settings::{SettingsRecord, TrialCredit};
pub use statements::{Statement, StatementCharge, StatementPosting};
pub use store::Store;
pub use tenant_accounts::{TenantAccount, TenantCalendar};
pub use tenants::TenantRecord;
pub use usage_report::{UsageBucket, UsageDimension, UsageGroup, UsageQuery, UsageRow};
pub use verify::{Finding, JournalProof, MAX_FINDINGS};
pub use webhook_deliveries::{ClaimedDelivery, DeliveryOutcome, DeliveryRecord, DeliveryState};
pub use webhooks::{NewWebhook, WebhookRecord};
