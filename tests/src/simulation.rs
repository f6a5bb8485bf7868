//! The fault simulation of the ledger: many pods, a control plane and a provider over a real ledger, with
//! everything that can go wrong between them, all of it chosen by one seed.
//!
//! After every step the ledger must hold exactly what somebody who has seen every call would write down
//! (`truth`), `settled + held ≤ limit` must be so on every enforced level, and the provider's own bill must be
//! within every limit. After a quiet end nothing is held and the journal has every dispatched request once.
//!
//! Reading order: `world` who spends, `request` and `pod` what pods do, `control` what repairs it,
//! `faults` what goes wrong, `truth` what must be so, `backend` the ledger under test.

mod backend;
mod checks;
mod control;
mod failure;
mod faults;
mod pod;
mod provider;
mod random;
mod redis;
mod request;
mod slabs;
mod truth;
mod world;

use std::collections::{BTreeMap, VecDeque};
use std::fmt;

use tollgate_domain::{HoldId, NodeId, UnixMillis};

use backend::Backend;
use control::Control;
use failure::{Checked, Failure};
use pod::{Message, Pod};
use provider::Provider;
use random::Random;
use redis::RedisBackend;
use slabs::SlabBook;
use truth::Truth;
use world::Tenant;

/// Lines that are usually shown of a run that fails.
pub const SHOWN_LINES: usize = 30;
/// A copy of a call that was on its way for longer does not arrive: half of how long a settlement is remembered.
const MAX_DELAY_MS: i64 = 300_000;
/// How often a partition ends: after some dozens of steps.
const HEALED_PER_MILLE: u64 = 30;
/// How much time passes in one step at most.
const MAX_STEP_MS: i64 = 3_000;

/// Which ledger is put to the test.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LedgerKind {
    /// The one in process, with manual time: the same seed does the same, always.
    Memory,
    /// The one in Redis, on a server of its own, with real time: the same seed does the same calls.
    Redis,
    /// The one in process, each pod behind slabs of its own.
    MemorySlabs,
    /// The one in Redis, each pod behind slabs of its own.
    RedisSlabs,
}

impl LedgerKind {
    /// Whether pods admit out of slabs.
    #[must_use]
    pub const fn has_slabs(self) -> bool {
        matches!(self, Self::MemorySlabs | Self::RedisSlabs)
    }
}

/// One run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Plan {
    /// Everything follows from it.
    pub seed: u64,
    /// Steps before the quiet end.
    pub n_steps: u32,
    /// Gateways.
    pub n_pods: usize,
    /// The ledger.
    pub ledger: LedgerKind,
    /// Of a run that fails, so many of the last lines are shown.
    pub n_shown_lines: usize,
}

/// What happened in a run, or in several.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Figures {
    /// Steps.
    pub steps: u64,
    /// Requests that got their money.
    pub admitted: u64,
    /// Of these, out of a slab.
    pub admitted_locally: u64,
    /// Requests that were refused for money.
    pub refused: u64,
    /// Holds that grew.
    pub grown: u64,
    /// Settlements that pods heard of.
    pub settled: u64,
    /// Holds of dead or silent pods that the control plane settled.
    pub suspects: u64,
    /// Events in the journal.
    pub journaled: u64,
    /// Events that came to the journal once more.
    pub journaled_again: u64,
    /// Tenants written anew.
    pub reseeds: u64,
    /// Pods killed.
    pub kills: u64,
    /// Times that everything was lost.
    pub losses: u64,
    /// Times that a copy of the past took over.
    pub failovers: u64,
    /// Times that the server's clock jumped.
    pub clock_jumps: u64,
}

/// A run that failed: printed, it says how to repeat it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FailedRun {
    /// The run.
    pub plan: Plan,
    /// At which step.
    pub step: u32,
    /// What is wrong.
    pub reason: String,
    /// Whether the ledger is wrong; otherwise the simulation could not go on.
    pub is_violation: bool,
    /// The last steps before.
    pub last_steps: Vec<String>,
}

impl fmt::Display for FailedRun {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for line in &self.last_steps {
            writeln!(f, "{line}")?;
        }
        let kind = if self.is_violation { "violation" } else { "broken off" };
        write!(
            f,
            "seed {} step {} ({:?}): {kind}: {}",
            self.plan.seed, self.step, self.plan.ledger, self.reason
        )
    }
}

impl std::error::Error for FailedRun {}

impl fmt::Display for Figures {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let lines = [
            ("steps", self.steps),
            ("requests admitted", self.admitted),
            ("of these out of slabs", self.admitted_locally),
            ("requests refused for money", self.refused),
            ("holds grown", self.grown),
            ("settlements", self.settled),
            ("suspects settled", self.suspects),
            ("events journaled", self.journaled),
            ("events told again", self.journaled_again),
            ("tenants reseeded", self.reseeds),
            ("pods killed", self.kills),
            ("ledgers lost", self.losses),
            ("failovers to the past", self.failovers),
            ("clock jumps", self.clock_jumps),
        ];
        lines.iter().try_for_each(|(name, figure)| writeln!(f, "  {figure:>9} {name}"))
    }
}

