//! What a request may reach and what it can cost at most: the plan, priced.

mod media;
mod prompt;
mod slices;

use std::sync::Arc;

use tollgate_catalog::{Needs, PriceSheet, Reach, ServiceTier, UnitBounds};
use tollgate_domain::{ErrorKind, MAX_LIMIT, Meter, NanoUsd, Surface, UnixMillis, Usage};
use tollgate_policy::{Candidate, KeyContext, RoutePlan, Snapshot};
use tollgate_wire::media::MediaRequest;
use tollgate_wire::openai::request::{RequestSkim, input_token_estimate};

pub(crate) use self::prompt::counted_tokens;
use crate::GatewayConfig;
use crate::dialects::{self, Client};
use crate::error::Refusal;
use crate::responses;

/// Models that search and think as much as they like and bill it beside any cap: nothing bounds them.
const UNBOUNDED_MODELS: &str = "deep-research";

/// One reachable candidate with its price and its share of the bound.
#[derive(Clone, Debug)]
pub(crate) struct PricedCandidate {
    pub(crate) candidate: Arc<Candidate>,
    pub(crate) sheet: PriceSheet,
    /// Prompt tokens at most.
    pub(crate) input_bound: u64,
    /// Tokens of one answer at most, before the money is asked.
    pub(crate) output_cap: u64,
    /// Answer tokens, over all answers, that are held for at a time; `None` for all there can be.
    pub(crate) slice_tokens: Option<u64>,
    /// What is left out of the request because the candidate lacks it, as `x-tollgate-dropped` tells it.
    pub(crate) dropped: Option<Arc<str>>,
}

/// A request that policy allows, with its price.
#[derive(Debug)]
pub(crate) struct PricedPlan {
    pub(crate) plan: Arc<RoutePlan>,
    pub(crate) candidates: Arc<[PricedCandidate]>,
    pub(crate) tier: ServiceTier,
    pub(crate) reach: Reach,
    /// Answers that are billed.
    pub(crate) n_choices: u64,
    /// Tokens of predicted output, billed on top of the cap when rejected.
    pub(crate) prediction_tokens: u64,
    /// Whether a wallet or a budget must pay.
    pub(crate) is_paid: bool,
    /// What is held for it at first: the most it can cost, or a slice of that.
    pub(crate) amount: NanoUsd,
    /// The most it can cost.
    pub(crate) worst_case: NanoUsd,
    /// The most it can cost when its answers are cut to the floor.
    pub(crate) minimum: NanoUsd,
    /// Tokens to reserve against token rate limits.
    pub(crate) rate_tokens: u64,
    /// Prompt tokens as an estimate, for what ends without usage.
    pub(crate) input_estimate: u64,
    /// Those among them that the response brings which it continues.
    pub(crate) kept_tokens: u64,
    /// What is charged for it where it is lost after it was sent.
    pub(crate) lost_usage: Usage,
    /// Tokens to which answers may be cut where the money is short; above every cap where they cannot be.
    pub(crate) output_floor: u64,
}

impl PricedCandidate {
    /// The most `output_cap` tokens per answer can cost here.
    pub(crate) fn bound(&self, output_cap: u64, plan: &PricedPlanShape) -> NanoUsd {
        self.bound_in_all(output_cap.saturating_mul(plan.n_choices), plan)
    }

    /// The most that many answer tokens, over all answers, can cost here.
    pub(crate) fn bound_in_all(&self, tokens: u64, plan: &PricedPlanShape) -> NanoUsd {
        let all = tokens.saturating_add(plan.prediction_tokens);
        self.sheet.upper_bound(self.input_bound, all, plan.tier, plan.reach)
    }

    /// Answer tokens, over all answers, that `money` pays for here; as many as one likes where output is free.
    pub(crate) fn affordable_in_all(&self, money: NanoUsd, plan: &PricedPlanShape) -> u64 {
        let all = self.sheet.affordable_output(money, self.input_bound, plan.tier, plan.reach);
        all.map_or(u64::MAX, |all| all.saturating_sub(plan.prediction_tokens))
    }

