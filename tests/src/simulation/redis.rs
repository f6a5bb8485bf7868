//! A real Redis, which every pod reaches through a client of its own.

use std::time::SystemTime;

use tollgate_domain::{Secret, UnixMillis};
use tollgate_ledger::{Ledger, RedisConfig};
use tollgate_testkit::redis::RedisServer;

use super::backend::Caller;
use super::failure::Checked;

/// Far above any pause of a loaded machine: deadlines are not what is tested.
const PATIENT_TIMEOUT_MS: u64 = 10_000;
/// So soon an event whose acknowledgement was lost comes again: time is real here.
const REDELIVERY_MS: u64 = 20;

pub(super) struct RedisBackend {
    server: RedisServer,
    control: Ledger,
    pods: Vec<Ledger>,
}

impl RedisBackend {
    pub(super) async fn start(n_pods: usize) -> Checked<Self> {
        let server = RedisServer::start().await?;
        let control = connect(&server.url()).await?;
        let mut pods = Vec::new();
        for _ in 0..n_pods {
            pods.push(connect(&server.url()).await?);
        }
        Ok(Self { server, control, pods })
    }

    pub(super) fn ledger(&self, caller: Caller) -> Ledger {
        match caller {
            Caller::Control => self.control.clone(),
            Caller::Pod(pod) => self.pods[pod].clone(),
        }
    }

    pub(super) fn now(&self) -> UnixMillis {
        let since_epoch = SystemTime::UNIX_EPOCH.elapsed().unwrap_or_default();
        UnixMillis(i64::try_from(since_epoch.as_millis()).unwrap_or(i64::MAX))
    }

    /// A pod died: the next one in its place knows nothing.
    pub(super) async fn replace_pod(&mut self, pod: usize) -> Checked {
        self.pods[pod] = connect(&self.server.url()).await?;
        Ok(())
    }

    pub(super) async fn lose_everything(&mut self, by_restart: bool) -> Checked {
        if by_restart {
            self.server.stop().await?;
            self.server.start_again().await?;
        } else {
            self.server.flush_all().await?;
        }
        Ok(())
    }

    pub(super) async fn fail_over(&mut self) -> Checked {
        self.lose_everything(true).await
    }
}

async fn connect(url: &str) -> Checked<Ledger> {
    let mut config = RedisConfig::new(Secret::new(url));
    config.response_timeout_ms = PATIENT_TIMEOUT_MS;
    config.connect_timeout_ms = PATIENT_TIMEOUT_MS;
    config.outbox_redelivery_ms = REDELIVERY_MS;
    Ok(Ledger::redis(&config).await?)
}
