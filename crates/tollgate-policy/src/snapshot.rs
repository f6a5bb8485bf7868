//! One validated, immutable state of policy, indexed for the request path.

use std::collections::BTreeMap;
use std::sync::Arc;

use foldhash::HashMap;
use tollgate_catalog::{ANY_MODEL, Catalog, PriceRow, PriceTimeline, Tokenizer, VendorQuirks};
use tollgate_domain::{KeyHash, KeyPepper, ProviderId, Surface, TenantId, UnixMillis};

use crate::{
    AuthDenied, BudgetScope, BudgetSpec, Candidate, KeyContext, KeyState, LimitSpec, ModelInfo,
    ModelResponses, PlanDenied, PolicySet, ProviderPolicy, RetryPolicy, RoutePlan, Timeouts,
};

mod compile;

/// Virtual models may lead to others this deep: a chain longer than this is a mistake.
pub const MAX_FALLBACK_DEPTH: usize = 8;
/// Names are compared up to this length when looking for near ones: a request may carry any length.
const MAX_COMPARED_BYTES: usize = 128;

/// Why a set of policy objects cannot become a snapshot. It is refused whole; the last good one stays.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SnapshotError {
    /// The installation's settings are missing.
    #[error("policy has no settings object")]
    NoSettings,
    /// A name that may not be empty is.
    #[error("{kind} {id} has a blank {field}")]
    Blank {
        /// What kind of object.
        kind: &'static str,
        /// Which one.
        id: String,
        /// Which field.
        field: &'static str,
    },
    /// An object points to one that is not there.
    #[error("{kind} {id} refers to a missing {target}")]
    Dangling {
        /// What kind of object.
        kind: &'static str,
        /// Which one.
        id: String,
        /// What it refers to.
        target: String,
    },
    /// Two objects share what must be unique.
    #[error("two objects of kind {kind} share the {field} of {id}")]
    Duplicate {
        /// What kind of object.
        kind: &'static str,
        /// One of them.
        id: String,
        /// What they share.
        field: &'static str,
    },
    /// A value that cannot be meant.
    #[error("{kind} {id}: {reason}")]
    Invalid {
        /// What kind of object.
        kind: &'static str,
        /// Which one.
        id: String,
        /// What is wrong.
        reason: String,
    },
}

/// What the catalogue knows about a model of a provider.
#[derive(Clone, Copy, Debug, Default)]
struct ModelFacts {
    max_output_tokens: Option<u64>,
    context_tokens: Option<u64>,
    tokenizer: Option<Tokenizer>,
    /// It thinks before it answers.
    reasons: bool,
    responses: ModelResponses,
}

#[derive(Debug)]
struct ProviderEntry {
    provider: Arc<ProviderPolicy>,
    timelines: BTreeMap<String, Arc<PriceTimeline>>,
    any_model: Option<Arc<PriceTimeline>>,
    /// Of models that `*` prices and a margin rule names.
    named_any: HashMap<String, Arc<PriceTimeline>>,
    facts: HashMap<String, ModelFacts>,
    /// Whether thoughts are streamed; who is no vendor of the catalogue is taken to be an inference server,
    /// which streams what it makes.
    streams_thoughts: bool,
    quirks: Arc<VendorQuirks>,
    /// Of models that the catalogue does not know.
    responses: ModelResponses,
}

impl ProviderEntry {
    /// What customers pay for a model who have no prices of their own.
    fn prices_of(&self, model: &str) -> Option<&Arc<PriceTimeline>> {
        self.timelines.get(model).or_else(|| self.named_any.get(model)).or(self.any_model.as_ref())
    }

    fn candidate(&self, model: &str) -> Candidate {
        let facts = self.facts.get(model).copied();
        // a model that the catalogue does not know yet may think
        let reasons = facts.is_none_or(|facts| facts.reasons);
        let responses = facts.map_or(self.responses, |facts| facts.responses);
        let facts = facts.unwrap_or_default();
        Candidate {
            provider: Arc::clone(&self.provider),
            model: Arc::from(model),
            prices: self.prices_of(model).cloned(),
            is_priced_by_name: self.timelines.contains_key(model),
            max_output_tokens: facts.max_output_tokens.filter(|tokens| *tokens > 0),
            context_tokens: facts.context_tokens,
            tokenizer: facts.tokenizer,
            is_output_visible: self.streams_thoughts || !reasons,
            quirks: Arc::clone(&self.quirks),
            responses,
        }
    }
}

#[derive(Debug)]
struct KeyEntry {
    context: Arc<KeyContext>,
    accepted_until: Option<UnixMillis>,
}

