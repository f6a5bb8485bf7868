//! Pods: they admit, dispatch, grow, renew and settle, and hear about half of it.

use std::collections::BTreeMap;
use std::sync::Arc;

use tollgate_domain::{BudgetId, HoldId, NanoUsd, NodeId, TenantId, UnixMillis, UsageEvent};
use tollgate_ledger::{
    AdmitOutcome, BudgetCheck, GrowOutcome, LedgerError, MAX_CLOCK_LEAD_MS, OpenReport, Renewal,
    SettleOutcome, Settlement, UnjournaledEvent, WalletRule,
};

use super::Simulation;
use super::backend::{Backend, Caller, Write};
use super::failure::{Checked, Failure, violation};
use super::request::{Memo, OwnedAdmission, Request, State};
use super::truth::{Asked, Standing};
use super::world::WINDOW_MS;

/// Longer than any pause between two renewals of a living pod; where time is real no hold must outlive its pod by
/// more than an instant, or a run would take minutes.
const LEASE_MS: u64 = 60_000;
const REAL_LEASE_MS: u64 = 1;
/// The same with slabs, which must live for some steps.
const REAL_SLAB_LEASE_MS: u64 = 1_500;
/// After so long without an answer a pod no longer asks but gives up: its client has left.
const PATIENCE_MS: i64 = 60_000;
/// Of the calls that do not arrive, so many are made by a client whose connections break: that takes its time.
const REALLY_CUT_PER_MILLE: u64 = 250;
/// How often a pod looks after its slabs instead.
const LOOKS_PER_MILLE: u64 = 200;
/// One of so many requests is of a pod whose clock is slow, by so much at most.
const SLOW_EVERY: u64 = 25;
const MAX_BEHIND_MS: i64 = WINDOW_MS;
/// Requests that one pod has under way at most.
const MAX_REQUESTS: usize = 12;

#[derive(Debug)]
pub(super) struct Pod {
    pub(super) node: NodeId,
    pub(super) is_cut_from_ledger: bool,
    pub(super) is_cut_from_control: bool,
    pub(super) requests: BTreeMap<HoldId, Request>,
    /// What it settled and is not known to be in the journal.
    pub(super) unjournaled: BTreeMap<HoldId, Arc<UsageEvent>>,
}

/// What happens to a call on its way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fate {
    Fine,
    /// It never arrives.
    NotSent,
    /// It arrives; the answer does not.
    ReplyLost,
    /// It arrives twice.
    Twice,
    /// It arrives, and once more much later.
    CopyLater,
}

/// A copy of a call that is still on its way.
#[derive(Clone, Debug)]
pub(super) struct Message {
    pub(super) due_step: u32,
    pub(super) sent_at: UnixMillis,
    pub(super) pod: usize,
    pub(super) tenant: usize,
    pub(super) call: Call,
}

/// A call of a pod about one of its holds.
#[derive(Clone, Debug)]
pub(super) enum Call {
    Admit(OwnedAdmission),
    Settle(Settlement),
    Grow(HoldId, NanoUsd),
    Renew(HoldId, NanoUsd),
}

/// Its answer.
#[derive(Clone, Debug)]
pub(super) enum Answer {
    Admit(AdmitOutcome),
    Settle(SettleOutcome),
    Grow(GrowOutcome),
    Renew(Renewal),
}

impl Pod {
    pub(super) fn new(node: NodeId) -> Self {
        Self {
            node,
            is_cut_from_ledger: false,
            is_cut_from_control: false,
            requests: BTreeMap::new(),
            unjournaled: BTreeMap::new(),
        }
    }

    /// What the control plane is told before a reseed. What was asked for without an answer is given up: nothing was
    /// spent for it, and an answer under an old epoch is none.
    pub(super) fn report(&self, tenant: TenantId) -> OpenReport {
        let of_tenant =
            |request: &&Request| request.admission.tenant == tenant && request.state != State::Asked;
        let events = self.unjournaled.values().filter(|event| event.tenant == tenant);
        let unjournaled = |event: &Arc<UsageEvent>| UnjournaledEvent {
            event: Arc::clone(event),
            wallet: WalletRule::None,
            budgets: Vec::new(),
        };
        OpenReport {
            holds: self.requests.values().filter(of_tenant).map(Request::open_hold).collect(),
            events: events.map(unjournaled).collect(),
            highest_epoch: 0,
        }
    }
}

