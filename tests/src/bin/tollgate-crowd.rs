//! One client process of a crowd: sends the same chat many times to several gateways and tells what came back.
//!
//! ```text
//! tollgate-crowd --key sk-… --model mock/page --calls 1500 --at-once 32 http://127.0.0.1:1 http://127.0.0.1:2
//! {"answered":625,"refused":875,"others":{}}
//! ```

use std::collections::BTreeMap;
use std::io::Write as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use clap::Parser;
use serde_json::json;
use tollgate_testkit::http::HttpClient;

/// Tries per call while the ledger does not answer in time.
const MAX_TRIES: u32 = 20;

/// Sends the same chat many times and prints what came back as one line of JSON.
#[derive(Debug, Parser)]
struct Arguments {
    /// The key of every call.
    #[arg(long)]
    key: String,
    /// The model of every call.
    #[arg(long)]
    model: String,
    /// How many calls.
    #[arg(long)]
    calls: usize,
    /// How many at once.
    #[arg(long)]
    at_once: usize,
    /// The gateways, asked in turn.
    #[arg(required = true)]
    gateways: Vec<String>,
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> anyhow::Result<()> {
    let arguments = Arc::new(Arguments::parse());
    let next = Arc::new(AtomicUsize::new(0));
    let workers: tokio::task::JoinSet<_> =
        (0..arguments.at_once).map(|_| work(Arc::clone(&arguments), Arc::clone(&next))).collect();
    let mut counts = BTreeMap::<String, u64>::new();
    for part in workers.join_all().await {
        for (what, n) in part {
            *counts.entry(what).or_default() += n;
        }
    }
    let mut take = |what: &str| counts.remove(what).unwrap_or(0);
    let (answered, refused) = (take("200"), take("402"));
    writeln!(std::io::stdout(), "{}", json!({ "answered": answered, "refused": refused, "others": counts }))?;
    Ok(())
}

async fn work(arguments: Arc<Arguments>, next: Arc<AtomicUsize>) -> BTreeMap<String, u64> {
    let http = HttpClient::new().with_bearer(&arguments.key);
    let body = json!({
        "model": arguments.model,
        "messages": [{ "role": "user", "content": "hello" }],
        "max_tokens": 50,
    });
    let mut counts = BTreeMap::new();
    loop {
        let n = next.fetch_add(1, Ordering::Relaxed);
        if n >= arguments.calls {
            return counts;
        }
        let gateway = &arguments.gateways[n % arguments.gateways.len()];
        let url = format!("{gateway}/v1/chat/completions");
        let mut n_tries = 0;
        let what = loop {
            n_tries += 1;
            match http.post_json(&url, &body).await {
                // nothing was sent: every SDK tries again, and a loaded machine needs it
                Ok(answer) if answer.status == 503 && n_tries < MAX_TRIES => {}
                Ok(answer) => break answer.status.as_u16().to_string(),
                Err(error) => break format!("{error:#}"),
            }
        };
        *counts.entry(what).or_default() += 1;
    }
}
