//! System calls per request, counted by `strace` in a slice of its own (it slows everything it watches).

use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use tollgate_testkit::process::{ChildProcess, Signal};
use tollgate_testkit::wait::eventually;

use crate::client::AnswerShape;
use crate::load;
use crate::scenario::Scenario;
use crate::target::Target;

/// Few enough that the watched process keeps up.
const N_CONNECTIONS: usize = 16;
/// How long `strace` may take to attach to every thread, and to sum up.
const TIMEOUT: Duration = Duration::from_secs(10);

/// System calls of the process under test per small request, all its threads together.
pub(crate) async fn per_request(
    target: &Target,
    expected: AnswerShape,
    duration: Duration,
) -> anyhow::Result<f64> {
    let process_id = target.process_id().to_string();
    let mut strace = ChildProcess::builder("strace")
        .args(["-c", "-f", "-p", &process_id])
        .start()
        .context("cannot count system calls: install strace")?;
    let attached = eventually(TIMEOUT, "strace to attach", async || {
        strace.stderr_text().contains("attached").then_some(())
    });
    attached.await.with_context(|| strace.stderr_text())?;
    let request: Arc<[u8]> = Scenario::Small.request().into();
    let done = load::closed_loop(target.address, request, expected, N_CONNECTIONS, duration).await?;
    strace.signal(Signal::Interrupt)?;
    strace.wait_exit(TIMEOUT).await?;
    let n_calls = total_calls(&strace.stderr_text()).context("strace printed no total")?;
    Ok(n_calls as f64 / done.n_answers as f64)
}

/// The `calls` cell of the summary's last row: `100.00 0.010458 83 126 6 total`.
fn total_calls(summary: &str) -> Option<u64> {
    let row = summary.lines().rev().find(|line| line.trim_end().ends_with(" total"))?;
    row.split_whitespace().nth(3)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_total_is_found_with_and_without_errors() {
        let row = |row: &str| format!("------ ---- total ----\n  3.0  0.1  9  10  5 accept4\n{row}\n");
        assert_eq!(total_calls(&row("100.00    0.010458          83       126         6 total")), Some(126));
        assert_eq!(total_calls(&row("100.00    0.010458          83       126           total")), Some(126));
        assert_eq!(total_calls("strace: Process 1 attached\n"), None);
    }
}
