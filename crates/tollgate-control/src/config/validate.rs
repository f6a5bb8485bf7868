//! Every problem of a document, with its path; nothing is contacted.

use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, BTreeSet, HashMap};

use tollgate_catalog::ServiceTier;
use tollgate_domain::{ApiKeySecret, UnixMillis};

use super::document::{
    ConfigBudget, ConfigDocument, ConfigKey, ConfigMargin, ConfigPrice, ConfigProblem, ConfigProject,
    ConfigTenant,
};
use super::{VERSION, webhooks};
use crate::app::{CreateKey, CreateProject, CreateTenant, check_defaults, check_fallbacks, parse_price};
use crate::error::Problems;
use crate::parts::{alert_shares, limit_amount, name};

/// What exists outside the document and may be referred to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct KnownNames {
    /// Providers.
    pub providers: BTreeSet<String>,
    /// Virtual models and their fallbacks.
    pub models: BTreeMap<String, Vec<String>>,
    /// Tenants.
    pub tenants: BTreeSet<String>,
}

/// Every problem of a document that is to stand for itself.
#[must_use]
pub fn validate(document: &ConfigDocument) -> Vec<ConfigProblem> {
    validate_against(document, &KnownNames::default())
}

/// Every problem of a document that is applied over what exists.
#[must_use]
pub fn validate_against(document: &ConfigDocument, known: &KnownNames) -> Vec<ConfigProblem> {
    let mut problems = Problems::default();
    if document.version != VERSION {
        problems.add("version", format!("must be {VERSION}"));
    }
    let mut known = known.clone();
    known.providers.extend(document.providers.iter().map(|provider| provider.name.clone()));
    known.tenants.extend(document.tenants.iter().map(|tenant| tenant.name.clone()));
    known.models.extend(document.models.iter().map(|model| (model.name.clone(), model.fallbacks.clone())));
    check_providers(document, &mut problems);
    check_models(document, &known, &mut problems);
    let exists = |model: &str| match model.split_once('/') {
        Some((provider, model)) => !model.is_empty() && known.providers.contains(provider),
        None => known.models.contains_key(model),
    };
    check_defaults(&document.defaults, exists, "defaults", &mut problems);
    document.trial().check(&mut problems);
    document.hold.check("hold", &mut problems);
    for (index, price) in document.prices.iter().enumerate() {
        check_price(price, &known, &format!("prices[{index}]."), &mut problems);
    }
    check_prices_differ(&document.prices, &mut problems);
    check_margins(&document.margins, &known, &mut problems);
    check_unique(document.tenants.iter().map(|tenant| &tenant.name), "tenants", &mut problems);
    for (index, tenant) in document.tenants.iter().enumerate() {
        check_tenant(tenant, &format!("tenants[{index}]."), &mut problems);
    }
    check_brought_keys(document, &mut problems);
    webhooks::check(&document.webhooks, &mut problems);
    problems.into_vec()
}

pub(super) fn check_unique<'a>(names: impl Iterator<Item = &'a String>, path: &str, problems: &mut Problems) {
    let mut seen = BTreeSet::new();
    for (index, name) in names.enumerate() {
        if !seen.insert(name) {
            problems
                .add(format!("{path}[{index}].name"), format!("`{}` stands here twice", name.escape_debug()));
        }
    }
}

fn check_providers(document: &ConfigDocument, problems: &mut Problems) {
    check_unique(document.providers.iter().map(|provider| &provider.name), "providers", problems);
    for (index, provider) in document.providers.iter().enumerate() {
        provider.check(&format!("providers[{index}]."), problems);
    }
}

fn check_models(document: &ConfigDocument, known: &KnownNames, problems: &mut Problems) {
    check_unique(document.models.iter().map(|model| &model.name), "models", problems);
    let fallbacks: HashMap<String, Vec<String>> =
        known.models.iter().map(|(model, fallbacks)| (model.clone(), fallbacks.clone())).collect();
    for (index, model) in document.models.iter().enumerate() {
        let path = format!("models[{index}].");
        model.check(&path, problems);
        if known.providers.contains(&model.name) {
            problems.add(format!("{path}name"), "is the name of a provider: choose another");
        }
        for (at, target) in model.targets.iter().enumerate() {
            if !known.providers.contains(&target.provider) {
                problems.add(
                    format!("{path}targets[{at}].provider"),
                    format!("there is no provider `{}`", target.provider.escape_debug()),
                );
            }
        }
        check_fallbacks(&model.name, &model.fallbacks, &fallbacks, &format!("{path}fallbacks"), problems);
    }
}

fn check_price(price: &ConfigPrice, known: &KnownNames, path: &str, problems: &mut Problems) {
    let meters = price.meters();
    match (price.free, meters.is_empty()) {
        (true, false) => problems.add(format!("{path}free"), "a free model has no other price"),
        (false, true) => problems.add(path.trim_end_matches('.'), "has no price: write one, or `free: true`"),
        _ => {}
    }
    for (meter, text) in meters {
        problems.take(format!("{path}{}", meter.name()), parse_price(meter, text));
    }
    let mut whole = price.rows().pop().unwrap_or_default();
    (whole.provider, whole.model) = (price.provider.clone(), price.model.clone());
    (whole.meter, whole.price, whole.free) = (None, None, true);
    whole.check(path, UnixMillis(0), problems);
    check_names(Some(&price.provider), price.tenant.as_ref(), known, path, problems);
}

