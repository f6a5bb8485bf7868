//! `/v1/files`, `/v1/batches` and `/v1/responses/{id}`: things that a provider keeps for its caller.
//!
//! Every call goes the way of all requests: it is admitted, sent with the credential of the account that the thing belongs
//! to, and journaled. What comes back has our names in place of the provider's (`ids.rs`). Files cost nothing; a batch is
//! held for when it is made and settled when its end is seen (`batches.rs`).

mod batch_end;
mod batch_watch;
mod batches;
pub(crate) use self::batch_watch::{WatchedBatches, run as watch_batches, watch_response};
pub(crate) use self::batches::lease_ms as batch_lease_ms;
pub(crate) mod ids;
mod lists;
mod responses;
pub(crate) use self::responses::{KeptBody, settle_before_continuing};

use std::sync::Arc;
use std::time::Instant;

use bytes::{Bytes, BytesMut};
use http::request::Parts;
use http::{HeaderMap, Method, Response};
use http_body_util::BodyExt as _;
use tollgate_domain::{ErrorKind, ProviderId, RequestId, Surface};
use tollgate_policy::{Dialect, ProviderPolicy};
use tollgate_telemetry::RequestTrace;
use tollgate_wire::json::{Edit, Node, ReadError, set_members, write_string};
use tollgate_wire::multipart::Form;
use tollgate_wire::neutral::ChatDialect;

use self::ids::{Kind, ObjectId, Owner};
use crate::answer::GatewayBody;
use crate::auth::Authenticated;
use crate::error::Refusal;
use crate::gateway::Pod;
use crate::passthrough::PassthroughCall;
use crate::pipeline::{self, Received};

/// What a path asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Call {
    Make(Kind),
    List(Kind),
    Get(Kind, String),
    Delete(String),
    Content(String),
    Cancel(String),
}

/// One request, with what every call of it needs.
struct Asking<'a> {
    gateway: &'a Pod,
    caller: &'a Authenticated,
    headers: &'a HeaderMap,
    started: Instant,
}

/// Whether a path is one of these.
pub(crate) fn is_path(path: &str) -> bool {
    ["/v1/files", "/v1/batches"]
        .iter()
        .any(|prefix| path.strip_prefix(prefix).is_some_and(|rest| rest.is_empty() || rest.starts_with('/')))
        || responses::is_path(path)
}

/// The surface of a path of these.
pub(crate) fn surface_of(path: &str) -> Surface {
    match path {
        path if responses::is_path(path) => Surface::Responses,
        path if path.starts_with("/v1/files") => Surface::Files,
        _ => Surface::Batches,
    }
}

pub(crate) async fn serve(
    gateway: &Pod,
    caller: &Authenticated,
    parts: &Parts,
    body: Bytes,
    id: RequestId,
    started: Instant,
) -> Result<Response<GatewayBody>, Refusal> {
    let asking = Asking { gateway, caller, headers: &parts.headers, started };
    if responses::is_path(parts.uri.path()) {
        return Box::pin(responses::serve(&asking, &parts.method, &parts.uri, id)).await;
    }
    let call = read_call(&parts.method, parts.uri.path())?;
    let query = parts.uri.query();
    match call {
        Call::Make(Kind::File) => upload(&asking, query, body, id).await,
        Call::Make(_) => batches::make(&asking, body, id).await,
        Call::List(kind) => lists::list(&asking, kind, query, id).await,
        Call::Get(Kind::File, name) => {
            let object = asking.open(Kind::File, &name)?;
            let path = format!("/files/{}", object.upstream);
            let response = asking.ask(Method::GET, &object, path, id).await?;
            asking.renamed(response, Kind::File, &object).await
        }
        Call::Delete(name) => {
            let object = asking.open(Kind::File, &name)?;
            let path = format!("/files/{}", object.upstream);
            let response = asking.ask(Method::DELETE, &object, path, id).await?;
            asking.renamed(response, Kind::File, &object).await
        }
        Call::Content(name) => {
            let object = asking.open(Kind::File, &name)?;
            asking.content(&object, id).await
        }
        Call::Get(_, name) => {
            let object = asking.open(Kind::Batch, &name)?;
            let path = format!("/batches/{}", object.upstream);
            let response = asking.ask(Method::GET, &object, path, id).await?;
            batch_end::seen(&asking, response, &object).await
        }
        Call::Cancel(name) => {
            let object = asking.open(Kind::Batch, &name)?;
            let path = format!("/batches/{}/cancel", object.upstream);
            let response = asking.ask(Method::POST, &object, path, id).await?;
            batch_end::seen(&asking, response, &object).await
        }
    }
}

