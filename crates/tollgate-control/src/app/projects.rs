//! Projects of tenants.

use serde::{Deserialize, Serialize};
use tollgate_domain::Labels;
use tollgate_policy::{BudgetOwner, ProjectPolicy};
use tollgate_store::{KeyFilter, ProjectFilter, ProjectRecord};
use utoipa::ToSchema;

use super::lookup::Names;
use super::{App, List, ListQuery, present};
use crate::error::Problems;
use crate::parts::{
    EndUsersBody, LimitsBody, ModelLimitBody, RulesChange, Time, check_labels, check_rules,
    model_limit_bodies, name,
};
use crate::{Action, Actor, AppError, Resource, Verb};

/// A project to be created.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct CreateProject {
    /// Unique name within the tenant.
    #[schema(example = "support-bot")]
    pub name: String,
    /// Labels that every request carries.
    #[serde(default)]
    pub labels: Labels,
    /// Rate limits over all its keys.
    #[serde(default)]
    pub limits: LimitsBody,
    /// What holds for each end user apart.
    #[serde(default)]
    pub end_users: EndUsersBody,
    /// What holds for requests for certain models, each rule apart.
    #[serde(default)]
    pub model_limits: Vec<ModelLimitBody>,
}

/// Changes to a project: absent is unchanged, `null` resets.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct UpdateProject {
    /// A new name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// Labels, all of them anew; `null` is none.
    #[serde(default, skip_serializing_if = "Option::is_none", deserialize_with = "present")]
    #[schema(value_type = Option<Labels>)]
    pub labels: Option<Option<Labels>>,
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
}

/// A project.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ProjectView {
    /// Identity.
    pub id: String,
    /// Unique name within the tenant.
    pub name: String,
    /// Its tenant's name.
    pub tenant: String,
    /// Its tenant's id.
    pub tenant_id: String,
    /// Labels that every request carries.
    pub labels: Labels,
    /// Rate limits over all its keys.
    pub limits: LimitsBody,
    /// What holds for each end user apart.
    pub end_users: EndUsersBody,
    /// What holds for requests for certain models.
    pub model_limits: Vec<ModelLimitBody>,
    /// When it was created.
    pub created_at: Time,
    /// When it was last changed.
    pub updated_at: Time,
}

impl CreateProject {
    pub(crate) fn check(&self, path: &str, problems: &mut Problems) {
        problems.take(format!("{path}name"), name(&self.name));
        check_labels(&self.labels, &format!("{path}labels"), problems);
        self.limits.check(&format!("{path}limits"), problems);
        check_rules(&self.end_users, &self.model_limits, path, problems);
    }
}

async fn view(record: ProjectRecord, names: &mut Names) -> Result<ProjectView, AppError> {
    Ok(ProjectView {
        id: record.id.to_string(),
        name: record.name,
        tenant: names.tenant(record.tenant).await?,
        tenant_id: record.tenant.to_string(),
        labels: record.labels,
        limits: record.limits.into(),
        end_users: (&record.rules.end_users).into(),
        model_limits: model_limit_bodies(&record.rules.model_limits),
        created_at: Time(record.created_at),
        updated_at: Time(record.updated_at),
    })
}

impl App {
    /// Creates a project of a tenant.
    ///
    /// # Errors
    /// Forbidden; no such tenant; invalid fields; conflict on `name`.
    pub async fn create_project(
        &self,
        actor: &Actor,
        tenant: &str,
        input: CreateProject,
    ) -> Result<ProjectView, AppError> {
        let create = Action::new(Verb::Create, Resource::Project);
        let tenant = self.permitted_tenant(actor, create, tenant).await?;
        let mut problems = Problems::default();
        input.check("", &mut problems);
        let limits = input.limits.check("limits", &mut Problems::default());
        let rules = check_rules(&input.end_users, &input.model_limits, "", &mut Problems::default());
        problems.finish()?;
        let policy = ProjectPolicy {
            id: self.new_id()?,
            tenant: tenant.id,
            name: input.name,
            labels: input.labels,
            limits,
            rules: self.with_new_ids(rules)?,
        };
        let record = self.parts.store.create_project(&self.context(actor), policy).await?;
        view(record, &mut self.names()).await
    }

    /// The project of that id or unambiguous name.
    ///
    /// # Errors
    /// Forbidden; not found; an ambiguous name.
    pub async fn project(&self, actor: &Actor, project: &str) -> Result<ProjectView, AppError> {
        let read = Action::new(Verb::Read, Resource::Project);
        let record = self.permitted_project(actor, read, project).await?;
        view(record, &mut self.names()).await
    }

    /// Projects of a tenant (of all, where `None`) in the order of their creation.
    ///
    /// # Errors
    /// Forbidden; no such tenant; a bad page.
    pub async fn list_projects(
        &self,
        actor: &Actor,
        tenant: Option<&str>,
        query: &ListQuery,
    ) -> Result<List<ProjectView>, AppError> {
        let tenant = self.tenant_filter(actor, Resource::Project, tenant).await?;
        let filter = ProjectFilter { tenant, name: None };
        let page = self.parts.store.list_projects(&filter, query.page()?).await?;
        let mut names = self.names();
        let mut data = Vec::with_capacity(page.items.len());
        for record in page.items {
            data.push(view(record, &mut names).await?);
        }
        Ok(List { data, next: page.next.map(|next| next.to_string()) })
    }

    /// Changes a project.
    ///
    /// # Errors
    /// Forbidden; not found; invalid fields; conflict on `name`.
    pub async fn update_project(
        &self,
        actor: &Actor,
        project: &str,
        input: UpdateProject,
    ) -> Result<ProjectView, AppError> {
        let update = Action::new(Verb::Update, Resource::Project);
        let record = self.permitted_project(actor, update, project).await?;
        let mut problems = Problems::default();
        if let Some(new_name) = &input.name {
            problems.take("name", name(new_name));
        }
        let labels = input.labels.map(Option::unwrap_or_default);
        if let Some(labels) = &labels {
            check_labels(labels, "labels", &mut problems);
        }
        let limits = input.limits.map(|limits| limits.unwrap_or_default().check("limits", &mut problems));
        let rules = RulesChange::check(input.end_users, input.model_limits, &mut problems);
        problems.finish()?;
        let owner = BudgetOwner::Project(record.id);
        let rules = self.prepare_rules(record.tenant, owner, &record.rules, rules).await?;
        let new_name = input.name;
        let change = move |record: &mut ProjectRecord| {
            if let Some(name) = &new_name {
                record.name.clone_from(name);
            }
            if let Some(labels) = &labels {
                record.labels.clone_from(labels);
            }
            record.limits = limits.unwrap_or(record.limits);
            rules.apply(&mut record.rules);
        };
        let record = self.parts.store.update_project(&self.context(actor), record.id, change).await?;
        view(record, &mut self.names()).await
    }

    /// Deletes a project with its keys and budgets; its journal stays.
    ///
    /// # Errors
    /// Forbidden; not found.
    pub async fn delete_project(&self, actor: &Actor, project: &str) -> Result<ProjectView, AppError> {
        let delete = Action::new(Verb::Delete, Resource::Project);
        let record = self.permitted_project(actor, delete, project).await?;
        // Read before they are gone.
        let filter = KeyFilter { project: Some(record.id), ..KeyFilter::default() };
        let keys: Vec<_> = self.key_states(&filter).await?.into_iter().map(|(key, _)| key).collect();
        let record = self.parts.store.delete_project(&self.context(actor), record.id).await?;
        self.push_key_flags(record.tenant, &keys).await;
        view(record, &mut self.names()).await
    }
}
