//! HTTP/1.1 without TLS: a pool of connections, each driven by the request that uses it.
//!
//! Providers in the same cluster or machine are spoken to like this, and there the client is most of what a request
//! costs. So nothing is spawned per connection, nothing is handed from task to task, and an answer's pieces are
//! parts of the buffer that they were read into.

mod body;
mod connection;
mod decoder;
mod head;

use std::fmt;
use std::sync::{Arc, OnceLock, Weak};
use std::time::Duration;

use foldhash::HashMap;
use http::{Method, Response, Uri};
use hyper_util::client::legacy::connect::HttpConnector;
use parking_lot::Mutex;
use tokio::task::JoinHandle;
use tokio::time::Instant;
use tower::Service as _;

pub(crate) use self::body::PlainBody;
use self::connection::{Broken, Connection};
use crate::client::{POOL_IDLE_TIMEOUT, POOL_MAX_IDLE_PER_HOST};
use crate::connector::classify;
use crate::{UpstreamBody, UpstreamError, UpstreamErrorKind, UpstreamRequest};

/// How often idle connections are looked through: one that its provider has closed is not kept for longer.
const SWEEP_EVERY: Duration = Duration::from_secs(5);

/// The client; clones share the pool.
#[derive(Clone)]
pub(crate) struct PlainClient {
    connector: HttpConnector,
    pool: Arc<Pool>,
}

/// Idle connections by authority (`host:port`), as it is written in the URL. As many as providers are configured.
#[derive(Default)]
struct Pool {
    hosts: Mutex<HashMap<Box<str>, Arc<Host>>>,
    /// Closes what is idle for too long; ends with the pool.
    sweeper: OnceLock<JoinHandle<()>>,
}

/// The idle connections to one host, the one used last at the end.
#[derive(Default)]
struct Host {
    idle: Mutex<Vec<Connection>>,
}

impl fmt::Debug for PlainClient {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PlainClient({} hosts)", self.pool.hosts.lock().len())
    }
}

impl PlainClient {
    pub(crate) fn new(connector: HttpConnector) -> Self {
        Self { connector, pool: Arc::default() }
    }

    /// Sends one request and waits for the answer's head. Dropping the future closes the connection.
    pub(crate) async fn send(
        &self,
        request: UpstreamRequest,
    ) -> Result<Response<UpstreamBody>, UpstreamError> {
        let Some(authority) = request.url.authority() else {
            return Err(UpstreamError::not_a_target());
        };
        let host = self.pool.host(authority.as_str());
        let head = head::write(&request);
        let mut pooled = host.take();
        loop {
            let is_pooled = pooled.is_some();
            let mut connection = match pooled {
                Some(connection) => connection,
                None => Box::pin(self.connect(&request.url, request.connect_timeout)).await?,
            };
            let limit = request.first_byte_timeout;
            let has_no_body = request.method == Method::HEAD;
            match connection.exchange(&head, &request.body, has_no_body, limit).await {
                Ok(answer) => {
                    let (head, body) = answer.into_parts(connection, host, request.idle_timeout);
                    return Ok(Response::from_parts(head, UpstreamBody::from_plain(body)));
                }
                // closed before it was used: the provider has seen nothing of the request
                Err(Broken::Unsent) if is_pooled => pooled = host.take(),
                Err(broken) => return Err(broken.into_error(limit)),
            }
        }
    }

    async fn connect(&self, url: &Uri, limit: Duration) -> Result<Connection, UpstreamError> {
        let host = || url.authority().map(ToString::to_string).unwrap_or_default();
        let connected = match tokio::time::timeout(limit, self.connector.clone().call(url.clone())).await {
            Ok(connected) => connected,
            Err(_) => {
                let message = format!("no connection to {} within {} s", host(), limit.as_secs_f64());
                return Err(UpstreamError::new(UpstreamErrorKind::ConnectTimeout, message));
            }
        };
        let stream = connected.map_err(|error| {
            let failure = classify(&error.into(), &host());
            UpstreamError::new(failure.kind, failure.message)
        })?;
        self.pool.sweep_from_now_on();
        Ok(Connection::new(stream.into_inner()))
    }
}

// === impl Pool ===

impl Pool {
    fn host(&self, authority: &str) -> Arc<Host> {
        let mut hosts = self.hosts.lock();
        if let Some(host) = hosts.get(authority) {
            return Arc::clone(host);
        }
        Arc::clone(hosts.entry(authority.into()).or_default())
    }

    fn sweep_from_now_on(self: &Arc<Self>) {
        self.sweeper.get_or_init(|| tokio::spawn(sweep_until_gone(Arc::downgrade(self))));
    }

    fn sweep(&self, now: Instant) {
        self.hosts.lock().retain(|_, host| {
            host.idle.lock().retain_mut(|connection| connection.is_usable(now));
            // what is in use comes back to its host
            Arc::strong_count(host) > 1 || !host.idle.lock().is_empty()
        });
    }
}

impl Drop for Pool {
    fn drop(&mut self) {
        if let Some(sweeper) = self.sweeper.get() {
            sweeper.abort();
        }
    }
}

async fn sweep_until_gone(pool: Weak<Pool>) {
    loop {
        tokio::time::sleep(SWEEP_EVERY).await;
        let Some(pool) = pool.upgrade() else { return };
        pool.sweep(Instant::now());
    }
}

// === impl Host ===

impl Host {
    /// A connection that is open as far as this end knows.
    fn take(&self) -> Option<Connection> {
        let now = Instant::now();
        let mut idle = self.idle.lock();
        while let Some(mut connection) = idle.pop() {
            if connection.is_usable(now) {
                return Some(connection);
            }
        }
        None
    }

    fn put(&self, mut connection: Connection) {
        connection.rest();
        let mut idle = self.idle.lock();
        if idle.len() < POOL_MAX_IDLE_PER_HOST {
            idle.push(connection);
        }
    }
}

/// Whether a connection that is idle since then is too old to be used.
fn is_too_old(idle_since: Instant, now: Instant) -> bool {
    now.saturating_duration_since(idle_since) >= POOL_IDLE_TIMEOUT
}

#[cfg(test)]
mod tests;
