//! The server commands: which parts run in which process, and in which order they start and stop.

mod clock;
mod data_dir;
mod demo;
mod ops;
mod plane;
mod pod;
mod probe;
mod process;
mod single;
mod telemetry;
mod webhooks;

use anyhow::Context;
use tollgate_domain::Clock as _;
use tollgate_store::{Store, StoreError};

use crate::cli::{ServerOptions, UsageError};
pub(crate) use clock::SystemClock;
pub(crate) use data_dir::ADMIN_TOKEN_FILE;

/// Everything in one process, seeded for a first try.
///
/// # Errors
/// Where it cannot start.
pub async fn dev(options: ServerOptions) -> anyhow::Result<()> {
    single::run(options, single::Flavour::Dev).await
}

/// Everything in one process, from a configuration.
///
/// # Errors
/// Where it cannot start.
pub async fn all(options: ServerOptions) -> anyhow::Result<()> {
    if options.config.is_none() {
        return Err(UsageError::new("`tollgate all` needs a configuration file: give --config FILE").into());
    }
    single::run(options, single::Flavour::All).await
}

/// One data-plane pod.
///
/// # Errors
/// Where it cannot start.
pub async fn gateway(options: ServerOptions) -> anyhow::Result<()> {
    pod::run(options).await
}

/// One control-plane replica.
///
/// # Errors
/// Where it cannot start.
pub async fn control(options: ServerOptions) -> anyhow::Result<()> {
    plane::run(options).await
}

/// Applies the database migrations, and grants a role what the application needs.
///
/// # Errors
/// Where the database refuses.
pub async fn migrate(options: ServerOptions, application_role: Option<String>) -> anyhow::Result<()> {
    let _telemetry = telemetry::start(&options, "migrate")?;
    let stop = process::stop_on_signal()?;
    let Some(url) = options.database_url.clone() else {
        let message = "`tollgate migrate` needs TOLLGATE_DATABASE_URL, postgres://… or sqlite://…; `tollgate dev` and \
                       `tollgate all` migrate the database in their data directory by themselves";
        return Err(UsageError::new(message).into());
    };
    let store = open_store(&url, &stop).await?;
    store.prepare_partitions(SystemClock.now()).await.context("the journal's partitions were not made")?;
    tracing::info!("the database is migrated");
    if let Some(role) = application_role {
        match store.grant_application_role(&role).await {
            Err(error @ StoreError::Invalid { .. }) => {
                return Err(UsageError::new(format!("--application-role: {error}")).into());
            }
            granted => granted.with_context(|| format!("the role {role} was not granted its rights"))?,
        }
        tracing::info!(role, "the role may add to the journal and change nothing of it");
    }
    store.close().await;
    Ok(())
}

/// Connects, waiting for a database that is not there yet, and migrates.
async fn open_store(
    url: &tollgate_domain::Secret,
    stop: &tokio_util::sync::CancellationToken,
) -> anyhow::Result<Store> {
    let store =
        process::patiently("the database", stop, StoreError::is_unavailable, || Store::connect(url.expose()))
            .await?;
    process::patiently("the database's migrations", stop, StoreError::is_unavailable, || store.migrate())
        .await?;
    Ok(store)
}

/// An option that this command cannot do without.
fn required<T: Clone>(option: Option<&T>, name: &str, why: &str) -> anyhow::Result<T> {
    let missing = || UsageError::new(format!("{name} is not set: {why}"));
    option.cloned().ok_or_else(missing).context("the command cannot start")
}
