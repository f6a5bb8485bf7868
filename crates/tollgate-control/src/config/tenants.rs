//! Tenants of a document, with what hangs on them: budgets, projects, keys.

use tollgate_domain::NanoUsd;

use super::apply::{Applying, ChangeAction, GeneratedSecret, below};
use super::document::{ConfigBudget, ConfigDocument, ConfigKey, ConfigProject, ConfigTenant};
use super::validate::create_project;
use super::{INITIAL_CREDIT, diff};
use crate::app::{
    BudgetQuery, BudgetView, CreateBudget, CreateCredit, CreateKey, CreateTenant, CreditKindName, ListQuery,
    RotateKey, UpdateBudget, UpdateKey, UpdateProject, UpdateTenant,
};
use crate::parts::{alert_shares, limit_amount};
use crate::{App, AppError};

/// Whose budgets: its id, by scope. `None` for an owner that a dry run did not create.
#[derive(Clone, Copy)]
enum Owner<'a> {
    Tenant(Option<&'a str>),
    Project(Option<&'a str>),
    Key(Option<&'a str>),
}

impl<'a> Owner<'a> {
    fn id(self) -> Option<&'a str> {
        match self {
            Self::Tenant(id) | Self::Project(id) | Self::Key(id) => id,
        }
    }

    fn named(self) -> (Option<String>, Option<String>, Option<String>) {
        let id = self.id().map(str::to_owned);
        match self {
            Self::Tenant(_) => (id, None, None),
            Self::Project(_) => (None, id, None),
            Self::Key(_) => (None, None, id),
        }
    }
}

impl Applying<'_> {
    pub(super) async fn tenants(&mut self, document: &ConfigDocument) -> Result<(), AppError> {
        for (index, wanted) in document.tenants.iter().enumerate() {
            let path = format!("tenants[{index}]");
            self.tenant(wanted, &path).await?;
        }
        if !self.options.prune {
            return Ok(());
        }
        let is_named = |name: &String| document.tenants.iter().any(|tenant| tenant.name == *name);
        for tenant in self.app.all_tenants().await?.into_iter().filter(|tenant| !is_named(&tenant.name)) {
            if self.is_real() {
                // Whoever prunes has asked for deletion by name; credit that is left does not stop it halfway.
                self.app.delete_tenant(self.actor, &tenant.id.to_string(), true).await?;
            }
            self.report.note(ChangeAction::Delete, "tenant", tenant.name, "");
        }
        Ok(())
    }

    async fn tenant(&mut self, wanted: &ConfigTenant, path: &str) -> Result<(), AppError> {
        let id = self.tenant_itself(wanted).await.map_err(|error| below(error, path))?;
        self.budgets(Owner::Tenant(id.as_deref()), &wanted.name, &wanted.budgets, path).await?;
        for (index, project) in wanted.projects.iter().enumerate() {
            let path = format!("{path}.projects[{index}]");
            self.project(id.as_deref(), &wanted.name, project, &path).await?;
        }
        let Some(id) = id.filter(|_| self.options.prune) else { return Ok(()) };
        for project in self.app.every_project(self.actor, &id).await? {
            if !wanted.projects.iter().any(|named| named.name == project.name) {
                if self.is_real() {
                    self.app.delete_project(self.actor, &project.id).await?;
                }
                self.report.note(
                    ChangeAction::Delete,
                    "project",
                    format!("{}/{}", wanted.name, project.name),
                    "",
                );
            }
        }
        Ok(())
    }

    /// Creates or changes the tenant; answers its id where it is there.
    async fn tenant_itself(&mut self, wanted: &ConfigTenant) -> Result<Option<String>, AppError> {
        let is = match self.app.tenant(self.actor, &wanted.name).await {
            Ok(is) => is,
            Err(AppError::NotFound { .. }) => return self.new_tenant(wanted).await,
            Err(error) => return Err(error),
        };
        let fields = diff::tenant(&is, wanted);
        if self.is_real() && !fields.is_empty() {
            let update = UpdateTenant {
                billing: Some(wanted.billing),
                time_zone: Some(wanted.time_zone.clone()),
                limits: Some(Some(wanted.limits)),
                end_users: Some(Some(wanted.end_users.clone())),
                model_limits: Some(Some(wanted.model_limits.clone())),
                data_policy: Some(Some(wanted.data_policy.clone())),
                alert_below: Some(Some(wanted.alert_below.clone())),
                ..UpdateTenant::default()
            };
            self.app.update_tenant(self.actor, &is.id, update).await?;
        }
        self.report.note_existing("tenant", &wanted.name, &fields);
        Ok(Some(is.id))
    }

    async fn new_tenant(&mut self, wanted: &ConfigTenant) -> Result<Option<String>, AppError> {
        self.report.note(ChangeAction::Create, "tenant", &wanted.name, "");
        let credit = wanted.credit.as_deref().filter(|text| limit_amount(text) != Ok(NanoUsd::ZERO));
        if let Some(amount) = credit {
            self.report.note(ChangeAction::Create, "credit", &wanted.name, format!("{amount} USD, once"));
        }
        if !self.is_real() {
            return Ok(None);
        }
        let body = CreateTenant {
            name: wanted.name.clone(),
            billing: wanted.billing,
            time_zone: wanted.time_zone.clone(),
            blocked: false,
            limits: wanted.limits,
            end_users: wanted.end_users.clone(),
            model_limits: wanted.model_limits.clone(),
            data_policy: wanted.data_policy.clone(),
            alert_below: wanted.alert_below.clone(),
        };
        // What the file says of its credit is all that it gets.
        let tenant = self.app.create_tenant_with(self.actor, body, false).await?;
        if let Some(amount) = credit {
            let body = CreateCredit {
                amount: amount.to_owned(),
                kind: CreditKindName::Grant,
                currency: None,
                reference: Some(INITIAL_CREDIT.to_owned()),
                expires_at: None,
                corrects: None,
            };
            self.app.create_credit(self.actor, &tenant.id, body).await?;
        }
        Ok(Some(tenant.id))
    }

    async fn project(
        &mut self,
        tenant: Option<&str>,
        tenant_name: &str,
        wanted: &ConfigProject,
        path: &str,
    ) -> Result<(), AppError> {
        let name = format!("{tenant_name}/{}", wanted.name);
        let id = self.project_itself(tenant, &name, wanted).await.map_err(|error| below(error, path))?;
        self.budgets(Owner::Project(id.as_deref()), &name, &wanted.budgets, path).await?;
        for (index, key) in wanted.keys.iter().enumerate() {
            let path = format!("{path}.keys[{index}]");
            let key_name = format!("{name}/{}", key.name);
            let key_id =
                self.key(id.as_deref(), &key_name, key).await.map_err(|error| below(error, &path))?;
            self.budgets(Owner::Key(key_id.as_deref()), &key_name, &key.budgets, &path).await?;
        }
        let Some(id) = id.filter(|_| self.options.prune) else { return Ok(()) };
        for key in self.app.every_key(self.actor, &id).await? {
            if !wanted.keys.iter().any(|named| named.name == key.name) {
                if self.is_real() {
                    self.app.revoke_key(self.actor, &key.id).await?;
                }
                self.report.note(ChangeAction::Delete, "key", format!("{name}/{}", key.name), "");
            }
        }
        Ok(())
    }

    async fn project_itself(
        &mut self,
        tenant: Option<&str>,
        name: &str,
        wanted: &ConfigProject,
    ) -> Result<Option<String>, AppError> {
        let is = match tenant {
            None => None,
            Some(_) => match self.app.project(self.actor, name).await {
                Ok(is) => Some(is),
                Err(AppError::NotFound { .. }) => None,
                Err(error) => return Err(error),
            },
        };
        let Some(is) = is else {
            self.report.note(ChangeAction::Create, "project", name, "");
            let Some(tenant) = tenant.filter(|_| self.is_real()) else { return Ok(None) };
            let body = create_project(wanted);
            return Ok(Some(self.app.create_project(self.actor, tenant, body).await?.id));
        };
        let fields = diff::project(&is, wanted);
        if self.is_real() && !fields.is_empty() {
            let update = UpdateProject {
                name: None,
                labels: Some(Some(wanted.labels.clone())),
                limits: Some(Some(wanted.limits)),
                end_users: Some(Some(wanted.end_users.clone())),
                model_limits: Some(Some(wanted.model_limits.clone())),
            };
            self.app.update_project(self.actor, &is.id, update).await?;
        }
        self.report.note_existing("project", name, &fields);
        Ok(Some(is.id))
    }

    async fn key(
        &mut self,
        project: Option<&str>,
        name: &str,
        wanted: &ConfigKey,
    ) -> Result<Option<String>, AppError> {
        let is = match project {
            None => None,
            Some(_) => match self.app.key(self.actor, name).await {
                Ok(is) => Some(is),
                Err(AppError::NotFound { .. }) => None,
                Err(error) => return Err(error),
            },
        };
        let Some(is) = is else { return self.new_key(project, name, wanted).await };
        let mut fields = diff::key(&is, wanted);
        if let Some(secret) = wanted.brought()
            && !self.app.has_key_text(self.actor, &is.id, secret).await?
        {
            fields.note("secret", true);
        }
        if self.is_real() && !fields.is_empty() {
            let update = UpdateKey {
                name: None,
                models: Some(Some(wanted.models.clone())),
                limits: Some(Some(wanted.limits)),
                end_users: Some(Some(wanted.end_users.clone())),
                model_limits: Some(Some(wanted.model_limits.clone())),
                labels: Some(Some(wanted.labels.clone())),
                expires_at: Some(wanted.expires_at.clone()),
            };
            self.app.update_key(self.actor, &is.id, update).await?;
            if fields.has("secret") {
                let rotate = RotateKey { grace_seconds: 0, secret: wanted.brought().cloned() };
                self.app.rotate_key(self.actor, &is.id, rotate).await?;
            }
        }
        self.report.note_existing("key", name, &fields);
        Ok(Some(is.id))
    }

    async fn new_key(
        &mut self,
        project: Option<&str>,
        name: &str,
        wanted: &ConfigKey,
    ) -> Result<Option<String>, AppError> {
        self.report.note(ChangeAction::Create, "key", name, "");
        let Some(project) = project.filter(|_| self.is_real()) else { return Ok(None) };
        let body = CreateKey {
            name: wanted.name.clone(),
            secret: wanted.brought().cloned(),
            models: wanted.models.clone(),
            limits: wanted.limits,
            end_users: wanted.end_users.clone(),
            model_limits: wanted.model_limits.clone(),
            labels: wanted.labels.clone(),
            expires_at: wanted.expires_at.clone(),
        };
        let created = self.app.create_key(self.actor, project, body).await?;
        if wanted.brought().is_none() {
            let (key, key_id) = (name.to_owned(), created.key.id.clone());
            self.report.generated_secrets.push(GeneratedSecret { key, key_id, secret: created.secret });
        }
        Ok(Some(created.key.id))
    }

    async fn budgets(
        &mut self,
        owner: Owner<'_>,
        owner_name: &str,
        wanted: &[ConfigBudget],
        path: &str,
    ) -> Result<(), AppError> {
        let existing = match owner.id() {
            Some(_) => self.app.own_budgets(self.actor, owner).await?,
            None => Vec::new(),
        };
        for (index, budget) in wanted.iter().enumerate() {
            let path = format!("{path}.budgets[{index}]");
            let is = existing.iter().find(|is| is.window == budget.window);
            let name = budget_name(owner_name, budget.window);
            self.budget(owner, is, name, budget).await.map_err(|error| below(error, &path))?;
        }
        let is_surplus = |is: &&BudgetView| !wanted.iter().any(|budget| budget.window == is.window);
        for surplus in existing.iter().filter(is_surplus).filter(|_| self.options.prune) {
            if !self.options.dry_run {
                self.app.delete_budget(self.actor, &surplus.id).await?;
            }
            let name = budget_name(owner_name, surplus.window);
            self.report.note(ChangeAction::Delete, "budget", name, "");
        }
        Ok(())
    }

    async fn budget(
        &mut self,
        owner: Owner<'_>,
        is: Option<&BudgetView>,
        name: String,
        wanted: &ConfigBudget,
    ) -> Result<(), AppError> {
        let Some(is) = is else {
            self.report.note(ChangeAction::Create, "budget", name, wanted.limit.clone());
            if self.is_real() && owner.id().is_some() {
                let (tenant, project, key) = owner.named();
                let (window, limit) = (wanted.window, wanted.limit.clone());
                let alert_at = wanted.alert_at.clone();
                let body = CreateBudget { tenant, project, key, window, limit, alert_at };
                self.app.create_budget(self.actor, body).await?;
            }
            return Ok(());
        };
        let mut fields = diff::Fields::default();
        fields.note("limit", Ok(is.limit.0) != limit_amount(&wanted.limit));
        fields.note("alert_at", alert_shares(&is.alert_at) != alert_shares(&wanted.alert_at));
        if self.is_real() && !fields.is_empty() {
            let update = UpdateBudget {
                limit: Some(wanted.limit.clone()),
                window: None,
                alert_at: Some(wanted.alert_at.clone()),
            };
            self.app.update_budget(self.actor, &is.id, update).await?;
        }
        self.report.note_existing("budget", name, &fields);
        Ok(())
    }
}