pub(crate) struct Simulation {
    plan: Plan,
    random: Random,
    backend: Backend,
    tenants: Vec<Tenant>,
    pods: Vec<Pod>,
    control: Control,
    provider: Provider,
    truth: Truth,
    /// What the ledger must know of how far each request is.
    progress: BTreeMap<HoldId, i64>,
    memos: BTreeMap<HoldId, Vec<u8>>,
    in_flight: Vec<Message>,
    slab_book: SlabBook,
    step: u32,
    /// The latest that the ledger's clock ever read.
    latest: UnixMillis,
    n_requests: u64,
    n_nodes: u64,
    is_draining: bool,
    trace: VecDeque<String>,
    figures: Figures,
}

/// Runs one plan to its end.
///
/// # Errors
/// The first step at which the ledger, or the provider's bill, was not as it must be.
pub async fn run(plan: Plan) -> Result<Figures, Box<FailedRun>> {
    let mut simulation = match Simulation::new(plan).await {
        Ok(simulation) => simulation,
        Err(failure) => return Err(failed(plan, 0, failure, Vec::new())),
    };
    match simulation.run().await {
        Ok(()) => Ok(simulation.figures),
        Err(failure) => Err(failed(plan, simulation.step, failure, simulation.trace.into())),
    }
}

fn failed(plan: Plan, step: u32, failure: Failure, last_steps: Vec<String>) -> Box<FailedRun> {
    let (reason, is_violation) = match failure {
        Failure::Violation(reason) => (reason, true),
        Failure::Broken(error) => (format!("{error:#}"), false),
        Failure::NotMade(reason) => (reason, false),
    };
    Box::new(FailedRun { plan, step, reason, is_violation, last_steps })
}

impl Simulation {
    async fn new(plan: Plan) -> Checked<Self> {
        let mut random = Random::new(plan.seed);
        let backend = match plan.ledger {
            LedgerKind::Memory | LedgerKind::MemorySlabs => {
                Backend::memory(plan.n_pods, plan.ledger.has_slabs())
            }
            LedgerKind::Redis | LedgerKind::RedisSlabs => {
                Backend::Redis(Box::new(RedisBackend::start(plan.n_pods, plan.ledger.has_slabs()).await?))
            }
        };
        let node = |index: usize| NodeId::from_u128((u128::from(plan.seed) << 64) | (index as u128 + 1));
        let mut simulation = Self {
            tenants: world::tenants(plan.seed, &mut random),
            pods: (0..plan.n_pods).map(|index| Pod::new(node(index))).collect(),
            control: Control::default(),
            provider: Provider::default(),
            truth: Truth::default(),
            progress: BTreeMap::new(),
            memos: BTreeMap::new(),
            in_flight: Vec::new(),
            slab_book: SlabBook::default(),
            step: 0,
            latest: backend.now(),
            n_requests: 0,
            n_nodes: plan.n_pods as u64,
            is_draining: false,
            trace: VecDeque::new(),
            figures: Figures::default(),
            plan,
            random,
            backend,
        };
        simulation.seed_all().await?;
        Ok(simulation)
    }

    async fn run(&mut self) -> Checked {
        while self.step < self.plan.n_steps {
            self.step += 1;
            self.figures.steps += 1;
            let passed_ms = self.random.between(0, MAX_STEP_MS);
            self.backend.advance_ms(passed_ms);
            self.latest = self.latest.max(self.backend.now());
            self.deliver_late().await?;
            if self.random.per_mille(HEALED_PER_MILLE) {
                self.heal();
            }
            match self.random.weighted(&[590, 385, 25]) {
                0 => self.step_pod().await?,
                1 => self.step_control().await?,
                _ => self.step_fault().await?,
            }
            self.check().await?;
        }
        self.come_to_rest().await
    }

    /// Notes what happens, for a run that fails.
    fn tell(&mut self, line: impl FnOnce() -> String) {
        if self.trace.len() >= self.plan.n_shown_lines {
            self.trace.pop_front();
        }
        self.trace.push_back(format!("step {}: {}", self.step, line()));
    }
}

impl Figures {
    /// The sums of both.
    #[must_use]
    pub fn plus(self, other: Self) -> Self {
        Self {
            steps: self.steps + other.steps,
            admitted: self.admitted + other.admitted,
            admitted_locally: self.admitted_locally + other.admitted_locally,
            refused: self.refused + other.refused,
            grown: self.grown + other.grown,
            settled: self.settled + other.settled,
            suspects: self.suspects + other.suspects,
            journaled: self.journaled + other.journaled,
            journaled_again: self.journaled_again + other.journaled_again,
            reseeds: self.reseeds + other.reseeds,
            kills: self.kills + other.kills,
            losses: self.losses + other.losses,
            failovers: self.failovers + other.failovers,
            clock_jumps: self.clock_jumps + other.clock_jumps,
        }
    }
}
