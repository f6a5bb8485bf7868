//! API keys of projects: hashes only.

use serde::Serialize;
use tollgate_domain::{KeyHash, KeyId, Labels, ProjectId, TenantId, UnixMillis};
use tollgate_policy::{KeyPolicy, KeyState, RateLimits};

use crate::{Page, PageRequest, Store, StoreError, WriteContext};

/// A key as stored. Its hashes are never serialised.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct KeyRecord {
    /// Identity.
    pub id: KeyId,
    /// Its project's tenant.
    pub tenant: TenantId,
    /// Its project.
    pub project: ProjectId,
    /// Unique name within the project, among keys that are not revoked.
    pub name: String,
    /// What of its text may be shown.
    pub public_prefix: String,
    /// Hash of its text.
    #[serde(skip)]
    pub hash: KeyHash,
    /// Hash of the text before the last rotation.
    #[serde(skip)]
    pub previous_hash: Option<KeyHash>,
    /// Until when the previous text is accepted.
    pub previous_until: Option<UnixMillis>,
    /// Model patterns it may ask for; empty allows all.
    pub models: Vec<String>,
    /// Rate limits.
    pub limits: RateLimits,
    /// Labels that every request carries, over the project's.
    pub labels: Labels,
    /// Refused from this time on.
    pub expires_at: Option<UnixMillis>,
    /// Whether it may be used.
    pub state: KeyState,
    /// When its text was last rotated.
    pub rotated_at: Option<UnixMillis>,
    /// When it was created.
    pub created_at: UnixMillis,
    /// When it was last changed.
    pub updated_at: UnixMillis,
}

/// Which keys; the default means all that are not revoked.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct KeyFilter {
    /// Of this tenant.
    pub tenant: Option<TenantId>,
    /// Of this project.
    pub project: Option<ProjectId>,
    /// Of this name.
    pub name: Option<String>,
    /// Revoked ones too.
    pub include_revoked: bool,
}

impl KeyRecord {
    /// The key as the pods see it.
    #[must_use]
    pub fn to_policy(&self) -> KeyPolicy {
        KeyPolicy {
            id: self.id,
            project: self.project,
            name: self.name.clone(),
            hash: self.hash,
            previous_hash: self.previous_hash.zip(self.previous_until),
            models: self.models.clone(),
            limits: self.limits,
            expires_at: self.expires_at,
            state: self.state,
            labels: self.labels.clone(),
        }
    }
}

impl Store {
    /// Creates a key. `public_prefix` is what of its text may be shown again.
    ///
    /// # Errors
    /// `NotFound` without its project; `Conflict` on `name`, or on `secret` where another key has or had
    /// the same text.
    pub async fn create_key(
        &self,
        ctx: &WriteContext,
        key: KeyPolicy,
        public_prefix: &str,
    ) -> Result<KeyRecord, StoreError> {
        todo!()
    }

    /// The key of that id, revoked ones included.
    ///
    /// # Errors
    /// `NotFound`.
    pub async fn key(&self, id: KeyId) -> Result<KeyRecord, StoreError> {
        todo!()
    }

    /// The project's key of that name that is not revoked.
    ///
    /// # Errors
    /// `NotFound`.
    pub async fn key_by_name(&self, project: ProjectId, name: &str) -> Result<KeyRecord, StoreError> {
        todo!()
    }

    /// Keys by id.
    ///
    /// # Errors
    /// Only the database's own.
    pub async fn list_keys(
        &self,
        filter: &KeyFilter,
        page: PageRequest<KeyId>,
    ) -> Result<Page<KeyRecord, KeyId>, StoreError> {
        todo!()
    }

    /// Changes a key as [`Store::update_tenant`] does: also blocks, unblocks and revokes it (`state`).
    /// Its project and its hashes stay: [`Store::rotate_key`] changes those.
    ///
    /// # Errors
    /// `NotFound`; `Conflict` on `name`, or on `state` where a revoked key is to be used again.
    pub async fn update_key(
        &self,
        ctx: &WriteContext,
        id: KeyId,
        change: impl Fn(&mut KeyRecord) + Send + Sync,
    ) -> Result<KeyRecord, StoreError> {
        todo!()
    }

    /// Gives a key a new text. The present one is accepted until `previous_until`.
    ///
    /// # Errors
    /// `NotFound`; `Conflict` on `secret` where the text is in use, on `state` where the key is revoked.
    pub async fn rotate_key(
        &self,
        ctx: &WriteContext,
        id: KeyId,
        hash: KeyHash,
        public_prefix: &str,
        previous_until: UnixMillis,
    ) -> Result<KeyRecord, StoreError> {
        todo!()
    }

    /// Revokes a key for ever; its row stays and its name is free again. Again: no change.
    ///
    /// # Errors
    /// `NotFound`.
    pub async fn revoke_key(&self, ctx: &WriteContext, id: KeyId) -> Result<KeyRecord, StoreError> {
        todo!()
    }
}