fn budget_name(owner: &str, window: crate::app::BudgetWindowName) -> String {
    format!("{owner} per {}", tollgate_domain::BudgetWindow::from(window))
}

impl App {
    /// The budgets of exactly this owner; there are at most as many as windows, so one page holds them.
    async fn own_budgets(&self, actor: &crate::Actor, owner: Owner<'_>) -> Result<Vec<BudgetView>, AppError> {
        let (tenant, project, key) = owner.named();
        let mut query = BudgetQuery { tenant, project, key, limit: Some(1_000), after: None };
        let mut own = Vec::new();
        loop {
            let page = self.list_budgets(actor, &query).await?;
            own.extend(page.data.into_iter().filter(|budget| Some(budget.owner_id.as_str()) == owner.id()));
            query.after = page.next;
            if query.after.is_none() {
                return Ok(own);
            }
        }
    }

    pub(super) async fn every_project(
        &self,
        actor: &crate::Actor,
        tenant: &str,
    ) -> Result<Vec<crate::app::ProjectView>, AppError> {
        let (mut all, mut query) = (Vec::new(), ListQuery { limit: Some(1_000), after: None });
        loop {
            let page = self.list_projects(actor, Some(tenant), &query).await?;
            all.extend(page.data);
            query.after = page.next;
            if query.after.is_none() {
                return Ok(all);
            }
        }
    }

    pub(super) async fn every_key(
        &self,
        actor: &crate::Actor,
        project: &str,
    ) -> Result<Vec<crate::app::KeyView>, AppError> {
        let (mut all, mut query) = (Vec::new(), ListQuery { limit: Some(1_000), after: None });
        loop {
            let page = self.list_keys(actor, Some(project), &query).await?;
            all.extend(page.data);
            query.after = page.next;
            if query.after.is_none() {
                return Ok(all);
            }
        }
    }

    pub(super) async fn every_budget(
        &self,
        actor: &crate::Actor,
        tenant: &str,
    ) -> Result<Vec<BudgetView>, AppError> {
        let mut query =
            BudgetQuery { tenant: Some(tenant.to_owned()), limit: Some(1_000), ..BudgetQuery::default() };
        let mut all = Vec::new();
        loop {
            let page = self.list_budgets(actor, &query).await?;
            all.extend(page.data);
            query.after = page.next;
            if query.after.is_none() {
                return Ok(all);
            }
        }
    }
}
