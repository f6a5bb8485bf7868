//! API keys of projects. A key's text is shown once, when it is made; only its hash is kept.

use serde::{Deserialize, Serialize};
use tollgate_domain::{ApiKeySecret, KeyHash, KeyId, Labels, TenantId, UnixMillis};
use tollgate_policy::{BudgetOwner, KeyPolicy, KeyState};
use tollgate_store::{KeyFilter, KeyRecord, PageRequest};
use utoipa::ToSchema;

use super::lookup::Names;
use super::{App, List, ListQuery, present};
use crate::error::Problems;
use crate::parts::{
    EndUsersBody, LimitsBody, ModelLimitBody, RulesChange, SecretText, Time, check_labels, check_patterns,
    check_rules, model_limit_bodies, name, time,
};
use crate::secrets::random_bytes;
use crate::{Action, Actor, AppError, Resource, Verb};

/// Longest time for which a rotated key's old text may still be accepted: 30 days.
const MAX_GRACE_SECONDS: u64 = 30 * 24 * 3_600;

/// How many keys are read at a time where all are needed.
const READ_PAGE: u32 = 1_000;

/// Whether a key may be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum KeyStateName {
    /// Yes.
    Active,
    /// Not for now.
    Blocked,
    /// Never again.
    Revoked,
}

impl From<KeyState> for KeyStateName {
    fn from(state: KeyState) -> Self {
        match state {
            KeyState::Active => Self::Active,
            KeyState::Blocked => Self::Blocked,
            KeyState::Revoked => Self::Revoked,
        }
    }
}

/// A key to be created.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct CreateKey {
    /// Unique name within the project.
    #[schema(example = "prod")]
    pub name: String,
    /// Bring your own text, 16 to 256 visible ASCII characters; made and shown once where absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub secret: Option<SecretText>,
    /// Model patterns it may ask for, `*` as wildcard; empty allows all.
    #[serde(default)]
    pub models: Vec<String>,
    /// Rate limits.
    #[serde(default)]
    pub limits: LimitsBody,
    /// What holds for each end user apart.
    #[serde(default)]
    pub end_users: EndUsersBody,
    /// What holds for requests for certain models, each rule apart.
    #[serde(default)]
    pub model_limits: Vec<ModelLimitBody>,
    /// Labels that every request carries, over the project's.
    #[serde(default)]
    pub labels: Labels,
    /// Refused from this time on (RFC 3339).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(example = "2027-01-01T00:00:00Z")]
    pub expires_at: Option<String>,
}

/// Changes to a key: absent is unchanged, `null` resets.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct UpdateKey {
    /// A new name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// Model patterns, all of them anew; `null` allows all.
    #[serde(default, skip_serializing_if = "Option::is_none", deserialize_with = "present")]
    #[schema(value_type = Option<Vec<String>>)]
    pub models: Option<Option<Vec<String>>>,
    /// Rate limits, all of them anew; `null` is none.
    #[serde(default, skip_serializing_if = "Option::is_none", deserialize_with = "present")]
    #[schema(value_type = Option<LimitsBody>)]
    pub limits: Option<Option<LimitsBody>>,
    /// What holds for each end user, all of it anew; `null` is nothing.
    #[serde(default, skip_serializing_if = "Option::is_none", deserialize_with = "present")]
    #[schema(value_type = Option<EndUsersBody>)]
    pub end_users: Option<Option<EndUsersBody>>,
    /// Limits per model, all of them anew; `null` is none.
    #[serde(default, skip_serializing_if = "Option::is_none", deserialize_with = "present")]
    #[schema(value_type = Option<Vec<ModelLimitBody>>)]
    pub model_limits: Option<Option<Vec<ModelLimitBody>>>,
    /// Labels, all of them anew; `null` is none.
    #[serde(default, skip_serializing_if = "Option::is_none", deserialize_with = "present")]
    #[schema(value_type = Option<Labels>)]
    pub labels: Option<Option<Labels>>,
    /// Refused from this time on; `null` is never.
    #[serde(default, skip_serializing_if = "Option::is_none", deserialize_with = "present")]
    #[schema(value_type = Option<String>)]
    pub expires_at: Option<Option<String>>,
}

