//! What goes wrong, besides calls: partitions, deaths, clocks, and the loss of the ledger.

use tollgate_domain::NodeId;

use super::Simulation;
use super::failure::{Checked, Failure};
use super::pod::{Call, Pod};
use super::world::WINDOW_MS;

/// How far behind a replica can be, in writes.
const MAX_LAG: i64 = 120;
/// How far the clock of the ledger's server jumps forwards, and back.
const MAX_JUMP_MS: i64 = 25 * 60_000;
const MAX_STEP_BACK_MS: i64 = 5 * 60_000;

impl Simulation {
    /// One fault, or the end of one.
    pub(super) async fn step_fault(&mut self) -> Checked {
        let pod = self.random.below(self.pods.len());
        match self.random.weighted(&[10, 8, 6, 8, 1, 1, 3]) {
            0 => {
                let is_cut = !self.pods[pod].is_cut_from_ledger && self.random.per_mille(400);
                self.pods[pod].is_cut_from_ledger = is_cut;
                self.tell(|| format!("fault: pod {pod} is cut from the ledger: {is_cut}"));
            }
            1 => {
                let is_cut = !self.pods[pod].is_cut_from_control && self.random.per_mille(400);
                self.pods[pod].is_cut_from_control = is_cut;
                self.tell(|| format!("fault: pod {pod} is cut from the control plane: {is_cut}"));
            }
            2 => self.kill(pod).await?,
            3 => self.move_clock(),
            4 => self.lose_ledger(false).await?,
            5 => self.lose_ledger(true).await?,
            _ => self.fail_over().await?,
        }
        Ok(())
    }

    /// Some pod's partitions end.
    pub(super) fn heal(&mut self) {
        let cut = |pod: &&mut Pod| pod.is_cut_from_ledger || pod.is_cut_from_control;
        if let Some(pod) = self.pods.iter_mut().find(cut) {
            (pod.is_cut_from_ledger, pod.is_cut_from_control) = (false, false);
            let node = pod.node;
            self.tell(|| format!("fault: all partitions of {node} end"));
        }
    }

    /// SIGKILL: what was on the wire arrives, everything else is gone. The control plane sees the connection break.
    pub(super) async fn kill(&mut self, pod: usize) -> Checked {
        if self.truth.is_any_unrecovered() || self.pods.iter().any(|pod| pod.is_cut_from_control) {
            // The loss of the ledger and of a pod at once is the stated residual.
            return Ok(());
        }
        let (of_pod, others): (Vec<_>, Vec<_>) =
            std::mem::take(&mut self.in_flight).into_iter().partition(|message| message.pod == pod);
        self.in_flight = others;
        for message in of_pod {
            match self.deliver(pod, message.tenant, message.call).await {
                Ok(_) | Err(Failure::NotMade(_)) => {}
                Err(failure) => return Err(failure),
            }
        }
        self.n_nodes += 1;
        let node = NodeId::from_u128((u128::from(self.plan.seed) << 64) | u128::from(self.n_nodes));
        let dead = std::mem::replace(&mut self.pods[pod], Pod::new(node));
        self.tell(|| format!("fault: pod {pod} is killed with {} requests", dead.requests.len()));
        self.figures.kills += 1;
        let settled = dead.requests.into_keys().chain(dead.unjournaled.into_keys());
        self.control.orphans.extend(settled.filter(|hold| self.truth.was_ended(*hold)));
        self.control.orphans.retain(|hold| self.provider.has_seen(*hold));
        self.lose_slabs_of(pod);
        self.backend.replace_pod(pod).await?;
        self.see_slabs().await?;
        self.note_dead(dead.node).await
    }

    /// The clock of the ledger's server jumps: over the ends of leases, and back over the start of a period, but not
    /// two periods back, which are forgotten by then.
    fn move_clock(&mut self) {
        let ms = if self.random.per_mille(600) {
            self.random.between(0, MAX_JUMP_MS)
        } else {
            let now = self.backend.now();
            let earliest = self.latest.plus_ms(-(WINDOW_MS / 4));
            -self.random.between(0, MAX_STEP_BACK_MS).min(now.since(earliest).max(0))
        };
        if !self.backend.has_manual_time() {
            return;
        }
        self.backend.advance_ms(ms);
        self.latest = self.latest.max(self.backend.now());
        self.figures.clock_jumps += 1;
        self.tell(|| format!("fault: the ledger's clock jumps by {ms} ms"));
    }

    async fn lose_ledger(&mut self, by_restart: bool) -> Checked {
        if !self.control.can_lose_ledger() {
            return Ok(());
        }
        self.tell(|| format!("fault: the ledger loses everything (restart: {by_restart})"));
        self.backend.lose_everything(by_restart).await?;
        self.figures.losses += 1;
        self.after_loss();
        Ok(())
    }

    async fn fail_over(&mut self) -> Checked {
        // In process a replica repeats the pods' calls, which do not tell what they did to slabs: real servers do.
        let has_no_replica = self.plan.ledger.has_slabs() && self.backend.has_manual_time();
        if has_no_replica || !self.control.can_lose_ledger() {
            return Ok(());
        }
        let lag = usize::try_from(self.random.between(0, MAX_LAG)).unwrap_or(0);
        let tenants: Vec<_> = self.tenants.iter().map(|tenant| tenant.id).collect();
        if !self.backend.fail_over(lag, &tenants).await? {
            self.tell(|| "fault: the replica has a copy and falls behind".to_owned());
            return Ok(());
        }
        self.tell(|| format!("fault: a replica takes over that is behind (in process: {lag} writes)"));
        self.figures.failovers += 1;
        self.after_loss();
        Ok(())
    }

    /// Connections break with the server: what was on the wire is gone.
    fn after_loss(&mut self) {
        self.truth.lose_all();
        self.in_flight.clear();
        if self.backend.has_manual_time() {
            // In process the numbers of epochs begin anew, which no other server's do.
            self.control.drop_jobs();
        }
    }

    /// Copies of calls that arrive now.
    pub(super) async fn deliver_late(&mut self) -> Checked {
        let step = self.step;
        let (due, later): (Vec<_>, Vec<_>) =
            std::mem::take(&mut self.in_flight).into_iter().partition(|message| message.due_step <= step);
        self.in_flight = later;
        for message in due {
            // A connection that is silent for minutes is given up, and what it carried with it.
            let is_admission = matches!(message.call, Call::Admit(_));
            if is_admission && self.latest.since(message.sent_at) > super::MAX_DELAY_MS {
                continue;
            }
            self.tell(|| format!("late: pod {}", message.pod));
            match self.deliver(message.pod, message.tenant, message.call).await {
                Ok(_) | Err(Failure::NotMade(_)) => {}
                Err(failure) => return Err(failure),
            }
        }
        Ok(())
    }
}
