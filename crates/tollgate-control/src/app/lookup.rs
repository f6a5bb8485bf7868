//! Objects by id or by name, permission included; names of ids for views.

use std::collections::HashMap;

use tollgate_domain::{KeyId, ProjectId, TenantId};
use tollgate_policy::BudgetOwner;
use tollgate_store::{
    KeyFilter, KeyRecord, PageRequest, ProjectFilter, ProjectRecord, Store, StoreError, TenantRecord,
};

use super::App;
use crate::{Action, Actor, AppError, Resource, ResourceOwner, Verb, authorize, authorize_some};

/// Answers the object, or the not-found error that a missing one gives.
fn permitted<T>(
    actor: &Actor,
    action: Action,
    tenant: TenantId,
    asked: &str,
    object: T,
) -> Result<T, AppError> {
    match authorize(actor, action, ResourceOwner::Tenant(tenant)) {
        Ok(()) => Ok(object),
        Err(AppError::NotFound { kind, .. }) => Err(AppError::not_found(kind, asked)),
        Err(other) => Err(other),
    }
}

/// `path` is how the object is named with its parents.
fn ambiguous(kind: &'static str, name: &str, path: &str) -> AppError {
    AppError::conflict("", format!("there are several {kind}s named `{name}`: use the id, or `{path}`"))
}

impl App {
    /// The tenant of that id or name, where `actor` may do `verb` to its `resource`.
    pub(super) async fn permitted_tenant(
        &self,
        actor: &Actor,
        action: Action,
        reference: &str,
    ) -> Result<TenantRecord, AppError> {
        authorize_some(actor, action)?;
        let store = &self.parts.store;
        let record = match reference.parse() {
            Ok(id) => store.tenant(id).await,
            Err(_) => store.tenant_by_name(reference).await,
        };
        let record = record.map_err(|error| missing(error, "tenant", reference))?;
        match permitted(actor, action, record.id, reference, record) {
            Err(AppError::NotFound { .. }) => Err(AppError::not_found("tenant", reference)),
            other => other,
        }
    }

    /// The project of that id or unambiguous name (or `tenant/project`).
    pub(super) async fn permitted_project(
        &self,
        actor: &Actor,
        action: Action,
        reference: &str,
    ) -> Result<ProjectRecord, AppError> {
        authorize_some(actor, action)?;
        let record = self.find_project(actor, reference).await?;
        match permitted(actor, action, record.tenant, reference, record) {
            Err(AppError::NotFound { .. }) => Err(AppError::not_found("project", reference)),
            other => other,
        }
    }

    async fn find_project(&self, actor: &Actor, reference: &str) -> Result<ProjectRecord, AppError> {
        let store = &self.parts.store;
        let missing = |error| missing(error, "project", reference);
        if let Ok(id) = reference.parse() {
            return store.project(id).await.map_err(missing);
        }
        if let Some((tenant, project)) = reference.split_once('/') {
            let tenant = store.tenant_by_name(tenant).await.map_err(missing)?;
            return store.project_by_name(tenant.id, project).await.map_err(missing);
        }
        let filter = ProjectFilter { tenant: actor.own_tenant(), name: Some(reference.to_owned()) };
        let mut found = store.list_projects(&filter, PageRequest::first(2)).await?.items;
        match (found.pop(), found.pop()) {
            (Some(only), None) => Ok(only),
            (Some(_), Some(_)) => Err(ambiguous("project", reference, "tenant/project")),
            (None, _) => Err(AppError::not_found("project", reference)),
        }
    }

    /// The key of that id, or the key in use of that unambiguous name (or `tenant/project/key`).
    pub(super) async fn permitted_key(
        &self,
        actor: &Actor,
        verb: Verb,
        reference: &str,
    ) -> Result<KeyRecord, AppError> {
        let action = Action::new(verb, Resource::Key);
        authorize_some(actor, action)?;
        let record = self.find_key(actor, reference).await?;
        permitted(actor, action, record.tenant, reference, record)
    }