impl Simulation {
    /// One action of one pod.
    pub(super) async fn step_pod(&mut self) -> Checked {
        let pod = self.random.below(self.pods.len());
        let n_requests = self.pods[pod].requests.len();
        if self.plan.ledger.has_slabs() && self.random.per_mille(LOOKS_PER_MILLE) {
            return self.look_after_slabs(pod).await;
        }
        let starts = n_requests == 0 || (n_requests < MAX_REQUESTS && self.random.per_mille(250));
        if starts && !self.is_draining {
            return self.start_request(pod).await;
        }
        if n_requests == 0 {
            return Ok(());
        }
        let index = self.random.below(n_requests);
        let Some(request) = self.pods[pod].requests.values().nth(index).cloned() else { return Ok(()) };
        match request.state {
            State::Asked => self.resolve(pod, &request).await,
            State::Admitted => self.go_on(pod, &request).await,
            State::Ending => self.settle(pod, &request).await,
        }
    }

    async fn start_request(&mut self, pod: usize) -> Checked {
        let tenant_index = self.random.below(self.tenants.len());
        let tenant = &self.tenants[tenant_index];
        let key = &tenant.keys[self.random.below(tenant.keys.len())];
        self.n_requests += 1;
        let hold = HoldId::from_u128((u128::from(self.plan.seed) << 64) | u128::from(self.n_requests));
        let is_small = self.plan.ledger.has_slabs() && self.random.per_mille(800);
        let amount = self.random.between(1, if is_small { 120 } else { 1_200 });
        let minimum = if self.random.per_mille(500) { amount } else { self.random.between(1, amount) };
        let memo = Memo { estimate: self.random.between(0, minimum), key: key.id };
        let now = self.backend.now();
        // Now and then a pod's clock is some periods behind the ledger's.
        let is_slow = self.n_requests.is_multiple_of(SLOW_EVERY);
        let behind_ms = if is_slow { self.random.between(0, MAX_BEHIND_MS) } else { 0 };
        let by_pod = now.plus_ms(-behind_ms);
        let lease_ms = self.lease_ms();
        let admission = OwnedAdmission {
            tenant: tenant.id,
            key: key.id,
            node: self.pods[pod].node,
            hold,
            amount,
            minimum,
            wallet: tenant.wallet,
            budgets: key.budgets.iter().map(|budget| budget.check(by_pod)).collect(),
            lease_ms,
            memo: serde_json::to_vec(&memo).map_err(anyhow::Error::from)?,
        };
        let request = Request {
            tenant: tenant_index,
            asked: Asked { hold, amount, minimum },
            admission,
            asked_at: now,
            state: State::Asked,
            granted: 0,
            admitted_at: now,
            nodes: Vec::new(),
            served: 0,
            is_dispatched: false,
            is_given_up: false,
            announced: 0,
        };
        self.lease_slab_for(pod, &request.admission).await?;
        self.memos.insert(hold, request.admission.memo.clone());
        self.pods[pod].requests.insert(hold, request.clone());
        self.ask(pod, &request).await
    }

    /// The answer was lost: ask again, or give up.
    async fn resolve(&mut self, pod: usize, request: &Request) -> Checked {
        let is_patient = self.backend.now().since(request.asked_at) < PATIENCE_MS;
        if is_patient && !request.is_given_up && !self.is_draining && self.random.per_mille(700) {
            return self.ask(pod, request).await;
        }
        self.settle(pod, request).await
    }

    async fn ask(&mut self, pod: usize, request: &Request) -> Checked {
        let call = Call::Admit(request.admission.clone());
        let answer = self.call(pod, request.tenant, call).await?;
        let Some(Answer::Admit(outcome)) = answer else { return Ok(()) };
        let hold = request.asked.hold;
        match outcome {
            AdmitOutcome::Admitted(grant) => {
                self.figures.admitted += 1;
                let nodes = self.truth.nodes.get(&hold).cloned().unwrap_or_default();
                if let Some(request) = self.pods[pod].requests.get_mut(&hold) {
                    request.state = State::Admitted;
                    request.granted = grant.granted.0;
                    request.admitted_at = grant.admitted_at;
                    request.nodes = nodes;
                }
            }
            AdmitOutcome::Cold | AdmitOutcome::WrongEpoch => {
                self.pods[pod].requests.remove(&hold);
                self.want_repair(pod, request.tenant, matches!(outcome, AdmitOutcome::Cold));
            }
            _ => {
                self.figures.refused += 1;
                self.pods[pod].requests.remove(&hold);
            }
        }
        Ok(())
    }

