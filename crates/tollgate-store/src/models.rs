//! Virtual models: what applications ask for.

use serde::Serialize;
use tollgate_domain::{ModelId, UnixMillis};
use tollgate_policy::{ModelPolicy, RetryPolicy, Strategy, Target, Timeouts};

use crate::{Page, PageRequest, Store, StoreError, WriteContext};

/// A virtual model as stored.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ModelRecord {
    /// Identity.
    pub id: ModelId,
    /// Unique name.
    pub name: String,
    /// Order of the targets.
    pub strategy: Strategy,
    /// Where it leads.
    pub targets: Vec<Target>,
    /// Virtual models whose targets follow after its own.
    pub fallbacks: Vec<String>,
    /// Retries.
    pub retry: RetryPolicy,
    /// Time limits.
    pub timeouts: Timeouts,
    /// When it was created.
    pub created_at: UnixMillis,
    /// When it was last changed.
    pub updated_at: UnixMillis,
}

impl ModelRecord {
    /// The model as the pods see it.
    #[must_use]
    pub fn to_policy(&self) -> ModelPolicy {
        ModelPolicy {
            id: self.id,
            name: self.name.clone(),
            strategy: self.strategy,
            targets: self.targets.clone(),
            fallbacks: self.fallbacks.clone(),
            retry: self.retry.clone(),
            timeouts: self.timeouts,
        }
    }
}

impl Store {
    /// Creates a virtual model.
    ///
    /// # Errors
    /// `NotFound` without a target's provider; `Conflict` on `name`.
    pub async fn create_model(
        &self,
        ctx: &WriteContext,
        model: ModelPolicy,
    ) -> Result<ModelRecord, StoreError> {
        todo!()
    }

    /// The model of that id.
    ///
    /// # Errors
    /// `NotFound`.
    pub async fn model(&self, id: ModelId) -> Result<ModelRecord, StoreError> {
        todo!()
    }

    /// The model of that name.
    ///
    /// # Errors
    /// `NotFound`.
    pub async fn model_by_name(&self, name: &str) -> Result<ModelRecord, StoreError> {
        todo!()
    }

    /// Models by id.
    ///
    /// # Errors
    /// Only the database's own.
    pub async fn list_models(
        &self,
        page: PageRequest<ModelId>,
    ) -> Result<Page<ModelRecord, ModelId>, StoreError> {
        todo!()
    }

    /// Changes a model as [`Store::update_tenant`] does.
    ///
    /// # Errors
    /// `NotFound` (the model, or a target's provider); `Conflict` on `name`.
    pub async fn update_model(
        &self,
        ctx: &WriteContext,
        id: ModelId,
        change: impl Fn(&mut ModelRecord) + Send + Sync,
    ) -> Result<ModelRecord, StoreError> {
        todo!()
    }

    /// Deletes a model; answers what was deleted. Fallbacks and defaults that name it are the caller's.
    ///
    /// # Errors
    /// `NotFound`.
    pub async fn delete_model(&self, ctx: &WriteContext, id: ModelId) -> Result<ModelRecord, StoreError> {
        todo!()
    }
}
