//! Virtual models: what applications ask for.

mod fallbacks;

use std::collections::HashMap;

use serde::{Deserialize, Serialize};
use serde_json::Value;
use tollgate_domain::ProviderId;
use tollgate_policy::{ModelPolicy, Strategy, Target};
use tollgate_store::{ModelRecord, PageRequest, ProviderRecord, StoreError};
use utoipa::ToSchema;

pub(crate) use self::fallbacks::check_fallbacks;
use super::lookup::missing;
use super::{App, List, ListQuery, present};
use crate::error::Problems;
use crate::parts::{
    CacheBody, HoldBody, RetryBody, TargetBody, Time, TimeoutsBody, check_guardrails_absent, name,
};
use crate::{Action, Actor, AppError, Resource, ResourceOwner, Verb, authorize};

/// Strategies that a later release will know.
const LATER_STRATEGIES: [&str; 4] = ["weighted", "least_latency", "least_cost", "least_busy"];
/// Most targets of one model.
const MAX_TARGETS: usize = 64;
/// How many objects are read at a time where all are needed.
const READ_PAGE: u32 = 1_000;

/// A virtual model to be created; also its entry in the configuration file.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct CreateModel {
    /// Unique name; no provider has it.
    #[schema(example = "chat-default")]
    pub name: String,
    /// In which order targets are tried: `priority`, which is also what an absent one means.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(example = "priority")]
    pub strategy: Option<String>,
    /// Where it leads; at least one.
    pub targets: Vec<TargetBody>,
    /// Virtual models whose targets follow after its own.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub fallbacks: Vec<String>,
    /// Retries.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retry: Option<RetryBody>,
    /// Time limits.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timeouts: Option<TimeoutsBody>,
    /// How much of an answer is held for at a time.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hold: Option<HoldBody>,
    /// Whether what a target lacks is left out of a request where that is harmless (sampling parameters, penalties,
    /// `seed`, log probabilities, `stop` beyond the limit, `user`, `metadata`), and listed in `x-tollgate-dropped`.
    /// Otherwise it is refused by name, which is also what an absent one means.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub drop_unsupported: bool,
    /// Not supported yet beyond `mode: off`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cache: Option<CacheBody>,
    /// Not supported yet: must be empty.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub guardrails: Vec<Value>,
}

/// Changes to a virtual model: absent is unchanged, `null` resets.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct UpdateModel {
    /// A new name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// In which order targets are tried.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub strategy: Option<String>,
    /// Targets, all of them anew.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub targets: Option<Vec<TargetBody>>,
    /// Fallbacks, all of them anew; `null` is none.
    #[serde(default, skip_serializing_if = "Option::is_none", deserialize_with = "present")]
    #[schema(value_type = Option<Vec<String>>)]
    pub fallbacks: Option<Option<Vec<String>>>,
    /// Retries, all anew; `null` is the default.
    #[serde(default, skip_serializing_if = "Option::is_none", deserialize_with = "present")]
    #[schema(value_type = Option<RetryBody>)]
    pub retry: Option<Option<RetryBody>>,
    /// Time limits, all anew; `null` is the default.
    #[serde(default, skip_serializing_if = "Option::is_none", deserialize_with = "present")]
    #[schema(value_type = Option<TimeoutsBody>)]
    pub timeouts: Option<Option<TimeoutsBody>>,
    /// How much of an answer is held for at a time; `null` is what the installation says.
    #[serde(default, skip_serializing_if = "Option::is_none", deserialize_with = "present")]
    #[schema(value_type = Option<HoldBody>)]
    pub hold: Option<Option<HoldBody>>,
    /// Whether what a target lacks is left out of a request where that is harmless; `null` is no.
    #[serde(default, skip_serializing_if = "Option::is_none", deserialize_with = "present")]
    #[schema(value_type = Option<bool>)]
    pub drop_unsupported: Option<Option<bool>>,
}