    /// A request under way: it produces, renews, grows or ends.
    async fn go_on(&mut self, pod: usize, request: &Request) -> Checked {
        let weights = if self.is_draining { [0, 0, 0, 1] } else { [6, 4, 2, 5] };
        match self.random.weighted(&weights) {
            0 => {
                self.produce(pod, request);
                Ok(())
            }
            1 => self.renew(pod, request).await,
            2 => self.grow(pod, request).await,
            _ => self.settle(pod, request).await,
        }
    }

    fn produce(&mut self, pod: usize, request: &Request) {
        let hold = request.asked.hold;
        let cap = request.granted.min(request.announced.max(request.estimate()));
        let more = self.random.between(0, cap - request.served);
        self.provider.serve(hold, &request.nodes, more);
        if let Some(request) = self.pods[pod].requests.get_mut(&hold) {
            request.is_dispatched = true;
            request.served += more;
        }
        self.tell(|| format!("pod {pod}: {hold} produces {more}"));
    }

    async fn renew(&mut self, pod: usize, request: &Request) -> Checked {
        let hold = request.asked.hold;
        let cost = self.random.between(request.served, request.granted);
        let answer = self.call(pod, request.tenant, Call::Renew(hold, NanoUsd(cost))).await?;
        let Some(Answer::Renew(renewal)) = answer else { return Ok(()) };
        let Some(request) = self.pods[pod].requests.get_mut(&hold) else { return Ok(()) };
        if renewal.renewed == 1 {
            request.announced = request.announced.max(cost);
        } else if !renewal.gone.is_empty() {
            request.state = State::Ending;
        } else {
            let tenant = request.tenant;
            self.want_repair(pod, tenant, false);
        }
        Ok(())
    }

    async fn grow(&mut self, pod: usize, request: &Request) -> Checked {
        let hold = request.asked.hold;
        let new_total = NanoUsd(request.granted + self.random.between(-50, 400).max(1 - request.granted));
        let answer = self.call(pod, request.tenant, Call::Grow(hold, new_total)).await?;
        let Some(Answer::Grow(outcome)) = answer else { return Ok(()) };
        if let (GrowOutcome::Grown { granted }, Some(request)) =
            (outcome, self.pods[pod].requests.get_mut(&hold))
        {
            self.figures.grown += 1;
            request.granted = granted.0;
        }
        Ok(())
    }

    async fn settle(&mut self, pod: usize, request: &Request) -> Checked {
        let hold = request.asked.hold;
        let settlement = request.settlement();
        if let Some(request) = self.pods[pod].requests.get_mut(&hold) {
            request.is_given_up = true;
            if request.state == State::Admitted {
                request.state = State::Ending;
            }
        }
        let answer = self.call(pod, request.tenant, Call::Settle(settlement.clone())).await?;
        let Some(Answer::Settle(outcome)) = answer else { return Ok(()) };
        if outcome == SettleOutcome::WrongEpoch {
            self.want_repair(pod, request.tenant, false);
            return Ok(());
        }
        self.figures.settled += 1;
        self.pods[pod].requests.remove(&hold);
        if let Some(event) = self.as_it_was_charged(&settlement).event {
            self.pods[pod].unjournaled.insert(hold, event);
        }
        Ok(())
    }

    /// Asks for a seed or a reseed, if the control plane can be reached.
    fn want_repair(&mut self, pod: usize, tenant: usize, is_cold: bool) {
        if !self.pods[pod].is_cut_from_control {
            self.control.want_repair(self.tenants[tenant].id, is_cold);
        }
    }

    // --- the wire ---

