//! The control plane: the journal, the settlement of what dead pods left, seeds and reseeds.

use std::collections::{BTreeMap, BTreeSet};

use tollgate_domain::{HoldId, NanoUsd, NodeId, TenantId, UnixMillis, UsageEvent};
use tollgate_ledger::{
    Epoch, HoldView, OpenHold, OpenReport, Reseed, Seed, SeedCounter, SettleOutcome, Settlement, SuspectHold,
};

use super::Simulation;
use super::backend::{Caller, Write};
use super::failure::{Checked, Failure, violation};
use super::request::{event, read_memo};
use super::slabs::is_slab;
use super::truth::Standing;
use super::world::{Node, Tenant};

/// A hold whose lease ended so long ago is settled for its pod.
const SUSPECT_FOR_MS: u64 = 15 * 60_000;
/// Events journaled at once: few, so that batches end in the middle of everything.
const MAX_BATCH: usize = 24;
/// Holds per page when a dead pod's are looked up: few, so that there are pages.
const MAX_PAGE: usize = 3;
const MAX_SUSPECTS: usize = 16;
/// Processes of the control plane that reseed, which race for the same tenants.
pub(super) const N_WORKERS: usize = 2;
/// Pages and batches that are read at most before somebody must have made a mistake.
const MAX_ROUNDS: usize = 1_000;

#[derive(Debug, Default)]
pub(super) struct Control {
    /// The journal: an event counts once, whoever told it first.
    pub(super) journal: BTreeMap<HoldId, Journaled>,
    /// Its sums by level.
    sums: BTreeMap<Node, i64>,
    /// Tenants that wait for a reseed, and those of which only a period is not known.
    pub(super) to_reseed: BTreeSet<TenantId>,
    to_seed: BTreeSet<TenantId>,
    jobs: [Option<Job>; N_WORKERS],
    /// Pods that died.
    dead: BTreeSet<NodeId>,
    /// The holds of dead pods, noted when they died: nobody would report them if the ledger were lost.
    noted: BTreeMap<HoldId, OpenHold>,
    /// Settled events that only the outbox has: losing it too would lose them, which is the stated residual.
    pub(super) orphans: BTreeSet<HoldId>,
}

#[derive(Clone, Debug)]
pub(super) struct Journaled {
    pub(super) cost: i64,
    nodes: Vec<Node>,
    pub(super) is_estimated: bool,
}

/// A reseed under way, stage by stage: other things happen in between.
#[derive(Clone, Debug)]
enum Job {
    Gather { tenant: usize, expected: Epoch },
    Drain { tenant: usize, expected: Epoch, reports: Vec<OpenReport> },
    Write(usize, Box<Reseed>),
}

impl Control {
    pub(super) fn want_repair(&mut self, tenant: TenantId, is_cold: bool) {
        if is_cold {
            self.to_seed.insert(tenant);
        } else {
            self.to_reseed.insert(tenant);
        }
    }

    /// What the journal has of one level.
    pub(super) fn sum(&self, node: Node) -> i64 {
        self.sums.get(&node).copied().unwrap_or(0)
    }

    fn has_all_orphans(&self) -> bool {
        self.orphans.iter().all(|hold| self.journal.contains_key(hold))
    }

    pub(super) fn drop_jobs(&mut self) {
        self.jobs = Default::default();
    }

    /// Whether losing the ledger now would lose nothing that somebody else has not: all but the stated residual.
    pub(super) fn can_lose_ledger(&mut self) -> bool {
        let can_lose = self.has_all_orphans();
        if can_lose {
            self.orphans.clear();
        }
        can_lose
    }
}

impl Simulation {
    /// One action of the control plane.
    pub(super) async fn step_control(&mut self) -> Checked {
        match self.random.weighted(&[5, 2, 2, 2, 12, 1]) {
            0 => self.ingest().await.map(drop),
            1 => self.settle_suspects(false).await,
            2 => self.confirm_journaled().await,
            3 => self.seed_cold().await,
            4 => {
                let worker = self.random.below(N_WORKERS);
                self.advance_job(worker).await
            }
            _ => self.top_up().await,
        }
    }

    // --- journal ---

