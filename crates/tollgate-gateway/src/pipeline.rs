//! A request's life, in the order in which it happens.

use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::{HeaderMap, HeaderName, Response};
use tollgate_domain::{ErrorKind, Labels, RequestId, Surface};
use tollgate_policy::KeyContext;
use tollgate_telemetry::RequestTrace;
use tollgate_wire::media::MediaRequest;
use tollgate_wire::neutral::ChatDialect;
use tollgate_wire::openai::request::{RequestSkim, skim as read_skim};

use crate::answer::GatewayBody;
use crate::auth::Authenticated;
use crate::dialects::{self, Client};
use crate::error::Refusal;
use crate::gateway::Pod;
use crate::idempotency::OnceRun;
use crate::passthrough::PassthroughCall;
use crate::plan::{PlanInput, PricedPlan, price_plan};
use crate::{kept_files, media, provider, reserve, responses};

// names that are looked for in every request: as constants they need not be read first
const TIMEOUT_MS: HeaderName = HeaderName::from_static("x-tollgate-timeout-ms");
const END_USER: HeaderName = HeaderName::from_static("x-tollgate-user");
const LABELS: HeaderName = HeaderName::from_static("x-tollgate-labels");
/// Labels a client may add: bounded, because they are stored with every request.
const MAX_CLIENT_LABELS: usize = 16;
const MAX_LABEL_CHARS: usize = 64;
/// Longest end-user name that is stored.
const MAX_END_USER_CHARS: usize = 256;

/// A request whose caller is known and whose body was read.
#[derive(Debug)]
pub(crate) struct Received {
    pub(crate) request: RequestId,
    pub(crate) started: Instant,
    pub(crate) surface: Surface,
    pub(crate) dialect: ChatDialect,
    /// Where Google's requests name their model.
    pub(crate) path: String,
    /// The model that the path names, whatever the body says.
    pub(crate) deployment: Option<String>,
    /// A call of a provider's own.
    pub(crate) passthrough: Option<Arc<PassthroughCall>>,
    pub(crate) caller: Authenticated,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
    pub(crate) trace: RequestTrace,
}

/// A request that policy allows, with its price: the ledger has not been asked yet.
#[derive(Debug)]
pub(crate) struct Priced {
    pub(crate) request: RequestId,
    pub(crate) started: Instant,
    pub(crate) surface: Surface,
    pub(crate) client: Client,
    pub(crate) caller: Authenticated,
    pub(crate) headers: HeaderMap,
    /// In Chat Completions, whatever the client speaks.
    pub(crate) body: PromptBody,
    pub(crate) skim: RequestSkim,
    /// What is known of a request of the surfaces beside conversation.
    pub(crate) media: Option<Arc<MediaRequest>>,
    pub(crate) passthrough: Option<Arc<PassthroughCall>>,
    pub(crate) requested_model: String,
    pub(crate) end_user: Option<String>,
    pub(crate) labels: Labels,
    /// How long the client is willing to wait, where it says so.
    pub(crate) asked_timeout: Option<Duration>,
    pub(crate) plan: PricedPlan,
    pub(crate) trace: RequestTrace,
    /// The run under an idempotency key, where there is one.
    pub(crate) once: Option<Arc<OnceRun>>,
}

pub(crate) type PromptBody = tollgate_domain::PromptBytes<Bytes>;

/// Everything from a read request to its answer: priced, paid for, sent, relayed. What was reserved is
/// settled when the answer's body ends, wherever that is.
pub(crate) async fn handle(gateway: &Pod, received: Received) -> Result<Response<GatewayBody>, Refusal> {
    pay_and_send(gateway, price(gateway, received)?).await
}

/// The same from where the price is known.
pub(crate) async fn pay_and_send(
    gateway: &Pod,
    priced: Box<Priced>,
) -> Result<Response<GatewayBody>, Refusal> {
    if responses::continues_background(&priced.client) {
        Box::pin(crate::objects::settle_before_continuing(gateway, &priced)).await?;
    }
    let reservation = reserve::reserve(gateway, priced).await?;
    provider::send(reservation).await
}