    /// Makes a call, with what may happen to it. `None` where the pod gets no answer.
    async fn call(&mut self, pod: usize, tenant: usize, call: Call) -> Checked<Option<Answer>> {
        let fate = self.fate(pod);
        self.tell(|| format!("pod {pod}: {fate:?} {}", shown(&call)));
        if fate == Fate::NotSent {
            if self.random.per_mille(REALLY_CUT_PER_MILLE) {
                return self.call_in_vain(pod, tenant, call).await;
            }
            return Ok(None);
        }
        if fate == Fate::CopyLater {
            let due_step = self.step + u32::try_from(self.random.between(1, 40)).unwrap_or(1);
            let sent_at = self.backend.now();
            self.in_flight.push(Message { due_step, sent_at, pod, tenant, call: call.clone() });
        }
        let answer = match self.deliver(pod, tenant, call.clone()).await {
            Err(Failure::NotMade(reason)) => {
                self.tell(|| format!("    not made: {reason}"));
                return Ok(None);
            }
            answer => answer?,
        };
        if fate == Fate::Twice {
            self.deliver(pod, tenant, call).await?;
        }
        Ok((fate != Fate::ReplyLost).then_some(answer))
    }

    /// The client makes the call and fails: what it makes of that is its own. In process there is no client.
    async fn call_in_vain(&mut self, pod: usize, tenant: usize, call: Call) -> Checked<Option<Answer>> {
        let Backend::Redis(redis) = &self.backend else { return Ok(None) };
        redis.sever(pod).await?;
        if self.plan.ledger.has_slabs() {
            // What is in a slab is admitted all the same.
            let answer = self.deliver(pod, tenant, call).await;
            if let Backend::Redis(redis) = &self.backend {
                redis.mend(pod);
            }
            return match answer {
                Ok(answer) => Ok(Some(answer)),
                Err(Failure::NotMade(_)) => Ok(None),
                Err(failure) => Err(failure),
            };
        }
        let (ledger, tenant) = (redis.ledger(Caller::Pod(pod)), self.tenants[tenant].id);
        let error = match &call {
            Call::Admit(admission) => ledger.admit(&admission.borrow()).await.err(),
            Call::Settle(settlement) => ledger.settle(settlement).await.err(),
            Call::Grow(hold, new_total) => ledger.grow(tenant, *hold, *new_total).await.err(),
            Call::Renew(hold, cost) => ledger.renew(&[(tenant, *hold, *cost)], REAL_LEASE_MS).await.err(),
        };
        redis.mend(pod);
        match error {
            Some(LedgerError::Unavailable(_)) => Ok(None),
            other => violation(format!("a call over a broken connection ended with {other:?}")),
        }
    }

    fn fate(&mut self, pod: usize) -> Fate {
        if self.pods[pod].is_cut_from_ledger {
            return Fate::NotSent;
        }
        if self.is_draining {
            return Fate::Fine;
        }
        match self.random.below(100) {
            0..4 => Fate::NotSent,
            4..9 => Fate::ReplyLost,
            9..13 => Fate::Twice,
            13..18 => Fate::CopyLater,
            _ => Fate::Fine,
        }
    }