    /// Tokens per answer that `money` affords here, at most the cap; the cap where output is free.
    pub(crate) fn affordable_cap(&self, money: NanoUsd, plan: &PricedPlanShape) -> u64 {
        match self.sheet.affordable_output(money, self.input_bound, plan.tier, plan.reach) {
            None => self.output_cap,
            Some(all) => {
                let all = all.saturating_sub(plan.prediction_tokens);
                self.output_cap.min(all / plan.n_choices.max(1))
            }
        }
    }

    /// Whether an answer token costs anything here: only then a cap protects money.
    pub(crate) fn charges_output(&self, plan: &PricedPlanShape) -> bool {
        self.sheet.dearest_output(self.input_bound, plan.tier, plan.reach).0 > 0
    }
}

/// What of a request decides how candidates price it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct PricedPlanShape {
    pub(crate) tier: ServiceTier,
    pub(crate) reach: Reach,
    pub(crate) n_choices: u64,
    pub(crate) prediction_tokens: u64,
}

impl PricedPlan {
    pub(crate) fn shape(&self) -> PricedPlanShape {
        PricedPlanShape {
            tier: self.tier,
            reach: self.reach,
            n_choices: self.n_choices,
            prediction_tokens: self.prediction_tokens,
        }
    }

    /// For when the cheap bound does not fit the money: counts the prompt's text with the tokenizers that are
    /// public, and says whether the least the request can be held for has fallen. The first count of a
    /// process loads the tokenizer; each costs up to some ten milliseconds.
    pub(crate) fn count_exactly(&mut self, skim: &RequestSkim, body: &[u8]) -> bool {
        let floor = self.output_floor;
        prompt::count_exactly(Arc::make_mut(&mut self.candidates), skim, body);
        let before = self.minimum;
        let (worst_case, minimum) = dearest_of(&self.candidates, &self.shape(), floor);
        self.worst_case = worst_case.min(MAX_LIMIT);
        self.amount = slices::first_hold(&self.candidates, worst_case, &self.shape(), floor).min(MAX_LIMIT);
        self.minimum = minimum;
        minimum < before
    }
}

/// What the pipeline knows before it asks what a request costs.
#[derive(Clone, Copy, Debug)]
pub(crate) struct PlanInput<'a> {
    pub(crate) snapshot: &'a Snapshot,
    pub(crate) context: &'a KeyContext,
    pub(crate) now: UnixMillis,
    pub(crate) surface: Surface,
    pub(crate) skim: &'a RequestSkim,
    pub(crate) requested_model: &'a str,
    pub(crate) body: &'a [u8],
    pub(crate) end_user: Option<&'a str>,
    pub(crate) client: &'a Client,
    /// For the surfaces beside conversation.
    pub(crate) media: Option<&'a MediaRequest>,
    /// A call that no provider bills.
    pub(crate) is_unbilled: bool,
}

/// Finds the candidates, drops those without a price, and bounds the cost over the rest.
pub(crate) fn price_plan(input: PlanInput<'_>, config: &GatewayConfig) -> Result<PricedPlan, Refusal> {
    let mut plan = match input.requested_model.split_once('/') {
        Some((provider, model)) if input.surface == Surface::Responses => {
            input.snapshot.plan_of_kept(input.context, provider, model)?
        }
        _ => input.snapshot.plan(input.context, input.requested_model)?,
    };
    if input.skim.surface == Surface::Passthrough || responses::is_background(input.client) {
        // nobody knows whether it may be sent twice
        Arc::make_mut(&mut plan).retry.max_attempts = 1;
    }
    let mut shape = match input.media {
        Some(request) => media::shape_of(request),
        None => shape_of(input.skim)?,
    };
    let candidates = price_candidates(&plan, &input, &mut shape, config)?;
    // where no cap can be written upstream there is nothing to cut
    let is_uncapped = input.media.is_some() || responses::is_compaction(input.client);
    let floor = if is_uncapped { u64::MAX } else { config.output_floor_tokens };
    let (worst_case, minimum) = dearest_of(&candidates, &shape, floor);
    let kept_tokens = responses::kept_tokens(input.client);
    let input_estimate = match input.media {
        Some(request) => request.input_estimate(),
        None => input_token_estimate(input.skim, input.body.len()).saturating_add(kept_tokens),
    };
    let lost_usage = match input.media {
        Some(request) => crate::media::lost_usage(request),
        None => Usage::ZERO.with(Meter::Input, input_estimate).with(Meter::Request, 1),
    };
    let rate_tokens = match input.media {
        Some(request) => request.expected.total_tokens(),
        None => {
            let rate_output = input.skim.client_output_cap().unwrap_or(config.output_floor_tokens);
            input_estimate.saturating_add(rate_output.saturating_mul(shape.n_choices))
        }
    };
    let priced = PricedPlan {
        // no wallet or budget can hold more, so no answer may cost more
        amount: slices::first_hold(&candidates, worst_case, &shape, floor).min(MAX_LIMIT),
        worst_case: worst_case.min(MAX_LIMIT),
        minimum,
        rate_tokens,
        plan,
        candidates: candidates.into(),
        tier: shape.tier,
        reach: shape.reach,
        n_choices: shape.n_choices,
        prediction_tokens: shape.prediction_tokens,
        is_paid: input.context.has_money_gate(input.end_user.is_some()),
        input_estimate,
        kept_tokens,
        lost_usage,
        output_floor: floor,
    };
    if priced.minimum > MAX_LIMIT {
        let minimum = priced.minimum;
        let message =
            format!("this request could cost {minimum} USD, more than any budget may hold: ask for less");
        return Err(Refusal::new(ErrorKind::InvalidRequest, message).with_param("max_tokens"));
    }
    Ok(priced)
}