/// A virtual model.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ModelView {
    /// Identity.
    pub id: String,
    /// Unique name.
    pub name: String,
    /// In which order targets are tried.
    pub strategy: String,
    /// Where it leads.
    pub targets: Vec<TargetBody>,
    /// Virtual models whose targets follow after its own.
    pub fallbacks: Vec<String>,
    /// Retries.
    pub retry: RetryBody,
    /// Time limits.
    pub timeouts: TimeoutsBody,
    /// How much of an answer is held for at a time.
    pub hold: HoldBody,
    /// Whether what a target lacks is left out of a request where that is harmless.
    pub drop_unsupported: bool,
    /// When it was created.
    pub created_at: Time,
    /// When it was last changed.
    pub updated_at: Time,
}

impl CreateModel {
    /// Notes every problem that shows without looking at other objects.
    pub(crate) fn check(&self, path: &str, problems: &mut Problems) {
        problems.take(format!("{path}name"), name(&self.name));
        if let Some(text) = &self.strategy {
            problems.take(format!("{path}strategy"), strategy(text));
        }
        check_targets(&self.targets, &format!("{path}targets"), problems);
        self.retry.clone().unwrap_or_default().check(&format!("{path}retry"), problems);
        self.timeouts.clone().unwrap_or_default().check(&format!("{path}timeouts"), problems);
        self.hold.unwrap_or_default().check(&format!("{path}hold"), problems);
        if let Some(cache) = &self.cache {
            cache.check(&format!("{path}cache"), problems);
        }
        check_guardrails_absent(&self.guardrails, &format!("{path}guardrails"), problems);
    }
}

fn strategy(text: &str) -> Result<Strategy, String> {
    match text {
        "priority" => Ok(Strategy::Priority),
        later if LATER_STRATEGIES.contains(&later) => {
            Err(format!("not supported yet: `{later}`; write priority"))
        }
        other => Err(format!("`{}` is no strategy: write priority", other.escape_debug())),
    }
}

fn check_targets(targets: &[TargetBody], path: &str, problems: &mut Problems) {
    if targets.is_empty() || targets.len() > MAX_TARGETS {
        problems.add(path, format!("must have 1 to {MAX_TARGETS} entries"));
    }
    for (index, target) in targets.iter().enumerate() {
        target.check(&format!("{path}[{index}]"), problems);
    }
}

impl App {
    pub(super) async fn find_model(&self, reference: &str) -> Result<ModelRecord, AppError> {
        let found = match reference.parse() {
            Ok(id) => self.parts.store.model(id).await,
            Err(_) => self.parts.store.model_by_name(reference).await,
        };
        found.map_err(|error| missing(error, "model", reference))
    }

    fn may_models(actor: &Actor, verb: Verb) -> Result<(), AppError> {
        authorize(actor, Action::new(verb, Resource::Model), ResourceOwner::Installation)
    }

    pub(crate) async fn all_providers(&self) -> Result<Vec<ProviderRecord>, AppError> {
        let mut all = Vec::new();
        let mut page = PageRequest::first(READ_PAGE);
        loop {
            let part = self.parts.store.list_providers(page).await?;
            all.extend(part.items);
            let Some(next) = part.next else { return Ok(all) };
            page = PageRequest::after(READ_PAGE, next);
        }
    }

    pub(crate) async fn all_models(&self) -> Result<Vec<ModelRecord>, AppError> {
        let mut all = Vec::new();
        let mut page = PageRequest::first(READ_PAGE);
        loop {
            let part = self.parts.store.list_models(page).await?;
            all.extend(part.items);
            let Some(next) = part.next else { return Ok(all) };
            page = PageRequest::after(READ_PAGE, next);
        }
    }

    /// Targets by provider id; unknown providers are noted.
    async fn resolve_targets(
        &self,
        targets: &[TargetBody],
        problems: &mut Problems,
    ) -> Result<Vec<Target>, AppError> {
        let mut resolved = Vec::with_capacity(targets.len());
        for (index, target) in targets.iter().enumerate() {
            match self.parts.store.provider_by_name(&target.provider).await {
                Ok(provider) => resolved.push(Target {
                    provider: provider.id,
                    model: target.model.clone(),
                    priority: target.priority,
                }),
                Err(StoreError::NotFound { .. }) => problems.add(
                    format!("targets[{index}].provider"),
                    format!("there is no provider `{}`", target.provider.escape_debug()),
                ),
                Err(other) => return Err(other.into()),
            }
        }
        Ok(resolved)
    }