/// How a key is rotated.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct RotateKey {
    /// For how long the present text is still accepted; 0 where absent, at most 30 days.
    #[serde(default)]
    #[schema(maximum = 2_592_000)]
    pub grace_seconds: u64,
    /// Bring your own new text; made where absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub secret: Option<SecretText>,
}

/// A key, without its text.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct KeyView {
    /// Identity.
    pub id: String,
    /// Unique name within the project, among keys that are not revoked.
    pub name: String,
    /// Its tenant's name.
    pub tenant: String,
    /// Its tenant's id.
    pub tenant_id: String,
    /// Its project's name.
    pub project: String,
    /// Its project's id.
    pub project_id: String,
    /// What of its text may be shown.
    pub public_prefix: String,
    /// Whether it may be used.
    pub state: KeyStateName,
    /// Model patterns it may ask for; empty allows all.
    pub models: Vec<String>,
    /// Rate limits.
    pub limits: LimitsBody,
    /// What holds for each end user apart.
    pub end_users: EndUsersBody,
    /// What holds for requests for certain models.
    pub model_limits: Vec<ModelLimitBody>,
    /// Labels that every request carries.
    pub labels: Labels,
    /// Refused from this time on.
    pub expires_at: Option<Time>,
    /// When its text was last rotated.
    pub rotated_at: Option<Time>,
    /// Until when the text before the last rotation is accepted.
    pub previous_accepted_until: Option<Time>,
    /// When it was created.
    pub created_at: Time,
    /// When it was last changed.
    pub updated_at: Time,
}

/// A key and its text: the only time it is shown.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct CreatedKey {
    /// The key.
    #[serde(flatten)]
    pub key: KeyView,
    /// Its text: keep it now.
    #[schema(value_type = String, read_only)]
    pub secret: SecretText,
}

impl CreateKey {
    pub(crate) fn check(&self, path: &str, problems: &mut Problems) {
        problems.take(format!("{path}name"), name(&self.name));
        if let Some(secret) = &self.secret {
            problems.take(format!("{path}secret"), ApiKeySecret::parse(secret.0.expose()));
        }
        check_patterns(&self.models, &format!("{path}models"), problems);
        check_labels(&self.labels, &format!("{path}labels"), problems);
        self.limits.check(&format!("{path}limits"), problems);
        check_rules(&self.end_users, &self.model_limits, path, problems);
        if let Some(text) = &self.expires_at {
            problems.take(format!("{path}expires_at"), time(text));
        }
    }
}

async fn view(record: KeyRecord, names: &mut Names) -> Result<KeyView, AppError> {
    Ok(KeyView {
        id: record.id.to_string(),
        name: record.name,
        tenant: names.tenant(record.tenant).await?,
        tenant_id: record.tenant.to_string(),
        project: names.project(record.project).await?,
        project_id: record.project.to_string(),
        public_prefix: record.public_prefix,
        state: record.state.into(),
        models: record.models,
        limits: record.limits.into(),
        end_users: (&record.rules.end_users).into(),
        model_limits: model_limit_bodies(&record.rules.model_limits),
        labels: record.labels,
        expires_at: record.expires_at.map(Time),
        rotated_at: record.rotated_at.map(Time),
        previous_accepted_until: record.previous_hash.and(record.previous_until).map(Time),
        created_at: Time(record.created_at),
        updated_at: Time(record.updated_at),
    })
}

/// The brought text, or a new one.
fn key_text(brought: Option<&SecretText>) -> Result<ApiKeySecret, AppError> {
    match brought {
        Some(secret) => {
            ApiKeySecret::parse(secret.0.expose()).map_err(|error| AppError::invalid("secret", error))
        }
        None => Ok(ApiKeySecret::generate(&random_bytes()?)),
    }
}

