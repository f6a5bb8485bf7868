//! The fields of the configuration file. Secrets arrive resolved: whoever reads the file replaces
//! `${VARIABLE}` and `secret_file` before.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use tollgate_domain::{Labels, Meter};
use utoipa::ToSchema;

use crate::app::{
    BillingName, BudgetWindowName, CreateMargin, CreateModel, CreatePrice, CreateProvider, CreateWebhook,
    TrialBody,
};
use crate::parts::{
    DataPolicyBody, EndUsersBody, HoldBody, LimitsBody, ModelLimitBody, SecretText, ShareNumber,
};

/// One problem of a document.
pub type ConfigProblem = crate::FieldProblem;
/// A provider's entry.
pub type ConfigProvider = CreateProvider;
/// A virtual model's entry.
pub type ConfigModel = CreateModel;

/// A webhook's entry; it needs its secret.
pub type ConfigWebhook = CreateWebhook;

/// The whole file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ConfigDocument {
    /// 1.
    pub version: u32,
    /// Providers.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub providers: Vec<ConfigProvider>,
    /// Virtual models.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub models: Vec<ConfigModel>,
    /// Models of requests that name none, per surface.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub defaults: BTreeMap<String, String>,
    /// Prices over the built-in catalogue.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub prices: Vec<ConfigPrice>,
    /// How much of an answer is held for at a time, for models that do not say.
    #[serde(default, skip_serializing_if = "HoldBody::is_empty")]
    pub hold: HoldBody,
    /// What customers pay on top of the providers' prices.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub margins: Vec<ConfigMargin>,
    /// What every tenant that is created by the admin API and pays in advance is given to try with, in USD;
    /// nothing where absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub trial_credit: Option<String>,
    /// For how many days; 30 where absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(minimum = 1, maximum = 3650)]
    pub trial_days: Option<u32>,
    /// Tenants.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub tenants: Vec<ConfigTenant>,
    /// Where events are sent.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub webhooks: Vec<ConfigWebhook>,
}

impl ConfigDocument {
    pub(crate) fn trial(&self) -> TrialBody {
        TrialBody { credit: self.trial_credit.clone(), days: self.trial_days }
    }
}

impl Default for ConfigDocument {
    fn default() -> Self {
        Self {
            version: super::VERSION,
            providers: Vec::new(),
            models: Vec::new(),
            defaults: BTreeMap::new(),
            prices: Vec::new(),
            hold: HoldBody::default(),
            margins: Vec::new(),
            trial_credit: None,
            trial_days: None,
            tenants: Vec::new(),
            webhooks: Vec::new(),
        }
    }
}

/// A margin's entry: the same as in the admin API.
pub type ConfigMargin = CreateMargin;

/// A tenant's entry.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ConfigTenant {
    /// Unique name.
    pub name: String,
    /// How it pays; `postpaid` where absent.
    #[serde(default)]
    pub billing: BillingName,
    /// Whose calendar its budgets follow; UTC where absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub time_zone: Option<String>,
    /// Granted once, when the tenant is created.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub credit: Option<String>,
    /// Budgets over all it spends.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub budgets: Vec<ConfigBudget>,
    /// Rate limits over all its keys.
    #[serde(default, skip_serializing_if = "LimitsBody::is_empty")]
    pub limits: LimitsBody,
    /// Where its data may go.
    #[serde(
        default,
        skip_serializing_if = "DataPolicyBody::is_empty",
        serialize_with = "DataPolicyBody::serialize_short"
    )]
    pub data_policy: DataPolicyBody,
    /// Below which balances of its wallet, in USD, an alert is raised, each time the balance falls below.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub alert_below: Vec<String>,
    /// What holds for each end user apart.
    #[serde(default, skip_serializing_if = "EndUsersBody::is_empty")]
    pub end_users: EndUsersBody,
    /// What holds for requests for certain models, each rule apart.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub model_limits: Vec<ModelLimitBody>,
    /// Its projects.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub projects: Vec<ConfigProject>,
}

/// A project's entry.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ConfigProject {
    /// Unique name within the tenant.
    pub name: String,
    /// Labels that every request carries.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub labels: Labels,
    /// Budgets over all it spends.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub budgets: Vec<ConfigBudget>,
    /// Rate limits over all its keys.
    #[serde(default, skip_serializing_if = "LimitsBody::is_empty")]
    pub limits: LimitsBody,
    /// What holds for each end user apart.
    #[serde(default, skip_serializing_if = "EndUsersBody::is_empty")]
    pub end_users: EndUsersBody,
    /// What holds for requests for certain models, each rule apart.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub model_limits: Vec<ModelLimitBody>,
    /// Its keys.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub keys: Vec<ConfigKey>,
}

