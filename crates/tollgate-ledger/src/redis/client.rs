//! Connections with deadlines, and what their errors mean. Nothing here ever shows the URL.

use std::future::Future;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use redis::aio::{ConnectionLike as _, ConnectionManager, ConnectionManagerConfig, MultiplexedConnection};
use redis::io::tcp::TcpSettings;
use redis::{
    AsyncConnectionConfig, Cmd, ConnectionInfo, ErrorKind, IntoConnectionInfo as _, Pipeline, RedisError,
    RedisResult, ServerErrorKind, Value,
};

use tokio::time::Instant;

use super::breaker::Breaker;
use super::config::RedisConfig;
use super::scripts::{self, LedgerScript};
use crate::error::LedgerError;

/// Connections for admissions and settlements: Redis answers faster than one task parses.
const N_CONNECTIONS: usize = 2;
/// Deadline of calls that are not on a request's path (seeding, balances, pipelines, the outbox): they may
/// carry a thousand entries.
const BACKGROUND_TIMEOUT: Duration = Duration::from_secs(2);
/// Unacknowledged bytes for so long mean that the peer is gone: the connection is given up and replaced.
const TCP_USER_TIMEOUT: Duration = Duration::from_secs(3);
/// First and largest pause between attempts to reconnect; the number of attempts per round of them.
const RECONNECT_MIN_DELAY: Duration = Duration::from_millis(20);
const RECONNECT_MAX_DELAY: Duration = Duration::from_millis(500);
const RECONNECT_ATTEMPTS: usize = 8;
/// Calls that may wait in a connection's buffer before callers wait for room.
const PIPELINE_BUFFER: usize = 1_024;

pub(super) struct Client {
    redis: redis::Client,
    connections: Vec<ConnectionManager>,
    /// Apart, so that no large pipeline stands before a request's call.
    background: ConnectionManager,
    next: AtomicUsize,
    response_timeout: Duration,
    connect_timeout: Duration,
    breaker: Breaker,
}

impl Client {
    /// Connects once to check and prepare the server; the lasting connections follow by themselves.
    pub(super) async fn connect(config: &RedisConfig) -> Result<Self, LedgerError> {
        let redis = redis::Client::open(connection_info(config)?).map_err(|_| bad_url())?;
        let connect_timeout = Duration::from_millis(config.connect_timeout_ms);
        let prepare = async {
            let connect_config = AsyncConnectionConfig::new()
                .set_connection_timeout(Some(connect_timeout))
                .set_response_timeout(None);
            let mut connection = redis
                .get_multiplexed_async_connection_with_config(&connect_config)
                .await
                .map_err(|error| explain(&error))?;
            check_eviction(&mut connection).await?;
            load_scripts(&mut connection).await
        };
        tokio::time::timeout(connect_timeout, prepare).await.map_err(|_| {
            LedgerError::Unavailable(format!(
                "Redis did not answer within {} ms",
                connect_timeout.as_millis()
            ))
        })??;
        let connections = (0..N_CONNECTIONS).map(|_| lasting_connection(&redis, connect_timeout));
        Ok(Self {
            connections: connections.collect::<Result<_, _>>()?,
            background: lasting_connection(&redis, connect_timeout)?,
            redis,
            next: AtomicUsize::new(0),
            response_timeout: Duration::from_millis(config.response_timeout_ms),
            connect_timeout,
            breaker: Breaker::default(),
        })
    }

    /// One more connection for the caller alone.
    pub(super) fn new_connection(&self) -> Result<ConnectionManager, LedgerError> {
        lasting_connection(&self.redis, self.connect_timeout)
    }

    /// One command on a request's path.
    pub(super) async fn call(&self, command: &Cmd) -> Result<Value, LedgerError> {
        let mut connection = self.connection();
        self.guarded(self.response_timeout, send(&mut connection, command))
            .await?
            .map_err(|error| explain(&error))
    }

    /// One script on a request's path; loads it where the server has lost it.
    pub(super) async fn call_script(&self, script: &LedgerScript, call: &Cmd) -> Result<Value, LedgerError> {
        self.script_within(self.connection(), self.response_timeout, script, call).await
    }

    /// One script that no request waits for.
    pub(super) async fn background_script(
        &self,
        script: &LedgerScript,
        call: &Cmd,
    ) -> Result<Value, LedgerError> {
        self.script_within(self.background.clone(), BACKGROUND_TIMEOUT, script, call).await
    }

