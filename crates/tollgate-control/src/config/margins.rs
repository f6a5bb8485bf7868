//! Margins of a document: rules are immutable, so that a difference is a new rule from now on.

use std::collections::BTreeSet;

use tollgate_domain::{TenantId, UnixMillis};
use tollgate_store::{MarginRecord, TenantRecord};

use super::apply::{Applying, ChangeAction, below};
use super::document::{ConfigDocument, ConfigMargin};
use crate::app::MarginTerms;
use crate::error::Problems;
use crate::{App, AppError};

/// Whom entries of a document are for: those of tenants come after the tenants.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum For {
    Everybody,
    Tenants,
}

impl For {
    /// Whether an entry that names `tenant` is meant.
    pub(super) fn is_meant<T>(self, tenant: Option<&T>) -> bool {
        tenant.is_some() == (self == Self::Tenants)
    }
}

impl Applying<'_> {
    /// All new rules are written together. Rules that go are none in force.
    pub(super) async fn margins(&mut self, document: &ConfigDocument, whom: For) -> Result<(), AppError> {
        let (now, all) = (self.app.now(), self.app.all_margins().await?);
        let (mut named, mut new_rules) = (BTreeSet::new(), Vec::new());
        let entries = document.margins.iter().enumerate();
        for (index, wanted) in entries.filter(|(_, entry)| whom.is_meant(entry.tenant.as_ref())) {
            let Some(terms) = wanted.check("", &mut Problems::default()) else { continue };
            let path = format!("margins[{index}]");
            let tenant = self.tenant_of_entry(wanted.tenant.as_deref(), &path).await?;
            let Some(tenant) = tenant else {
                self.report.note(ChangeAction::Create, "margin", margin_name(wanted), &wanted.percent);
                continue;
            };
            if let Some(record) = standing(&all, wanted, terms, tenant, now) {
                named.insert(record.rule.id);
                self.report.note(ChangeAction::Unchanged, "margin", margin_name(wanted), "");
                continue;
            }
            self.report.note(ChangeAction::Create, "margin", margin_name(wanted), &wanted.percent);
            let rule = self.app.margin_rule(wanted, terms, tenant).await;
            new_rules.push(rule.map_err(|error| below(error, &path))?);
        }
        if self.is_real() && !new_rules.is_empty() {
            let created = self.app.create_margins(self.actor, new_rules).await;
            created.map_err(|error| below(error, "margins"))?;
        }
        if self.options.prune {
            let is_surplus = |record: &&MarginRecord| {
                let rule = &record.rule;
                whom.is_meant(rule.tenant.as_ref()) && rule.effective_from > now && !named.contains(&rule.id)
            };
            for record in all.iter().filter(is_surplus) {
                let id = record.rule.id.to_string();
                if self.is_real() {
                    self.app.delete_margin(self.actor, &id).await?;
                }
                self.report.note(ChangeAction::Delete, "margin", id, "");
            }
        }
        Ok(())
    }

    /// The tenant that an entry names; the outer `None` where it is to be made by a document that is only tried.
    pub(super) async fn tenant_of_entry(
        &self,
        name: Option<&str>,
        path: &str,
    ) -> Result<Option<Option<TenantId>>, AppError> {
        match self.app.named_tenant(self.actor, name).await {
            Ok(tenant) => Ok(Some(tenant)),
            Err(AppError::Invalid(_)) if !self.is_real() => Ok(None),
            Err(error) => Err(below(error, path)),
        }
    }
}

fn margin_name(entry: &ConfigMargin) -> String {
    let part = |part: &Option<String>| part.clone().unwrap_or_else(|| "*".to_owned());
    let of_tenant = entry.tenant.as_ref().map(|tenant| format!(" for {tenant}")).unwrap_or_default();
    format!("{}/{}{of_tenant}", part(&entry.provider), part(&entry.model))
}

/// The stored rule that already says what `wanted` says: with the same start where one is given, else the one
/// in force now.
fn standing<'a>(
    all: &'a [MarginRecord],
    wanted: &ConfigMargin,
    terms: MarginTerms,
    tenant: Option<TenantId>,
    now: UnixMillis,
) -> Option<&'a MarginRecord> {
    let mut about = all.iter().filter(|record| wanted.is_about(&record.rule, tenant));
    let record = match terms.start {
        Some(start) => about.find(|record| record.rule.effective_from == start),
        None => about
            .filter(|record| record.rule.effective_from <= now)
            .max_by_key(|record| record.rule.effective_from),
    };
    record.filter(|record| record.rule.basis_points == terms.basis_points)
}

impl App {
    /// Rules in force without their start, rules to come with it; rules that were replaced are history.
    pub(super) async fn export_margins(
        &self,
        tenants: &[TenantRecord],
    ) -> Result<Vec<ConfigMargin>, AppError> {
        let (now, all) = (self.now(), self.all_margins().await?);
        let is_replaced = |record: &MarginRecord| {
            let rule = &record.rule;
            all.iter().map(|other| &other.rule).any(|other| {
                (other.tenant, &other.provider, &other.model) == (rule.tenant, &rule.provider, &rule.model)
                    && other.effective_from <= now
                    && other.effective_from > rule.effective_from
            })
        };
        let mut entries = Vec::new();
        for record in all.iter().filter(|record| !is_replaced(record)) {
            let rule = &record.rule;
            let name = |id| tenants.iter().find(|tenant| tenant.id == id).map(|tenant| tenant.name.clone());
            let tenant = match rule.tenant.map(name) {
                // Rules of a deleted tenant concern nobody.
                Some(None) => continue,
                Some(name) => name,
                None => None,
            };
            entries.push(ConfigMargin {
                tenant,
                provider: rule.provider.clone(),
                model: rule.model.clone(),
                percent: rule.basis_points.to_string(),
                effective_from: (rule.effective_from > now).then(|| rule.effective_from.to_string()),
            });
        }
        entries.sort_by(|a, b| {
            let key = |entry: &ConfigMargin| {
                let entry = entry.clone();
                (entry.tenant, entry.provider, entry.model, entry.effective_from)
            };
            key(a).cmp(&key(b))
        });
        Ok(entries)
    }
}
