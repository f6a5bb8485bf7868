//! Flags and environment of the server commands, and the checked options they become.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use clap::{Args, ValueEnum};
use tollgate_domain::Secret;

use super::exit::UsageError;
use crate::config::{Environment, read_bounded_text};

/// Keys and URLs are short; a larger file is the wrong one.
const MAX_SECRET_FILE_BYTES: u64 = 64 * 1024;
const MASTER_KEY_BYTES: usize = 32;
/// Where the admin API is served, and where the admin commands look for it.
pub(crate) const DEFAULT_ADMIN_LISTEN: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 8081);
/// Where a single process keeps its data, and where the admin commands look for its token.
pub(crate) const DEFAULT_DATA_DIR: &str = "./tollgate-data";
const DEFAULT_REDIS_TIMEOUT_MS: u64 = tollgate_ledger::DEFAULT_RESPONSE_TIMEOUT_MS;
/// Three renewals fit into it, and a stream's last words.
const DEFAULT_HOLD_LEASE_SECONDS: u64 = 60;
/// A pod that was only cut off comes back earlier than that, and settles what it knows.
const DEFAULT_SUSPECT_AFTER_SECONDS: u64 = 15 * 60;
/// Longer than any client goes on retrying.
const DEFAULT_IDEMPOTENCY_HOURS: u64 = 24;
/// When the least is going on, in much of the world.
const DEFAULT_DRIFT_HOUR: &str = "3";
/// Room near a limit for the slabs of so many gateways.
const DEFAULT_SLAB_PODS: u32 = 8;
const REDIS_SCHEMES: &[&str] =
    &["redis", "rediss", "redis-cluster", "rediss-cluster", "redis-sentinel", "rediss-sentinel"];

/// What is done about counters of the ledger that are not what the journal says.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub(super) enum DriftMode {
    /// The tenant is written anew, from the journal and the pods' holds
    #[default]
    Repair,
    /// It is told in the log and by metrics
    Report,
}

/// A full hour, or none.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct DriftHour(Option<u8>);

fn drift_hour(text: &str) -> Result<DriftHour, String> {
    if text == "off" {
        return Ok(DriftHour(None));
    }
    let hour = text.parse().ok().filter(|hour| *hour < 24);
    hour.map(|hour| DriftHour(Some(hour)))
        .ok_or_else(|| "write an hour from 0 to 23 (UTC), or `off`".to_owned())
}

/// How log lines look.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum LogFormat {
    /// For people.
    #[default]
    Text,
    /// One JSON object per line.
    Json,
}

/// Whether money is leased ahead.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum Slabs {
    /// Every request asks Redis.
    #[default]
    Off,
    /// Far from every limit requests are admitted out of slabs.
    On,
}

/// Checked options of a server command: what the flags, the environment and the `…-file` flags say.
#[derive(Clone, Debug)]
pub struct ServerOptions {
    /// Where traffic is served; port 0 picks a free one, here and below.
    pub listen: SocketAddr,
    /// Where the admin API and the console are served.
    pub admin_listen: SocketAddr,
    /// Where pods reach the control plane.
    pub grpc_listen: SocketAddr,
    /// Where `/healthz`, `/readyz` and `/metrics` are served.
    pub ops_listen: SocketAddr,
    /// Where a single process keeps its database, keys and tokens; made when missing.
    pub data_dir: PathBuf,
    /// The configuration file.
    pub config: Option<PathBuf>,
    /// How log lines look.
    pub log_format: LogFormat,
    /// `postgres://…` or `sqlite://…`; carries a password.
    pub database_url: Option<Secret>,
    /// `redis://…` or `rediss://…`; carries a password.
    pub redis_url: Option<Secret>,
    /// How long the data path waits for Redis, in milliseconds.
    pub redis_timeout_ms: u64,
    /// After how many seconds without renewal a hold counts as abandoned.
    pub hold_lease_seconds: u64,
    /// How many seconds after that it is settled at what is known.
    pub suspect_after_seconds: u64,
    /// For how many hours answers to requests with an idempotency key are remembered.
    pub idempotency_hours: u64,
    /// Whether webhooks may lead to private addresses.
    pub webhooks_allow_private_addresses: bool,
    /// At which full hour (UTC) the ledger is compared with the journal; `None` for only when asked.
    pub ledger_drift_hour: Option<u8>,
    /// Whether what is found then is repaired.
    pub ledger_drift_repair: bool,
    /// Whether a pod leases money ahead.
    pub slabs: Slabs,
    /// How many pods do so, at most.
    pub slab_pods: u32,
    /// Where a pod finds the control plane's gRPC, `http://…` or `https://…`.
    pub control_url: Option<String>,
    /// Bootstrap platform-admin token.
    pub admin_token: Option<Secret>,
    /// Encrypts provider credentials at rest: base64 of 32 bytes, checked.
    pub master_key: Option<Secret>,
    /// What pods present to the control plane.
    pub plane_token: Option<Secret>,
    /// Where traces go, from `OTEL_EXPORTER_OTLP_ENDPOINT`; none are sent without.
    pub otlp_endpoint: Option<String>,
}