    async fn check_relations(
        &self,
        model: &str,
        was: Option<&str>,
        fallbacks: &[String],
        problems: &mut Problems,
    ) -> Result<(), AppError> {
        let others = self.all_models().await?.into_iter();
        let others: HashMap<_, _> = others
            .filter(|other| Some(other.name.as_str()) != was)
            .map(|other| (other.name, other.fallbacks))
            .collect();
        check_fallbacks(model, fallbacks, &others, "fallbacks", problems);
        if was != Some(model) && self.parts.store.provider_by_name(model).await.is_ok() {
            problems.add("name", "is the name of a provider: choose another");
        }
        Ok(())
    }

    /// Creates a virtual model.
    ///
    /// # Errors
    /// Forbidden; invalid fields; conflict on `name`.
    pub async fn create_model(&self, actor: &Actor, input: CreateModel) -> Result<ModelView, AppError> {
        Self::may_models(actor, Verb::Create)?;
        let mut problems = Problems::default();
        input.check("", &mut problems);
        let targets = self.resolve_targets(&input.targets, &mut problems).await?;
        self.check_relations(&input.name, None, &input.fallbacks, &mut problems).await?;
        let retry = input.retry.unwrap_or_default().check("retry", &mut Problems::default());
        let timeouts = input.timeouts.unwrap_or_default().check("timeouts", &mut Problems::default());
        let hold_slice_tokens = input.hold.unwrap_or_default().slice_tokens;
        problems.finish()?;
        let (id, strategy) = (self.new_id()?, Strategy::Priority);
        let CreateModel { name, fallbacks, drop_unsupported, .. } = input;
        let policy = ModelPolicy {
            id,
            name,
            strategy,
            targets,
            fallbacks,
            retry,
            timeouts,
            hold_slice_tokens,
            drop_unsupported,
        };
        let record = self.parts.store.create_model(&self.context(actor), policy).await?;
        self.model_views(vec![record]).await?.pop().ok_or_else(no_view)
    }

    /// The virtual model of that id or name.
    ///
    /// # Errors
    /// Forbidden; not found.
    pub async fn model(&self, actor: &Actor, model: &str) -> Result<ModelView, AppError> {
        Self::may_models(actor, Verb::Read)?;
        let record = self.find_model(model).await?;
        self.model_views(vec![record]).await?.pop().ok_or_else(no_view)
    }

    /// Virtual models in the order of their creation.
    ///
    /// # Errors
    /// Forbidden; a bad page.
    pub async fn list_models(&self, actor: &Actor, query: &ListQuery) -> Result<List<ModelView>, AppError> {
        Self::may_models(actor, Verb::Read)?;
        let page = self.parts.store.list_models(query.page()?).await?;
        let next = page.next.map(|next| next.to_string());
        Ok(List { data: self.model_views(page.items).await?, next })
    }