/// Reads what must be known of the body, finds the candidates and bounds the cost. Boxed, because it is passed
/// on from step to step.
pub(crate) fn price(gateway: &Pod, received: Received) -> Result<Box<Priced>, Refusal> {
    let Received { request, started, surface, dialect, path, deployment, passthrough, .. } = received;
    let Received { caller, headers, body, mut trace, .. } = received;
    let read = ReadBody::read(surface, dialect, &path, (&headers, body), &caller)?;
    let ReadBody { client, body, media, skim } = read;
    let requested_model = match (&passthrough, deployment) {
        (Some(call), _) => {
            call.check(&caller.context)?;
            call.model()
        }
        (None, Some(deployment)) => deployment,
        (None, None) => requested_model(&caller, surface, dialect, &skim)?,
    };
    let end_user = end_user(&caller.context, &headers, &skim)?;
    let input = PlanInput {
        snapshot: &caller.snapshot,
        context: &caller.context,
        now: caller.now,
        surface,
        skim: &skim,
        requested_model: &requested_model,
        body: &body,
        end_user: end_user.as_deref(),
        client: &client,
        media: media.as_deref(),
        is_unbilled: passthrough.as_ref().is_some_and(|call| call.is_unbilled()),
    };
    let plan = price_plan(input, &gateway.config)?;
    trace.set_request(&requested_model, skim.client_output_cap(), skim.stream);
    let labels = labels(&caller, &headers)?;
    let asked_timeout = asked_timeout(&headers)?;
    let body = tollgate_domain::PromptBytes(body);
    Ok(Box::new(Priced {
        request,
        started,
        surface,
        client,
        caller,
        headers,
        body,
        skim,
        media,
        passthrough,
        requested_model,
        end_user,
        labels,
        asked_timeout,
        plan,
        trace,
        once: None,
    }))
}

/// A request's body, read as far as it must be; the names of files in it are those that their provider knows.
struct ReadBody {
    client: Client,
    /// In Chat Completions, whatever the client speaks.
    body: Bytes,
    media: Option<Arc<MediaRequest>>,
    skim: RequestSkim,
}

impl ReadBody {
    fn read(
        surface: Surface,
        dialect: ChatDialect,
        path: &str,
        (headers, body): (&HeaderMap, Bytes),
        caller: &Authenticated,
    ) -> Result<Self, Refusal> {
        let (mut client, mut body) = responses::read(dialect, path, body, caller)?;
        if surface == Surface::Responses {
            // a call about a kept one: its errors are told as its clients read them
            client.dialect = ChatDialect::OpenAiResponses;
        }
        if surface == Surface::ImageEdits
            && body.trim_ascii_start().starts_with(b"{")
            && let Some(opened) = kept_files::open_pictures(&body, caller)?
        {
            client.files = Some(opened.kept);
            body = opened.body;
        }
        let media = media::read_request(surface, headers, &body)?;
        let mut skim = match &media {
            Some(media) => media.skim(),
            None => read_skim(surface, &body)?,
        };
        if media.is_none()
            && skim.has_unbounded_parts
            && dialect == ChatDialect::OpenAiChat
            && let Some(opened) = kept_files::open(dialect, &body, caller)?
        {
            client.files = Some(opened.kept);
            body = opened.body;
            skim = read_skim(surface, &body)?;
        }
        dialects::note_foreign(&client, &mut skim);
        Ok(Self { client, body, media, skim })
    }
}

fn requested_model(
    caller: &Authenticated,
    surface: Surface,
    dialect: ChatDialect,
    skim: &RequestSkim,
) -> Result<String, Refusal> {
    if let Some(model) = skim.model.as_ref().filter(|model| !model.is_empty()) {
        return Ok(model.clone());
    }
    let own =
        (dialect == ChatDialect::OpenAiResponses).then(|| caller.snapshot.default_model(Surface::Responses));
    let default = own.flatten().or_else(|| caller.snapshot.default_model(surface));
    default.map(str::to_owned).ok_or_else(|| {
        let message =
            format!("no model: name one, or ask your operator for a default for {}", surface.name());
        Refusal::new(ErrorKind::InvalidRequest, message).with_param("model")
    })
}