impl App {
    /// Creates a key of a project. The answer is the only one that shows its text.
    ///
    /// # Errors
    /// Forbidden; no such project; invalid fields; conflict on `name` or `secret`.
    pub async fn create_key(
        &self,
        actor: &Actor,
        project: &str,
        input: CreateKey,
    ) -> Result<CreatedKey, AppError> {
        let create = Action::new(Verb::Create, Resource::Key);
        let project = self.permitted_project(actor, create, project).await?;
        let mut problems = Problems::default();
        input.check("", &mut problems);
        let limits = input.limits.check("limits", &mut Problems::default());
        let rules = check_rules(&input.end_users, &input.model_limits, "", &mut Problems::default());
        let expires_at = input.expires_at.as_deref().and_then(|text| time(text).ok());
        problems.finish()?;
        let secret = key_text(input.secret.as_ref())?;
        let policy = KeyPolicy {
            id: self.new_id()?,
            project: project.id,
            name: input.name,
            hash: self.hash_of(&secret),
            previous_hash: None,
            models: input.models,
            limits,
            rules: self.with_new_ids(rules)?,
            expires_at,
            state: KeyState::Active,
            labels: input.labels,
        };
        let store = &self.parts.store;
        let record = store.create_key(&self.context(actor), policy, &secret.public_prefix()).await?;
        let key = view(record, &mut self.names()).await?;
        Ok(CreatedKey { key, secret: SecretText::new(secret.expose()) })
    }

    fn hash_of(&self, secret: &ApiKeySecret) -> KeyHash {
        secret.hash(&self.parts.pepper)
    }

    /// Whether `secret` is the key's present text.
    pub(crate) async fn has_key_text(
        &self,
        actor: &Actor,
        key: &str,
        secret: &SecretText,
    ) -> Result<bool, AppError> {
        let record = self.permitted_key(actor, Verb::Read, key).await?;
        Ok(record.hash == self.hash_of(&key_text(Some(secret))?))
    }

    /// The key of that id, or the key in use of that unambiguous name.
    ///
    /// # Errors
    /// Forbidden; not found; an ambiguous name.
    pub async fn key(&self, actor: &Actor, key: &str) -> Result<KeyView, AppError> {
        let record = self.permitted_key(actor, Verb::Read, key).await?;
        view(record, &mut self.names()).await
    }

    /// Keys of a project (of all the actor may see, where `None`) that are not revoked.
    ///
    /// # Errors
    /// Forbidden; no such project; a bad page.
    pub async fn list_keys(
        &self,
        actor: &Actor,
        project: Option<&str>,
        query: &ListQuery,
    ) -> Result<List<KeyView>, AppError> {
        let read = Action::new(Verb::Read, Resource::Key);
        let filter = match project {
            Some(project) => {
                let project = self.permitted_project(actor, read, project).await?;
                KeyFilter { project: Some(project.id), ..KeyFilter::default() }
            }
            None => {
                let tenant = self.tenant_filter(actor, Resource::Key, None).await?;
                KeyFilter { tenant, ..KeyFilter::default() }
            }
        };
        let page = self.parts.store.list_keys(&filter, query.page()?).await?;
        let mut names = self.names();
        let mut data = Vec::with_capacity(page.items.len());
        for record in page.items {
            data.push(view(record, &mut names).await?);
        }
        Ok(List { data, next: page.next.map(|next| next.to_string()) })
    }

    /// Changes a key.
    ///
    /// # Errors
    /// Forbidden; not found; invalid fields; conflict on `name`.
    pub async fn update_key(&self, actor: &Actor, key: &str, input: UpdateKey) -> Result<KeyView, AppError> {
        let record = self.permitted_key(actor, Verb::Update, key).await?;
        let mut problems = Problems::default();
        if let Some(new_name) = &input.name {
            problems.take("name", name(new_name));
        }
        let models = input.models.map(Option::unwrap_or_default);
        check_patterns(models.as_deref().unwrap_or_default(), "models", &mut problems);
        let labels = input.labels.map(Option::unwrap_or_default);
        if let Some(labels) = &labels {
            check_labels(labels, "labels", &mut problems);
        }
        let limits = input.limits.map(|limits| limits.unwrap_or_default().check("limits", &mut problems));
        let expires_at =
            input.expires_at.map(|text| text.and_then(|text| problems.take("expires_at", time(&text))));
        let rules = RulesChange::check(input.end_users, input.model_limits, &mut problems);
        problems.finish()?;
        let owner = BudgetOwner::Key(record.id);
        let rules = self.prepare_rules(record.tenant, owner, &record.rules, rules).await?;
        let new_name = input.name;
        let change = move |record: &mut KeyRecord| {
            if let Some(name) = &new_name {
                record.name.clone_from(name);
            }
            if let Some(models) = &models {
                record.models.clone_from(models);
            }
            if let Some(labels) = &labels {
                record.labels.clone_from(labels);
            }
            record.limits = limits.unwrap_or(record.limits);
            rules.apply(&mut record.rules);
            record.expires_at = expires_at.unwrap_or(record.expires_at);
        };
        let record = self.parts.store.update_key(&self.context(actor), record.id, change).await?;
        view(record, &mut self.names()).await
    }