/// A key's entry.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ConfigKey {
    /// Unique name within the project.
    pub name: String,
    /// Bring your own text; where absent or empty it is made and shown once.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub secret: Option<SecretText>,
    /// Where the text is read from.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub secret_file: Option<String>,
    /// Model patterns it may ask for; empty allows all.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub models: Vec<String>,
    /// Budgets over all it spends.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub budgets: Vec<ConfigBudget>,
    /// Rate limits.
    #[serde(default, skip_serializing_if = "LimitsBody::is_empty")]
    pub limits: LimitsBody,
    /// Labels that every request carries, over the project's.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub labels: Labels,
    /// Refused from this time on (RFC 3339).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires_at: Option<String>,
    /// What holds for each end user apart.
    #[serde(default, skip_serializing_if = "EndUsersBody::is_empty")]
    pub end_users: EndUsersBody,
    /// What holds for requests for certain models, each rule apart.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub model_limits: Vec<ModelLimitBody>,
}

impl ConfigKey {
    /// The brought text, if any; an empty one is none.
    pub(crate) fn brought(&self) -> Option<&SecretText> {
        self.secret.as_ref().filter(|secret| !secret.is_blank())
    }
}

/// A budget's entry.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ConfigBudget {
    /// How much, in USD.
    pub limit: String,
    /// Over which span.
    pub window: BudgetWindowName,
    /// At which shares of the limit an alert is raised, once per period each.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub alert_at: Vec<ShareNumber>,
}

macro_rules! config_price {
    ($($field:ident = $meter:ident),* $(,)?) => {
        /// A price's entry: USD per million tokens, per single unit for `request`, `image`, `second`, `page`,
        /// `search` and `character`.
        #[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
        #[serde(deny_unknown_fields)]
        pub struct ConfigPrice {
            /// The configured provider's name.
            pub provider: String,
            /// The model's name there; `*` prices what has no row of its own.
            pub model: String,
            /// Only for this tenant.
            #[serde(default, skip_serializing_if = "Option::is_none")]
            pub tenant: Option<String>,
            /// The model is free of charge.
            #[serde(default, skip_serializing_if = "std::ops::Not::not")]
            pub free: bool,
            /// The provider's processing class.
            #[serde(default, skip_serializing_if = "Option::is_none")]
            pub service_tier: Option<String>,
            /// From how many prompt tokens on.
            #[serde(default, skip_serializing_if = "Option::is_none")]
            pub context_from: Option<u64>,
            /// From when it holds (RFC 3339); where absent, from when it is applied, a first price since ever.
            #[serde(default, skip_serializing_if = "Option::is_none")]
            pub effective_from: Option<String>,
            $(
                /// The price of this meter.
                #[serde(default, skip_serializing_if = "Option::is_none")]
                pub $field: Option<String>,
            )*
        }

        impl ConfigPrice {
            /// The priced meters.
            pub(crate) fn meters(&self) -> Vec<(Meter, &String)> {
                let all = [$((Meter::$meter, self.$field.as_ref()),)*];
                all.into_iter().filter_map(|(meter, price)| Some((meter, price?))).collect()
            }

            /// Sets the price of a meter.
            pub(crate) fn set_meter(&mut self, meter: Meter, price: String) {
                match meter { $(Meter::$meter => self.$field = Some(price),)* }
            }
        }
    };
}

config_price! {
    input = Input,
    cached_input = CachedInput,
    cache_write_5m = CacheWrite5m,
    cache_write_1h = CacheWrite1h,
    input_audio = InputAudio,
    input_image = InputImage,
    output = Output,
    reasoning = Reasoning,
    output_audio = OutputAudio,
    output_image = OutputImage,
    request = Request,
    image = Image,
    second = Second,
    page = Page,
    search = Search,
    character = Character,
}

impl ConfigPrice {
    /// The rows it stands for: one per meter, or one that is free.
    pub(crate) fn rows(&self) -> Vec<CreatePrice> {
        let row = |meter: Option<Meter>, price: Option<String>| CreatePrice {
            provider: self.provider.clone(),
            model: self.model.clone(),
            tenant: self.tenant.clone(),
            meter: meter.map(|meter| meter.name().to_owned()),
            price,
            free: meter.is_none(),
            service_tier: self.service_tier.clone(),
            context_from: self.context_from.unwrap_or(0),
            effective_from: self.effective_from.clone(),
        };
        if self.free {
            return vec![row(None, None)];
        }
        self.meters().into_iter().map(|(meter, price)| row(Some(meter), Some(price.clone()))).collect()
    }
}
