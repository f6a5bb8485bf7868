//! The server commands.

use crate::cli::ServerOptions;

/// Everything in one process, seeded for a first try.
///
/// # Errors
/// Where it cannot start.
pub async fn dev(_options: ServerOptions) -> anyhow::Result<()> {
    anyhow::bail!("not wired yet")
}

/// Everything in one process, from a configuration.
///
/// # Errors
/// Where it cannot start.
pub async fn all(_options: ServerOptions) -> anyhow::Result<()> {
    anyhow::bail!("not wired yet")
}

/// One data-plane pod.
///
/// # Errors
/// Where it cannot start.
pub async fn gateway(_options: ServerOptions) -> anyhow::Result<()> {
    anyhow::bail!("not wired yet")
}

/// One control-plane replica.
///
/// # Errors
/// Where it cannot start.
pub async fn control(_options: ServerOptions) -> anyhow::Result<()> {
    anyhow::bail!("not wired yet")
}

/// Applies the database migrations.
///
/// # Errors
/// Where the database refuses.
pub async fn migrate(_options: ServerOptions) -> anyhow::Result<()> {
    anyhow::bail!("not wired yet")
}