    /// Gives a key a new text, which this answer alone shows. The present one is accepted for the grace time.
    ///
    /// # Errors
    /// Forbidden; not found; invalid fields; conflict on `secret`, or where the key is revoked.
    pub async fn rotate_key(
        &self,
        actor: &Actor,
        key: &str,
        input: RotateKey,
    ) -> Result<CreatedKey, AppError> {
        let record = self.permitted_key(actor, Verb::Update, key).await?;
        if input.grace_seconds > MAX_GRACE_SECONDS {
            return Err(AppError::invalid("grace_seconds", format!("must be at most {MAX_GRACE_SECONDS}")));
        }
        let secret = key_text(input.secret.as_ref())?;
        let grace_ms = i64::try_from(input.grace_seconds.saturating_mul(1_000)).unwrap_or(i64::MAX);
        let until: UnixMillis = self.now().plus_ms(grace_ms);
        let (context, hash) = (self.context(actor), self.hash_of(&secret));
        let store = &self.parts.store;
        let record = store.rotate_key(&context, record.id, hash, &secret.public_prefix(), until).await?;
        let key = view(record, &mut self.names()).await?;
        Ok(CreatedKey { key, secret: SecretText::new(secret.expose()) })
    }

    /// Refuses a key until it is unblocked.
    ///
    /// # Errors
    /// Forbidden; not found; conflict where the key is revoked.
    pub async fn block_key(&self, actor: &Actor, key: &str) -> Result<KeyView, AppError> {
        self.set_key_state(actor, key, KeyState::Blocked).await
    }

    /// Accepts a blocked key again.
    ///
    /// # Errors
    /// Forbidden; not found; conflict where the key is revoked; unavailable where the ledger does not answer.
    pub async fn unblock_key(&self, actor: &Actor, key: &str) -> Result<KeyView, AppError> {
        self.set_key_state(actor, key, KeyState::Active).await
    }

    async fn set_key_state(&self, actor: &Actor, key: &str, state: KeyState) -> Result<KeyView, AppError> {
        let record = self.permitted_key(actor, Verb::Update, key).await?;
        if record.state == KeyState::Revoked {
            return Err(AppError::conflict("state", "the key is revoked for ever: create a new one"));
        }
        if state == KeyState::Active && !self.parts.store.tenant(record.tenant).await?.blocked {
            // Before it is stored, and only where the ledger answers: nobody would remember to remove a flag
            // that outlives its reason.
            self.parts.ledger.set_key_revoked(record.tenant, record.id, false).await?;
        }
        let change = move |record: &mut KeyRecord| record.state = state;
        let record = self.parts.store.update_key(&self.context(actor), record.id, change).await?;
        self.push_key_flags(record.tenant, &[record.id]).await;
        view(record, &mut self.names()).await
    }

    /// Revokes a key for ever: in policy, and as a flag in the ledger that every admission reads.
    ///
    /// # Errors
    /// Forbidden; not found.
    pub async fn revoke_key(&self, actor: &Actor, key: &str) -> Result<KeyView, AppError> {
        let record = self.permitted_key(actor, Verb::Delete, key).await?;
        let record = self.parts.store.revoke_key(&self.context(actor), record.id).await?;
        self.push_key_flags(record.tenant, &[record.id]).await;
        view(record, &mut self.names()).await
    }

    /// Tells the ledger which of `keys` may be used, by what is stored of them; where it does not answer it is
    /// told later.
    pub(super) async fn push_key_flags(&self, tenant: TenantId, keys: &[KeyId]) {
        self.parts.revocations.push(&self.parts.store, &self.parts.ledger, tenant, keys).await;
    }

    /// Every key of `filter`, with its state.
    pub(super) async fn key_states(&self, filter: &KeyFilter) -> Result<Vec<(KeyId, KeyState)>, AppError> {
        let mut all = Vec::new();
        let mut page = PageRequest::first(READ_PAGE);
        loop {
            let part = self.parts.store.list_keys(filter, page).await?;
            all.extend(part.items.iter().map(|key| (key.id, key.state)));
            let Some(next) = part.next else { return Ok(all) };
            page = PageRequest::after(READ_PAGE, next);
        }
    }
}