/// One state of policy. Cheap to share; nothing in it changes but caches.
#[derive(Debug)]
pub struct Snapshot {
    revision: u64,
    n_objects: usize,
    pepper: KeyPepper,
    default_models: Vec<(Surface, String)>,
    hold_slice_tokens: Option<u64>,
    keys: HashMap<KeyHash, KeyEntry>,
    providers: HashMap<String, ProviderEntry>,
    /// Virtual models and every priced `provider/model`, by the name a client writes.
    plans: HashMap<Arc<str>, Arc<RoutePlan>>,
    /// Bare catalogue names to the plan of their provider.
    bare: HashMap<String, Arc<RoutePlan>>,
    /// What the model list shows, sorted.
    listed: Vec<ModelInfo>,
    /// Targets of virtual models by their providers' names, which only the provider's row for any model prices: shown
    /// to keys whose list names the provider.
    listed_targets: Vec<ModelInfo>,
    /// The keys of each tenant, for look-ups that start from a tenant.
    tenants: HashMap<TenantId, Vec<Arc<KeyContext>>>,
}

impl Snapshot {
    /// Validates `set` whole and indexes it.
    ///
    /// # Errors
    /// [`SnapshotError`] for the first object that does not fit.
    pub fn compile(set: &PolicySet, revision: u64, catalog: &Catalog) -> Result<Self, SnapshotError> {
        compile::compile(set, revision, catalog)
    }

    /// The revision it was compiled from.
    #[must_use]
    pub fn revision(&self) -> u64 {
        self.revision
    }

    /// How many policy objects it was compiled from.
    #[must_use]
    pub fn n_objects(&self) -> usize {
        self.n_objects
    }

    /// The keys of a tenant with everything above them; empty where it has none.
    #[must_use]
    pub fn keys_of_tenant(&self, tenant: TenantId) -> &[Arc<KeyContext>] {
        self.tenants.get(&tenant).map_or(&[], Vec::as_slice)
    }

    /// Every configured provider.
    pub fn providers(&self) -> impl Iterator<Item = &Arc<ProviderPolicy>> {
        self.providers.values().map(|entry| &entry.provider)
    }

    /// A seal of the installation's over parts: whoever has the same policy makes the same, and nobody else can.
    #[must_use]
    pub fn seal(&self, parts: &[&[u8]]) -> [u8; 32] {
        self.pepper.seal(parts)
    }

    /// Whose key this is.
    ///
    /// # Errors
    /// [`AuthDenied`]; a key with a bad checksum is refused before any look-up.
    pub fn authenticate(&self, presented: &str, now: UnixMillis) -> Result<&Arc<KeyContext>, AuthDenied> {
        let hash = self.pepper.hash_presented(presented).map_err(|_| AuthDenied::Unknown)?;
        let entry = self.keys.get(&hash).ok_or(AuthDenied::Unknown)?;
        if entry.accepted_until.is_some_and(|until| until <= now) {
            return Err(AuthDenied::Expired);
        }
        let context = &entry.context;
        match context.key.state {
            KeyState::Revoked => return Err(AuthDenied::Revoked),
            KeyState::Blocked => return Err(AuthDenied::Blocked),
            KeyState::Active => {}
        }
        if context.key.expires_at.is_some_and(|expires_at| expires_at <= now) {
            return Err(AuthDenied::Expired);
        }
        if context.tenant.blocked {
            return Err(AuthDenied::TenantBlocked);
        }
        Ok(context)
    }

    /// The model of requests that name none.
    #[must_use]
    pub fn default_model(&self, surface: Surface) -> Option<&str> {
        self.default_models.iter().find(|(of, _)| *of == surface).map(|(_, model)| model.as_str())
    }

    /// Where a request of this key for this model may go.
    ///
    /// # Errors
    /// [`PlanDenied`].
    pub fn plan(&self, context: &KeyContext, requested: &str) -> Result<Arc<RoutePlan>, PlanDenied> {
        let plan = self.find_plan(requested).ok_or_else(|| PlanDenied::NotFound {
            requested: requested.to_owned(),
            nearest: self.nearest(context, requested),
        })?;
        if !context.allows_model(requested) && !context.allows_model(&plan.name) {
            return Err(PlanDenied::NotAllowed { requested: requested.to_owned() });
        }
        Self::within_data_policy(plan, context, requested)
    }

    /// The plan for something that a provider keeps, as the model that it was made with: whoever may name the thing needs
    /// no leave for the model.
    ///
    /// # Errors
    /// No such provider, or the data policy excludes it.
    pub fn plan_of_kept(
        &self,
        context: &KeyContext,
        provider: &str,
        model: &str,
    ) -> Result<Arc<RoutePlan>, PlanDenied> {
        let requested = format!("{provider}/{model}");
        let Some(candidate) = self.candidate_of(provider, model) else {
            return Err(PlanDenied::NotFound { requested, nearest: Vec::new() });
        };
        let plan = Arc::new(direct_plan(&requested, candidate, self.hold_slice_tokens));
        Self::within_data_policy(plan, context, &requested)
    }

