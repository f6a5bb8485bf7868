//! The trial credit that new tenants are given.

use serde::{Deserialize, Serialize};
use tollgate_domain::NanoUsd;
use tollgate_store::TrialCredit;

use super::App;
use crate::error::Problems;
use crate::parts::limit_amount;
use crate::{Action, Actor, AppError, Resource, ResourceOwner, Verb, authorize};

/// How long trial credit lasts where nobody says.
pub(crate) const DEFAULT_TRIAL_DAYS: u32 = 30;
/// The longest trial: ten years.
const MAX_TRIAL_DAYS: u32 = 3_650;
/// The reference under which a tenant's trial credit is given.
pub(crate) const TRIAL_REFERENCE: &str = "trial";

/// The trial credit of new tenants, as written.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct TrialBody {
    /// How much, in USD; nothing where absent or zero.
    pub(crate) credit: Option<String>,
    /// For how many days; [`DEFAULT_TRIAL_DAYS`] where absent.
    pub(crate) days: Option<u32>,
}

impl TrialBody {
    /// Notes every problem; `None` where no trial is meant.
    pub(crate) fn check(&self, problems: &mut Problems) -> Option<TrialCredit> {
        let amount =
            self.credit.as_deref().and_then(|text| problems.take("trial_credit", limit_amount(text)));
        let days = self.days.unwrap_or(DEFAULT_TRIAL_DAYS);
        if !(1..=MAX_TRIAL_DAYS).contains(&days) {
            problems.add("trial_days", format!("must be within 1 and {MAX_TRIAL_DAYS}"));
        }
        if self.days.is_some() && self.credit.is_none() {
            problems.add("trial_days", "says nothing without `trial_credit`: write both");
        }
        amount.filter(|amount| *amount > NanoUsd::ZERO).map(|amount| TrialCredit { amount, days })
    }
}

impl From<TrialCredit> for TrialBody {
    fn from(trial: TrialCredit) -> Self {
        Self { credit: Some(trial.amount.to_string()), days: Some(trial.days) }
    }
}

impl App {
    /// What a new tenant that pays in advance is given.
    pub(crate) async fn trial_credit(&self, actor: &Actor) -> Result<Option<TrialCredit>, AppError> {
        authorize(actor, Action::new(Verb::Read, Resource::Settings), ResourceOwner::Installation)?;
        Ok(self.parts.store.settings().await?.trial)
    }

    /// Sets it for tenants that are created from now on.
    pub(crate) async fn update_trial_credit(
        &self,
        actor: &Actor,
        trial: Option<TrialCredit>,
    ) -> Result<(), AppError> {
        authorize(actor, Action::new(Verb::Update, Resource::Settings), ResourceOwner::Installation)?;
        let change = move |record: &mut tollgate_store::SettingsRecord| record.trial = trial;
        self.parts.store.update_settings(&self.context(actor), change).await?;
        Ok(())
    }
}