impl ServerOptions {
    /// After how long without renewal a hold counts as abandoned.
    #[must_use]
    pub fn hold_lease(&self) -> std::time::Duration {
        std::time::Duration::from_secs(self.hold_lease_seconds)
    }

    /// For how long answers to requests with an idempotency key are remembered.
    #[must_use]
    pub fn idempotency_lifetime(&self) -> std::time::Duration {
        std::time::Duration::from_secs(self.idempotency_hours * 3_600)
    }

    /// How long after that it is settled at what is known.
    #[must_use]
    pub fn suspect_after(&self) -> std::time::Duration {
        std::time::Duration::from_secs(self.suspect_after_seconds)
    }

    /// The master key's bytes, where there is one.
    #[must_use]
    pub fn master_key_bytes(&self) -> Option<[u8; MASTER_KEY_BYTES]> {
        self.master_key.as_ref().and_then(decode_master_key)
    }
}

#[derive(Clone, Debug, Args)]
pub(super) struct ServerArgs {
    /// Traffic
    #[arg(long, env = "TOLLGATE_LISTEN", value_name = "ADDRESS:PORT", default_value = "127.0.0.1:8080")]
    listen: SocketAddr,
    /// Admin API and console
    #[arg(
        long,
        env = "TOLLGATE_ADMIN_LISTEN",
        value_name = "ADDRESS:PORT",
        default_value_t = DEFAULT_ADMIN_LISTEN
    )]
    admin_listen: SocketAddr,
    /// gRPC between control plane and pods
    #[arg(long, env = "TOLLGATE_GRPC_LISTEN", value_name = "ADDRESS:PORT", default_value = "127.0.0.1:8082")]
    grpc_listen: SocketAddr,
    /// /healthz, /readyz and /metrics
    #[arg(long, env = "TOLLGATE_OPS_LISTEN", value_name = "ADDRESS:PORT", default_value = "127.0.0.1:9080")]
    ops_listen: SocketAddr,
    /// Configuration file
    #[arg(long, env = "TOLLGATE_CONFIG", value_name = "FILE")]
    config: Option<PathBuf>,
    /// The control plane's gRPC, as a pod reaches it
    #[arg(long, env = "TOLLGATE_CONTROL_URL", value_name = "URL", hide_env_values = true)]
    control_url: Option<String>,
    /// Milliseconds a request waits for Redis at most; without an answer it gets 503
    #[arg(long, env = "TOLLGATE_REDIS_TIMEOUT_MS", value_name = "MS", default_value_t = DEFAULT_REDIS_TIMEOUT_MS, value_parser = clap::value_parser!(u64).range(1..=60_000))]
    redis_timeout_ms: u64,
    /// Seconds without renewal after which a hold counts as abandoned; the same for all pods and the control plane
    #[arg(long, env = "TOLLGATE_HOLD_LEASE_SECONDS", value_name = "SECONDS", default_value_t = DEFAULT_HOLD_LEASE_SECONDS, value_parser = clap::value_parser!(u64).range(3..=3_600))]
    hold_lease_seconds: u64,
    /// Seconds after that until an abandoned hold is settled at what is known of its request
    #[arg(long, env = "TOLLGATE_SUSPECT_AFTER_SECONDS", value_name = "SECONDS", default_value_t = DEFAULT_SUSPECT_AFTER_SECONDS, value_parser = clap::value_parser!(u64).range(1..=86_400))]
    suspect_after_seconds: u64,
    /// Hours for which the answer to a request with an `Idempotency-Key` is remembered
    #[arg(long, env = "TOLLGATE_IDEMPOTENCY_HOURS", value_name = "HOURS", default_value_t = DEFAULT_IDEMPOTENCY_HOURS, value_parser = clap::value_parser!(u64).range(1..=168))]
    idempotency_hours: u64,
    /// Let webhooks lead to private addresses, by http as well
    #[arg(long, env = "TOLLGATE_WEBHOOKS_ALLOW_PRIVATE_ADDRESSES")]
    webhooks_allow_private_addresses: bool,
    /// Full hour (UTC, 0 to 23) at which the ledger's counters are compared with the journal every night, or `off`
    #[arg(long, env = "TOLLGATE_LEDGER_DRIFT_HOUR", value_name = "HOUR", default_value = DEFAULT_DRIFT_HOUR, value_parser = drift_hour)]
    ledger_drift_hour: DriftHour,
    /// What is done about counters that differ then
    #[arg(long, env = "TOLLGATE_LEDGER_DRIFT", value_enum, default_value_t)]
    ledger_drift: DriftMode,
    /// Far from every limit, admit requests out of slabs of money leased ahead, without asking Redis for each
    #[arg(long, env = "TOLLGATE_SLABS", value_enum, default_value_t)]
    slabs: Slabs,
    /// Gateways that lease slabs at most: so much room a slab leaves for others
    #[arg(long, env = "TOLLGATE_SLAB_PODS", value_name = "GATEWAYS", default_value_t = DEFAULT_SLAB_PODS, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    slab_pods: u32,
    /// File with the Redis URL
    #[arg(long, env = "TOLLGATE_REDIS_URL_FILE", value_name = "FILE")]
    redis_url_file: Option<PathBuf>,
    /// File with the bootstrap admin token
    #[arg(long, env = "TOLLGATE_ADMIN_TOKEN_FILE", value_name = "FILE")]
    admin_token_file: Option<PathBuf>,
    /// File with the master key
    #[arg(long, env = "TOLLGATE_MASTER_KEY_FILE", value_name = "FILE")]
    master_key_file: Option<PathBuf>,
    /// File with the token between pods and control plane
    #[arg(long, env = "TOLLGATE_PLANE_TOKEN_FILE", value_name = "FILE")]
    plane_token_file: Option<PathBuf>,
    #[command(flatten)]
    store: StoreArgs,
}

