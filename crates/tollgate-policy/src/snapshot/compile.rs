//! Raw objects to a [`Snapshot`]: every reference resolved, every name unique, or nothing.

mod keys;
mod prices;

use self::keys::compile_keys;
use self::prices::{RowsByModel, general_prices, prices_of_tenants};
use super::{
    ANY_MODEL, Arc, BTreeMap, BudgetScope, BudgetSpec, Candidate, Catalog, HashMap, KeyContext, KeyEntry,
    LimitSpec, MAX_FALLBACK_DEPTH, ModelFacts, ModelInfo, PolicySet, PriceRow, PriceTimeline, ProviderEntry,
    ProviderId, RoutePlan, Snapshot, SnapshotError, direct_plan,
};
use crate::{
    BudgetOwner, Dialect, KeyPolicy, MarginRule, ModelPolicy, PolicyObject, ProjectPolicy, ProviderPolicy,
    Settings, TenantPolicy, is_hold_slice, responses,
};
use foldhash::HashMapExt as _;
use std::collections::HashSet;

use tollgate_catalog::{Capability, VendorQuirks};
use tollgate_domain::{KeyId, ModelId, ProjectId, TenantId};

/// The objects of a set, sorted by kind.
#[derive(Default)]
struct Sorted<'a> {
    settings: Option<&'a Settings>,
    providers: Vec<&'a ProviderPolicy>,
    prices: Vec<&'a PriceRow>,
    margins: Vec<&'a MarginRule>,
    models: Vec<&'a ModelPolicy>,
    tenants: HashMap<TenantId, Arc<TenantPolicy>>,
    projects: HashMap<ProjectId, Arc<ProjectPolicy>>,
    keys: Vec<&'a KeyPolicy>,
    tenant_budgets: HashMap<TenantId, Vec<&'a crate::BudgetPolicy>>,
    project_budgets: HashMap<ProjectId, Vec<&'a crate::BudgetPolicy>>,
    key_budgets: HashMap<KeyId, Vec<&'a crate::BudgetPolicy>>,
}

pub(super) fn compile(set: &PolicySet, revision: u64, catalog: &Catalog) -> Result<Snapshot, SnapshotError> {
    let sorted = sort(set)?;
    let settings = sorted.settings.ok_or(SnapshotError::NoSettings)?;
    let hold_slice_tokens = slice_of_settings(settings)?;
    let providers = compile_providers(&sorted, catalog)?;
    let names: HashMap<ProviderId, &str> =
        sorted.providers.iter().map(|provider| (provider.id, provider.name.as_str())).collect();
    let mut plans = compile_virtual_models(&sorted, &providers, &names, hold_slice_tokens)?;
    let (listed, bare) = add_direct_plans(&mut plans, &providers, &sorted, hold_slice_tokens);
    let listed_targets = add_targets(&mut plans, &providers, &sorted, hold_slice_tokens);
    let (keys, tenants) = compile_keys(&sorted, &prices_of_tenants(&sorted, &providers))?;
    Ok(Snapshot {
        revision,
        n_objects: set.len(),
        pepper: settings.key_pepper.clone(),
        default_models: settings.default_models.clone(),
        hold_slice_tokens,
        keys,
        providers,
        plans,
        bare,
        listed,
        listed_targets,
        tenants,
    })
}

fn sort(set: &PolicySet) -> Result<Sorted<'_>, SnapshotError> {
    let mut sorted = Sorted::default();
    for object in set.iter() {
        match object {
            PolicyObject::Settings(settings) => sorted.settings = Some(settings),
            PolicyObject::Provider(provider) => sorted.providers.push(provider),
            PolicyObject::Price(row) => sorted.prices.push(row),
            PolicyObject::Margin(rule) => sorted.margins.push(rule),
            PolicyObject::Model(model) => sorted.models.push(model),
            PolicyObject::Tenant(tenant) => {
                require_name("tenant", &tenant.id, &tenant.name)?;
                sorted.tenants.insert(tenant.id, Arc::new(tenant.clone()));
            }
            PolicyObject::Project(project) => {
                require_name("project", &project.id, &project.name)?;
                sorted.projects.insert(project.id, Arc::new(project.clone()));
            }
            PolicyObject::Key(key) => sorted.keys.push(key),
            PolicyObject::Budget(budget) => match budget.owner {
                BudgetOwner::Tenant(id) => sorted.tenant_budgets.entry(id).or_default().push(budget),
                BudgetOwner::Project(id) => sorted.project_budgets.entry(id).or_default().push(budget),
                BudgetOwner::Key(id) => sorted.key_budgets.entry(id).or_default().push(budget),
            },
        }
    }
    sorted.projects.values().try_for_each(|project| tenant_of(project, &sorted).map(drop))?;
    check_budget_owners(&sorted)?;
    Ok(sorted)
}