    /// Changes a virtual model.
    ///
    /// # Errors
    /// Forbidden; not found; invalid fields; conflict on `name`, or where others name it.
    pub async fn update_model(
        &self,
        actor: &Actor,
        model: &str,
        input: UpdateModel,
    ) -> Result<ModelView, AppError> {
        Self::may_models(actor, Verb::Update)?;
        let record = self.find_model(model).await?;
        let mut problems = Problems::default();
        if let Some(new_name) = &input.name {
            problems.take("name", name(new_name));
        }
        if let Some(text) = &input.strategy {
            problems.take("strategy", strategy(text));
        }
        let targets = match &input.targets {
            Some(targets) => {
                check_targets(targets, "targets", &mut problems);
                Some(self.resolve_targets(targets, &mut problems).await?)
            }
            None => None,
        };
        let retry = input.retry.map(|retry| retry.unwrap_or_default().check("retry", &mut problems));
        let timeouts =
            input.timeouts.map(|timeouts| timeouts.unwrap_or_default().check("timeouts", &mut problems));
        let hold = input.hold.map(|hold| hold.unwrap_or_default().check("hold", &mut problems));
        let drops = input.drop_unsupported.map(Option::unwrap_or_default);
        let fallbacks = input.fallbacks.map_or_else(|| record.fallbacks.clone(), Option::unwrap_or_default);
        let new_name = input.name.unwrap_or_else(|| record.name.clone());
        self.check_relations(&new_name, Some(&record.name), &fallbacks, &mut problems).await?;
        problems.finish()?;
        if new_name != record.name {
            self.check_unnamed(&record.name).await?;
        }
        let change = move |record: &mut ModelRecord| {
            record.name.clone_from(&new_name);
            record.fallbacks.clone_from(&fallbacks);
            if let Some(targets) = &targets {
                record.targets.clone_from(targets);
            }
            if let Some(retry) = &retry {
                record.retry = retry.clone();
            }
            record.timeouts = timeouts.unwrap_or(record.timeouts);
            record.hold_slice_tokens = hold.unwrap_or(record.hold_slice_tokens);
            record.drop_unsupported = drops.unwrap_or(record.drop_unsupported);
        };
        let record = self.parts.store.update_model(&self.context(actor), record.id, change).await?;
        self.model_views(vec![record]).await?.pop().ok_or_else(no_view)
    }

    /// Deletes a virtual model that nothing names.
    ///
    /// # Errors
    /// Forbidden; not found; conflict where a fallback or a default names it.
    pub async fn delete_model(&self, actor: &Actor, model: &str) -> Result<ModelView, AppError> {
        Self::may_models(actor, Verb::Delete)?;
        let record = self.find_model(model).await?;
        self.check_unnamed(&record.name).await?;
        let record = self.parts.store.delete_model(&self.context(actor), record.id).await?;
        self.model_views(vec![record]).await?.pop().ok_or_else(no_view)
    }

    async fn check_unnamed(&self, model: &str) -> Result<(), AppError> {
        let others = self.all_models().await?;
        if let Some(other) = others.iter().find(|other| other.fallbacks.iter().any(|name| name == model)) {
            let text = format!("the model `{}` falls back to it: change that first", other.name);
            return Err(AppError::conflict("fallbacks", text));
        }
        let settings = self.parts.store.settings().await?;
        if let Some((surface, _)) = settings.default_models.iter().find(|(_, name)| name == model) {
            let text = format!("it is the default model of `{}`: change that first", surface.name());
            return Err(AppError::conflict("defaults", text));
        }
        Ok(())
    }

    async fn model_views(&self, records: Vec<ModelRecord>) -> Result<Vec<ModelView>, AppError> {
        let mut providers: HashMap<ProviderId, String> = HashMap::new();
        for provider in records.iter().flat_map(|record| &record.targets).map(|target| target.provider) {
            if let std::collections::hash_map::Entry::Vacant(entry) = providers.entry(provider) {
                entry.insert(self.parts.store.provider(provider).await?.name);
            }
        }
        Ok(records.into_iter().map(|record| model_view(record, &providers)).collect())
    }
}

fn no_view() -> AppError {
    AppError::Internal("one record must give one view".to_owned())
}

fn model_view(record: ModelRecord, providers: &HashMap<ProviderId, String>) -> ModelView {
    let targets = record.targets.into_iter().map(|target| TargetBody {
        provider: providers.get(&target.provider).cloned().unwrap_or_else(|| target.provider.to_string()),
        model: target.model,
        priority: target.priority,
        weight: None,
    });
    ModelView {
        id: record.id.to_string(),
        name: record.name,
        strategy: "priority".to_owned(),
        targets: targets.collect(),
        fallbacks: record.fallbacks,
        retry: (&record.retry).into(),
        timeouts: (&record.timeouts).into(),
        hold: HoldBody { slice_tokens: record.hold_slice_tokens },
        drop_unsupported: record.drop_unsupported,
        created_at: Time(record.created_at),
        updated_at: Time(record.updated_at),
    }
}