#[derive(Clone, Debug, Args)]
pub(super) struct StoreArgs {
    /// Data directory of a single process
    #[arg(long, env = "TOLLGATE_DATA_DIR", value_name = "DIRECTORY", default_value = DEFAULT_DATA_DIR)]
    data_dir: PathBuf,
    /// File with the database URL
    #[arg(long, env = "TOLLGATE_DATABASE_URL_FILE", value_name = "FILE")]
    database_url_file: Option<PathBuf>,
    /// Look of the log lines, which go to stderr
    #[arg(long, env = "TOLLGATE_LOG_FORMAT", value_enum, default_value_t)]
    log_format: LogFormat,
}

impl ServerArgs {
    pub(super) fn into_options(self, environment: &Environment) -> Result<ServerOptions, UsageError> {
        let secret = |name: &str, file: Option<&Path>| read_secret(environment, name, file);
        let options = ServerOptions {
            listen: self.listen,
            admin_listen: self.admin_listen,
            grpc_listen: self.grpc_listen,
            ops_listen: self.ops_listen,
            config: self.config,
            control_url: self.control_url,
            redis_timeout_ms: self.redis_timeout_ms,
            hold_lease_seconds: self.hold_lease_seconds,
            suspect_after_seconds: self.suspect_after_seconds,
            idempotency_hours: self.idempotency_hours,
            webhooks_allow_private_addresses: self.webhooks_allow_private_addresses,
            ledger_drift_hour: self.ledger_drift_hour.0,
            ledger_drift_repair: self.ledger_drift == DriftMode::Repair,
            slabs: self.slabs,
            slab_pods: self.slab_pods,
            redis_url: secret("TOLLGATE_REDIS_URL", self.redis_url_file.as_deref())?,
            admin_token: secret("TOLLGATE_ADMIN_TOKEN", self.admin_token_file.as_deref())?,
            master_key: secret("TOLLGATE_MASTER_KEY", self.master_key_file.as_deref())?,
            plane_token: secret("TOLLGATE_PLANE_TOKEN", self.plane_token_file.as_deref())?,
            ..self.store.into_options(environment)?
        };
        check(&options)?;
        Ok(options)
    }
}