    /// Takes a batch from the outbox. Answers how many entries there were.
    pub(super) async fn ingest(&mut self) -> Checked<usize> {
        let ledger = self.backend.ledger(Caller::Control);
        let entries = ledger.outbox_read(MAX_BATCH, 0).await?;
        let mut handles = Vec::with_capacity(entries.len());
        for entry in &entries {
            match &entry.event {
                Ok(event) => self.journal(event)?,
                Err(problem) => return violation(format!("the outbox has no event but this: {problem}")),
            }
            handles.push(entry.handle.clone());
        }
        // Now and then the acknowledgement is lost, and the batch comes again.
        if !entries.is_empty() && (self.is_draining || !self.random.per_mille(100)) {
            ledger.outbox_acknowledge(&handles).await?;
        }
        if !entries.is_empty() {
            self.tell(|| format!("control: journals {} events", entries.len()));
        }
        Ok(entries.len())
    }

    fn journal(&mut self, event: &UsageEvent) -> Checked {
        if self.control.journal.contains_key(&event.hold) {
            self.figures.journaled_again += 1;
            return Ok(());
        }
        let Some(tenant) = self.tenants.iter().find(|tenant| tenant.id == event.tenant) else {
            return violation(format!("an event of the unknown tenant {}", event.tenant));
        };
        let Some(nodes) = self.truth.nodes.get(&event.hold).cloned() else {
            return violation(format!(
                "an event of the hold {} of {}, which was never granted",
                event.hold, tenant.id
            ));
        };
        let row = Journaled {
            cost: event.cost.0,
            nodes,
            is_estimated: event.basis == tollgate_domain::SettlementBasis::Estimated,
        };
        for node in &row.nodes {
            *self.control.sums.entry(*node).or_default() += row.cost;
        }
        self.control.journal.insert(event.hold, row);
        self.control.noted.remove(&event.hold);
        self.figures.journaled += 1;
        Ok(())
    }

    /// The pods forget what is journaled.
    async fn confirm_journaled(&mut self) -> Checked {
        let pod = self.random.below(self.pods.len());
        if self.pods[pod].is_cut_from_ledger {
            return Ok(());
        }
        let journal = &self.control.journal;
        self.pods[pod].unjournaled.retain(|hold, _| !journal.contains_key(hold));
        match self.backend.ledger(Caller::Pod(pod)).confirm_journaled().await.map_err(Failure::from) {
            Ok(_) | Err(Failure::NotMade(_)) => Ok(()),
            Err(failure) => Err(failure),
        }
    }

    // --- suspects ---

    /// Settles what dead pods left, at what is known of it. Where time is real leases are short, and only those pods
    /// count that are known to be dead (or all).
    pub(super) async fn settle_suspects(&mut self, of_all: bool) -> Checked {
        let ledger = self.backend.ledger(Caller::Control);
        let is_timed = self.backend.has_manual_time();
        let expired_for_ms = if is_timed { SUSPECT_FOR_MS } else { 0 };
        let max = if is_timed { MAX_SUSPECTS } else { MAX_SUSPECTS * 16 };
        for suspect in ledger.suspect_holds(max, expired_for_ms).await? {
            self.check_suspect(&suspect)?;
            if is_timed || of_all || self.control.dead.contains(&suspect.node) {
                self.settle_suspect(&suspect).await?;
            }
        }
        Ok(())
    }

    fn check_suspect(&self, suspect: &SuspectHold) -> Checked {
        if is_slab(suspect.hold) {
            return Ok(());
        }
        let open = self.truth.open.get(&suspect.hold);
        let Some(open) = open.filter(|_| self.truth.standing(suspect.tenant) == Standing::Live) else {
            return violation(format!("a hold is suspect that is not open: {suspect:?}"));
        };
        let progress = self.progress.get(&suspect.hold).copied().unwrap_or(0);
        if open.amount != suspect.amount.0 || progress != suspect.progress.0 {
            return violation(format!("{open:?} with the progress {progress} is suspect as {suspect:?}"));
        }
        Ok(())
    }

