//! Providers and their credentials, which are ciphertext here and nothing else.

use std::fmt;

use serde::Serialize;
use tollgate_domain::{CredentialId, ProviderId, UnixMillis};
use tollgate_policy::{Dialect, Retention};

use crate::{Page, PageRequest, Store, StoreError, WriteContext};

/// A provider as stored.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ProviderRecord {
    /// Identity.
    pub id: ProviderId,
    /// Unique name.
    pub name: String,
    /// What it speaks.
    pub dialect: Dialect,
    /// Where it is.
    pub base_url: String,
    /// Its credentials, in the order of their names.
    pub credentials: Vec<CredentialRecord>,
    /// Where the data goes.
    pub region: Option<String>,
    /// What the vendor keeps.
    pub retention: Option<Retention>,
    /// Whether the vendor trains on the data.
    pub trains_on_data: Option<bool>,
    /// Requests in flight per pod, at most.
    pub max_concurrent_requests: Option<u32>,
    /// When it was created.
    pub created_at: UnixMillis,
    /// When it was last changed.
    pub updated_at: UnixMillis,
}

/// A credential as stored: its secret is encrypted by the caller, and neither serialised nor printed.
#[derive(Clone, PartialEq, Eq, Serialize)]
pub struct CredentialRecord {
    /// Identity.
    pub id: CredentialId,
    /// Unique name within the provider.
    pub name: String,
    /// The encrypted secret.
    #[serde(skip)]
    pub ciphertext: Vec<u8>,
    /// Share of the traffic, relative to its siblings; at least 1.
    pub weight: u32,
    /// When the secret was last changed; set by the store.
    pub secret_changed_at: UnixMillis,
}

impl fmt::Debug for CredentialRecord {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "CredentialRecord({} `{}`, weight {})", self.id, self.name, self.weight)
    }
}

/// A provider to be created.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewProvider {
    /// Identity.
    pub id: ProviderId,
    /// Unique name.
    pub name: String,
    /// What it speaks.
    pub dialect: Dialect,
    /// Where it is; empty for `demo`.
    pub base_url: String,
    /// Its credentials; may be empty.
    pub credentials: Vec<NewCredential>,
    /// Where the data goes.
    pub region: Option<String>,
    /// What the vendor keeps.
    pub retention: Option<Retention>,
    /// Whether the vendor trains on the data.
    pub trains_on_data: Option<bool>,
    /// Requests in flight per pod, at most.
    pub max_concurrent_requests: Option<u32>,
}

/// A credential to be created.
#[derive(Clone, PartialEq, Eq)]
pub struct NewCredential {
    /// Identity.
    pub id: CredentialId,
    /// Unique name within the provider.
    pub name: String,
    /// The encrypted secret.
    pub ciphertext: Vec<u8>,
    /// Share of the traffic; at least 1.
    pub weight: u32,
}

impl fmt::Debug for NewCredential {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "NewCredential({} `{}`, weight {})", self.id, self.name, self.weight)
    }
}

impl NewCredential {
    /// The record it becomes, for adding it in [`Store::update_provider`].
    #[must_use]
    pub fn into_record(self, now: UnixMillis) -> CredentialRecord {
        CredentialRecord {
            id: self.id,
            name: self.name,
            ciphertext: self.ciphertext,
            weight: self.weight,
            secret_changed_at: now,
        }
    }
}

impl Store {
    /// Creates a provider with its credentials.
    ///
    /// # Errors
    /// `Conflict` on `name`, or on `credentials` where two share a name.
    pub async fn create_provider(
        &self,
        ctx: &WriteContext,
        provider: NewProvider,
    ) -> Result<ProviderRecord, StoreError> {
        todo!()
    }

    /// The provider of that id.
    ///
    /// # Errors
    /// `NotFound`.
    pub async fn provider(&self, id: ProviderId) -> Result<ProviderRecord, StoreError> {
        todo!()
    }

    /// The provider of that name.
    ///
    /// # Errors
    /// `NotFound`.
    pub async fn provider_by_name(&self, name: &str) -> Result<ProviderRecord, StoreError> {
        todo!()
    }

    /// Providers by id.
    ///
    /// # Errors
    /// Only the database's own.
    pub async fn list_providers(
        &self,
        page: PageRequest<ProviderId>,
    ) -> Result<Page<ProviderRecord, ProviderId>, StoreError> {
        todo!()
    }

    /// Changes a provider and its credentials as [`Store::update_tenant`] does.
    ///
    /// # Errors
    /// `NotFound`; `Conflict` on `name` or `credentials`.
    pub async fn update_provider(
        &self,
        ctx: &WriteContext,
        id: ProviderId,
        change: impl Fn(&mut ProviderRecord) + Send + Sync,
    ) -> Result<ProviderRecord, StoreError> {
        todo!()
    }

    /// Deletes a provider with its credentials; answers what was deleted.
    ///
    /// # Errors
    /// `NotFound`; `Conflict` on `targets` where a model leads to it, naming the model.
    pub async fn delete_provider(
        &self,
        ctx: &WriteContext,
        id: ProviderId,
    ) -> Result<ProviderRecord, StoreError> {
        todo!()
    }
}
