//! `Idempotency-Key`: a request that is sent twice is run once, charged once, and answered twice.
//!
//! The header's value, per API key, names a record in the ledger (`tollgate_ledger`, `idempotency.rs`). The first
//! request claims it and runs; its answer is kept with it, and whoever sends the same request again gets the same
//! bytes without a provider, a hold or a charge. Others that come while it runs wait for it: on the same pod they
//! are told, on another they ask the ledger now and then.
//!
//! - A whole answer is kept before it is settled and before the client has it. The run belongs to the pod, not to the
//!   client's connection: a client that gives up and tries again finds its answer.
//! - A stream is kept as the bytes that were sent. A client that leaves a stream cancels it and pays for what was
//!   produced, as without a key; what is kept then is that the key is spent. Running it again would be a second
//!   charge, and reading it to its end would bill what the client said it does not want.
//! - What was refused or failed without a charge releases the key: the next one runs.
//! - A pod that dies leaves its claim to its lease. Whoever claims it afterwards runs.

mod record;
mod run;

use std::sync::Arc;
use std::sync::atomic::AtomicUsize;
use std::time::Instant;

use foldhash::HashMap;
use http::{HeaderMap, HeaderName, Method, Response, StatusCode};
use parking_lot::Mutex;
use serde_json::json;
use sha2::{Digest, Sha256};
use tokio::sync::{Semaphore, watch};
use tokio_util::task::TaskTracker;
use tollgate_domain::{ErrorKind, KeyId, TenantId};
use tollgate_ledger::{IdempotencyClaim, IdempotencyName, IdempotencyState, NoAnswer, StoredAnswer};

use crate::answer::GatewayBody;
use crate::error::Refusal;
use crate::gateway::Pod;
use crate::pipeline::{Received, asked_timeout};

pub(crate) use record::RecordedBody;
pub(crate) use run::{OnceRun, drain};

/// The header.
pub(crate) const IDEMPOTENCY_KEY: HeaderName = HeaderName::from_static("idempotency-key");
/// Longest value: what Stripe and others take, and more than any identifier needs.
const MAX_KEY_CHARS: usize = 255;
/// Requests of a pod that wait for another's answer: each is a connection and a body in memory.
const MAX_WAITING: usize = 1_024;
/// Between two questions to the ledger about a run on another pod: at first, and at most.
const FIRST_POLL_MS: u64 = 20;
const MAX_POLL_MS: u64 = 500;
/// What a client is told to wait where the first request has not ended in time.
const RUNNING_RETRY_AFTER_MS: u64 = 1_000;

/// What a pod runs under idempotency keys.
#[derive(Debug)]
pub(crate) struct Idempotency {
    running: Mutex<HashMap<IdempotencyName, watch::Receiver<Option<Ended>>>>,
    waiting: Semaphore,
    /// Of the streams that are being written down.
    recording_bytes: Arc<AtomicUsize>,
    tasks: TaskTracker,
}

/// How a run on this pod ended, for those who wait here.
#[derive(Clone, Debug)]
enum Ended {
    Answered(StoredAnswer),
    /// The ledger knows.
    Otherwise,
}

/// What is to be done about a request with a key.
enum Decision {
    Run(Claimed),
    Replay(StoredAnswer),
}

/// A claim in the making: where it is dropped before its run begins, the key is released.
struct Claimed {
    gateway: Pod,
    claim: Option<IdempotencyClaim>,
}

// === impl Idempotency ===

impl Default for Idempotency {
    fn default() -> Self {
        Self {
            running: Mutex::default(),
            waiting: Semaphore::new(MAX_WAITING),
            recording_bytes: Arc::default(),
            tasks: TaskTracker::new(),
        }
    }
}

impl Idempotency {
    fn running_here(&self, name: &IdempotencyName) -> Option<watch::Receiver<Option<Ended>>> {
        self.running.lock().get(name).cloned()
    }
}

// === impl Claimed ===

impl Claimed {
    fn new(gateway: &Pod, claim: IdempotencyClaim) -> Self {
        Self { gateway: Pod::clone(gateway), claim: Some(claim) }
    }

    /// From here on the run ends it.
    fn begin(mut self, may_keep: bool) -> Option<Arc<OnceRun>> {
        self.claim.take().map(|claim| OnceRun::begin(&self.gateway, claim, may_keep))
    }

    /// There is nothing to release.
    fn belongs_to_another(mut self) {
        self.claim = None;
    }
}

