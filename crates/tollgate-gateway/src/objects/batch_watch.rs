//! Batches and responses in the background that this pod has made, looked after until their end is seen: so that they are
//! charged what they cost, and what is held for them is free within minutes, also where nobody asks.
//!
//! The list is of this pod alone. After a restart they are settled by whoever looks at them, or at their estimate once
//! their lease has ended.

use std::collections::VecDeque;
use std::sync::Weak;
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::{HeaderMap, Method};
use parking_lot::Mutex;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use tollgate_domain::{ProjectId, TenantId};
use tollgate_upstream::{RequestBody, UpstreamRequest};
use tollgate_wire::json::Node;

use super::Asking;
use super::batch_end::{AskedBy, look_and_settle};
use super::ids::{BatchClaim, Kind, ObjectId};
use super::responses::{self, Looked};
use crate::attempt::read_body;
use crate::auth::Authenticated;
use crate::gateway::{Pod, Shared};
use crate::settle::Reservation;

/// Batches looked after at once: each costs some hundred bytes, and a call to its provider per round.
const MAX_WATCHED: usize = 10_000;
/// After so long nobody waits for a batch any more: providers end them within a day.
const GIVE_UP_AFTER: Duration = Duration::from_secs(72 * 3_600);
/// Time for one look, the reading of all answers included.
const LOOK_TIMEOUT: Duration = Duration::from_secs(60);
/// Looks side by side.
const LOOKS_AT_ONCE: usize = 32;
/// Of a round's interval, drawn at random: pods that began together do not ask together.
const JITTER_SHARE: u32 = 4;

/// One of them.
#[derive(Clone, Debug)]
struct Watched {
    tenant: TenantId,
    project: ProjectId,
    kind: Kind,
    object: ObjectId,
    since: Instant,
}

/// All of a pod's.
#[derive(Debug, Default)]
pub(crate) struct WatchedBatches(Mutex<VecDeque<Watched>>);

impl WatchedBatches {
    fn add(&self, watched: Watched) {
        let mut all = self.0.lock();
        if all.len() == MAX_WATCHED {
            all.pop_front();
            tracing::warn!("too many batches are under way: the oldest is settled when somebody looks at it");
        }
        all.push_back(watched);
    }
}

/// Looks after a batch that was just made; `body` is the provider's answer.
pub(super) fn watch(asking: &Asking<'_>, like: &ObjectId, body: &[u8]) {
    let name = Node::parse(body).ok().and_then(|root| root.object().ok()?.string("id").ok()?);
    let Some(upstream) = name.filter(|name| ObjectId::is_plain(name)) else { return };
    let context = &asking.caller.context;
    asking.gateway.batches.add(Watched {
        tenant: context.tenant.id,
        project: context.project.id,
        kind: Kind::Batch,
        object: ObjectId { upstream, ..like.clone() },
        since: Instant::now(),
    });
}

/// Looks after a response that goes on without its request, by the provider's name for it.
pub(crate) fn watch_response(reservation: &Reservation, claim: BatchClaim, upstream: String) {
    let Some(priced) = reservation.current().filter(|_| ObjectId::is_plain(&upstream)) else { return };
    let context = &reservation.priced.caller.context;
    let (provider, credential) = (priced.candidate.provider.id, reservation.credential());
    reservation.gateway().batches.add(Watched {
        tenant: context.tenant.id,
        project: context.project.id,
        kind: Kind::Response,
        object: ObjectId { provider, credential, batch: Some(claim), context_tokens: None, upstream },
        since: Instant::now(),
    });
}

/// Looks at each of them in turn, until `stop`.
pub(crate) async fn run(pod: Weak<Shared>, every: Duration, stop: CancellationToken) {
    loop {
        let jitter = every / JITTER_SHARE * u32::from(crate::entropy::bytes()[0]) / 256;
        if stop.run_until_cancelled(tokio::time::sleep(every - every / JITTER_SHARE + jitter)).await.is_none()
        {
            return;
        }
        let Some(pod) = pod.upgrade() else { return };
        // dropping the round ends its looks
        if stop.run_until_cancelled(Box::pin(one_round(&pod))).await.is_none() {
            return;
        }
    }
}

/// Looks at each of them once, at some side by side: a provider that does not answer holds up few others.
async fn one_round(pod: &Pod) {
    let round = pod.batches.0.lock().len();
    let mut looking = JoinSet::new();
    for _ in 0..round {
        let Some(watched) = pod.batches.0.lock().pop_front() else { break };
        if looking.len() >= LOOKS_AT_ONCE {
            looking.join_next().await;
        }
        let pod = Pod::clone(pod);
        looking.spawn(async move {
            let looked = tokio::time::timeout(LOOK_TIMEOUT, look(&pod, &watched)).await;
            if !looked.unwrap_or(false) && watched.since.elapsed() < GIVE_UP_AFTER {
                pod.batches.0.lock().push_back(watched);
            }
        });
    }
    while looking.join_next().await.is_some() {}
}

/// Looks at one; answers whether it needs no further look.
async fn look(pod: &Pod, watched: &Watched) -> bool {
    let Some(snapshot) = pod.policy.current() else { return false };
    let keys = snapshot.keys_of_tenant(watched.tenant);
    // its own key, or where that is gone another one of its project: the project pays
    let own = watched.object.batch.as_ref().map(|claim| claim.key);
    let context = keys
        .iter()
        .find(|context| Some(context.key.id) == own)
        .or_else(|| keys.iter().find(|context| context.project.id == watched.project));
    let Some(context) = context.cloned() else { return false };
    let caller = Authenticated { snapshot, context, now: pod.clock.now() };
    let headers = HeaderMap::new();
    let asking = Asking { gateway: pod, caller: &caller, headers: &headers, started: Instant::now() };
    if watched.kind == Kind::Response {
        return responses::look(&asking, &watched.object).await == Some(Looked::Ended);
    }
    let path = format!("/batches/{}", watched.object.upstream);
    match asking.look(&watched.object, &path).await {
        Some(body) => look_and_settle(&asking, &body, &watched.object, AskedBy::Pod).await.is_some(),
        None => false,
    }
}

impl Asking<'_> {
    /// What a provider says of what it keeps, asked by the pod for itself: nobody is charged and nothing is journaled.
    pub(super) async fn look(&self, object: &ObjectId, path: &str) -> Option<Bytes> {
        let provider = self.provider(object.provider).ok()?;
        let credential = match object.credential {
            Some(id) => Some(provider.credentials.iter().find(|credential| credential.id == id)?),
            None => provider.credentials.first(),
        };
        let mut headers = HeaderMap::new();
        if let Some(credential) = credential {
            crate::dialects::present(&mut headers, provider.dialect, &credential.secret);
        }
        let url = format!("{}{path}", crate::dialects::openai_base(provider));
        let request = UpstreamRequest {
            method: Method::GET,
            url: url.parse().ok()?,
            headers,
            body: RequestBody::default(),
            connect_timeout: LOOK_TIMEOUT,
            first_byte_timeout: LOOK_TIMEOUT,
            idle_timeout: LOOK_TIMEOUT,
        };
        let response = self.gateway.upstream.send(request).await;
        let response = response
            .inspect_err(|error| tracing::debug!(%error, "a batch could not be looked at: it is tried again"))
            .ok()?;
        if !response.status().is_success() {
            tracing::debug!(status = response.status().as_u16(), "a batch could not be looked at");
            return None;
        }
        let max = self.gateway.config.max_answer_bytes;
        read_body(response.into_body(), max, Instant::now() + LOOK_TIMEOUT).await.ok()
    }
}