/// The candidates that can be paid for, in their order; `shape` grows by what they may answer with.
fn price_candidates(
    plan: &Arc<RoutePlan>,
    input: &PlanInput<'_>,
    shape: &mut PricedPlanShape,
    config: &GatewayConfig,
) -> Result<Vec<PricedCandidate>, Refusal> {
    let mut candidates = Vec::with_capacity(plan.candidates.len());
    let mut unpriced = None;
    let pinned = responses::pinned(input.client).map(|kept| kept.provider);
    for candidate in &plan.candidates {
        if pinned.is_some_and(|pinned| pinned != candidate.provider.id) {
            continue;
        }
        let priced = match input.media {
            Some(request) => media::price_candidate(candidate, input, request, shape),
            None => price_candidate(candidate, input, shape, config, plan.drop_unsupported),
        };
        match priced {
            Ok(mut priced) => {
                if input.media.is_none() && priced.sheet.charges(Meter::OutputImage) {
                    // it may answer with pictures though nobody asked for one
                    shape.reach = reach_of(input.skim, true);
                }
                // what goes on without its client is held for as a whole
                if input.media.is_none() && !responses::is_held_as_a_whole(input.client) {
                    priced.slice_tokens = slices::slice_tokens(plan, &priced, input, shape);
                }
                candidates.push(priced);
            }
            Err(refusal) => unpriced = unpriced.or(Some(refusal)),
        }
    }
    if candidates.is_empty() {
        return Err(unpriced.unwrap_or_else(|| match pinned {
            Some(_) => {
                responses::elsewhere(input.snapshot, input.client, input.requested_model, input.surface)
            }
            None => not_priced(input.requested_model, "the model has no price"),
        }));
    }
    Ok(candidates)
}

/// The most the request can cost anywhere, at its caps and with answers cut to the floor.
fn dearest_of(candidates: &[PricedCandidate], shape: &PricedPlanShape, floor: u64) -> (NanoUsd, NanoUsd) {
    let dearest = |bound: &dyn Fn(&PricedCandidate) -> NanoUsd| {
        candidates.iter().map(bound).max().unwrap_or(NanoUsd::ZERO)
    };
    let amount = dearest(&|priced| priced.bound(priced.output_cap, shape));
    let minimum = dearest(&|priced| priced.bound(priced.output_cap.min(floor), shape));
    (amount, minimum)
}

fn shape_of(skim: &RequestSkim) -> Result<PricedPlanShape, Refusal> {
    let tier = match skim.service_tier.as_deref() {
        None => ServiceTier::Standard,
        // batches have a surface of their own
        Some(name) => {
            ServiceTier::from_name(name).filter(|tier| *tier != ServiceTier::Batch).ok_or_else(|| {
                let message = format!(
                    "`{name}` is no service tier of this surface; use auto, default, flex or priority"
                );
                Refusal::new(ErrorKind::InvalidRequest, message).with_param("service_tier")
            })?
        }
    };
    Ok(PricedPlanShape {
        tier,
        reach: reach_of(skim, false),
        n_choices: skim.n_billed_choices(),
        prediction_tokens: skim.prediction_bytes,
    })
}

