//! Makes the installation match a document, object by object and by name. Applied again it changes nothing.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};
use tollgate_store::TrialCredit;
use utoipa::{IntoParams, ToSchema};

use super::diff;
use super::document::{ConfigDocument, ConfigModel, ConfigProvider};
use super::margins::For;
use super::validate::{KnownNames, validate_against};
use crate::app::{App, UpdateDefaultModels, UpdateModel, UpdateProvider};
use crate::error::Problems;
use crate::parts::SecretText;
use crate::{Action, Actor, AppError, Resource, ResourceOwner, Verb, authorize};

/// How a document is applied.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, IntoParams, ToSchema)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct ApplyOptions {
    /// Only tell what would change.
    #[serde(default)]
    pub dry_run: bool,
    /// Delete what the document does not name.
    #[serde(default)]
    pub prune: bool,
}

/// What became of an object.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum ChangeAction {
    /// It is new.
    Create,
    /// It differed.
    Update,
    /// It was not named, and deleted.
    Delete,
    /// It was as it should be.
    Unchanged,
}

/// One object's difference.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Change {
    /// What became of it.
    pub action: ChangeAction,
    /// `provider`, `model`, `defaults`, `hold`, `price`, `margin`, `trial`, `tenant`, `project`, `key`, `budget`,
    /// `credit`, `webhook`.
    pub kind: String,
    /// Its name, with those of its parents: `acme/support-bot/prod`.
    pub name: String,
    /// Which fields, or what else there is to say; may be empty.
    pub detail: String,
}

/// A key's text that was made here: shown this once.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct GeneratedSecret {
    /// The key, as `tenant/project/key`.
    pub key: String,
    /// The key's id.
    pub key_id: String,
    /// Its text: keep it now.
    #[schema(value_type = String, read_only)]
    pub secret: SecretText,
}

/// What applying a document did, or would do.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ApplyReport {
    /// Whether nothing was done.
    pub dry_run: bool,
    /// Every object of the document, and every deleted one, in order.
    pub changes: Vec<Change>,
    /// Texts of new keys that did not bring their own.
    pub generated_secrets: Vec<GeneratedSecret>,
}

impl ApplyReport {
    /// Whether anything differed.
    #[must_use]
    pub fn has_changes(&self) -> bool {
        self.n_changed() > 0
    }

    /// How many objects differed.
    #[must_use]
    pub fn n_changed(&self) -> usize {
        self.changes.iter().filter(|change| change.action != ChangeAction::Unchanged).count()
    }

    pub(super) fn note(
        &mut self,
        action: ChangeAction,
        kind: &str,
        name: impl Into<String>,
        detail: impl Into<String>,
    ) {
        self.changes.push(Change { action, kind: kind.to_owned(), name: name.into(), detail: detail.into() });
    }

    /// Notes an object that is there: `Update` with the fields, or `Unchanged`.
    pub(super) fn note_existing(&mut self, kind: &str, name: impl Into<String>, fields: &diff::Fields) {
        let action = if fields.is_empty() { ChangeAction::Unchanged } else { ChangeAction::Update };
        self.note(action, kind, name, fields.text());
    }
}

/// One application in progress.
pub(super) struct Applying<'a> {
    pub(super) app: &'a App,
    pub(super) actor: &'a Actor,
    pub(super) options: ApplyOptions,
    pub(super) report: ApplyReport,
}

impl App {
    /// Makes the installation match `document`. Applied again it changes nothing. Objects are written one
    /// after another: a failure in the middle leaves what was done, and the next application goes on.
    ///
    /// # Errors
    /// Forbidden; every problem of the document; what a single write can answer.
    pub async fn apply_config(
        &self,
        actor: &Actor,
        document: ConfigDocument,
        options: ApplyOptions,
    ) -> Result<ApplyReport, AppError> {
        authorize(actor, Action::new(Verb::Update, Resource::Config), ResourceOwner::Installation)?;
        let known = if options.prune { KnownNames::default() } else { self.known_names().await? };
        let problems = validate_against(&document, &known);
        if !problems.is_empty() {
            return Err(AppError::Invalid(problems));
        }
        let report = ApplyReport { dry_run: options.dry_run, ..ApplyReport::default() };
        let mut applying = Applying { app: self, actor, options, report };
        // Prices name providers and models by text only: first, so that nothing leads anywhere unpriced.
        applying.prices(&document, For::Everybody).await?;
        applying.margins(&document, For::Everybody).await?;
        applying.providers(&document).await?;
        applying.models(&document).await?;
        applying.defaults(&document).await?;
        applying.hold(&document).await?;
        applying.trial(&document).await?;
        applying.tenants(&document).await?;
        applying.prices(&document, For::Tenants).await?;
        applying.margins(&document, For::Tenants).await?;
        applying.webhooks(&document).await?;
        if options.prune {
            applying.prune_models(&document).await?;
        }
        Ok(applying.report)
    }

