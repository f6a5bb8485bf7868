//! Keys, each with everything above it, by the hashes they are presented as.

use std::cmp::Reverse;

use foldhash::HashMapExt as _;
use tollgate_domain::{KeyHash, ProjectId, TenantId};

use super::{
    Arc, BudgetScope, BudgetSpec, HashMap, KeyContext, KeyEntry, KeyPolicy, LimitSpec, SnapshotError, Sorted,
    require_name, tenant_of,
};
use crate::prices::PricesOfTenants;
use crate::{BudgetOwner, OwnerSpecs};

pub(super) type Keys = HashMap<KeyHash, KeyEntry>;
pub(super) type TenantKeys = HashMap<TenantId, Vec<Arc<KeyContext>>>;

pub(super) fn compile_keys(
    sorted: &Sorted<'_>,
    prices: &PricesOfTenants,
) -> Result<(Keys, TenantKeys), SnapshotError> {
    let budgets = BudgetSpecs::of(sorted);
    let mut keys = Keys::with_capacity(sorted.keys.len());
    let mut tenants: TenantKeys = HashMap::new();
    let mut rotated = Vec::new();
    for key in &sorted.keys {
        let context = Arc::new(key_context(key, sorted, &budgets, prices)?);
        tenants.entry(context.tenant.id).or_default().push(Arc::clone(&context));
        if let Some((hash, until)) = key.previous_hash {
            rotated.push((hash, until, Arc::clone(&context)));
        }
        if keys.insert(key.hash, KeyEntry { context, accepted_until: None }).is_some() {
            let id = key.id.to_string();
            return Err(SnapshotError::Duplicate { kind: "key", id, field: "hash" });
        }
    }
    // A text given up in a rotation may be a key's present one by now: that key has it. Of keys that all
    // gave it up, the one that may use it longest.
    rotated.sort_unstable_by_key(|(_, until, context)| (Reverse(*until), context.key.id));
    for (hash, until, context) in rotated {
        keys.entry(hash).or_insert(KeyEntry { context, accepted_until: Some(until) });
    }
    Ok((keys, tenants))
}

/// Budgets and rules ready for use; those of a tenant and a project are shared by all their keys.
struct BudgetSpecs {
    tenants: HashMap<TenantId, Vec<Arc<BudgetSpec>>>,
    projects: HashMap<ProjectId, Vec<Arc<BudgetSpec>>>,
    tenant_rules: HashMap<TenantId, Arc<OwnerSpecs>>,
    project_rules: HashMap<ProjectId, Arc<OwnerSpecs>>,
}

impl BudgetSpecs {
    fn of(sorted: &Sorted<'_>) -> Self {
        let zone_of = |tenant: TenantId| {
            sorted.tenants.get(&tenant).map(|tenant| tenant.time_zone.clone()).unwrap_or_default()
        };
        let spec = |budget: &&crate::BudgetPolicy, tenant| Arc::new(BudgetSpec::new(budget, zone_of(tenant)));
        let tenants = sorted
            .tenant_budgets
            .iter()
            .map(|(id, budgets)| (*id, budgets.iter().map(|budget| spec(budget, *id)).collect()))
            .collect();
        let tenant_of = |project: &ProjectId| sorted.projects.get(project).map(|project| project.tenant);
        let projects = sorted
            .project_budgets
            .iter()
            .filter_map(|(id, budgets)| Some((*id, tenant_of(id)?, budgets)))
            .map(|(id, tenant, budgets)| (id, budgets.iter().map(|budget| spec(budget, tenant)).collect()))
            .collect();
        let rules = |rules, owner, tenant| OwnerSpecs::of(rules, owner, &zone_of(tenant)).map(Arc::new);
        let tenant_rules = sorted.tenants.values().filter_map(|tenant| {
            Some((tenant.id, rules(&tenant.rules, BudgetOwner::Tenant(tenant.id), tenant.id)?))
        });
        let project_rules = sorted.projects.values().filter_map(|project| {
            Some((project.id, rules(&project.rules, BudgetOwner::Project(project.id), project.tenant)?))
        });
        let (tenant_rules, project_rules) = (tenant_rules.collect(), project_rules.collect());
        Self { tenants, projects, tenant_rules, project_rules }
    }
}

fn key_context(
    key: &KeyPolicy,
    sorted: &Sorted<'_>,
    budgets: &BudgetSpecs,
    prices: &PricesOfTenants,
) -> Result<KeyContext, SnapshotError> {
    require_name("key", &key.id, &key.name)?;
    let dangling = |target: String| SnapshotError::Dangling { kind: "key", id: key.id.to_string(), target };
    let project =
        sorted.projects.get(&key.project).ok_or_else(|| dangling(format!("project {}", key.project)))?;
    let tenant = tenant_of(project, sorted)?;
    let mut labels = project.labels.clone();
    labels.extend(key.labels.clone());
    let mut specs: Vec<Arc<BudgetSpec>> = Vec::new();
    for budget in sorted.key_budgets.get(&key.id).into_iter().flatten() {
        specs.push(Arc::new(BudgetSpec::new(budget, tenant.time_zone.clone())));
    }
    specs.extend(budgets.projects.get(&project.id).into_iter().flatten().cloned());
    specs.extend(budgets.tenants.get(&tenant.id).into_iter().flatten().cloned());
    let limits = [
        LimitSpec { scope: BudgetScope::Key, limits: key.limits },
        LimitSpec { scope: BudgetScope::Project, limits: project.limits },
        LimitSpec { scope: BudgetScope::Tenant, limits: tenant.limits },
    ];
    let own_rules = OwnerSpecs::of(&key.rules, BudgetOwner::Key(key.id), &tenant.time_zone).map(Arc::new);
    let rules = [
        own_rules,
        budgets.project_rules.get(&project.id).cloned(),
        budgets.tenant_rules.get(&tenant.id).cloned(),
    ];
    Ok(KeyContext {
        key: Arc::new(key.clone()),
        project: Arc::clone(project),
        tenant: Arc::clone(tenant),
        labels,
        budgets: specs,
        prices: prices.get(&tenant.id).cloned(),
        limits: limits.into_iter().filter(|spec| !spec.limits.is_empty()).collect(),
        rules: rules.into_iter().flatten().collect(),
    })
}