fn tenant_of<'a>(
    project: &ProjectPolicy,
    sorted: &'a Sorted<'_>,
) -> Result<&'a Arc<TenantPolicy>, SnapshotError> {
    sorted.tenants.get(&project.tenant).ok_or_else(|| SnapshotError::Dangling {
        kind: "project",
        id: project.id.to_string(),
        target: format!("tenant {}", project.tenant),
    })
}

fn require_name(kind: &'static str, id: &impl ToString, name: &str) -> Result<(), SnapshotError> {
    if name.trim().is_empty() {
        return Err(SnapshotError::Blank { kind, id: id.to_string(), field: "name" });
    }
    Ok(())
}

/// A budget whose owner is gone limits nobody: that is a lost limit, not a harmless leftover.
fn check_budget_owners(sorted: &Sorted<'_>) -> Result<(), SnapshotError> {
    let missing_tenant = sorted.tenant_budgets.iter().find(|(id, _)| !sorted.tenants.contains_key(id));
    let missing_project = sorted.project_budgets.iter().find(|(id, _)| !sorted.projects.contains_key(id));
    let keys: HashSet<KeyId> = sorted.keys.iter().map(|key| key.id).collect();
    let missing_key = sorted.key_budgets.iter().find(|(id, _)| !keys.contains(id));
    let dangling = missing_tenant
        .map(|(id, budgets)| (budgets, format!("tenant {id}")))
        .or_else(|| missing_project.map(|(id, budgets)| (budgets, format!("project {id}"))))
        .or_else(|| missing_key.map(|(id, budgets)| (budgets, format!("key {id}"))));
    match dangling {
        Some((budgets, target)) => {
            let id = budgets.first().map(|budget| budget.id.to_string()).unwrap_or_default();
            Err(SnapshotError::Dangling { kind: "budget", id, target })
        }
        None => Ok(()),
    }
}

// === providers and prices ===

fn compile_providers(
    sorted: &Sorted<'_>,
    catalog: &Catalog,
) -> Result<HashMap<String, ProviderEntry>, SnapshotError> {
    let mut entries = HashMap::with_capacity(sorted.providers.len());
    for provider in &sorted.providers {
        check_provider(provider)?;
        let entry = provider_entry(provider, sorted, catalog);
        if entries.insert(provider.name.clone(), entry).is_some() {
            let id = provider.id.to_string();
            return Err(SnapshotError::Duplicate { kind: "provider", id, field: "name" });
        }
    }
    Ok(entries)
}

fn check_provider(provider: &ProviderPolicy) -> Result<(), SnapshotError> {
    require_name("provider", &provider.id, &provider.name)?;
    let invalid = |reason: &str| {
        Err(SnapshotError::Invalid {
            kind: "provider",
            id: provider.id.to_string(),
            reason: reason.to_owned(),
        })
    };
    if provider.name.contains('/') {
        return invalid("the name has a slash");
    }
    let is_http = ["http://", "https://"].iter().any(|scheme| provider.base_url.starts_with(scheme));
    if provider.dialect != Dialect::Demo && !is_http {
        return invalid("the base URL is neither http nor https");
    }
    if provider.credentials.iter().any(|credential| credential.weight == 0) {
        return invalid("a credential's weight is zero");
    }
    Ok(())
}

