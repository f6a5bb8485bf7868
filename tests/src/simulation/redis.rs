//! Two real Redis servers behind one address: every pod has a client of its own, and the second server takes over as
//! a copy of what the first was some time ago.

use std::net::{Ipv4Addr, SocketAddr};
use std::time::{Duration, SystemTime};

use tollgate_domain::{Secret, UnixMillis};
use tollgate_ledger::{Ledger, RedisConfig};
use tollgate_testkit::fault_proxy::{FaultMode, FaultProxy};
use tollgate_testkit::redis::RedisServer;
use tollgate_testkit::wait::eventually;

use super::backend::{Caller, with_slabs};
use super::failure::Checked;

/// Far above any pause of a loaded machine: deadlines are not what is tested.
const PATIENT_TIMEOUT_MS: u64 = 10_000;
/// So soon an event whose acknowledgement was lost comes again: time is real here.
const REDELIVERY_MS: u64 = 20;

/// How long a copy may take.
const COPY_TIMEOUT: Duration = Duration::from_secs(20);

pub(super) struct RedisBackend {
    /// The way of the control plane.
    proxy: FaultProxy,
    /// The one that all ways lead to.
    master: RedisServer,
    replica: RedisServer,
    /// Whether the replica has a copy of the master that is getting old.
    has_copy: bool,
    control: Ledger,
    pods: Vec<PodClient>,
    has_slabs: bool,
}

/// A pod's client and its way to the server.
struct PodClient {
    ledger: Ledger,
    proxy: FaultProxy,
}

impl RedisBackend {
    pub(super) async fn start(n_pods: usize, has_slabs: bool) -> Checked<Self> {
        let (master, replica) = (RedisServer::start().await?, RedisServer::start().await?);
        // A server takes a new replication id when a replica comes for the first time, which is part of its run.
        copy(&master, &replica).await?;
        let proxy = FaultProxy::start(address(&master)).await?;
        let control = connect(&proxy).await?;
        let mut pods = Vec::new();
        for _ in 0..n_pods {
            pods.push(pod_client(&master, has_slabs).await?);
        }
        Ok(Self { proxy, master, replica, has_copy: false, control, pods, has_slabs })
    }

    pub(super) fn ledger(&self, caller: Caller) -> Ledger {
        match caller {
            Caller::Control => self.control.clone(),
            Caller::Pod(pod) => self.pods[pod].ledger.clone(),
        }
    }

    pub(super) fn now(&self) -> UnixMillis {
        let since_epoch = SystemTime::UNIX_EPOCH.elapsed().unwrap_or_default();
        UnixMillis(i64::try_from(since_epoch.as_millis()).unwrap_or(i64::MAX))
    }

    /// A pod died: the next one in its place knows nothing.
    pub(super) async fn replace_pod(&mut self, pod: usize) -> Checked {
        self.pods[pod] = pod_client(&self.master, self.has_slabs).await?;
        Ok(())
    }

    /// A pod's connections break, and it gets no new ones until it is mended.
    pub(super) async fn sever(&self, pod: usize) -> Checked {
        let proxy = &self.pods[pod].proxy;
        proxy.set_mode(FaultMode::Refuse);
        proxy.cut().await?;
        Ok(())
    }

    pub(super) fn mend(&self, pod: usize) {
        self.pods[pod].proxy.set_mode(FaultMode::Pass);
    }

    pub(super) async fn lose_everything(&mut self, by_restart: bool) -> Checked {
        if by_restart {
            self.master.stop().await?;
            self.master.start_again().await?;
            copy(&self.master, &self.replica).await?;
            self.has_copy = false;
        } else {
            self.master.flush_all().await?;
        }
        Ok(())
    }

    /// The replica copies the master, or, where it did that some time ago, takes its place: it lacks what was written
    /// since. Answers whether it took over.
    pub(super) async fn fail_over(&mut self) -> Checked<bool> {
        self.has_copy = !self.has_copy;
        if self.has_copy {
            copy(&self.master, &self.replica).await?;
            return Ok(false);
        }
        std::mem::swap(&mut self.master, &mut self.replica);
        for proxy in self.pods.iter().map(|pod| &pod.proxy).chain([&self.proxy]) {
            proxy.set_upstream(address(&self.master));
            proxy.cut().await?;
        }
        Ok(true)
    }
}

/// The replica gets what the master has, and nothing of what follows.
async fn copy(master: &RedisServer, replica: &RedisServer) -> Checked {
    master.cli(&["CONFIG", "SET", "repl-diskless-sync-delay", "0"]).await?;
    let port = master.port().to_string();
    replica.cli(&["REPLICAOF", "127.0.0.1", &port]).await?;
    eventually(COPY_TIMEOUT, "the replica to have a copy", async || {
        let info = replica.cli(&["INFO", "replication"]).await.unwrap_or_default();
        info.contains("master_link_status:up").then_some(())
    })
    .await?;
    replica.cli(&["REPLICAOF", "NO", "ONE"]).await?;
    Ok(())
}

async fn pod_client(master: &RedisServer, has_slabs: bool) -> Checked<PodClient> {
    let proxy = FaultProxy::start(address(master)).await?;
    let ledger = connect(&proxy).await?;
    let ledger = if has_slabs { with_slabs(&ledger) } else { ledger };
    Ok(PodClient { ledger, proxy })
}

fn address(server: &RedisServer) -> SocketAddr {
    SocketAddr::from((Ipv4Addr::LOCALHOST, server.port()))
}

async fn connect(proxy: &FaultProxy) -> Checked<Ledger> {
    let mut config = RedisConfig::new(Secret::new(format!("redis://{}", proxy.address())));
    config.response_timeout_ms = PATIENT_TIMEOUT_MS;
    config.connect_timeout_ms = PATIENT_TIMEOUT_MS;
    config.outbox_redelivery_ms = REDELIVERY_MS;
    Ok(Ledger::redis(&config).await?)
}