    /// Many commands in one round trip that no request waits for; each has its own answer.
    pub(super) async fn background_pipeline(
        &self,
        pipeline: &Pipeline,
    ) -> Result<Vec<RedisResult<Value>>, LedgerError> {
        let n_commands = pipeline.cmd_iter().count();
        if n_commands == 0 {
            return Ok(Vec::new());
        }
        let mut connection = self.background.clone();
        let answers = async {
            match connection.req_packed_commands(pipeline, 0, n_commands).await {
                Err(error) if error.is_connection_dropped() => {
                    connection.req_packed_commands(pipeline, 0, n_commands).await
                }
                answers => answers,
            }
        };
        let answers = self.guarded(BACKGROUND_TIMEOUT, answers).await?.map_err(|error| explain(&error))?;
        if answers.len() != n_commands {
            return Err(LedgerError::Protocol(format!("{} answers to {n_commands} calls", answers.len())));
        }
        Ok(answers.into_iter().map(Value::extract_error).collect())
    }

    /// One command on a connection of the caller's own, which may block there for `block` longer.
    pub(super) async fn blocking_call(
        &self,
        connection: &mut ConnectionManager,
        command: &Cmd,
        block: Duration,
    ) -> Result<RedisResult<Value>, LedgerError> {
        self.guarded(BACKGROUND_TIMEOUT + block, send(connection, command)).await
    }

    async fn script_within(
        &self,
        mut connection: ConnectionManager,
        timeout: Duration,
        script: &LedgerScript,
        call: &Cmd,
    ) -> Result<Value, LedgerError> {
        match self.guarded(timeout, send(&mut connection, call)).await? {
            Err(error) if is_unknown_script(&error) => {
                let call = script.by_source(call);
                self.guarded(timeout, send(&mut connection, &call)).await?.map_err(|error| explain(&error))
            }
            answer => answer.map_err(|error| explain(&error)),
        }
    }

    /// Asks within a deadline and keeps the circuit breaker informed. The inner result is the server's.
    async fn guarded<T>(
        &self,
        timeout: Duration,
        answer: impl Future<Output = RedisResult<T>>,
    ) -> Result<RedisResult<T>, LedgerError>
    where
        T: ExtractError,
    {
        if !self.breaker.lets_through(Instant::now()) {
            return Err(LedgerError::Unavailable(
                "Redis failed several times, the circuit is open".to_owned(),
            ));
        }
        let Ok(answer) = tokio::time::timeout(timeout, answer).await else {
            let reason = format!("Redis did not answer within {} ms", timeout.as_millis());
            self.breaker.failed(Instant::now(), &reason);
            return Err(LedgerError::Unavailable(reason));
        };
        let answer = answer.and_then(T::extract);
        match &answer {
            Err(error) if is_outage(error) => self.breaker.failed(Instant::now(), &describe(error)),
            Ok(_) | Err(_) => self.breaker.succeeded(),
        }
        Ok(answer)
    }

    fn connection(&self) -> ConnectionManager {
        let index = self.next.fetch_add(1, Ordering::Relaxed) % self.connections.len();
        self.connections[index].clone()
    }
}

/// Sends a command; once more where the connection turns out to be lost, which only its use can tell. A repeat
/// is harmless: every script answers it as it answered the first, and what a lost read took from the outbox
/// is delivered again.
async fn send(connection: &mut ConnectionManager, command: &Cmd) -> RedisResult<Value> {
    match connection.send_packed_command(command).await {
        Err(error) if error.is_connection_dropped() => connection.send_packed_command(command).await,
        answer => answer,
    }
}

/// Turns an error that the server sent as a value into an error.
pub(super) trait ExtractError: Sized {
    fn extract(self) -> RedisResult<Self>;
}

impl ExtractError for Value {
    fn extract(self) -> RedisResult<Self> {
        self.extract_error()
    }
}

impl ExtractError for Vec<Value> {
    /// Each answer of a pipeline has its own error.
    fn extract(self) -> RedisResult<Self> {
        Ok(self)
    }
}

// === connecting ===