fn provider_entry(provider: &ProviderPolicy, sorted: &Sorted<'_>, catalog: &Catalog) -> ProviderEntry {
    let mut rows = RowsByModel::new();
    let mut facts = HashMap::new();
    let base_url = Some(provider.base_url.as_str()).filter(|url| !url.is_empty());
    let cloud = catalog.cloud(provider.dialect.name());
    let vendor = cloud.or_else(|| catalog.vendor_of_provider(&provider.name, base_url));
    let service = responses::service_of(provider, vendor);
    for model in vendor.iter().flat_map(|vendor| vendor.models()) {
        let responses = responses::of_model(service, vendor, Some(&model));
        for name in std::iter::once(&model.name).chain(&model.aliases) {
            rows.insert((*name).to_owned(), model.price_rows(&provider.name));
            let known = ModelFacts {
                max_output_tokens: Some(model.max_output_tokens),
                context_tokens: Some(model.context_tokens).filter(|tokens| *tokens > 0),
                tokenizer: model.tokenizer,
                reasons: model.capabilities.contains(&Capability::Reasoning),
                responses,
            };
            facts.insert((*name).to_owned(), known);
        }
    }
    let prices = general_prices(&provider.name, rows, sorted);
    ProviderEntry {
        provider: Arc::new(provider.clone()),
        timelines: prices.timelines,
        any_model: prices.any_model,
        named_any: prices.named_any,
        facts,
        streams_thoughts: vendor.is_none_or(|vendor| vendor.streams_thoughts),
        quirks: Arc::new(vendor.map_or_else(VendorQuirks::default, |vendor| vendor.quirks.clone())),
        responses: responses::of_model(service, vendor, None),
    }
}

// === models ===

type Plans = HashMap<Arc<str>, Arc<RoutePlan>>;

fn compile_virtual_models(
    sorted: &Sorted<'_>,
    providers: &HashMap<String, ProviderEntry>,
    names: &HashMap<ProviderId, &str>,
    hold_slice_tokens: Option<u64>,
) -> Result<Plans, SnapshotError> {
    let mut by_name: HashMap<&str, &ModelPolicy> = HashMap::new();
    for model in &sorted.models {
        check_model(model)?;
        if by_name.insert(&model.name, model).is_some() {
            return Err(SnapshotError::Duplicate { kind: "model", id: model.id.to_string(), field: "name" });
        }
    }
    let mut plans = Plans::new();
    for model in &sorted.models {
        let mut collected = Collected::default();
        collect_candidates(model, &by_name, providers, names, &mut collected, 0)?;
        let candidates = collected.candidates;
        if candidates.is_empty() {
            let reason = "it has no target".to_owned();
            return Err(SnapshotError::Invalid { kind: "model", id: model.id.to_string(), reason });
        }
        let name: Arc<str> = Arc::from(model.name.as_str());
        let plan = RoutePlan {
            name: Arc::clone(&name),
            candidates,
            retry: model.retry.clone(),
            timeouts: model.timeouts,
            hold_slice_tokens: model.hold_slice_tokens.map_or(hold_slice_tokens, slice),
            drop_unsupported: model.drop_unsupported,
        };
        plans.insert(name, Arc::new(plan));
    }
    Ok(plans)
}

fn check_model(model: &ModelPolicy) -> Result<(), SnapshotError> {
    require_name("model", &model.id, &model.name)?;
    let invalid = |reason: &str| {
        Err(SnapshotError::Invalid { kind: "model", id: model.id.to_string(), reason: reason.to_owned() })
    };
    if model.retry.max_attempts == 0 {
        return invalid("retry.max_attempts is zero, but the first attempt counts");
    }
    if model.targets.iter().any(|target| target.model.trim().is_empty()) {
        return invalid("a target's model is blank");
    }
    if !model.hold_slice_tokens.is_none_or(is_hold_slice) {
        return invalid("its slice of a hold is too small or too large");
    }
    Ok(())
}

/// A slice of zero is the whole answer.
fn slice(tokens: u32) -> Option<u64> {
    Some(u64::from(tokens)).filter(|tokens| *tokens > 0)
}

fn slice_of_settings(settings: &Settings) -> Result<Option<u64>, SnapshotError> {
    if !settings.hold_slice_tokens.is_none_or(is_hold_slice) {
        let reason = "the slice of a hold is too small or too large".to_owned();
        return Err(SnapshotError::Invalid {
            kind: "settings",
            id: "of the installation".to_owned(),
            reason,
        });
    }
    Ok(settings.hold_slice_tokens.and_then(slice))
}

/// What the walk along the fallbacks of one model has found so far.
#[derive(Default)]
struct Collected {
    candidates: Vec<Arc<Candidate>>,
    /// Models whose candidates are all in already: each is walked once, however many paths lead to it.
    finished: HashSet<ModelId>,
}

