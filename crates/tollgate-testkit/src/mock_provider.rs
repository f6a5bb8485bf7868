//! A scriptable OpenAI-compatible provider on a free port of 127.0.0.1.
//!
//! It answers `POST /v1/chat/completions` and `/v1/completions` (plain or streamed, as the body's `stream`
//! says), `POST /v1/embeddings`, `GET /v1/models` and `/v1/models/{id}` over HTTP/1.1 with keep-alive.
//! What an answer looks like, and how it fails, is a [`Script`]. Each POST takes the next of the pushed
//! scripts, and the default script when there is none; a responder set with
//! [`MockProvider::set_responder`] is asked first.
//!
//! # What it answers when nothing else is scripted
//! - Text: [`DEFAULT_N_TOKENS`] times [`DEFAULT_TOKEN_TEXT`], one streamed chunk each.
//! - `prompt_tokens`: [`default_prompt_tokens`]: the UTF-8 bytes of all text in `messages`, `prompt` or
//!   `input` divided by 4, rounded up, at least 1; token ids in `prompt` or `input` count one each.
//! - `completion_tokens`: the number of text chunks, cut to `max_completion_tokens` or `max_tokens` (then
//!   the finish reason is `length`), times `n`.
//! - Streams carry usage only when the body asks for it, in a last chunk without choices.
//! - A body that is not JSON is a 400, an unknown path a 404, both as OpenAI errors.
//!
//! The server is written by hand over TCP because the scripts need what an HTTP library rightly refuses
//! to send: wrong lengths, half a head, resets. It runs on threads of its own, see
//! [`MockProvider::start`].

mod answer;
mod ask;
mod connection;
mod gate;
mod generation;
mod record;
mod request;
mod script;

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use anyhow::Context as _;

use crate::server_thread::ServerThread;
pub use ask::default_prompt_tokens;
pub use gate::Gate;
pub use generation::{DEFAULT_N_TOKENS, DEFAULT_TOKEN_TEXT};
use record::Recorder;
pub use record::{AnswerEnd, Counts, RECORDED_REQUESTS_MAX};
pub use request::ReceivedRequest;
pub use script::{BreakKind, Script, Usage};

/// Chooses a script from the request; `None` leaves the choice to the queue.
type Responder = Arc<dyn Fn(&ReceivedRequest) -> Option<Script> + Send + Sync>;

/// A running mock. Dropping it closes its port and every connection.
pub struct MockProvider {
    server: Option<ServerThread>,
    address: SocketAddr,
    n_threads: usize,
    shared: Arc<Shared>,
}

pub(crate) struct Shared {
    scripts: Mutex<Scripts>,
    has_responder: AtomicBool,
    models: Mutex<Vec<String>>,
    recorder: Recorder,
}

struct Scripts {
    queue: VecDeque<Arc<Script>>,
    default: Arc<Script>,
    responder: Option<Responder>,
}

impl MockProvider {
    /// Starts on a free port with one thread of its own: it answers also while the test blocks its thread.
    /// Delays in scripts are real time. A test that pauses tokio's clock cannot talk to it: over real
    /// sockets a paused clock jumps to every timeout.
    pub async fn start() -> anyhow::Result<Self> {
        Self::start_on(None, 1)
    }

    /// Starts on `port` (or a free one) with `n_threads` threads, for benchmarks and stand-alone use.
    pub fn start_on(port: Option<u16>, n_threads: usize) -> anyhow::Result<Self> {
        let scripts = Scripts { queue: VecDeque::new(), default: Arc::default(), responder: None };
        let shared = Arc::new(Shared {
            scripts: Mutex::new(scripts),
            has_responder: AtomicBool::new(false),
            models: Mutex::new(vec!["mock-model".to_owned()]),
            recorder: Recorder::default(),
        });
        let server = serve(port, n_threads, &shared)?;
        Ok(Self { address: server.address(), server: Some(server), n_threads, shared })
    }