    async fn settle_suspect(&mut self, suspect: &SuspectHold) -> Checked {
        let Some(memo) = read_memo(&suspect.memo) else {
            return violation(format!("the memo of {} is not what was given", suspect.hold));
        };
        let SuspectHold { hold, tenant, admitted_at, .. } = *suspect;
        let charge = memo.estimate.max(suspect.progress.0).min(suspect.amount.0);
        let settlement = Settlement {
            tenant,
            hold,
            actual: NanoUsd(charge),
            tokens: 0,
            event: Some(event(hold, tenant, memo.key, charge, admitted_at, true)),
        };
        let now = self.backend.now();
        self.backend.remember(|| Write::Settle(settlement.clone()));
        let outcome = self.backend.ledger(Caller::Control).settle(&settlement).await?;
        self.tell(|| format!("control: settles the suspect {hold} at {charge}: {outcome:?}"));
        if is_slab(hold) {
            self.see_slab_settled(tenant, hold, charge, outcome, now).await?;
        } else {
            self.truth.see_settle(tenant, hold, charge, outcome, (now, now))?;
        }
        if let (SettleOutcome::Settled | SettleOutcome::UnknownHold, Some(event)) =
            (outcome, &settlement.event)
        {
            // at once, as the job does: a failover may lose the outbox, and no pod has this one
            self.journal(event)?;
        }
        self.control.orphans.insert(hold);
        self.figures.suspects += 1;
        Ok(())
    }

    /// Notes what a dead pod held, at the moment that its connection breaks.
    pub(super) async fn note_dead(&mut self, node: NodeId) -> Checked {
        self.control.dead.insert(node);
        let ledger = self.backend.ledger(Caller::Control);
        for tenant in self.tenants.clone() {
            let mut cursor: Option<String> = None;
            for _ in 0..MAX_ROUNDS {
                let page = ledger.list_holds(tenant.id, cursor.as_deref(), MAX_PAGE).await?;
                let of_pod = page.holds.iter().filter(|hold| hold.node == node);
                for view in of_pod {
                    let hold = self.open_hold(tenant.id, view);
                    self.control.noted.insert(view.hold, hold);
                }
                cursor = page.next;
                if cursor.is_none() {
                    break;
                }
            }
        }
        Ok(())
    }

    fn open_hold(&self, tenant: TenantId, view: &HoldView) -> OpenHold {
        OpenHold {
            tenant,
            hold: view.hold,
            key: view.key,
            node: view.node,
            amount: view.amount,
            wallet: view.wallet,
            budgets: view.budgets.clone(),
            admitted_at: Some(view.admitted_at),
            lease_ms: 1,
            progress: view.progress,
            // A list of holds does not tell it; a control plane would have to ask for the suspects.
            memo: self.memos.get(&view.hold).cloned().unwrap_or_else(|| view.memo.clone()),
            slab: None,
        }
    }

    // --- seeds and reseeds ---

    /// Tells what the journal knows of periods that the ledger does not know.
    async fn seed_cold(&mut self) -> Checked {
        let Some(id) = self.control.to_seed.pop_first() else { return Ok(()) };
        if self.truth.standing(id) != Standing::Live {
            self.control.to_reseed.insert(id);
            return Ok(());
        }
        let Some(tenant) = self.tenants.iter().find(|tenant| tenant.id == id) else { return Ok(()) };
        let counters = self.counters(tenant, &[]);
        let seed = Seed {
            tenant: id,
            wallet_limit: NanoUsd(tenant.wallet_limit),
            wallet_version: tenant.wallet_version,
            wallet_settled: NanoUsd(self.control.sum(Node::Wallet(id))),
            counters,
        };
        self.backend.remember(|| Write::Seed(seed.clone()));
        self.backend.ledger(Caller::Control).seed(&seed).await?;
        self.tell(|| format!("control: seeds {id}"));
        Ok(())
    }

    /// The journal's sums of every budget around now, and of every period that one of the holds is in.
    fn counters(&self, tenant: &Tenant, holds: &[OpenHold]) -> Vec<SeedCounter> {
        let now = self.backend.now();
        let mut periods: BTreeSet<(tollgate_domain::BudgetId, i64)> = BTreeSet::new();
        for budget in tenant.budgets() {
            periods.extend(budget.starts_around(now).into_iter().map(|start| (budget.id, start)));
        }
        let held = holds.iter().flat_map(|hold| &hold.budgets);
        periods.extend(held.map(|held| (held.budget, held.period_starts_at.0)));
        let counter = |(budget, starts_at): (tollgate_domain::BudgetId, i64)| SeedCounter {
            budget,
            period_starts_at: UnixMillis(starts_at),
            settled: NanoUsd(self.control.sum(Node::Budget(budget, starts_at))),
        };
        periods.into_iter().map(counter).collect()
    }