fn collect_candidates(
    model: &ModelPolicy,
    by_name: &HashMap<&str, &ModelPolicy>,
    providers: &HashMap<String, ProviderEntry>,
    names: &HashMap<ProviderId, &str>,
    collected: &mut Collected,
    depth: usize,
) -> Result<(), SnapshotError> {
    let id = || model.id.to_string();
    if depth > MAX_FALLBACK_DEPTH {
        let reason = format!("its fallbacks lead more than {MAX_FALLBACK_DEPTH} models deep, or in a circle");
        return Err(SnapshotError::Invalid { kind: "model", id: id(), reason });
    }
    let mut targets: Vec<_> = model.targets.iter().collect();
    targets.sort_by_key(|target| target.priority);
    for target in targets {
        let entry = names.get(&target.provider).and_then(|name| providers.get(*name));
        let entry = entry.ok_or_else(|| SnapshotError::Dangling {
            kind: "model",
            id: id(),
            target: format!("provider {}", target.provider),
        })?;
        let is_same = |known: &Arc<Candidate>| {
            known.provider.id == target.provider && known.model.as_ref() == target.model
        };
        if !collected.candidates.iter().any(is_same) {
            collected.candidates.push(Arc::new(entry.candidate(&target.model)));
        }
    }
    for fallback in &model.fallbacks {
        let next = by_name.get(fallback.as_str()).ok_or_else(|| SnapshotError::Dangling {
            kind: "model",
            id: id(),
            target: format!("model {fallback}"),
        })?;
        if !collected.finished.contains(&next.id) {
            collect_candidates(next, by_name, providers, names, collected, depth + 1)?;
        }
    }
    collected.finished.insert(model.id);
    Ok(())
}

/// Adds a plan for every priced `provider/model`; returns the model list and the bare catalogue names.
fn add_direct_plans(
    plans: &mut Plans,
    providers: &HashMap<String, ProviderEntry>,
    sorted: &Sorted<'_>,
    hold_slice_tokens: Option<u64>,
) -> (Vec<ModelInfo>, HashMap<String, Arc<RoutePlan>>) {
    let own: Arc<str> = Arc::from("tollgate");
    let mut listed: Vec<ModelInfo> =
        plans.keys().map(|name| ModelInfo { id: Arc::clone(name), owned_by: Arc::clone(&own) }).collect();
    let mut bare: HashMap<String, Arc<RoutePlan>> = HashMap::new();
    let mut names: Vec<&str> = sorted.providers.iter().map(|provider| provider.name.as_str()).collect();
    names.sort_unstable();
    for provider in names {
        let Some(entry) = providers.get(provider) else { continue };
        let owned_by: Arc<str> = Arc::from(provider);
        for model in entry.timelines.keys() {
            let name: Arc<str> = Arc::from(format!("{provider}/{model}"));
            let plan = Arc::new(direct_plan(&name, entry.candidate(model), hold_slice_tokens));
            bare.entry(model.clone()).or_insert_with(|| Arc::clone(&plan));
            // An operator's virtual model of the same name goes before the provider's own.
            if plans.contains_key(&name) {
                continue;
            }
            listed.push(ModelInfo { id: Arc::clone(&name), owned_by: Arc::clone(&owned_by) });
            plans.insert(name, plan);
        }
    }
    listed.sort_unstable_by(|left, right| left.id.cmp(&right.id));
    (listed, bare)
}

/// Adds a plan for every target of a virtual model that has none by its own name and can be priced.
fn add_targets(
    plans: &mut Plans,
    providers: &HashMap<String, ProviderEntry>,
    sorted: &Sorted<'_>,
    hold_slice_tokens: Option<u64>,
) -> Vec<ModelInfo> {
    let mut listed = Vec::new();
    for target in sorted.models.iter().flat_map(|model| &model.targets) {
        let provider = sorted.providers.iter().find(|provider| provider.id == target.provider);
        let Some((provider, entry)) =
            provider.and_then(|provider| Some((provider, providers.get(&provider.name)?)))
        else {
            continue;
        };
        let name: Arc<str> = Arc::from(format!("{}/{}", provider.name, target.model));
        if plans.contains_key(&name) || entry.prices_of(&target.model).is_none() {
            continue;
        }
        plans.insert(
            Arc::clone(&name),
            Arc::new(direct_plan(&name, entry.candidate(&target.model), hold_slice_tokens)),
        );
        listed.push(ModelInfo { id: name, owned_by: Arc::from(provider.name.as_str()) });
    }
    listed.sort_unstable_by(|left: &ModelInfo, right| left.id.cmp(&right.id));
    listed
}
