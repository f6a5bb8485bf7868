//! What is asserted: after every step, and after a quiet end.

use std::collections::{BTreeMap, BTreeSet};

use tollgate_domain::{BudgetId, HoldId};
use tollgate_ledger::{Balance, Balances, BudgetCheck};

use super::Simulation;
use super::backend::Caller;
use super::control::N_WORKERS;
use super::failure::{Checked, violation};
use super::truth::Standing;
use super::world::{Node, Tenant};

/// After so many rounds without faults everything must have come to rest.
const MAX_ROUNDS: usize = 400;
/// How much time a round of the end takes: redeliveries and suspects come due.
const ROUND_MS: i64 = 60_000;

impl Simulation {
    /// The promise, and that the ledger has what it must have.
    pub(super) async fn check(&mut self) -> Checked {
        self.check_bill()?;
        for index in 0..self.tenants.len() {
            if self.truth.standing(self.tenants[index].id) == Standing::Live {
                self.check_tenant(&self.tenants[index]).await?;
            }
        }
        Ok(())
    }

    /// The provider's own bill is within every limit.
    fn check_bill(&self) -> Checked {
        let tenants: BTreeMap<_, _> = self.tenants.iter().map(|tenant| (tenant.id, tenant)).collect();
        let budgets: BTreeMap<BudgetId, &Tenant> = self
            .tenants
            .iter()
            .flat_map(|tenant| tenant.budgets().into_iter().map(move |budget| (budget.id, tenant)))
            .collect();
        for (node, billed) in self.provider.billed() {
            let tenant = match node {
                Node::Wallet(tenant) => tenants.get(&tenant),
                Node::Budget(budget, _) => budgets.get(&budget),
            };
            let Some(tenant) = tenant.filter(|tenant| tenant.is_enforced(node)) else { continue };
            let limit = tenant.limit(node);
            if billed > i128::from(limit) {
                return violation(format!("the provider bills {billed} at {node:?}, the limit is {limit}"));
            }
        }
        Ok(())
    }

    async fn check_tenant(&self, tenant: &Tenant) -> Checked {
        let budgets = self.checked_budgets(tenant);
        let checks: Vec<BudgetCheck> = budgets.iter().map(|(_, check)| *check).collect();
        let ledger = self.backend.ledger(Caller::Control);
        let balances = ledger.balances(tenant.id, true, &checks).await?;
        let Some(wallet) = balances.wallet else {
            return violation(format!("the wallet of {} is not known", tenant.id));
        };
        self.check_node(tenant, Node::Wallet(tenant.id), wallet)?;
        for ((node, check), balance) in budgets.iter().zip(&balances.budgets) {
            if balances.is_cold {
                let alone: Balances = ledger.balances(tenant.id, false, &[*check]).await?;
                if alone.is_cold && self.truth.held_at(*node) == 0 {
                    // Not known, so that nothing can be admitted there before it is seeded.
                    continue;
                }
            }
            self.check_node(tenant, *node, *balance)?;
        }
        Ok(())
    }

    /// Every budget in its present period, and in those in which something is held.
    fn checked_budgets(&self, tenant: &Tenant) -> Vec<(Node, BudgetCheck)> {
        let now = self.backend.now();
        let mut nodes: BTreeSet<Node> = BTreeSet::new();
        for budget in tenant.budgets() {
            let starts = budget.starts_around(now).into_iter().take(1);
            nodes.extend(starts.map(|start| Node::Budget(budget.id, start)));
        }
        let of_tenant = self.truth.open.values().filter(|hold| hold.tenant == tenant.id);
        nodes.extend(of_tenant.flat_map(|hold| hold.nodes.iter().copied()));
        let check = |node: Node| match node {
            Node::Wallet(_) => None,
            Node::Budget(id, start) => Some((node, tenant.budget(id)?.check_of(start))),
        };
        nodes.into_iter().filter_map(check).collect()
    }

    fn check_node(&self, tenant: &Tenant, node: Node, balance: Balance) -> Checked {
        let (settled, held) = (i128::from(balance.settled.0), i128::from(balance.held.0));
        let (true_settled, true_held) = (self.truth.settled_at(node), self.truth.held_at(node));
        let limit = i128::from(tenant.limit(node));
        if tenant.is_enforced(node) && settled + held > limit {
            return violation(format!("settled {settled} + held {held} > limit {limit} at {node:?}"));
        }
        if (settled, held) != (true_settled, true_held) || i128::from(balance.limit.0) != limit {
            return violation(format!(
                "{node:?} has {balance:?}, it should have the limit {limit}, settled {true_settled}, held {true_held}"
            ));
        }
        Ok(())
    }

    // --- the end ---

    /// No faults any more: everything must come to rest, and add up.
    pub(super) async fn come_to_rest(&mut self) -> Checked {
        self.is_draining = true;
        self.in_flight.clear();
        for pod in &mut self.pods {
            (pod.is_cut_from_ledger, pod.is_cut_from_control) = (false, false);
        }
        let all: Vec<_> = self.tenants.iter().map(|tenant| tenant.id).collect();
        self.control.to_reseed.extend(&all);
        for _ in 0..MAX_ROUNDS {
            self.step += 1;
            self.backend.advance_ms(ROUND_MS);
            for _ in 0..10 * self.pods.len() {
                self.step_pod().await?;
            }
            let pods_rest = self.pods.iter().all(|pod| pod.requests.is_empty());
            self.return_slabs().await?;
            self.settle_suspects(pods_rest).await?;
            for worker in 0..N_WORKERS {
                self.advance_job(worker).await?;
            }
            while self.ingest().await? > 0 {}
            self.check().await?;
            let outbox_len = self.backend.ledger(Caller::Control).outbox_len().await?;
            let rests = pods_rest && self.truth.open.is_empty() && self.has_no_slabs() && outbox_len == 0;
            if rests && self.truth.all_live() && self.control.to_reseed.is_empty() {
                return self.check_end();
            }
        }
        violation(format!(
            "does not come to rest: {} holds are open, tenants wait for a reseed: {:?}",
            self.truth.open.len(),
            self.control.to_reseed
        ))
    }

    /// Every dispatched request has one entry in the journal that covers what it cost; nothing else has one, but for
    /// holds of which nobody could tell whether they were dispatched.
    fn check_end(&self) -> Checked {
        let served: BTreeMap<HoldId, i64> = self.provider.served().collect();
        self.check_paid_by_slabs(&served)?;
        for (hold, cost) in served.iter().filter(|(hold, _)| !self.truth.paid_by.contains_key(*hold)) {
            match self.control.journal.get(hold) {
                None => return violation(format!("the dispatched request {hold} is not in the journal")),
                Some(row) if row.cost < *cost => {
                    return violation(format!("{hold} cost {cost}, the journal says {}", row.cost));
                }
                Some(row) if row.cost != *cost && !row.is_estimated => {
                    return violation(format!("{hold} cost {cost}, the journal says {}", row.cost));
                }
                Some(_) => {}
            }
        }
        let extra =
            self.control.journal.iter().find(|(hold, row)| !served.contains_key(*hold) && !row.is_estimated);
        if let Some((hold, row)) = extra {
            return violation(format!("{hold} was never dispatched, the journal says {}", row.cost));
        }
        let nodes: BTreeSet<Node> = self.truth.nodes.values().flatten().copied().collect();
        for node in nodes {
            let (journaled, settled) = (i128::from(self.control.sum(node)), self.truth.settled_at(node));
            if journaled != settled {
                return violation(format!("the journal has {journaled} at {node:?}, {settled} was settled"));
            }
        }
        Ok(())
    }
}