    async fn find_key(&self, actor: &Actor, reference: &str) -> Result<KeyRecord, AppError> {
        let store = &self.parts.store;
        let missing = |error| missing(error, "key", reference);
        if let Ok(id) = reference.parse() {
            return store.key(id).await.map_err(missing);
        }
        if let Some((project, key)) = reference.rsplit_once('/') {
            let project = match self.find_project(actor, project).await {
                Err(AppError::NotFound { .. }) => return Err(AppError::not_found("key", reference)),
                other => other?,
            };
            return store.key_by_name(project.id, key).await.map_err(missing);
        }
        let name = Some(reference.to_owned());
        let filter = KeyFilter { tenant: actor.own_tenant(), name, ..KeyFilter::default() };
        let mut found = store.list_keys(&filter, PageRequest::first(2)).await?.items;
        match (found.pop(), found.pop()) {
            (Some(only), None) => Ok(only),
            (Some(_), Some(_)) => Err(ambiguous("key", reference, "tenant/project/key")),
            (None, _) => Err(AppError::not_found("key", reference)),
        }
    }

    /// The tenant a list is limited to: the one asked for, else the actor's own.
    pub(super) async fn tenant_filter(
        &self,
        actor: &Actor,
        resource: Resource,
        asked: Option<&str>,
    ) -> Result<Option<TenantId>, AppError> {
        let read = Action::new(Verb::Read, resource);
        match (asked, actor.own_tenant()) {
            (Some(reference), _) => Ok(Some(self.permitted_tenant(actor, read, reference).await?.id)),
            (None, Some(own)) => {
                authorize(actor, read, ResourceOwner::Tenant(own))?;
                Ok(Some(own))
            }
            (None, None) => {
                authorize(actor, read, ResourceOwner::Installation)?;
                Ok(None)
            }
        }
    }

    pub(super) fn names(&self) -> Names {
        Names { store: self.parts.store.clone(), known: HashMap::new() }
    }
}

/// Not found under the name it was asked by, not under an inner one.
pub(super) fn missing(error: StoreError, kind: &'static str, asked: &str) -> AppError {
    match error {
        StoreError::NotFound { .. } => AppError::not_found(kind, asked),
        other => other.into(),
    }
}

/// Names of tenants, projects and keys by id, each read once per call.
pub(super) struct Names {
    store: Store,
    known: HashMap<uuid::Uuid, String>,
}

impl Names {
    /// The tenant's name, also after its deletion; its id where it is gone without a trace.
    pub(super) async fn tenant(&mut self, id: TenantId) -> Result<String, AppError> {
        if let Some(name) = self.known.get(&id.as_uuid()) {
            return Ok(name.clone());
        }
        let name = self.store.tenant_name(id).await?.unwrap_or_else(|| id.to_string());
        self.known.insert(id.as_uuid(), name.clone());
        Ok(name)
    }

    /// The project's name, also after its deletion; its id where it is gone without a trace.
    pub(super) async fn project(&mut self, id: ProjectId) -> Result<String, AppError> {
        if let Some(name) = self.known.get(&id.as_uuid()) {
            return Ok(name.clone());
        }
        let name = self.store.project_name(id).await?.unwrap_or_else(|| id.to_string());
        self.known.insert(id.as_uuid(), name.clone());
        Ok(name)
    }

    /// The key's name, also after its deletion; its id where it is gone without a trace.
    pub(super) async fn key(&mut self, id: KeyId) -> Result<String, AppError> {
        if let Some(name) = self.known.get(&id.as_uuid()) {
            return Ok(name.clone());
        }
        let name = self.store.key_name(id).await?.unwrap_or_else(|| id.to_string());
        self.known.insert(id.as_uuid(), name.clone());
        Ok(name)
    }

    /// The name of a budget's owner.
    pub(super) async fn owner(&mut self, owner: BudgetOwner) -> Result<String, AppError> {
        match owner {
            BudgetOwner::Tenant(id) => self.tenant(id).await,
            BudgetOwner::Project(id) => self.project(id).await,
            BudgetOwner::Key(id) => self.key(id).await,
        }
    }
}