    /// One stage of a worker's reseed, or the begin of one.
    pub(super) async fn advance_job(&mut self, worker: usize) -> Checked {
        match self.control.jobs[worker].take() {
            None => self.begin_job(worker).await,
            Some(Job::Gather { tenant, expected }) => {
                self.gather(worker, tenant, expected);
                Ok(())
            }
            Some(Job::Drain { tenant, expected, reports }) => {
                self.drain(worker, tenant, expected, reports).await
            }
            Some(Job::Write(tenant, reseed)) => self.write(tenant, &reseed).await,
        }
    }

    /// Closes a tenant that waits, or now and then one that does not: the nightly drill.
    async fn begin_job(&mut self, worker: usize) -> Checked {
        let is_drill = !self.is_draining && self.random.per_mille(40);
        let waiting: Vec<TenantId> = self.control.to_reseed.iter().copied().collect();
        let id = match waiting.get(self.random.below(waiting.len())) {
            Some(id) => *id,
            None if is_drill => self.tenants[self.random.below(self.tenants.len())].id,
            None => return Ok(()),
        };
        let Some(tenant) = self.tenants.iter().position(|tenant| tenant.id == id) else { return Ok(()) };
        if self.truth.standing(id) == Standing::Live && !is_drill {
            // Somebody was faster.
            self.control.to_reseed.remove(&id);
            return Ok(());
        }
        self.backend.remember(|| Write::Fence(id));
        let epochs = self.backend.ledger(Caller::Control).fence(&[id]).await?;
        let Some(expected) = epochs.into_iter().next() else { return violation("a fence has no epoch") };
        self.truth.see_fence(id, &expected)?;
        self.control.to_reseed.insert(id);
        self.tell(|| format!("control {worker}: closes {id} under {expected}"));
        self.control.jobs[worker] = Some(Job::Gather { tenant, expected });
        Ok(())
    }

    /// Every living pod must answer: what it has open is known to nobody else.
    fn gather(&mut self, worker: usize, tenant: usize, expected: Epoch) {
        if self.pods.iter().any(|pod| pod.is_cut_from_control) {
            self.control.jobs[worker] = Some(Job::Gather { tenant, expected });
            return;
        }
        let id = self.tenants[tenant].id;
        let reports = (0..self.pods.len()).map(|pod| self.report_of(pod, id)).collect();
        self.tell(|| format!("control {worker}: has all reports of {id}"));
        self.control.jobs[worker] = Some(Job::Drain { tenant, expected, reports });
    }

    /// Everything that was settled must be in the journal before its sums are read.
    async fn drain(
        &mut self,
        worker: usize,
        tenant: usize,
        expected: Epoch,
        reports: Vec<OpenReport>,
    ) -> Checked {
        self.ingest().await?;
        if self.backend.ledger(Caller::Control).outbox_len().await? > 0 {
            self.control.jobs[worker] = Some(Job::Drain { tenant, expected, reports });
            return Ok(());
        }
        for unjournaled in reports.iter().flat_map(|report| &report.events) {
            self.journal(&unjournaled.event)?;
        }
        let reseed = self.reseed(tenant, expected, &reports);
        self.control.jobs[worker] = Some(Job::Write(tenant, Box::new(reseed)));
        Ok(())
    }