pub(crate) fn asked_timeout(headers: &HeaderMap) -> Result<Option<Duration>, Refusal> {
    let Some(value) = headers.get(&TIMEOUT_MS) else { return Ok(None) };
    let ms = value.to_str().ok().and_then(|text| text.trim().parse::<u64>().ok()).filter(|ms| *ms > 0);
    ms.map(|ms| Some(Duration::from_millis(ms))).ok_or_else(|| {
        let message = "x-tollgate-timeout-ms must be a whole number of milliseconds above zero";
        Refusal::new(ErrorKind::InvalidRequest, message).with_param("x-tollgate-timeout-ms")
    })
}

/// The end user as the request names it; the header goes before the body.
fn end_user(
    context: &KeyContext,
    headers: &HeaderMap,
    skim: &RequestSkim,
) -> Result<Option<String>, Refusal> {
    let user = named_end_user(headers, skim.user.as_deref())?;
    if user.is_none() && context.requires_end_user() {
        let message =
            "this key needs to know the end user: name it in `user`, or in the header x-tollgate-user";
        return Err(Refusal::new(ErrorKind::InvalidRequest, message).with_param("user"));
    }
    Ok(user)
}

/// The end user in the header, else `in_body`; a header that cannot be read is no reason to take another user's.
pub(crate) fn named_end_user(headers: &HeaderMap, in_body: Option<&str>) -> Result<Option<String>, Refusal> {
    let from_header = match headers.get(&END_USER).map(|value| std::str::from_utf8(value.as_bytes())) {
        None => None,
        Some(Ok(user)) => Some(user.trim()).filter(|user| !user.is_empty()),
        Some(Err(_)) => {
            let message = "x-tollgate-user is no text: send it as UTF-8";
            return Err(Refusal::new(ErrorKind::InvalidRequest, message).with_param("x-tollgate-user"));
        }
    };
    let Some(user) = from_header.or(in_body).filter(|user| !user.is_empty()) else {
        return Ok(None);
    };
    if user.chars().count() > MAX_END_USER_CHARS {
        let message =
            format!("the end user's name is longer than {MAX_END_USER_CHARS} characters: shorten it");
        return Err(Refusal::new(ErrorKind::InvalidRequest, message).with_param("user"));
    }
    Ok(Some(user.to_owned()))
}

/// The policy's labels, and those of `x-tollgate-labels: department=research,feature=chat` that policy does
/// not set: a client cannot book its cost to somebody else.
fn labels(caller: &Authenticated, headers: &HeaderMap) -> Result<Labels, Refusal> {
    let mut labels = caller.context.labels.clone();
    let Some(header) = headers.get(&LABELS) else { return Ok(labels) };
    let bad = || {
        let message = format!(
            "x-tollgate-labels must look like `name=value,name=value`, with at most {MAX_CLIENT_LABELS} labels of {MAX_LABEL_CHARS} characters"
        );
        Refusal::new(ErrorKind::InvalidRequest, message).with_param("x-tollgate-labels")
    };
    let text = header.to_str().map_err(|_| bad())?;
    let pairs: Vec<&str> = text.split(',').map(str::trim).filter(|pair| !pair.is_empty()).collect();
    if pairs.len() > MAX_CLIENT_LABELS {
        return Err(bad());
    }
    for pair in pairs {
        let (name, value) = pair.split_once('=').ok_or_else(bad)?;
        let (name, value) = (name.trim(), value.trim());
        let fits = |part: &str| !part.is_empty() && part.chars().count() <= MAX_LABEL_CHARS;
        if !fits(name) || !fits(value) {
            return Err(bad());
        }
        labels.entry(name.to_owned()).or_insert_with(|| value.to_owned());
    }
    Ok(labels)
}
