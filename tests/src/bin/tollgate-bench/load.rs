//! Load: closed loop for throughput and CPU, open loop for latency.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context as _, anyhow};
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::{MissedTickBehavior, interval};

use crate::client::{AnswerShape, Connection};

/// Requests per second of the latency measurement: far from saturation for every target.
pub(crate) const LATENCY_RATE: u64 = 200;
/// Connections opened beforehand for the latency measurement; more are opened when all are busy.
const LATENCY_CONNECTIONS: usize = 8;

/// What a closed loop did.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Throughput {
    /// Answers read to the end, all as expected.
    pub(crate) n_answers: u64,
    /// From the first request to the last answer.
    pub(crate) elapsed: Duration,
}

/// Keeps `n_connections` busy, each with one request at a time, until `duration` is over; every answer
/// must have the expected shape.
pub(crate) async fn closed_loop(
    address: SocketAddr,
    request: Arc<[u8]>,
    expected: AnswerShape,
    n_connections: usize,
    duration: Duration,
) -> anyhow::Result<Throughput> {
    let mut connections = Vec::with_capacity(n_connections);
    for _ in 0..n_connections {
        connections.push(Connection::open(address).await?);
    }
    let started = Instant::now();
    let deadline = started + duration;
    let mut workers = JoinSet::new();
    for mut connection in connections {
        let request = Arc::clone(&request);
        workers.spawn(async move {
            let mut n_answers = 0_u64;
            while Instant::now() < deadline {
                let answer = connection.exchange(&request).await?;
                if answer != expected {
                    return Err(unexpected(answer, expected, &mut connection, &request).await);
                }
                n_answers += 1;
            }
            anyhow::Ok(n_answers)
        });
    }
    let mut n_answers = 0;
    while let Some(worker) = workers.join_next().await {
        n_answers += worker??;
    }
    Ok(Throughput { n_answers, elapsed: started.elapsed() })
}

/// Says what came in place of the expected answer, with the text of the one after it: the measured path
/// keeps no text.
async fn unexpected(
    answer: AnswerShape,
    expected: AnswerShape,
    connection: &mut Connection,
    request: &[u8],
) -> anyhow::Error {
    let mut text = Vec::new();
    let next = connection.exchange_into(request, |bytes| text.extend_from_slice(bytes)).await;
    let text = String::from_utf8_lossy(&text);
    anyhow!("an answer was {answer:?} where {expected:?} was expected; the next was {next:?}: {text}")
}

/// Latencies in microseconds, sorted.
#[derive(Clone, Debug)]
pub(crate) struct Latencies(Vec<u64>);

impl Latencies {
    /// The smallest latency that `percent` of the answers did not exceed.
    pub(crate) fn percentile(&self, percent: usize) -> u64 {
        let rank = (self.0.len() * percent).div_ceil(100).max(1);
        self.0.get(rank - 1).copied().unwrap_or(0)
    }
}

/// Sends [`LATENCY_RATE`] requests a second whatever becomes of the earlier ones, so that a slow answer
/// delays no later request (no coordinated omission). A latency runs from the moment the request was due
/// at this process's clock tick, and includes the wait for a connection when all are busy.
pub(crate) async fn open_loop(
    address: SocketAddr,
    request: Arc<[u8]>,
    expected: AnswerShape,
    duration: Duration,
) -> anyhow::Result<Latencies> {
    let mut idle = Vec::with_capacity(LATENCY_CONNECTIONS);
    for _ in 0..LATENCY_CONNECTIONS {
        idle.push(Connection::open(address).await?);
    }
    let (give_back, mut returned) = mpsc::unbounded_channel();
    let n_requests = LATENCY_RATE * duration.as_millis() as u64 / 1_000;
    let mut ticks = interval(Duration::from_nanos(1_000_000_000 / LATENCY_RATE));
    ticks.set_missed_tick_behavior(MissedTickBehavior::Burst);
    let mut requests = JoinSet::new();
    for _ in 0..n_requests {
        ticks.tick().await;
        let due = Instant::now();
        while let Ok(connection) = returned.try_recv() {
            idle.push(connection);
        }
        let (connection, give_back, request) = (idle.pop(), give_back.clone(), Arc::clone(&request));
        requests.spawn(async move {
            let mut connection = match connection {
                Some(connection) => connection,
                None => Connection::open(address).await?,
            };
            let answer = connection.exchange(&request).await?;
            let latency = due.elapsed();
            if answer != expected {
                return Err(unexpected(answer, expected, &mut connection, &request).await);
            }
            // The receiver lives until every request has ended.
            let _ = give_back.send(connection);
            anyhow::Ok(u64::try_from(latency.as_micros())?)
        });
    }
    let mut latencies = Vec::new();
    while let Some(request) = requests.join_next().await {
        latencies.push(request?.context("a request of the latency measurement")?);
    }
    latencies.sort_unstable();
    Ok(Latencies(latencies))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_ranks() {
        let latencies = Latencies((1..=200).collect());
        assert_eq!((latencies.percentile(50), latencies.percentile(99)), (100, 198));
        assert_eq!(Latencies(vec![7]).percentile(99), 7);
        assert_eq!(Latencies(Vec::new()).percentile(50), 0);
    }
}