    /// The base URL for an OpenAI client: `http://127.0.0.1:<port>/v1`.
    pub fn base_url(&self) -> String {
        format!("http://{}/v1", self.address)
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Queues a script for one request.
    pub fn push(&self, script: Script) {
        self.shared.scripts().queue.push_back(Arc::new(script));
    }

    /// Queues a script for `n` requests.
    pub fn push_times(&self, n: usize, script: Script) {
        let script = Arc::new(script);
        self.shared.scripts().queue.extend(std::iter::repeat_n(script, n));
    }

    /// Sets the script for requests that find the queue empty.
    pub fn set_default(&self, script: Script) {
        self.shared.scripts().default = Arc::new(script);
    }

    /// Asks `choose` first, for every request of any method: by credential, by model, by count. A script
    /// it returns is used, `None` leaves the request to the queue.
    pub fn set_responder(&self, choose: impl Fn(&ReceivedRequest) -> Option<Script> + Send + Sync + 'static) {
        self.shared.scripts().responder = Some(Arc::new(choose));
        self.shared.has_responder.store(true, Ordering::Release);
    }

    /// Scripts in the queue that no request has taken.
    pub fn n_queued_scripts(&self) -> usize {
        self.shared.scripts().queue.len()
    }

    /// Sets what `GET /v1/models` lists; at the start that is `mock-model`.
    pub fn set_models(&self, models: &[&str]) {
        *lock(&self.shared.models) = models.iter().map(|&model| model.to_owned()).collect();
    }

    /// Whether requests are kept for [`MockProvider::requests`] (they are at the start). Counting goes on
    /// without.
    pub fn record(&self, record: bool) {
        self.shared.recorder.set_recording(record);
    }

    /// The last [`RECORDED_REQUESTS_MAX`] requests, oldest first, in the order in which they were read.
    pub fn requests(&self) -> Vec<Arc<ReceivedRequest>> {
        self.shared.recorder.requests()
    }

    /// The last request. Fails when there was none.
    pub fn last_request(&self) -> anyhow::Result<Arc<ReceivedRequest>> {
        self.requests().pop().context("the mock provider has received no request")
    }

    /// Forgets the recorded requests; the counts stay.
    pub fn clear_requests(&self) {
        self.shared.recorder.clear();
    }

    /// How many requests were received, are being answered, and how they ended.
    pub fn counts(&self) -> Counts {
        self.shared.recorder.counts()
    }

    /// Waits until at least `n` requests have been received since the start.
    pub async fn wait_for_requests(&self, n: u64) -> anyhow::Result<()> {
        let what = format!("{n} requests at the mock provider");
        self.shared.recorder.wait_for(&what, |counts| counts.n_received >= n).await
    }

    /// Waits until `n` clients have gone away before their answer ended, since the start.
    pub async fn wait_for_disconnects(&self, n: u64) -> anyhow::Result<()> {
        let what = format!("{n} disconnects at the mock provider");
        self.shared.recorder.wait_for(&what, |counts| counts.n_disconnects >= n).await
    }

    /// Waits until `n` answers have been written to the end, since the start. A client may have read its
    /// answer a moment before it is counted.
    pub async fn wait_for_complete(&self, n: u64) -> anyhow::Result<()> {
        let what = format!("{n} complete answers of the mock provider");
        self.shared.recorder.wait_for(&what, |counts| counts.n_complete >= n).await
    }

    /// Waits until no request is being answered.
    pub async fn wait_for_idle(&self) -> anyhow::Result<()> {
        self.shared.recorder.wait_for("the mock provider to be idle", |counts| counts.n_in_flight == 0).await
    }

    /// Closes the port and every connection: connecting is refused from now on.
    pub async fn stop(&mut self) -> anyhow::Result<()> {
        self.server.take().context("the mock provider is stopped already")?.stop().await
    }

    /// Listens again at the same port, with the same scripts and counts.
    pub async fn start_again(&mut self) -> anyhow::Result<()> {
        anyhow::ensure!(self.server.is_none(), "the mock provider is running already");
        self.server = Some(serve(Some(self.address.port()), self.n_threads, &self.shared)?);
        Ok(())
    }
}

fn serve(port: Option<u16>, n_threads: usize, shared: &Arc<Shared>) -> anyhow::Result<ServerThread> {
    let shared = Arc::clone(shared);
    ServerThread::start("mock-provider", port, n_threads, move |stream, number| {
        connection::serve(stream, number, Arc::clone(&shared))
    })
}

impl Shared {
    fn scripts(&self) -> MutexGuard<'_, Scripts> {
        lock(&self.scripts)
    }

    /// The script for a request; only POST takes from the queue.
    fn script_for(&self, request: &ReceivedRequest) -> Arc<Script> {
        if self.has_responder.load(Ordering::Acquire) {
            // Called without the lock, so that a responder may use the mock.
            let responder = self.scripts().responder.clone();
            if let Some(script) = responder.and_then(|choose| choose(request)) {
                return Arc::new(script);
            }
        }
        if request.method() != "POST" {
            return Arc::default();
        }
        let mut scripts = self.scripts();
        scripts.queue.pop_front().unwrap_or_else(|| Arc::clone(&scripts.default))
    }

    fn models(&self) -> Vec<String> {
        lock(&self.models).clone()
    }

    fn recorder(&self) -> &Recorder {
        &self.recorder
    }
}

/// Locks without a poison check: what the locks guard is never left half-changed.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
