//! What every server process does: logging, signals, listeners, patience with what is not there yet.

use std::future::Future;
use std::net::SocketAddr;
use std::time::Duration;

use anyhow::Context;
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;

/// Waits between tries at something that is not there yet, doubled each time.
const PATIENCE_FIRST: Duration = Duration::from_millis(200);
const PATIENCE_MAX: Duration = Duration::from_secs(5);

/// Cancelled by SIGTERM or SIGINT; a second signal ends the process at once.
///
/// # Errors
/// The signal handlers cannot be installed.
pub(super) fn stop_on_signal() -> anyhow::Result<CancellationToken> {
    let mut terminate = signal(SignalKind::terminate()).context("cannot handle SIGTERM")?;
    let mut interrupt = signal(SignalKind::interrupt()).context("cannot handle SIGINT")?;
    let token = CancellationToken::new();
    let stop = token.clone();
    // owned by the process: it ends with it
    tokio::spawn(async move {
        let mut next = async || {
            tokio::select! {
                _ = terminate.recv() => "SIGTERM",
                _ = interrupt.recv() => "SIGINT",
            }
        };
        let name = next().await;
        tracing::info!(signal = name, "stopping: requests in flight are finished first");
        stop.cancel();
        let name = next().await;
        tracing::warn!(signal = name, "stopping at once");
        std::process::exit(1);
    });
    Ok(token)
}

/// Binds a listener.
///
/// # Errors
/// The address is taken or not ours; the message names the flag.
pub(super) async fn bind(address: SocketAddr, flag: &str) -> anyhow::Result<TcpListener> {
    TcpListener::bind(address).await.with_context(|| {
        format!("cannot listen on {address} ({flag}): choose another address or stop what holds it")
    })
}

/// Tries until it succeeds or the process is told to stop, saying in one sentence what it waits for.
///
/// # Errors
/// The process was told to stop meanwhile, or the failure is of a kind that waiting cannot mend.
pub(super) async fn patiently<T, E, F, A>(
    what: &str,
    stop: &CancellationToken,
    is_passing: impl Fn(&E) -> bool,
    mut attempt: A,
) -> anyhow::Result<T>
where
    E: std::error::Error + Send + Sync + 'static,
    F: Future<Output = Result<T, E>>,
    A: FnMut() -> F,
{
    let mut wait = PATIENCE_FIRST;
    loop {
        match attempt().await {
            Ok(value) => return Ok(value),
            Err(error) if !is_passing(&error) => {
                return Err(anyhow::Error::new(error).context(format!("cannot use {what}")));
            }
            Err(error) => {
                tracing::warn!(%error, retry_ms = wait.as_millis(), "{what} is not available yet");
            }
        }
        tokio::select! {
            () = stop.cancelled() => anyhow::bail!("stopped while waiting for {what}"),
            () = tokio::time::sleep(wait) => {}
        }
        wait = (wait * 2).min(PATIENCE_MAX);
    }
}

/// The line that supervisors and tests wait for, on standard output.
///
/// # Errors
/// Standard output is closed.
pub(super) fn print_ready(addresses: &[(&str, SocketAddr)]) -> anyhow::Result<()> {
    use std::io::Write;
    let parts: Vec<String> =
        addresses.iter().map(|(name, address)| format!("{name}=http://{address}")).collect();
    let mut out = std::io::stdout().lock();
    writeln!(out, "ready {}", parts.join(" "))
        .and_then(|()| out.flush())
        .context("cannot write to standard output")
}