    /// The call reaches the ledger; its answer is held against the truth, whoever hears it.
    pub(super) async fn deliver(&mut self, pod: usize, tenant_index: usize, call: Call) -> Checked<Answer> {
        let ledger = self.backend.ledger(Caller::Pod(pod));
        let tenant = self.tenants[tenant_index].id;
        // What a ledger forgets when its clock is ahead it does not remember when the clock steps back.
        let now = self.backend.now();
        let latest = self.latest.max(now);
        let before = self.unannounced_of(pod);
        let answer = match &call {
            Call::Admit(admission) => {
                self.backend.remember(|| Write::Admit(admission.clone()));
                let outcome = ledger.admit(&admission.borrow()).await?;
                let OwnedAdmission { hold, amount, minimum, .. } = *admission;
                let asked = Asked { hold, amount, minimum };
                let budgets = &admission.budgets;
                if let AdmitOutcome::NotBegun(budget) = outcome {
                    self.see_early(admission, budget)?;
                    return Ok(Answer::Admit(outcome));
                }
                if self.see_local(pod, tenant_index, admission, &outcome).await? {
                    self.tell(|| format!("    {outcome:?} out of a slab"));
                    return Ok(Answer::Admit(outcome));
                }
                self.truth.see_admit(&self.tenants[tenant_index], budgets, asked, &outcome, latest)?;
                Answer::Admit(outcome)
            }
            Call::Settle(settlement) => {
                let charged = self.as_it_was_charged(settlement);
                self.backend.remember(|| Write::Settle(charged));
                let outcome = match ledger.settle(settlement).await {
                    Err(error) => {
                        let ending = (tenant, settlement.actual.0);
                        self.slab_book.ending.insert(settlement.hold, ending);
                        return Err(error.into());
                    }
                    outcome => outcome?,
                };
                self.slab_book.ending.remove(&settlement.hold);
                self.see_slabs().await?;
                if self.see_given_back(pod, &before, settlement, outcome, now) {
                    return Ok(Answer::Settle(outcome));
                }
                let times = (now, latest);
                self.truth.see_settle(tenant, settlement.hold, settlement.actual.0, outcome, times)?;
                Answer::Settle(outcome)
            }
            Call::Grow(hold, new_total) => {
                self.backend.remember(|| Write::Grow(tenant, *hold, *new_total));
                let outcome = ledger.grow(tenant, *hold, *new_total).await?;
                self.see_slabs().await?;
                self.truth.see_grow(&self.tenants[tenant_index], *hold, *new_total, &outcome)?;
                Answer::Grow(outcome)
            }
            Call::Renew(hold, cost) => {
                let lease_ms = self.lease_ms();
                self.backend.remember(|| Write::Renew(tenant, *hold, *cost, lease_ms));
                let renewal = ledger.renew(&[(tenant, *hold, *cost)], lease_ms).await?;
                self.see_slabs().await?;
                self.see_renewal(tenant, *hold, *cost, &renewal)?;
                Answer::Renew(renewal)
            }
        };
        self.tell(|| format!("    {answer:?}"));
        Ok(answer)
    }

    /// The ledger's clock stepped back over the start of the period that the pod asks for.
    fn see_early(&self, admission: &OwnedAdmission, budget: BudgetId) -> Checked {
        let latest = self.backend.now().plus_ms(MAX_CLOCK_LEAD_MS);
        let is_early =
            |check: &BudgetCheck| check.budget == budget && check.periods.current.starts_at > latest;
        let is_open = self.truth.open.contains_key(&admission.hold);
        if is_open || !admission.budgets.iter().any(is_early) {
            return violation(format!(
                "{} (open: {is_open}) was answered that {budget} has not begun",
                admission.hold
            ));
        }
        Ok(())
    }

    fn see_renewal(&mut self, tenant: TenantId, hold: HoldId, cost: NanoUsd, renewal: &Renewal) -> Checked {
        let is_open = self.truth.open.contains_key(&hold);
        let is_right = match self.truth.standing(tenant) {
            Standing::Live if is_open => renewal.renewed == 1,
            Standing::Live => renewal.gone == [(tenant, hold)],
            Standing::Fenced => renewal.wrong_epoch == [tenant],
            Standing::Lost => renewal.renewed == 0,
        };
        if !is_right {
            return violation(format!("the renewal of {hold} (open: {is_open}) was answered {renewal:?}"));
        }
        if renewal.renewed == 1 {
            let progress = self.progress.entry(hold).or_default();
            *progress = (*progress).max(cost.0);
        }
        Ok(())
    }

    fn lease_ms(&self) -> u64 {
        match (self.backend.has_manual_time(), self.plan.ledger.has_slabs()) {
            (true, _) => LEASE_MS,
            (false, true) => REAL_SLAB_LEASE_MS,
            (false, false) => REAL_LEASE_MS,
        }
    }

    pub(super) fn report_of(&self, pod: usize, tenant: TenantId) -> OpenReport {
        match &self.backend {
            Backend::Memory(_) => self.with_slabs_of(pod, tenant, self.pods[pod].report(tenant)),
            Backend::Redis(_) => self.backend.ledger(Caller::Pod(pod)).open_report(Some(&[tenant])),
        }
    }
}

fn shown(call: &Call) -> String {
    match call {
        Call::Admit(admission) => {
            format!("admits {} for {}..={}", admission.hold, admission.minimum, admission.amount)
        }
        Call::Settle(settlement) => format!("settles {} at {}", settlement.hold, settlement.actual.0),
        Call::Grow(hold, new_total) => format!("grows {hold} to {}", new_total.0),
        Call::Renew(hold, cost) => format!("renews {hold} at {}", cost.0),
    }
}
