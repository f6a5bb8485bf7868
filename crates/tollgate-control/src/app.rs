//! The use cases of administration: one file per resource with its inputs, its views (exactly the JSON of
//! the admin API) and its calls. Every call takes the [`Actor`] first and authorizes before it acts.

mod audit;
mod balances;
mod budgets;
mod credits;
mod drift;
mod end_users;
mod hold;
mod holds;
mod idempotency;
mod increases;
mod keys;
mod lookup;
mod margins;
mod models;
mod nodes;
mod prices;
mod projects;
mod providers;
mod requests;
mod settings;
mod statements;
mod tenants;
mod trial;
mod usage;
mod verification;
mod webhooks;

use std::sync::Arc;

use serde::{Deserialize, Deserializer, Serialize};
use tollgate_catalog::Catalog;
use tollgate_domain::{Clock, Id, KeyPepper, UnixMillis};
use tollgate_ledger::Ledger;
use tollgate_store::{ActorKind, MAX_PAGE, Page, PageRequest, Store, WriteContext};
use utoipa::{IntoParams, ToSchema};

pub use audit::{AuditQuery, AuditView};
pub use balances::{BalanceSource, BalanceView, LedgerEntryView};
pub use budgets::{BudgetQuery, BudgetScopeName, BudgetView, BudgetWindowName, CreateBudget, UpdateBudget};
pub use credits::{CreateCredit, CreditKindName, CreditReason, CreditView};
pub use drift::{DriftFindingView, DriftQuery, DriftState, DriftView};
pub use end_users::{EndUserQuery, EndUserView};
pub use holds::{HoldQuery, HoldView};
pub use idempotency::{IdempotentAnswer, IdempotentState, IdempotentWrite};
pub use increases::{BudgetIncreaseView, CreateBudgetIncrease};
pub use keys::{CreateKey, CreatedKey, KeyStateName, KeyView, RotateKey, UpdateKey};
pub use margins::{CreateMargin, MarginQuery, MarginView};
pub use models::{CreateModel, ModelView, UpdateModel};
pub use nodes::{NodeRefusalView, NodeView};
pub use prices::{CreatePrice, PriceQuery, PriceView};
pub use projects::{CreateProject, ProjectView, UpdateProject};
pub use providers::{CreateProvider, CredentialView, ProviderResponses, ProviderView, UpdateProvider};
pub use requests::{AttemptView, ChargeLineView, MarginLineView, RequestQuery, RequestView};
pub use settings::{DefaultModelsView, UpdateDefaultModels};
pub use statements::{
    StatementChargeView, StatementCreditView, StatementKindView, StatementQuery, StatementSumView,
    StatementView,
};
pub use tenants::{BillingName, CreateTenant, TenantView, UpdateTenant};
pub use usage::{UsageBucketName, UsageQuery, UsageReport, UsageRowView};
pub use verification::{FindingView, VerificationState, VerificationView};
pub use webhooks::{
    CreateWebhook, CreatedWebhook, DeliveryQuery, DeliveryStateName, DeliveryView, UpdateWebhook,
    WebhookEventName, WebhookTest, WebhookView,
};

pub(crate) use margins::MarginTerms;
pub(crate) use models::check_fallbacks;
pub(crate) use prices::{parse_price, price_text};
pub(crate) use settings::check_defaults;
pub(crate) use trial::TrialBody;
pub(crate) use verification::LEDGER_TABLE;

use crate::nodes::NodeRegistry;
use crate::secrets::{CredentialBox, id_entropy};
use crate::{Actor, AdminLogins, AppError};