fn read_call(method: &Method, path: &str) -> Result<Call, Refusal> {
    let path = path.strip_suffix('/').unwrap_or(path);
    let (kind, rest) = match path.strip_prefix("/v1/files") {
        Some(rest) => (Kind::File, rest),
        None => (Kind::Batch, path.strip_prefix("/v1/batches").unwrap_or_default()),
    };
    let segments: Vec<&str> = rest.split('/').skip(1).collect();
    let (call, allowed) = match (kind, segments.as_slice(), method) {
        (kind, [], &Method::POST) => (Some(Call::Make(kind)), ""),
        (kind, [], &Method::GET) => (Some(Call::List(kind)), ""),
        (_, [], _) => (None, "GET, POST"),
        (kind, [name], &Method::GET) => (Some(Call::Get(kind, (*name).to_owned())), ""),
        (Kind::File, [name], &Method::DELETE) => (Some(Call::Delete((*name).to_owned())), ""),
        (Kind::File, [_], _) => (None, "GET, DELETE"),
        (Kind::Batch, [_], _) => (None, "GET"),
        (Kind::File, [name, "content"], &Method::GET) => (Some(Call::Content((*name).to_owned())), ""),
        (Kind::File, [_, "content"], _) => (None, "GET"),
        (Kind::Batch, [name, "cancel"], &Method::POST) => (Some(Call::Cancel((*name).to_owned())), ""),
        (Kind::Batch, [_, "cancel"], _) => (None, "POST"),
        _ => return Err(Refusal::new(ErrorKind::NotFound, "no such path: see /v1/files and /v1/batches")),
    };
    call.ok_or_else(|| {
        let message = format!("this path takes {allowed}, not {method}");
        Refusal { allow: Some(allowed), ..Refusal::new(ErrorKind::MethodNotAllowed, message) }
    })
}

// === asking the provider ===

impl Asking<'_> {
    fn owner(&self) -> Owner<'_> {
        Owner::new(&self.caller.snapshot, &self.caller.context)
    }

    fn open(&self, kind: Kind, name: &str) -> Result<ObjectId, Refusal> {
        let object = self.owner().open(kind, name).filter(|object| ObjectId::is_plain(&object.upstream));
        object.ok_or_else(|| unknown(kind, name))
    }

    fn provider(&self, id: ProviderId) -> Result<&ProviderPolicy, Refusal> {
        let found = self.caller.snapshot.providers().find(|provider| provider.id == id);
        found.map(|provider| &**provider).ok_or_else(|| {
            Refusal::new(ErrorKind::NotFound, "the provider that keeps this is no longer configured")
        })
    }

    /// Where new things go: `?provider=`, else what the operator set for the path.
    fn chosen_provider(&self, query: Option<&str>) -> Result<&ProviderPolicy, Refusal> {
        let named = query.and_then(|query| query.split('&').find_map(|pair| pair.strip_prefix("provider=")));
        let default =
            || self.caller.snapshot.default_model(Surface::Files).and_then(|name| name.split('/').next());
        let Some(name) = named.or_else(default) else {
            let message = "name the provider that is to keep it with ?provider=, or ask your operator for a default for files";
            return Err(Refusal::new(ErrorKind::InvalidRequest, message).with_param("provider"));
        };
        let found = self.caller.snapshot.providers().find(|provider| provider.name == name);
        let provider = found.ok_or_else(|| {
            let message = format!("there is no provider `{}`", name.escape_debug());
            Refusal::new(ErrorKind::InvalidRequest, message).with_param("provider")
        })?;
        if !matches!(provider.dialect, Dialect::Openai | Dialect::AzureOpenai) {
            let message = format!("the provider `{name}` does not keep files: use an OpenAI-compatible one");
            return Err(Refusal::new(ErrorKind::InvalidRequest, message).with_param("provider"));
        }
        Ok(provider)
    }

    fn received(&self, surface: Surface, call: PassthroughCall, body: Bytes, id: RequestId) -> Received {
        Received {
            request: id,
            started: self.started,
            surface,
            dialect: ChatDialect::OpenAiChat,
            path: String::new(),
            deployment: None,
            passthrough: Some(Arc::new(call)),
            caller: self.caller.clone(),
            headers: self.headers.clone(),
            body,
            trace: RequestTrace::disabled(),
        }
    }

    async fn ask(
        &self,
        method: Method,
        object: &ObjectId,
        path: String,
        id: RequestId,
    ) -> Result<Response<GatewayBody>, Refusal> {
        let provider = self.provider(object.provider)?;
        let surface = if path.starts_with("/files") { Surface::Files } else { Surface::Batches };
        let call = PassthroughCall::of_object(method, &provider.name, path, object.credential);
        pipeline::handle(self.gateway, self.received(surface, call, Bytes::new(), id)).await
    }

    async fn content(&self, object: &ObjectId, id: RequestId) -> Result<Response<GatewayBody>, Refusal> {
        let provider = self.provider(object.provider)?;
        let path = format!("/files/{}/content", object.upstream);
        let call = PassthroughCall::of_object(Method::GET, &provider.name, path, object.credential).opaque();
        pipeline::handle(self.gateway, self.received(Surface::Files, call, Bytes::new(), id)).await
    }

    /// The answer with our names in it; `like` tells provider and account.
    async fn renamed(
        &self,
        response: Response<GatewayBody>,
        kind: Kind,
        like: &ObjectId,
    ) -> Result<Response<GatewayBody>, Refusal> {
        let (parts, body) = self.collect(response).await?;
        let written = self.rename(&body, kind, like)?;
        Ok(Response::from_parts(parts, GatewayBody::whole(Bytes::from(written))))
    }

    /// An object's text with our names in it; a batch keeps its claim.
    fn rename(&self, text: &[u8], kind: Kind, like: &ObjectId) -> Result<Vec<u8>, Refusal> {
        let root = Node::parse(text).map_err(ReadError::from)?;
        let mut members = root.object().map_err(ReadError::from)?;
        let mut edits: Vec<(Vec<&str>, String)> = Vec::new();
        let sealed = |node: Node<'_>, kind: Kind, batch| -> Option<String> {
            let upstream = node.string().ok().filter(|name| ObjectId::is_plain(name))?.into_owned();
            Some(self.owner().seal(kind, &ObjectId { batch, upstream, ..like.clone() }))
        };
        if let Some(name) = members.take("id").and_then(|node| sealed(node, kind, like.batch.clone())) {
            edits.push((vec!["id"], name));
        }
        for member in ["input_file_id", "output_file_id", "error_file_id"] {
            if let Some(name) = members.take(member).and_then(|node| sealed(node, Kind::File, None)) {
                edits.push((vec![member], name));
            }
        }
        let mark = format!("tg-{}-", self.owner().mark());
        let file_name = members.take("filename").and_then(|node| Some(node.string().ok()?.into_owned()));
        if let Some(name) = file_name.as_deref().and_then(|name| name.strip_prefix(&mark)) {
            edits.push((vec!["filename"], name.to_owned()));
        }
        let edits: Vec<(Vec<&str>, String)> =
            edits.into_iter().map(|(path, value)| (path, quoted(&value))).collect();
        let edits: Vec<Edit<'_>> =
            edits.iter().map(|(path, value)| (path.as_slice(), value.as_str())).collect();
        Ok(set_members(text, &root, &edits).map_err(ReadError::from)?)
    }

    /// The whole body of an answer of ours.
    async fn collect(
        &self,
        response: Response<GatewayBody>,
    ) -> Result<(http::response::Parts, Bytes), Refusal> {
        let max = self.gateway.config.max_answer_bytes;
        let (parts, mut body) = response.into_parts();
        let mut all = BytesMut::new();
        while let Some(frame) = body.frame().await {
            let broken =
                |_| Refusal::new(ErrorKind::UpstreamError, "the provider's answer broke off: try again");
            let Ok(data) = frame.map_err(broken)?.into_data() else { continue };
            if all.len() + data.len() > max {
                let message = format!("the file is larger than {max} bytes: make smaller ones");
                return Err(Refusal::new(ErrorKind::RequestTooLarge, message));
            }
            all.extend_from_slice(&data);
        }
        Ok((parts, all.freeze()))
    }
}

