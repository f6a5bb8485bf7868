//! The derived part of the command line.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};
use tollgate_domain::Secret;

use super::UsageError;
use super::options::{
    DEFAULT_ADMIN_LISTEN, DEFAULT_DATA_DIR, ServerArgs, StoreArgs, read_secret, read_secret_file,
};
use crate::admin_client::AdminClient;
use crate::config::Environment;
use crate::run::ADMIN_TOKEN_FILE;

const SECRETS_HELP: &str =
    "Secrets come from the environment only, or from the files that the …-file flags name:
  TOLLGATE_DATABASE_URL  postgres://… or sqlite://…
  TOLLGATE_REDIS_URL     redis://… or rediss://…
  TOLLGATE_ADMIN_TOKEN   bootstrap platform-admin token
  TOLLGATE_MASTER_KEY    32 bytes in base64: encrypts provider credentials at rest
  TOLLGATE_PLANE_TOKEN   what pods present to the control plane
Traces go where OTEL_EXPORTER_OTLP_ENDPOINT says; the other standard OTEL_… variables hold as well.";

macro_rules! server_help {
    ($example:literal) => {
        clap::builder::StyledStr::from(format!("Example:\n{}\n\n{SECRETS_HELP}", $example))
    };
}

/// An AI API gateway: keys, limits, budgets and one bill over every model vendor.
#[derive(Debug, Parser)]
#[command(
    name = "tollgate",
    version,
    subcommand_required = true,
    arg_required_else_help = true,
    after_help = "Example:\n  tollgate dev        # everything in one process; prints a curl line that works"
)]
pub(super) struct Cli {
    #[command(subcommand)]
    pub(super) command: Command,
}

#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// Everything in one process, seeded for a first try: gateway, control plane, embedded database
    #[command(after_help = server_help!("  OPENAI_API_KEY=sk-… tollgate dev --listen 127.0.0.1:8080"))]
    Dev(ServerArgs),
    /// Everything in one process, for a single-node installation: nothing is seeded
    #[command(after_help = server_help!("  tollgate all --config tollgate.yaml --data-dir /var/lib/tollgate"))]
    All(ServerArgs),
    /// One stateless data-plane pod
    #[command(after_help = server_help!(
        "  TOLLGATE_REDIS_URL=redis://redis tollgate gateway --control-url http://control:8082"))]
    Gateway(ServerArgs),
    /// One control-plane replica: gRPC for the pods, admin API, ledger writer
    #[command(after_help = server_help!(
        "  TOLLGATE_DATABASE_URL=postgres://tollgate@db/tollgate tollgate control --grpc-listen 0.0.0.0:8082"))]
    Control(ServerArgs),
    /// Apply the database migrations, then exit
    #[command(after_help = "Example:\n  TOLLGATE_DATABASE_URL=postgres://owner@db/tollgate tollgate migrate")]
    Migrate(MigrateArgs),
    /// Check a configuration file; every problem with its line; nothing is contacted
    #[command(after_help = "Example:\n  tollgate check -f tollgate.yaml")]
    Check(CheckArgs),
    /// Make a running control plane match a configuration file; prints the difference
    #[command(after_help = "Example:\n  tollgate apply -f tollgate.yaml --dry-run")]
    Apply(ApplyArgs),
    /// Print the running configuration as a file, secrets as references
    #[command(after_help = "Example:\n  tollgate export > tollgate.yaml")]
    Export(ExportArgs),
    /// Shell completions
    #[command(after_help = "Example:\n  tollgate completions bash > /etc/bash_completion.d/tollgate")]
    Completions {
        /// For which shell
        #[arg(value_enum)]
        shell: clap_complete::Shell,
    },
}

#[derive(Debug, Args)]
pub(super) struct MigrateArgs {
    /// PostgreSQL: make this role where it is missing and grant it what `tollgate control` needs, which is neither
    /// UPDATE nor DELETE on the journal
    #[arg(long, value_name = "ROLE")]
    pub(super) application_role: Option<String>,
    #[command(flatten)]
    pub(super) store: StoreArgs,
}

#[derive(Debug, Args)]
pub(super) struct CheckArgs {
    /// The configuration file
    #[arg(short, long, env = "TOLLGATE_CONFIG", value_name = "FILE")]
    pub(super) file: PathBuf,
}

#[derive(Debug, Args)]
pub(super) struct ApplyArgs {
    /// The configuration file
    #[arg(short, long, env = "TOLLGATE_CONFIG", value_name = "FILE")]
    pub(super) file: PathBuf,
    /// Print the difference and change nothing
    #[arg(long)]
    pub(super) dry_run: bool,
    /// Delete what the file does not name
    #[arg(long)]
    pub(super) prune: bool,
    #[command(flatten)]
    pub(super) admin: AdminArgs,
}

#[derive(Debug, Args)]
pub(super) struct ExportArgs {
    #[command(flatten)]
    pub(super) admin: AdminArgs,
}

/// What is printed on stdout.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub(crate) enum OutputFormat {
    /// Aligned columns for people.
    #[default]
    Table,
    /// The API's own answer.
    Json,
}

/// How the admin commands reach the admin API.
#[derive(Clone, Debug, Args)]
pub(crate) struct AdminArgs {
    /// The admin API
    #[arg(
        long,
        env = "TOLLGATE_ADMIN_URL",
        hide_env_values = true,
        value_name = "URL",
        default_value_t = format!("http://{DEFAULT_ADMIN_LISTEN}"),
        help_heading = "Admin API"
    )]
    pub(crate) admin_url: String,
    /// File with the admin token; else TOLLGATE_ADMIN_TOKEN, else `admin-token` in the data directory
    #[arg(long, env = "TOLLGATE_ADMIN_TOKEN_FILE", value_name = "FILE", help_heading = "Admin API")]
    pub(crate) admin_token_file: Option<PathBuf>,
    /// PEM file of certificate authorities for https, beside the public ones
    #[arg(long, env = "TOLLGATE_ADMIN_CA_FILE", value_name = "FILE", help_heading = "Admin API")]
    pub(crate) admin_ca_file: Option<PathBuf>,
    /// Where `tollgate dev` keeps its admin token
    #[arg(
        long,
        env = "TOLLGATE_DATA_DIR",
        value_name = "DIRECTORY",
        default_value = DEFAULT_DATA_DIR,
        help_heading = "Admin API"
    )]
    pub(crate) data_dir: PathBuf,
    /// How data is printed
    #[arg(long, value_enum, default_value_t, help_heading = "Admin API")]
    pub(crate) output: OutputFormat,
}

impl AdminArgs {
    /// A client with the token found.
    pub(crate) fn client(&self, environment: &Environment) -> Result<AdminClient, UsageError> {
        let explicit = read_secret(environment, "TOLLGATE_ADMIN_TOKEN", self.admin_token_file.as_deref())?;
        let token = match explicit {
            Some(token) => Some(token),
            None => self.token_in_data_dir()?,
        };
        AdminClient::new(&self.admin_url, token, self.admin_ca_file.clone())
    }

    fn token_in_data_dir(&self) -> Result<Option<Secret>, UsageError> {
        let path = self.data_dir.join(ADMIN_TOKEN_FILE);
        if !path.exists() {
            return Ok(None);
        }
        read_secret_file(&path)
            .map(Some)
            .map_err(|reason| UsageError::new(format!("{}: {reason}", path.display())))
    }
}