fn reach_of(skim: &RequestSkim, may_draw: bool) -> Reach {
    let reach = if skim.is_text_only() && !may_draw { Reach::TEXT } else { Reach::MULTIMODAL };
    reach.with_units(UnitBounds { seconds: skim.audio_seconds, ..UnitBounds::NONE })
}

fn price_candidate(
    candidate: &Arc<Candidate>,
    input: &PlanInput<'_>,
    shape: &PricedPlanShape,
    config: &GatewayConfig,
    drops: bool,
) -> Result<PricedCandidate, Refusal> {
    let name = || format!("{}/{}", candidate.provider.name, candidate.model);
    let sheet = input
        .context
        .price_sheet(candidate, input.now)
        .ok_or_else(|| not_priced(&name(), "the model has no price"))?;
    sheet
        .check(shape.tier, needs_of(input.skim.surface))
        .map_err(|reason| not_priced(&name(), &reason.to_string()))?;
    if !sheet.is_free() {
        refuse_what_nothing_bounds(input.skim, &sheet, &candidate.model, name)?;
    }
    let dropped = dialects::check(input.client, input.skim, candidate, input.body, drops)?;
    let input_bound = prompt::cheap_bound(candidate, input.skim, input.body.len(), &sheet)
        .map_err(|refusal| responses::unbounded(input.client, candidate, refusal))?;
    let asked = input.skim.client_output_cap();
    let fixed = responses::fixed_cap(input.client, candidate).filter(|_| !sheet.is_free()).transpose()?;
    let output_cap = match (asked.filter(|_| fixed.is_none()), fixed.or(candidate.max_output_tokens)) {
        (Some(asked), Some(most)) => asked.min(most),
        (Some(cap), None) | (None, Some(cap)) => cap,
        (None, None) => config.default_output_cap_tokens,
    };
    Ok(PricedCandidate {
        candidate: Arc::clone(candidate),
        sheet,
        input_bound,
        output_cap,
        slice_tokens: None,
        dropped: (!dropped.is_empty()).then(|| dropped.join(",").into()),
    })
}

/// Refuses what a provider bills without any bound that the request or the catalogue knows.
fn refuse_what_nothing_bounds(
    skim: &RequestSkim,
    sheet: &PriceSheet,
    model: &str,
    name: impl Fn() -> String,
) -> Result<(), Refusal> {
    if skim.has_web_search {
        // vendors bill searches that they make inside of one call, which neither the request nor the answer tells
        let message =
            "`web_search_options` lets the provider make and bill as many searches as it likes: leave it out";
        return Err(Refusal::new(ErrorKind::InvalidRequest, message).with_param("web_search_options"));
    }
    if model.contains(UNBOUNDED_MODELS) {
        let message = format!("`{}` cannot be used: its searches and thoughts cannot be bounded", name());
        return Err(Refusal::new(ErrorKind::ModelNotPriced, message).with_param("model"));
    }
    let refused = |param: &str, message: String| {
        Err(Refusal::new(ErrorKind::InvalidRequest, message).with_param(param))
    };
    if skim.has_provider_tools {
        let message = "a tool that the provider runs is billed without a bound: leave it out";
        return refused("tools", message.to_owned());
    }
    if let Some(member) = skim.foreign_members.first() {
        let message = format!("`{member}` lets the provider choose or add what is billed: leave it out");
        return refused(member, message);
    }
    if skim.has_unbounded_parts && sheet.charges(Meter::Second) {
        let message = format!("{} is paid by the second: send sound inline, as WAV or MP3", name());
        return refused("messages", message);
    }
    Ok(())
}

/// Which plain meters a surface counts.
pub(crate) const fn needs_of(surface: Surface) -> Needs {
    media::needs_of(surface)
}

fn not_priced(model: &str, reason: &str) -> Refusal {
    let message = format!("`{model}` cannot be used: {reason}; ask your operator to add one");
    Refusal::new(ErrorKind::ModelNotPriced, message).with_param("model")
}

#[cfg(test)]
mod tests;