    fn reseed(&self, tenant: usize, expected: Epoch, reports: &[OpenReport]) -> Reseed {
        let tenant = &self.tenants[tenant];
        let control = &self.control;
        let noted = control.noted.values().filter(|hold| hold.tenant == tenant.id);
        let reported = reports.iter().flat_map(|report| &report.holds);
        // What a pod told before it died comes last, and counts: it told its slab at what was left of it, beside what
        // it had admitted out of it.
        let known = noted.chain(reported);
        let holds: BTreeMap<HoldId, OpenHold> = known.map(|hold| (hold.hold, hold.clone())).collect();
        let (settled, mut holds): (Vec<_>, Vec<_>) =
            holds.into_values().partition(|hold| control.journal.contains_key(&hold.hold));
        // Its slab has paid for it, which its pod has not heard.
        holds.retain(|hold| hold.slab.is_none_or(|slab| !control.journal.contains_key(&slab)));
        let events = reports.iter().flat_map(|report| &report.events).map(|reported| reported.event.hold);
        let settled: BTreeSet<HoldId> = settled.into_iter().map(|hold| hold.hold).chain(events).collect();
        Reseed {
            tenant: tenant.id,
            above: reports.iter().map(|report| report.highest_epoch).max().unwrap_or(0),
            expected,
            wallet_limit: NanoUsd(tenant.wallet_limit),
            wallet_version: tenant.wallet_version,
            wallet_settled: NanoUsd(control.sum(Node::Wallet(tenant.id))),
            counters: self.counters(tenant, &holds),
            holds,
            settled: settled.into_iter().collect(),
            revoked: Vec::new(),
        }
    }

    async fn write(&mut self, tenant: usize, reseed: &Reseed) -> Checked {
        self.backend.remember(|| Write::Reseed(Box::new(reseed.clone())));
        let outcomes = self.backend.ledger(Caller::Control).reseed(std::slice::from_ref(reseed)).await?;
        let Some(outcome) = outcomes.into_iter().next() else { return violation("a reseed has no answer") };
        self.tell(|| {
            let holds: Vec<_> = reseed.holds.iter().map(|hold| (hold.hold, hold.amount.0)).collect();
            format!("control: reseeds {} with {holds:?}: {outcome:?}", reseed.tenant)
        });
        let now = self.backend.now();
        let provider = &self.provider;
        let is_dispatched = |hold| provider.has_seen(hold);
        let in_slabs = self.in_slabs();
        self.truth.see_reseed(&self.tenants[tenant], reseed, &outcome, is_dispatched, &in_slabs, now)?;
        self.see_slabs().await?;
        if matches!(outcome, tollgate_ledger::ReseedOutcome::Reseeded(_)) {
            self.figures.reseeds += 1;
            self.control.to_reseed.remove(&reseed.tenant);
            self.in_flight.retain(|message| message.tenant != tenant);
            for hold in &reseed.holds {
                self.progress.insert(hold.hold, hold.progress.0);
            }
            // Of the dead this is all that is under way: what was noted while it was gathered and is not in it is gone,
            // and what they had told before they died is known to nobody else.
            self.control.noted.retain(|_, hold| hold.tenant != reseed.tenant);
            let of_dead = reseed.holds.iter().filter(|hold| self.control.dead.contains(&hold.node));
            let noted = of_dead.map(|hold| (hold.hold, OpenHold { slab: None, ..hold.clone() }));
            self.control.noted.extend(noted);
        }
        Ok(())
    }

    /// More credit for a wallet; the same message may come late.
    async fn top_up(&mut self) -> Checked {
        let ledger = self.backend.ledger(Caller::Control);
        let index = self.random.below(self.tenants.len());
        let (credit, is_late) = (self.random.between(0, 2_500), self.random.per_mille(300));
        let tenant = &mut self.tenants[index];
        let (limit, version) = if is_late {
            (1, tenant.wallet_version)
        } else {
            (tenant.wallet_limit + credit, tenant.wallet_version + 1)
        };
        if !is_late {
            (tenant.wallet_limit, tenant.wallet_version) = (limit, version);
        }
        let id = tenant.id;
        self.tell(|| format!("control: sets the wallet of {id} to {limit} (version {version})"));
        // What is lost has no wallet that a late message could be compared with.
        if is_late && self.truth.standing(id) == Standing::Lost {
            return Ok(());
        }
        self.backend.remember(|| Write::WalletLimit(id, NanoUsd(limit), version));
        ledger.set_wallet_limit(id, NanoUsd(limit), version).await?;
        Ok(())
    }

    /// The first seeds of all tenants.
    pub(super) async fn seed_all(&mut self) -> Checked {
        for tenant in self.tenants.clone() {
            self.truth.set_standing(tenant.id, Standing::Live);
            self.control.to_seed.insert(tenant.id);
            self.seed_cold().await?;
        }
        Ok(())
    }
}