impl StoreArgs {
    /// Options with nothing but the store's part; the addresses are free ports that nobody binds.
    pub(super) fn into_options(self, environment: &Environment) -> Result<ServerOptions, UsageError> {
        let nowhere = SocketAddr::from(([127, 0, 0, 1], 0));
        let options = ServerOptions {
            listen: nowhere,
            admin_listen: nowhere,
            grpc_listen: nowhere,
            ops_listen: nowhere,
            data_dir: self.data_dir,
            config: None,
            log_format: self.log_format,
            database_url: read_secret(
                environment,
                "TOLLGATE_DATABASE_URL",
                self.database_url_file.as_deref(),
            )?,
            redis_url: None,
            redis_timeout_ms: DEFAULT_REDIS_TIMEOUT_MS,
            hold_lease_seconds: DEFAULT_HOLD_LEASE_SECONDS,
            suspect_after_seconds: DEFAULT_SUSPECT_AFTER_SECONDS,
            idempotency_hours: DEFAULT_IDEMPOTENCY_HOURS,
            webhooks_allow_private_addresses: false,
            ledger_drift_hour: None,
            ledger_drift_repair: true,
            slabs: Slabs::Off,
            slab_pods: DEFAULT_SLAB_PODS,
            control_url: None,
            admin_token: None,
            master_key: None,
            plane_token: None,
            otlp_endpoint: environment
                .get("OTEL_EXPORTER_OTLP_ENDPOINT")
                .filter(|endpoint| !endpoint.is_empty())
                .map(str::to_owned),
        };
        check(&options)?;
        Ok(options)
    }
}

/// The variable's value, or the named file's without its last line break; both given is an error, empty is
/// not given.
pub(super) fn read_secret(
    environment: &Environment,
    variable: &str,
    file: Option<&Path>,
) -> Result<Option<Secret>, UsageError> {
    let given = environment.get(variable).filter(|value| !value.is_empty());
    match (given, file) {
        (None, None) => Ok(None),
        (Some(value), None) => Ok(Some(Secret::new(value))),
        (Some(_), Some(_)) => Err(UsageError::new(format!(
            "{variable} and {variable}_FILE are both given; keep one of the two"
        ))),
        (None, Some(path)) => read_secret_file(path)
            .map(Some)
            .map_err(|reason| UsageError::new(format!("{variable}_FILE: {}: {reason}", path.display()))),
    }
}

pub(super) fn read_secret_file(path: &Path) -> Result<Secret, String> {
    let text = read_bounded_text(path, MAX_SECRET_FILE_BYTES).map_err(|error| format!("it {error}"))?;
    let text = text.trim_end_matches(['\r', '\n']);
    if text.is_empty() {
        Err("it is empty; put the secret into it".to_owned())
    } else {
        Ok(Secret::new(text))
    }
}

/// What can be told about the options without contacting anything. Messages never repeat a value.
fn check(options: &ServerOptions) -> Result<(), UsageError> {
    check_scheme(
        "TOLLGATE_DATABASE_URL",
        options.database_url.as_ref(),
        &["postgres", "postgresql", "sqlite"],
    )?;
    check_scheme("TOLLGATE_REDIS_URL", options.redis_url.as_ref(), REDIS_SCHEMES)?;
    let control_url = options.control_url.as_ref().map(Secret::new);
    check_scheme("TOLLGATE_CONTROL_URL", control_url.as_ref(), &["http", "https"])?;
    check_header_text("TOLLGATE_PLANE_TOKEN", options.plane_token.as_ref())?;
    check_header_text("TOLLGATE_ADMIN_TOKEN", options.admin_token.as_ref())?;
    match &options.master_key {
        Some(key) if decode_master_key(key).is_none() => Err(UsageError::new(format!(
            "TOLLGATE_MASTER_KEY is not base64 of {MASTER_KEY_BYTES} bytes; make one with `openssl rand -base64 32`"
        ))),
        _ => Ok(()),
    }
}

fn check_scheme(variable: &str, url: Option<&Secret>, schemes: &[&str]) -> Result<(), UsageError> {
    let is_known = |url: &Secret| {
        let scheme = url.expose().split_once(':').map_or("", |(scheme, _)| scheme);
        schemes.contains(&scheme)
    };
    match url {
        Some(url) if !is_known(url) => {
            let known = schemes.iter().map(|scheme| format!("{scheme}:")).collect::<Vec<_>>().join(" or ");
            Err(UsageError::new(format!("{variable} must be a URL that starts with {known}")))
        }
        _ => Ok(()),
    }
}

/// Whether a request can carry the secret in a header: visible ASCII, and spaces in between.
pub(crate) fn check_header_text(variable: &str, secret: Option<&Secret>) -> Result<(), UsageError> {
    let fits = |secret: &Secret| {
        let text = secret.expose();
        text.bytes().all(|byte| byte.is_ascii_graphic() || byte == b' ') && !text.trim().is_empty()
    };
    match secret {
        Some(secret) if !fits(secret) => Err(UsageError::new(format!(
            "{variable} cannot stand in a header: it is blank, or has a line break or other characters than visible ASCII; set it to the secret alone"
        ))),
        _ => Ok(()),
    }
}

fn decode_master_key(key: &Secret) -> Option<[u8; MASTER_KEY_BYTES]> {
    STANDARD.decode(key.expose().trim()).ok()?.try_into().ok()
}
