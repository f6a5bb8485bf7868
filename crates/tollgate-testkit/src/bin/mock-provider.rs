//! The mock provider as a process of its own, for benchmarks and for tests of other processes.
//!
//! Environment: `PORT` (default: a free one), `THREADS` (default 1), `N_CHUNKS` (text chunks per answer),
//! `CHUNK_DELAY_MS` (wait between streamed chunks), `VENDORS=1` (speak every vendor's dialect, see
//! [`tollgate_testkit::vendors`]). Prints `ready http://127.0.0.1:<port>` and serves until
//! it is killed. Requests are counted, not recorded.

use std::io::Write as _;
use std::str::FromStr;
use std::time::Duration;

use anyhow::Context as _;
use tollgate_testkit::mock_provider::{MockProvider, Script};

#[tokio::main(flavor = "current_thread")]
async fn main() -> anyhow::Result<()> {
    let port = from_environment::<u16>("PORT")?.filter(|&port| port != 0);
    let mock = MockProvider::start_on(port, from_environment("THREADS")?.unwrap_or(1))?;
    mock.record(false);
    let mut script = Script::new();
    if let Some(n_chunks) = from_environment("N_CHUNKS")? {
        script = script.n_chunks(n_chunks);
    }
    if let Some(delay_ms) = from_environment("CHUNK_DELAY_MS")? {
        script = script.delay_between_chunks(Duration::from_millis(delay_ms));
    }
    mock.set_default(script);
    if from_environment::<u8>("VENDORS")?.is_some_and(|speaks| speaks > 0) {
        mock.set_responder(tollgate_testkit::vendors::script);
    }
    writeln!(std::io::stdout(), "ready http://{}", mock.address())?;
    std::future::pending().await
}

fn from_environment<T: FromStr>(name: &str) -> anyhow::Result<Option<T>>
where
    T::Err: std::error::Error + Send + Sync + 'static,
{
    let Ok(text) = std::env::var(name) else { return Ok(None) };
    text.parse().map(Some).with_context(|| format!("{name}={text} is not understood"))
}
