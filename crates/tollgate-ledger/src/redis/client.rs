//! Calls with deadlines, and what their errors mean. Nothing here ever shows the URL.

use std::future::Future;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use redis::io::tcp::TcpSettings;
use redis::{
    Cmd, ConnectionInfo, ErrorKind, IntoConnectionInfo as _, Pipeline, RedisError, RedisResult,
    ServerErrorKind, Value,
};

use tokio::time::Instant;

use super::breaker::Breaker;
use super::config::RedisConfig;
use super::link::{Link, Live, connect};
use super::scripts::{self, LedgerScript};
use crate::error::LedgerError;

/// Connections for admissions and settlements: Redis answers faster than one task parses.
const N_CONNECTIONS: usize = 2;
/// Deadline of calls that are not on a request's path (seeding, balances, pipelines, the outbox): they may
/// carry a thousand entries.
const BACKGROUND_TIMEOUT: Duration = Duration::from_secs(2);
/// Deadline of calls that carry a stored answer: a megabyte, behind others like it.
const RECORD_TIMEOUT: Duration = Duration::from_secs(1);
/// Unacknowledged bytes for so long mean that the peer is gone: the connection is given up and replaced.
const TCP_USER_TIMEOUT: Duration = Duration::from_secs(3);

pub(super) struct Client {
    redis: redis::Client,
    links: Vec<Link>,
    /// Apart, so that no large pipeline stands before a request's call.
    background: Link,
    /// Apart, so that no large answer does either.
    records: Link,
    next: AtomicUsize,
    response_timeout: Duration,
    connect_timeout: Duration,
    breaker: Breaker,
}

/// Builds a call for a connection, given the run of the server there.
pub(super) trait BuildCall: Fn(&str) -> Cmd + Sync {}
impl<F: Fn(&str) -> Cmd + Sync> BuildCall for F {}

impl Client {
    /// Connects once to check and prepare the server; the lasting connections follow by themselves.
    pub(super) async fn connect(config: &RedisConfig) -> Result<Self, LedgerError> {
        let redis = redis::Client::open(connection_info(config)?).map_err(|_| bad_url())?;
        let connect_timeout = Duration::from_millis(config.connect_timeout_ms);
        let (live, _) = connect(&redis, connect_timeout).await?;
        let mut load = redis::pipe();
        let scripts = scripts::all();
        for script in scripts {
            load.add_command(script.load());
        }
        let loaded = tokio::time::timeout(BACKGROUND_TIMEOUT, live.send_all(&load, scripts.len())).await;
        let loaded = loaded.map_err(|_| LedgerError::Unavailable(too_late(BACKGROUND_TIMEOUT)))?;
        for answer in loaded.map_err(|error| explain(&error))? {
            answer.extract_error().map_err(|error| explain(&error))?;
        }
        Ok(Self {
            links: (0..N_CONNECTIONS).map(|_| Link::new(redis.clone(), connect_timeout)).collect(),
            background: Link::new(redis.clone(), connect_timeout),
            records: Link::new(redis.clone(), connect_timeout),
            redis,
            next: AtomicUsize::new(0),
            response_timeout: Duration::from_millis(config.response_timeout_ms),
            connect_timeout,
            breaker: Breaker::default(),
        })
    }

    /// One more connection for the caller alone.
    pub(super) fn new_link(&self) -> Link {
        Link::new(self.redis.clone(), self.connect_timeout)
    }

    /// A script found the epoch of another run than its connection's: the servers are asked who they are
    /// before they are asked anything else.
    pub(super) fn doubt_runs(&self) {
        self.links.iter().for_each(Link::doubt);
        self.background.doubt();
        self.records.doubt();
    }

    /// The same for what no request waits for.
    pub(super) fn doubt_background(&self) {
        self.background.doubt();
    }

    /// One command on a request's path.
    pub(super) async fn call(&self, command: &Cmd) -> Result<Value, LedgerError> {
        self.command_within(self.link(), self.response_timeout, command)
            .await?
            .map_err(|error| explain(&error))
    }

    /// One script on a request's path; loads it where the server has lost it.
    pub(super) async fn call_script(
        &self,
        script: &LedgerScript,
        build: impl BuildCall,
    ) -> Result<Value, LedgerError> {
        self.script_within(self.link(), self.response_timeout, script, &build).await
    }

    /// One script that no request waits for.
    pub(super) async fn background_script(
        &self,
        script: &LedgerScript,
        build: impl BuildCall,
    ) -> Result<Value, LedgerError> {
        self.script_within(&self.background, BACKGROUND_TIMEOUT, script, &build).await
    }

    /// One script that carries a stored answer, there or back: some request waits for it, no other should.
    pub(super) async fn record_script(
        &self,
        script: &LedgerScript,
        build: impl BuildCall,
    ) -> Result<Value, LedgerError> {
        self.script_within(&self.records, RECORD_TIMEOUT, script, &build).await
    }

    /// Many scripts in one round trip that no request waits for; each has its own answer. Those that the
    /// server has lost are loaded.
    pub(super) async fn background_scripts<B: BuildCall>(
        &self,
        script: &LedgerScript,
        builds: &[B],
    ) -> Result<Vec<Result<Value, LedgerError>>, LedgerError> {
        let build_all = |run: &str| {
            let mut pipeline = redis::pipe();
            for build in builds {
                pipeline.add_command(build(run));
            }
            pipeline
        };
        let answers = self.pipeline(&build_all, builds.len()).await?;
        let mut outcomes = Vec::with_capacity(builds.len());
        for (answer, build) in answers.into_iter().zip(builds) {
            outcomes.push(match answer {
                Err(error) if is_unknown_script(&error) => self.background_script(script, build).await,
                answer => answer.map_err(|error| explain(&error)),
            });
        }
        Ok(outcomes)
    }