/// A connection that is established at its first use and again whenever it is lost.
fn lasting_connection(
    redis: &redis::Client,
    connect_timeout: Duration,
) -> Result<ConnectionManager, LedgerError> {
    // Deadlines are this module's own: they include waiting for a connection.
    let config = ConnectionManagerConfig::new()
        .set_response_timeout(None)
        .set_connection_timeout(Some(connect_timeout))
        .set_min_delay(RECONNECT_MIN_DELAY)
        .set_max_delay(RECONNECT_MAX_DELAY)
        .set_number_of_retries(RECONNECT_ATTEMPTS)
        .set_pipeline_buffer_size(PIPELINE_BUFFER);
    ConnectionManager::new_lazy_with_config(redis.clone(), config).map_err(|error| explain(&error))
}

fn connection_info(config: &RedisConfig) -> Result<ConnectionInfo, LedgerError> {
    let tcp = TcpSettings::default().set_nodelay(true);
    #[cfg(target_os = "linux")]
    let tcp = tcp.set_user_timeout(TCP_USER_TIMEOUT);
    config.url.expose().into_connection_info().map(|info| info.set_tcp_settings(tcp)).map_err(|_| bad_url())
}

fn bad_url() -> LedgerError {
    // The text stays out of the message: it may hold a password.
    LedgerError::Misconfigured(
        "the Redis URL cannot be read; write redis://[user:password@]host:port[/database], or rediss:// for TLS"
            .to_owned(),
    )
}

/// A server that evicts keys forgets holds and charges: it is refused. Where asking is forbidden (as by
/// some hosted servers) a warning must do.
async fn check_eviction(connection: &mut MultiplexedConnection) -> Result<(), LedgerError> {
    let mut command = redis::cmd("CONFIG");
    command.arg("GET").arg("maxmemory-policy");
    match command.query_async::<Vec<String>>(connection).await {
        Ok(answer) => match answer.get(1).map(String::as_str) {
            Some("noeviction") => Ok(()),
            policy => Err(LedgerError::Misconfigured(format!(
                "Redis may evict keys (maxmemory-policy is {}), which would lose money; run `CONFIG SET \
                 maxmemory-policy noeviction` and put it into redis.conf, and keep caches in another Redis",
                policy.unwrap_or("unknown")
            ))),
        },
        Err(error) if is_outage(&error) => Err(explain(&error)),
        Err(_) => {
            tracing::warn!(
                "Redis does not tell its maxmemory-policy: make sure that it is noeviction, or money is lost"
            );
            Ok(())
        }
    }
}

async fn load_scripts(connection: &mut MultiplexedConnection) -> Result<(), LedgerError> {
    let mut pipeline = redis::pipe();
    for script in scripts::all() {
        pipeline.add_command(script.load());
    }
    pipeline.query_async::<()>(connection).await.map_err(|error| explain(&error))
}

// === what errors mean ===

pub(super) fn is_unknown_script(error: &RedisError) -> bool {
    error.kind() == ErrorKind::Server(ServerErrorKind::NoScript)
}

/// Whether Redis itself is in trouble, rather than the call.
fn is_outage(error: &RedisError) -> bool {
    match error.kind() {
        ErrorKind::Io | ErrorKind::AuthenticationFailed | ErrorKind::ClusterConnectionNotFound => true,
        ErrorKind::Server(kind) => matches!(
            kind,
            ServerErrorKind::BusyLoading
                | ServerErrorKind::TryAgain
                | ServerErrorKind::ClusterDown
                | ServerErrorKind::MasterDown
                | ServerErrorKind::ReadOnly
        ),
        // Codes the client library has no name for.
        _ => matches!(error.code(), Some("OOM" | "MISCONF" | "BUSY" | "NOREPLICAS")),
    }
}

/// The error as ours, without anything that could hold the URL.
pub(super) fn explain(error: &RedisError) -> LedgerError {
    let reason = describe(error);
    if is_outage(error) { LedgerError::Unavailable(reason) } else { LedgerError::Protocol(reason) }
}

fn describe(error: &RedisError) -> String {
    if error.is_connection_refusal() {
        return "Redis refused the connection".to_owned();
    }
    if error.is_connection_dropped() {
        return "the connection to Redis was lost".to_owned();
    }
    if error.is_timeout() {
        return "Redis did not answer in time".to_owned();
    }
    match (error.code(), error.kind()) {
        (_, ErrorKind::AuthenticationFailed) => "Redis refused the user or password".to_owned(),
        // A server's message names commands, scripts and keys, never the credentials of a connection.
        (Some(code), _) => format!("Redis answered {code} {}", error.detail().unwrap_or_default()),
        (None, _) => format!("Redis: {}", error.category()),
    }
}