/// The provider and the tenant that an entry names exist.
fn check_names(
    provider: Option<&String>,
    tenant: Option<&String>,
    known: &KnownNames,
    path: &str,
    problems: &mut Problems,
) {
    if let Some(provider) = provider.filter(|provider| name(provider).is_ok())
        && !known.providers.contains(provider)
    {
        problems.add(format!("{path}provider"), format!("there is no provider `{provider}`"));
    }
    if let Some(tenant) = tenant
        && !known.tenants.contains(tenant)
    {
        problems.add(format!("{path}tenant"), format!("there is no tenant `{}`", tenant.escape_debug()));
    }
}

/// One tenant, provider and model have one margin from one moment on.
fn check_margins(margins: &[ConfigMargin], known: &KnownNames, problems: &mut Problems) {
    let mut seen = BTreeMap::new();
    for (index, margin) in margins.iter().enumerate() {
        let path = format!("margins[{index}].");
        margin.check(&path, problems);
        check_names(margin.provider.as_ref(), margin.tenant.as_ref(), known, &path, problems);
        let thing = (&margin.tenant, &margin.provider, &margin.model, &margin.effective_from);
        if let Some(first) = seen.insert(thing, index) {
            let text = format!("the same is in margins[{first}] already: write it once");
            problems.add(path.trim_end_matches('.'), text);
        }
    }
}

/// One thing has one price from one moment on.
fn check_prices_differ(prices: &[ConfigPrice], problems: &mut Problems) {
    let mut seen = BTreeMap::new();
    for (index, price) in prices.iter().enumerate() {
        for row in price.rows() {
            let tier = row.service_tier.as_deref().and_then(ServiceTier::from_name).unwrap_or_default();
            let field = row.meter.clone().unwrap_or_else(|| "free".to_owned());
            let of_model = (row.provider, row.model, row.tenant);
            let thing = (of_model, row.meter, tier, row.context_from, row.effective_from);
            match seen.entry(thing) {
                Entry::Vacant(entry) => {
                    entry.insert(index);
                }
                Entry::Occupied(first) => {
                    let text = format!("is in prices[{}] already: write it once", first.get());
                    problems.add(format!("prices[{index}].{field}"), text);
                }
            }
        }
    }
}

fn check_tenant(tenant: &ConfigTenant, path: &str, problems: &mut Problems) {
    let body = CreateTenant {
        name: tenant.name.clone(),
        billing: tenant.billing,
        time_zone: tenant.time_zone.clone(),
        blocked: false,
        limits: tenant.limits,
        end_users: tenant.end_users.clone(),
        model_limits: tenant.model_limits.clone(),
        data_policy: tenant.data_policy.clone(),
        alert_below: tenant.alert_below.clone(),
    };
    body.check(path, problems);
    if let Some(credit) = &tenant.credit {
        problems.take(format!("{path}credit"), limit_amount(credit));
    }
    check_budgets(&tenant.budgets, path, problems);
    check_unique(tenant.projects.iter().map(|project| &project.name), &format!("{path}projects"), problems);
    for (index, project) in tenant.projects.iter().enumerate() {
        let path = format!("{path}projects[{index}].");
        create_project(project).check(&path, problems);
        check_budgets(&project.budgets, &path, problems);
        check_unique(project.keys.iter().map(|key| &key.name), &format!("{path}keys"), problems);
        for (index, key) in project.keys.iter().enumerate() {
            check_key(key, &format!("{path}keys[{index}]."), problems);
        }
    }
}

/// What creates the project of an entry.
pub(super) fn create_project(entry: &ConfigProject) -> CreateProject {
    CreateProject {
        name: entry.name.clone(),
        labels: entry.labels.clone(),
        limits: entry.limits,
        end_users: entry.end_users.clone(),
        model_limits: entry.model_limits.clone(),
    }
}

fn check_key(key: &ConfigKey, path: &str, problems: &mut Problems) {
    let body = CreateKey {
        name: key.name.clone(),
        secret: key.brought().cloned(),
        models: key.models.clone(),
        limits: key.limits,
        end_users: key.end_users.clone(),
        model_limits: key.model_limits.clone(),
        labels: key.labels.clone(),
        expires_at: key.expires_at.clone(),
    };
    body.check(path, problems);
    if key.secret_file.is_some() {
        problems.add(format!("{path}secret_file"), "is read by the command line only: send `secret`");
    }
    check_budgets(&key.budgets, path, problems);
}

fn check_budgets(budgets: &[ConfigBudget], path: &str, problems: &mut Problems) {
    let mut windows = Vec::new();
    for (index, budget) in budgets.iter().enumerate() {
        let path = format!("{path}budgets[{index}]");
        problems.take(format!("{path}.limit"), limit_amount(&budget.limit));
        if windows.contains(&budget.window) {
            problems.add(format!("{path}.window"), "an owner has one budget per window");
        }
        windows.push(budget.window);
        problems.take_list(&format!("{path}.alert_at"), alert_shares(&budget.alert_at));
    }
}

/// Two keys must not share a text: it names one of them.
fn check_brought_keys(document: &ConfigDocument, problems: &mut Problems) {
    let mut seen: BTreeMap<&str, String> = BTreeMap::new();
    for (t, tenant) in document.tenants.iter().enumerate() {
        for (p, project) in tenant.projects.iter().enumerate() {
            for (k, key) in project.keys.iter().enumerate() {
                let Some(secret) = key.brought().filter(|text| ApiKeySecret::parse(text.0.expose()).is_ok())
                else {
                    continue;
                };
                let path = format!("tenants[{t}].projects[{p}].keys[{k}].secret");
                if let Some(first) = seen.get(secret.0.expose()) {
                    problems.add(path, format!("is the same as {first}: every key needs its own"));
                } else {
                    seen.insert(secret.0.expose(), path);
                }
            }
        }
    }
}