    /// Many commands in one round trip that no request waits for; each has its own answer.
    pub(super) async fn background_pipeline(
        &self,
        pipeline: &Pipeline,
    ) -> Result<Vec<RedisResult<Value>>, LedgerError> {
        self.pipeline(&|_| pipeline.clone(), pipeline.cmd_iter().count()).await
    }

    async fn pipeline(
        &self,
        build: &(impl Fn(&str) -> Pipeline + Sync),
        n_commands: usize,
    ) -> Result<Vec<RedisResult<Value>>, LedgerError> {
        if n_commands == 0 {
            return Ok(Vec::new());
        }
        let answers = async {
            let live = self.background.live().await?;
            match live.send_all(&build(&live.run), n_commands).await {
                Err(error) if error.is_connection_dropped() => {
                    live.kill();
                    let live = self.background.live().await?;
                    let answers = live.send_all(&build(&live.run), n_commands).await;
                    Ok(note_loss(&live, answers))
                }
                answers => Ok(answers),
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
        link: &Link,
        command: &Cmd,
        block: Duration,
    ) -> Result<RedisResult<Value>, LedgerError> {
        self.command_within(link, BACKGROUND_TIMEOUT + block, command).await
    }

    async fn command_within(
        &self,
        link: &Link,
        timeout: Duration,
        command: &Cmd,
    ) -> Result<RedisResult<Value>, LedgerError> {
        let answer = async {
            let live = link.live().await?;
            match live.send(command).await {
                Err(error) if error.is_connection_dropped() => {
                    live.kill();
                    let live = link.live().await?;
                    let answer = live.send(command).await;
                    Ok(note_loss(&live, answer))
                }
                answer => Ok(note_loss(&live, answer)),
            }
        };
        self.guarded(timeout, answer).await
    }

    /// Sends a script's call; once more where the connection turns out to be lost, which only its use can tell.
    /// A repeat is harmless, every script answers it as it answered the first; it is built anew, for the run
    /// of the server that the new connection leads to.
    async fn script_within(
        &self,
        link: &Link,
        timeout: Duration,
        script: &LedgerScript,
        build: &impl BuildCall,
    ) -> Result<Value, LedgerError> {
        let answer = async {
            let live = link.live().await?;
            match send_script(&live, script, build(&live.run)).await {
                Err(error) if error.is_connection_dropped() => {
                    live.kill();
                    let live = link.live().await?;
                    let answer = send_script(&live, script, build(&live.run)).await;
                    Ok(note_loss(&live, answer))
                }
                answer => Ok(note_loss(&live, answer)),
            }
        };
        self.guarded(timeout, answer).await?.map_err(|error| explain(&error))
    }

    /// Asks within a deadline and keeps the circuit breaker informed. The inner result is the server's, the
    /// outer one tells that there was no connection.
    async fn guarded<T>(
        &self,
        timeout: Duration,
        answer: impl Future<Output = Result<RedisResult<T>, LedgerError>>,
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
            let reason = too_late(timeout);
            self.breaker.failed(Instant::now(), &reason);
            return Err(LedgerError::Unavailable(reason));
        };
        let answer = answer
            .inspect_err(|error| self.breaker.failed(Instant::now(), &error.to_string()))?
            .and_then(T::extract);
        match &answer {
            // a full server refuses admissions and still takes what frees memory: the circuit stays closed
            Err(error) if is_outage(error) && error.code() != Some("OOM") => {
                self.breaker.failed(Instant::now(), &describe(error));
            }
            Ok(_) | Err(_) => self.breaker.succeeded(),
        }
        Ok(answer)
    }

    fn link(&self) -> &Link {
        let index = self.next.fetch_add(1, Ordering::Relaxed) % self.links.len();
        &self.links[index]
    }
}

fn too_late(timeout: Duration) -> String {
    format!("Redis did not answer within {} ms", timeout.as_millis())
}

/// Sends a call by hash; by source where the server does not know it, to the same server.
async fn send_script(live: &Live, script: &LedgerScript, call: Cmd) -> RedisResult<Value> {
    match live.send(&call).await.and_then(Value::extract_error) {
        Err(error) if is_unknown_script(&error) => live.send(&script.by_source(&call)).await,
        answer => answer,
    }
}

/// A connection that is lost, or leads to a server that may not be written to, is not used again.
fn note_loss<T>(live: &Live, answer: RedisResult<T>) -> RedisResult<T> {
    if let Err(error) = &answer
        && (error.is_connection_dropped() || error.kind() == ErrorKind::Server(ServerErrorKind::ReadOnly))
    {
        live.kill();
    }
    answer
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

// === what errors mean ===

pub(super) fn is_unknown_script(error: &RedisError) -> bool {
    error.kind() == ErrorKind::Server(ServerErrorKind::NoScript)
}

/// Whether Redis itself is in trouble, rather than the call.
pub(super) fn is_outage(error: &RedisError) -> bool {
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