fn unknown(kind: Kind, name: &str) -> Refusal {
    let shown: String = name.chars().take(40).collect();
    let message = format!("there is no {} `{}`", kind.name(), shown.escape_debug());
    Refusal::new(ErrorKind::NotFound, message).with_param("id")
}

fn quoted(text: &str) -> String {
    let mut out = Vec::with_capacity(text.len() + 2);
    write_string(&mut out, text);
    String::from_utf8_lossy(&out).into_owned()
}

// === files ===

async fn upload(
    asking: &Asking<'_>,
    query: Option<&str>,
    body: Bytes,
    id: RequestId,
) -> Result<Response<GatewayBody>, Refusal> {
    let provider = asking.chosen_provider(query)?;
    let content_type = asking.headers.get(http::header::CONTENT_TYPE).and_then(|value| value.to_str().ok());
    let refused = |error: tollgate_wire::multipart::FormError| {
        Refusal::new(ErrorKind::InvalidRequest, error.to_string())
    };
    let form = Form::read(content_type, &body).map_err(refused)?;
    let mut files = form.parts.iter().filter(|part| part.name == "file");
    let name = files.next().and_then(|part| part.file_name.clone());
    let (Some(name), None) = (name, files.next()) else {
        let message = "`file` is required: send one file of the form, with a plain `filename`";
        return Err(Refusal::new(ErrorKind::InvalidRequest, message).with_param("file"));
    };
    let mark = format!("tg-{}-", asking.owner().mark());
    let marked = [&body[..name.start], mark.as_bytes(), &body[name.start..]].concat();
    let call = PassthroughCall::of_object(Method::POST, &provider.name, "/files".to_owned(), None);
    let received = asking.received(Surface::Files, call, Bytes::from(marked), id);
    let response = pipeline::handle(asking.gateway, received).await?;
    let like = like(provider, &response);
    asking.renamed(response, Kind::File, &like).await
}

/// The account that an answer came from.
fn like(provider: &ProviderPolicy, response: &Response<GatewayBody>) -> ObjectId {
    let credential = response.extensions().get::<UsedCredential>().and_then(|used| used.0);
    ObjectId { provider: provider.id, credential, batch: None, context_tokens: None, upstream: String::new() }
}

/// Which credential an answer was asked with.
#[derive(Clone, Copy, Debug)]
pub(crate) struct UsedCredential(pub(crate) Option<tollgate_domain::CredentialId>);