impl Drop for Claimed {
    fn drop(&mut self) {
        if let Some(claim) = self.claim.take() {
            run::release(&self.gateway, claim);
        }
    }
}

/// Runs a request that carries a key, or repeats what it was answered.
pub(crate) async fn once(
    gateway: &Pod,
    method: &Method,
    path: &str,
    received: Received,
) -> Result<Response<GatewayBody>, Refusal> {
    let context = &received.caller.context;
    let claim = IdempotencyClaim {
        name: name(context.tenant.id, context.key.id, &received.headers)?,
        fingerprint: fingerprint(method, path, &received.body),
        owner: received.request,
    };
    let wait = asked_timeout(&received.headers)?.unwrap_or(gateway.config.idempotency.wait);
    // who lets no provider keep anything would not have it kept here
    let may_keep = !context.tenant.data_policy.require_zero_retention;
    match decide(gateway, claim, received.started + wait).await? {
        Decision::Run(claimed) => match claimed.begin(may_keep) {
            Some(once) => run::run(gateway, received, once).await,
            None => Err(Refusal::new(ErrorKind::Internal, "a claim was lost: report it with the request id")),
        },
        Decision::Replay(answer) => {
            tracing::debug!(request_id = %received.request, "an answer is repeated");
            record::replay(answer, received.started.elapsed()).ok_or_else(|| spent(NoAnswer::NoRoom))
        }
    }
}

async fn decide(gateway: &Pod, claim: IdempotencyClaim, deadline: Instant) -> Result<Decision, Refusal> {
    let (mut place, mut poll_ms) = (None, FIRST_POLL_MS);
    loop {
        let claimed = Claimed::new(gateway, claim);
        let state = gateway.ledger.claim_idempotency(&claim, &bounds(gateway)).await?;
        if state == IdempotencyState::Claimed {
            return Ok(Decision::Run(claimed));
        }
        claimed.belongs_to_another();
        match state {
            IdempotencyState::Answered(answer) => return Ok(Decision::Replay(answer)),
            IdempotencyState::Spent(why) => return Err(spent(why)),
            IdempotencyState::OtherRequest => return Err(other_request()),
            IdempotencyState::TooManyKeys => return Err(too_many_keys(gateway)),
            IdempotencyState::Running { .. } | IdempotencyState::Claimed => {}
        }
        if place.is_none() {
            place = Some(gateway.idempotency.waiting.try_acquire().map_err(|_| still_running())?);
        }
        let ended = tokio::time::timeout_at(deadline.into(), wait(gateway, &claim.name, poll_ms)).await;
        if let Ended::Answered(answer) = ended.map_err(|_| still_running())? {
            return Ok(Decision::Replay(answer));
        }
        poll_ms = (poll_ms * 2).min(MAX_POLL_MS);
    }
}

/// Waits for the end of the run where it is on this pod, else for the time of the next question.
async fn wait(gateway: &Pod, name: &IdempotencyName, poll_ms: u64) -> Ended {
    if let Some(mut running) = gateway.idempotency.running_here(name)
        && let Ok(ended) = running.wait_for(Option::is_some).await
    {
        return ended.clone().unwrap_or(Ended::Otherwise);
    }
    tokio::time::sleep(std::time::Duration::from_millis(poll_ms)).await;
    Ended::Otherwise
}

fn bounds(gateway: &Pod) -> tollgate_ledger::IdempotencyBounds {
    gateway.config.idempotency.bounds(gateway.config.lease)
}

// === what names and what tells apart ===

/// Whether the request carries a key at all.
pub(crate) fn is_asked_for(headers: &HeaderMap) -> bool {
    headers.contains_key(IDEMPOTENCY_KEY)
}

fn name(tenant: TenantId, key: KeyId, headers: &HeaderMap) -> Result<IdempotencyName, Refusal> {
    let mut values = headers.get_all(IDEMPOTENCY_KEY).iter();
    let value = values.next().map_or(&b""[..], |value| value.as_bytes());
    let is_one = values.next().is_none();
    let is_readable = (1..=MAX_KEY_CHARS).contains(&value.len()) && value.iter().all(u8::is_ascii_graphic);
    if !is_one || !is_readable {
        let message =
            format!("Idempotency-Key must be one value of 1 to {MAX_KEY_CHARS} visible ASCII characters");
        return Err(Refusal::new(ErrorKind::InvalidRequest, message).with_param("Idempotency-Key"));
    }
    let digest: [u8; 32] = Sha256::digest(value).into();
    let (head, _) = digest.split_first_chunk::<16>().expect("a SHA-256 has 32 bytes");
    Ok(IdempotencyName { tenant, key, hash: u128::from_be_bytes(*head) })
}