/// Everything the use cases work on.
#[derive(Debug)]
pub(crate) struct AppParts {
    pub(crate) store: Store,
    pub(crate) ledger: Ledger,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) catalog: Arc<Catalog>,
    pub(crate) credentials: CredentialBox,
    pub(crate) answers: CredentialBox,
    pub(crate) pepper: KeyPepper,
    pub(crate) logins: AdminLogins,
    pub(crate) nodes: NodeRegistry,
    pub(crate) wallets: crate::jobs::WalletPushes,
    pub(crate) verifications: crate::jobs::Verifications,
    pub(crate) revocations: crate::jobs::RevocationPushes,
    pub(crate) reseeds: crate::jobs::Reseeds,
    pub(crate) alerts: crate::jobs::AlertSignals,
    pub(crate) dispatcher: crate::jobs::WebhookDispatcher,
    pub(crate) drifts: crate::jobs::Drifts,
    pub(crate) webhooks_may_be_private: bool,
}

/// The use cases. Cheap to clone.
#[derive(Clone, Debug)]
pub struct App {
    parts: Arc<AppParts>,
}

/// Which part of a list is wanted.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, IntoParams, ToSchema)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct ListQuery {
    /// How many at most; 100 where absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[param(minimum = 1, maximum = 1000)]
    pub limit: Option<u32>,
    /// `next` of the page before.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub after: Option<String>,
}

/// A part of a list.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct List<T> {
    /// The objects.
    pub data: Vec<T>,
    /// `after` of the next part; `null` on the last one.
    pub next: Option<String>,
}

/// How many objects a list answers when nobody says.
const DEFAULT_PAGE: u32 = 100;

impl ListQuery {
    /// The next part after `after`.
    #[must_use]
    pub fn after(after: Option<String>) -> Self {
        Self { limit: None, after }
    }

    fn page<C: std::str::FromStr>(&self) -> Result<PageRequest<C>, AppError> {
        let limit = self.limit.unwrap_or(DEFAULT_PAGE);
        if !(1..=MAX_PAGE).contains(&limit) {
            return Err(AppError::invalid("limit", format!("must be within 1 and {MAX_PAGE}")));
        }
        let parse = |text: &String| {
            text.parse()
                .map_err(|_| AppError::invalid("after", "is no cursor: pass `next` of the page before"))
        };
        Ok(PageRequest { limit, after: self.after.as_ref().map(parse).transpose()? })
    }
}

impl<T> List<T> {
    fn of<R, C: ToString>(page: Page<R, C>, view: impl FnMut(R) -> T) -> Self {
        Self {
            data: page.items.into_iter().map(view).collect(),
            next: page.next.map(|next| next.to_string()),
        }
    }
}

/// For PATCH bodies: absent is unchanged, `null` clears.
#[expect(clippy::option_option, reason = "three states: absent, null, a value")]
pub(crate) fn present<'de, T: Deserialize<'de>, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<Option<Option<T>>, D::Error> {
    Option::<T>::deserialize(deserializer).map(Some)
}

impl App {
    pub(crate) fn new(parts: AppParts) -> Self {
        Self { parts: Arc::new(parts) }
    }

    /// The actor a bearer token stands for.
    ///
    /// # Errors
    /// [`AppError::Unauthenticated`].
    pub fn authenticate(&self, bearer_token: &str) -> Result<Actor, AppError> {
        self.parts.logins.authenticate(bearer_token)
    }

    /// The built-in catalogue of models: the same for everybody who is logged in.
    #[must_use]
    pub fn catalog(&self) -> &Catalog {
        &self.parts.catalog
    }

    pub(crate) fn store(&self) -> &Store {
        &self.parts.store
    }

    /// The present moment.
    #[must_use]
    pub fn now(&self) -> UnixMillis {
        self.parts.clock.now()
    }

    fn context(&self, actor: &Actor) -> WriteContext {
        let actor_kind = if *actor == Actor::system() { ActorKind::System } else { ActorKind::Token };
        WriteContext { actor: actor.name().to_owned(), actor_kind, now: self.now(), reason: None }
    }

    fn new_id<T>(&self) -> Result<Id<T>, AppError> {
        Ok(Id::generate(self.now(), id_entropy()?))
    }
}