    /// A model of a provider with its prices, whoever may ask for it.
    #[must_use]
    pub fn candidate_of(&self, provider: &str, model: &str) -> Option<Candidate> {
        self.providers.get(provider).map(|entry| entry.candidate(model))
    }

    fn within_data_policy(
        plan: Arc<RoutePlan>,
        context: &KeyContext,
        requested: &str,
    ) -> Result<Arc<RoutePlan>, PlanDenied> {
        let policy = &context.tenant.data_policy;
        let mut rule = None;
        let mut is_excluded = |candidate: &Arc<Candidate>| {
            let excluded = policy.excludes(&candidate.provider);
            rule = excluded.or(rule);
            excluded.is_some()
        };
        if !plan.candidates.iter().any(&mut is_excluded) {
            return Ok(plan);
        }
        let mut filtered = RoutePlan::clone(&plan);
        filtered.candidates.retain(|candidate| !is_excluded(candidate));
        if filtered.candidates.is_empty() {
            let rule = rule.unwrap_or("providers");
            return Err(PlanDenied::DataPolicy { requested: requested.to_owned(), rule });
        }
        Ok(Arc::new(filtered))
    }

    fn find_plan(&self, requested: &str) -> Option<Arc<RoutePlan>> {
        if let Some(plan) = self.plans.get(requested).or_else(|| self.bare.get(requested)) {
            return Some(Arc::clone(plan));
        }
        let (provider, model) = requested.split_once('/')?;
        let entry = self.providers.get(provider).filter(|_| !model.is_empty())?;
        Some(Arc::new(direct_plan(requested, entry.candidate(model), self.hold_slice_tokens)))
    }

    /// The models a key may ask for, sorted by name.
    pub fn visible_models<'a>(&'a self, context: &'a KeyContext) -> impl Iterator<Item = &'a ModelInfo> {
        let reachable = |info: &&ModelInfo| {
            self.plans.get(&info.id).is_some_and(|plan| {
                let policy = &context.tenant.data_policy;
                plan.candidates.iter().any(|candidate| policy.excludes(&candidate.provider).is_none())
            })
        };
        let targets = self.listed_targets.iter();
        let named = targets.filter(|info| context.allows_model_by(&info.id, |pattern| pattern.contains('/')));
        let listed = self.listed.iter().filter(|info| context.allows_model(&info.id));
        listed.chain(named).filter(reachable)
    }

    fn nearest(&self, context: &KeyContext, requested: &str) -> Vec<String> {
        let bare = |name: &str| name.rsplit('/').next().unwrap_or(name).to_lowercase();
        let wanted = bare(requested);
        let farthest = wanted.len().clamp(3, MAX_COMPARED_BYTES) / 2;
        let mut scored: Vec<(usize, &str)> = self
            .visible_models(context)
            .map(|info| (edit_distance(&bare(&info.id), &wanted), info.id.as_ref()))
            .filter(|(distance, _)| *distance <= farthest)
            .collect();
        scored.sort_unstable();
        scored.into_iter().take(3).map(|(_, name)| name.to_owned()).collect()
    }
}

fn direct_plan(name: &str, candidate: Candidate, hold_slice_tokens: Option<u64>) -> RoutePlan {
    RoutePlan {
        name: Arc::from(name),
        candidates: vec![Arc::new(candidate)],
        retry: RetryPolicy::default(),
        timeouts: Timeouts::default(),
        hold_slice_tokens,
        drop_unsupported: false,
    }
}

/// Levenshtein distance in bytes, over names bounded by policy; long requests are cut.
fn edit_distance(left: &str, right: &str) -> usize {
    let left = &left.as_bytes()[..left.len().min(MAX_COMPARED_BYTES)];
    let right = &right.as_bytes()[..right.len().min(MAX_COMPARED_BYTES)];
    let mut row: Vec<usize> = (0..=right.len()).collect();
    for (i, a) in left.iter().enumerate() {
        let mut diagonal = std::mem::replace(&mut row[0], i + 1);
        for (j, b) in right.iter().enumerate() {
            let substituted = diagonal + usize::from(a != b);
            diagonal = row[j + 1];
            row[j + 1] = substituted.min(row[j] + 1).min(diagonal + 1);
        }
    }
    row[right.len()]
}

#[cfg(test)]
mod tests;