fn fingerprint(method: &Method, path: &str, body: &[u8]) -> [u8; 32] {
    let mut hash = Sha256::new();
    for part in [method.as_str().as_bytes(), path.as_bytes(), body] {
        // with its length, so that no two requests run together alike
        hash.update((part.len() as u64).to_le_bytes());
        hash.update(part);
    }
    hash.finalize().into()
}

// === refusals ===

fn refused(status: StatusCode, why: &str, message: impl Into<String>) -> Refusal {
    let refusal = Refusal::new(ErrorKind::InvalidRequest, message).with_param("Idempotency-Key");
    Refusal {
        status: Some(status),
        metadata: Some(json!({ "idempotency": why })),
        should_retry: Some(false),
        ..refusal
    }
}

fn other_request() -> Refusal {
    let message = "this Idempotency-Key was used for another request: send the same body to the same path, or use a new key";
    refused(StatusCode::UNPROCESSABLE_ENTITY, "other_request", message)
}

fn still_running() -> Refusal {
    let message = "the first request with this Idempotency-Key has not ended yet: try again after the time in Retry-After";
    let refusal = refused(StatusCode::CONFLICT, "running", message);
    Refusal { should_retry: Some(true), ..refusal }.with_retry_after_ms(RUNNING_RETRY_AFTER_MS)
}

fn too_many_keys(gateway: &Pod) -> Refusal {
    let n_keys = gateway.config.idempotency.max_keys;
    let message = format!(
        "{n_keys} idempotency keys of this API key are remembered already: send the request without one, or later"
    );
    let refusal = refused(StatusCode::TOO_MANY_REQUESTS, "too_many_keys", message);
    Refusal { kind: ErrorKind::RateLimitExceeded, ..refusal }
}

fn spent(why: NoAnswer) -> Refusal {
    let (code, what) = match why {
        NoAnswer::TooLarge => {
            ("too_large", "was answered and charged, but its answer is too large to be repeated")
        }
        NoAnswer::Forbidden => (
            "not_stored",
            "was already answered and charged; its answer is not stored, as the tenant's data policy says",
        ),
        NoAnswer::NoRoom => {
            ("no_room", "was already answered and charged, but there was no room to store its answer")
        }
        NoAnswer::Broken => ("broken", "was charged and ended before its answer was whole"),
    };
    let message = format!("the request with this Idempotency-Key {what}: use a new key to run it again");
    refused(StatusCode::CONFLICT, code, message)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(values: &[&[u8]]) -> Result<IdempotencyName, Refusal> {
        let mut headers = HeaderMap::new();
        for value in values {
            headers.append(IDEMPOTENCY_KEY, http::HeaderValue::from_bytes(value).unwrap());
        }
        name(TenantId::from_u128(1), KeyId::from_u128(2), &headers)
    }

    #[test]
    fn values() {
        let longest = [b'x'; MAX_KEY_CHARS];
        for good in [&b"a"[..], b"order-17/retry~", &longest] {
            assert!(read(&[good]).is_ok(), "{good:?}");
        }
        let too_long = [b'x'; MAX_KEY_CHARS + 1];
        for bad in [&b""[..], b"a b", "é".as_bytes(), &too_long] {
            let refusal = read(&[bad]).unwrap_err();
            assert_eq!((refusal.status().as_u16(), refusal.param.as_deref()), (400, Some("Idempotency-Key")));
            assert!(refusal.message.contains("Idempotency-Key"), "{}", refusal.message);
        }
        assert_eq!(read(&[b"a", b"a"]).unwrap_err().status().as_u16(), 400);
        assert_ne!(read(&[b"a"]).unwrap(), read(&[b"b"]).unwrap());
    }

    #[test]
    fn requests_are_told_apart_by_method_path_and_body() {
        let one = fingerprint(&Method::POST, "/v1/a", b"{}");
        assert_eq!(one, fingerprint(&Method::POST, "/v1/a", b"{}"));
        let others = [
            fingerprint(&Method::PUT, "/v1/a", b"{}"),
            fingerprint(&Method::POST, "/v1/a{", b"}"),
            fingerprint(&Method::POST, "/v1/a", b"{ }"),
        ];
        assert!(!others.contains(&one));
    }
}