    async fn known_names(&self) -> Result<KnownNames, AppError> {
        let providers = self.all_providers().await?.into_iter().map(|provider| provider.name);
        let models = self.all_models().await?.into_iter().map(|model| (model.name, model.fallbacks));
        let tenants = self.all_tenants().await?.into_iter().map(|tenant| tenant.name);
        Ok(KnownNames {
            providers: providers.collect(),
            models: models.collect(),
            tenants: tenants.collect(),
        })
    }
}

impl Applying<'_> {
    pub(super) fn is_real(&self) -> bool {
        !self.options.dry_run
    }

    async fn providers(&mut self, document: &ConfigDocument) -> Result<(), AppError> {
        for (index, wanted) in document.providers.iter().enumerate() {
            let path = format!("providers[{index}]");
            self.provider(wanted).await.map_err(|error| below(error, &path))?;
        }
        Ok(())
    }

    async fn provider(&mut self, wanted: &ConfigProvider) -> Result<(), AppError> {
        let is = match self.app.provider(self.actor, &wanted.name).await {
            Ok(is) => is,
            Err(AppError::NotFound { .. }) => {
                if self.is_real() {
                    self.app.create_provider(self.actor, wanted.clone()).await?;
                }
                self.report.note(ChangeAction::Create, "provider", &wanted.name, "");
                return Ok(());
            }
            Err(error) => return Err(error),
        };
        let mut fields = diff::provider(&is, wanted);
        if fields.has("dialect") {
            let text =
                format!("the provider speaks {}: a dialect cannot be changed, take another name", is.dialect);
            return Err(AppError::conflict("dialect", text));
        }
        if !fields.has("credentials") {
            for credential in &wanted.credentials {
                if !self.app.has_credential(self.actor, &wanted.name, credential).await? {
                    fields.note("credentials", true);
                    break;
                }
            }
        }
        if self.is_real() && !fields.is_empty() {
            let facts = wanted.check("", &mut Problems::default());
            let update = UpdateProvider {
                name: None,
                base_url: facts.map(|facts| facts.base_url).filter(|url| *url != is.base_url),
                credentials: (fields.has("credentials") || fields.has("base_url"))
                    .then(|| wanted.credentials.clone()),
                region: Some(wanted.region.clone()),
                retention: Some(wanted.retention.clone()),
                trains_on_data: Some(wanted.trains_on_data),
                max_concurrent_requests: Some(wanted.max_concurrent_requests),
                responses: Some(wanted.responses),
            };
            self.app.update_provider(self.actor, &is.id, update).await?;
        }
        self.report.note_existing("provider", &wanted.name, &fields);
        Ok(())
    }

    /// A model whose fallbacks are new comes after them.
    async fn models(&mut self, document: &ConfigDocument) -> Result<(), AppError> {
        let mut known: BTreeSet<String> =
            self.app.all_models().await?.into_iter().map(|model| model.name).collect();
        let mut open: Vec<(usize, &ConfigModel)> = document.models.iter().enumerate().collect();
        while !open.is_empty() {
            let is_ready =
                |model: &ConfigModel| model.fallbacks.iter().all(|fallback| known.contains(fallback));
            let ready = open.iter().position(|(_, model)| is_ready(model)).unwrap_or(0);
            let (index, model) = open.remove(ready);
            let path = format!("models[{index}]");
            self.model(model).await.map_err(|error| below(error, &path))?;
            known.insert(model.name.clone());
        }
        Ok(())
    }

    async fn model(&mut self, wanted: &ConfigModel) -> Result<(), AppError> {
        let is = match self.app.model(self.actor, &wanted.name).await {
            Ok(is) => is,
            Err(AppError::NotFound { .. }) => {
                if self.is_real() {
                    self.app.create_model(self.actor, wanted.clone()).await?;
                }
                self.report.note(ChangeAction::Create, "model", &wanted.name, "");
                return Ok(());
            }
            Err(error) => return Err(error),
        };
        let fields = diff::model(&is, wanted);
        if self.is_real() && !fields.is_empty() {
            let update = UpdateModel {
                targets: fields.has("targets").then(|| wanted.targets.clone()),
                fallbacks: fields.has("fallbacks").then(|| Some(wanted.fallbacks.clone())),
                retry: fields.has("retry").then(|| wanted.retry.clone()),
                timeouts: fields.has("timeouts").then(|| wanted.timeouts.clone()),
                hold: fields.has("hold").then_some(wanted.hold),
                drop_unsupported: fields.has("drop_unsupported").then_some(Some(wanted.drop_unsupported)),
                ..UpdateModel::default()
            };
            self.app.update_model(self.actor, &is.id, update).await?;
        }
        self.report.note_existing("model", &wanted.name, &fields);
        Ok(())
    }

    async fn defaults(&mut self, document: &ConfigDocument) -> Result<(), AppError> {
        let is = self.app.default_models(self.actor).await?.defaults;
        let mut wanted = if self.options.prune { document.defaults.clone() } else { is.clone() };
        wanted.extend(document.defaults.clone());
        let surfaces: BTreeSet<&String> = is.keys().chain(wanted.keys()).collect();
        let changed = is != wanted;
        for surface in surfaces {
            let action = match (is.get(surface), wanted.get(surface)) {
                (None, _) => ChangeAction::Create,
                (Some(_), None) => ChangeAction::Delete,
                (Some(is), Some(wanted)) if is != wanted => ChangeAction::Update,
                (Some(_), Some(_)) if document.defaults.contains_key(surface) => ChangeAction::Unchanged,
                (Some(_), Some(_)) => continue,
            };
            self.report.note(action, "defaults", surface, wanted.get(surface).cloned().unwrap_or_default());
        }
        if self.is_real() && changed {
            self.app.update_default_models(self.actor, UpdateDefaultModels { defaults: wanted }).await?;
        }
        Ok(())
    }

    /// A file that says nothing of it leaves it, unless it prunes.
    async fn trial(&mut self, document: &ConfigDocument) -> Result<(), AppError> {
        if document.trial_credit.is_none() && !self.options.prune {
            return Ok(());
        }
        let is = self.app.trial_credit(self.actor).await?;
        let wanted = document.trial().check(&mut Problems::default());
        let action = match (is, wanted) {
            (None, None) => return Ok(()),
            (None, Some(_)) => ChangeAction::Create,
            (Some(_), None) => ChangeAction::Delete,
            (Some(is), Some(wanted)) if is == wanted => ChangeAction::Unchanged,
            (Some(_), Some(_)) => ChangeAction::Update,
        };
        let text = |trial: TrialCredit| format!("{} USD for {} days", trial.amount, trial.days);
        self.report.note(action, "trial", "credit", wanted.map(text).unwrap_or_default());
        if self.is_real() && action != ChangeAction::Unchanged {
            self.app.update_trial_credit(self.actor, wanted).await?;
        }
        Ok(())
    }

    /// Models first: they lead to providers.
    async fn prune_models(&mut self, document: &ConfigDocument) -> Result<(), AppError> {
        let is_named = |name: &String| document.models.iter().any(|model| model.name == *name);
        let mut surplus: Vec<_> =
            self.app.all_models().await?.into_iter().filter(|model| !is_named(&model.name)).collect();
        while !surplus.is_empty() {
            // One that no other falls back to.
            let is_free = |name: &str| {
                !surplus.iter().any(|other| other.fallbacks.iter().any(|fallback| fallback == name))
            };
            let free = surplus.iter().position(|model| is_free(&model.name)).unwrap_or(0);
            let model = surplus.remove(free);
            if self.is_real() {
                self.app.delete_model(self.actor, &model.id.to_string()).await?;
            }
            self.report.note(ChangeAction::Delete, "model", model.name, "");
        }
        let is_named = |name: &String| document.providers.iter().any(|provider| provider.name == *name);
        for provider in
            self.app.all_providers().await?.into_iter().filter(|provider| !is_named(&provider.name))
        {
            if self.is_real() {
                self.app.delete_provider(self.actor, &provider.id.to_string()).await?;
            }
            self.report.note(ChangeAction::Delete, "provider", provider.name, "");
        }
        Ok(())
    }
}

/// Puts the entry's path before the paths of an error.
pub(super) fn below(error: AppError, path: &str) -> AppError {
    let join = |inner: &str| if inner.is_empty() { path.to_owned() } else { format!("{path}.{inner}") };
    match error {
        AppError::Invalid(mut problems) => {
            for problem in &mut problems {
                problem.path = join(&problem.path);
            }
            AppError::Invalid(problems)
        }
        AppError::Conflict { path: inner, message } => AppError::Conflict { path: join(&inner), message },
        other => other,
    }
}
