//! Policy: what the control plane tells the pods, compiled into one immutable [`Snapshot`], and the
//! decisions over it: whose key, which model, in which order, paid by which budgets.
//!
//! Pure. A [`PolicySet`] holds the raw objects and takes changes; [`Snapshot::compile`] validates them
//! whole and indexes them. A set that does not validate never becomes a snapshot.

mod access;
mod increases;
mod margin;
mod objects;
mod owner_specs;
mod plan;
mod prices;
mod responses;
mod rules;
mod set;
mod snapshot;
mod vendor_credentials;

pub use access::{AuthDenied, BudgetScope, BudgetSpec, KeyContext, LimitSpec};
pub use increases::{BudgetIncrease, effective_limit};
pub use margin::MarginRule;
pub use objects::{
    Billing, BudgetOwner, BudgetPolicy, CredentialPolicy, DataPolicy, Dialect, KeyPolicy, KeyState,
    MAX_HOLD_SLICE_TOKENS, MIN_HOLD_SLICE_TOKENS, ModelPolicy, ObjectKind, PolicyObject, ProjectPolicy,
    ProviderPolicy, RateLimits, Retention, RetryOn, RetryPolicy, Settings, Strategy, Target, TenantPolicy,
    Timeouts, is_hold_slice,
};
pub use owner_specs::{EndUserLimits, ModelLimitSpec, OwnerSpecs};
pub use plan::{Candidate, ModelInfo, PlanDenied, RoutePlan};
pub use responses::{ModelResponses, ResponsesMode, ResponsesService};
pub use rules::{EndUserBudget, EndUserCounter, EndUserRules, ModelLimit, OwnerRules};
pub use set::{ObjectRef, PolicyChange, PolicySet};
pub use snapshot::{MAX_FALLBACK_DEPTH, Snapshot, SnapshotError};
pub use vendor_credentials::{
    AwsCredential, AwsKeys, CredentialError, GoogleCredential, ServiceAccount, bedrock_region,
    vertex_location,
};
