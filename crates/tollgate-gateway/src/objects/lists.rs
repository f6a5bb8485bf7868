//! Lists of what a provider keeps for a project: its pages, with everybody else's things left out.

use bytes::Bytes;
use http::{Method, Response};
use tollgate_domain::{ErrorKind, RequestId, Surface};
use tollgate_wire::json::{Kind as JsonKind, Members, Node, ReadError, set_members};

use super::batch_end::{self, AskedBy};
use super::ids::{Kind, ObjectId};
use super::{Asking, batches, like, quoted};
use crate::answer::GatewayBody;
use crate::error::Refusal;
use crate::passthrough::PassthroughCall;
use crate::pipeline;

/// Pages of a provider's list that are read for one of ours.
const MAX_PAGES: usize = 10;
/// Things on a page of ours where the client does not say, and at most.
const PAGE: usize = 20;
const MAX_PAGE: usize = 100;
/// How many are asked of the provider at once, of which others' are left out.
const PROVIDER_PAGE: usize = 100;

pub(super) async fn list(
    asking: &Asking<'_>,
    kind: Kind,
    query: Option<&str>,
    id: RequestId,
) -> Result<Response<GatewayBody>, Refusal> {
    let value = |name: &str| {
        let pairs = query.unwrap_or_default().split('&').filter_map(|pair| pair.split_once('='));
        pairs.into_iter().find(|(key, _)| *key == name).map(|(_, value)| value)
    };
    let limit = match value("limit").map(str::parse::<usize>) {
        None => PAGE,
        Some(Ok(limit)) if limit > 0 => limit.min(MAX_PAGE),
        Some(_) => {
            let message = format!("`limit` must be a whole number from 1 to {MAX_PAGE}");
            return Err(Refusal::new(ErrorKind::InvalidRequest, message).with_param("limit"));
        }
    };
    let mut after = value("after").map(|name| asking.open(kind, name)).transpose()?;
    let provider = match &after {
        Some(object) => asking.provider(object.provider)?,
        None => asking.chosen_provider(query)?,
    };
    // in the words of the client, whose pairs cannot end before their `&`
    let kept = ["order", "purpose"].into_iter().filter_map(|name| Some(format!("&{name}={}", value(name)?)));
    let kept: String = kept.collect();
    let (mut found, mut has_more, mut request) = (Vec::new(), true, id);
    for _ in 0..MAX_PAGES {
        let cursor = after.as_ref().map(|object| format!("&after={}", object.upstream)).unwrap_or_default();
        let path = if kind == Kind::File { "/files" } else { "/batches" };
        let call = PassthroughCall::of_object(
            Method::GET,
            &provider.name,
            path.to_owned(),
            after.as_ref().and_then(|object| object.credential),
        )
        .with_query(format!("limit={PROVIDER_PAGE}{kept}{cursor}"));
        let received = asking.received(
            if kind == Kind::File { Surface::Files } else { Surface::Batches },
            call,
            Bytes::new(),
            request,
        );
        let response = pipeline::handle(asking.gateway, received).await?;
        let like = like(provider, &response);
        let (_, body) = asking.collect(response).await?;
        let page = read_page(asking, kind, &body, &like)?;
        has_more = page.has_more;
        after = page.last;
        for object in page.own {
            if found.len() == limit {
                has_more = true;
                break;
            }
            found.push(shown(asking, kind, &object).await?);
        }
        if found.len() == limit || !has_more || after.is_none() {
            break;
        }
        request = RequestId::generate(asking.gateway.clock.now(), crate::entropy::bytes());
    }
    let name = |object: Option<&Listed>| object.map_or("null", |object| object.name.as_str()).to_owned();
    let (first, last) = (name(found.first()), name(found.last()));
    let data = found.iter().map(|object| object.text.as_str()).collect::<Vec<_>>().join(",");
    let body = format!(
        r#"{{"object":"list","data":[{data}],"first_id":{first},"last_id":{last},"has_more":{has_more}}}"#
    );
    Ok(crate::answer::json(http::StatusCode::OK, Bytes::from(body)))
}

/// One of a list, with our names in it.
struct Listed {
    /// In quotes.
    name: String,
    text: String,
}

struct Page {
    own: Vec<Own>,
    last: Option<ObjectId>,
    has_more: bool,
}

/// One of the owner's things as the provider tells it, and what its name seals.
struct Own {
    text: Vec<u8>,
    like: ObjectId,
}

/// One of them with our names in it. Of a batch that has ended the answers are named once they are paid for.
async fn shown(asking: &Asking<'_>, kind: Kind, own: &Own) -> Result<Listed, Refusal> {
    let mut written = asking.rename(&own.text, kind, &own.like)?;
    let has_answers = kind == Kind::Batch && batch_end::has_answers(&own.text);
    if has_answers
        && Box::pin(batch_end::look_and_settle(asking, &own.text, &own.like, AskedBy::Client)).await.is_none()
    {
        let root = Node::parse(&written).map_err(ReadError::from)?;
        let unnamed = set_members(&written, &root, &[(&["output_file_id"], "null")]);
        written = unnamed.map_err(ReadError::from)?;
    }
    let name = quoted(&asking.owner().seal(kind, &own.like));
    Ok(Listed { name, text: String::from_utf8_lossy(&written).into_owned() })
}

/// The owner's things of a provider's page.
fn read_page(asking: &Asking<'_>, kind: Kind, body: &[u8], like: &ObjectId) -> Result<Page, Refusal> {
    let root = Node::parse(body).map_err(ReadError::from)?;
    let mut members = root.object().map_err(ReadError::from)?;
    let has_more = members.take("has_more").is_some_and(|node| node.kind() == JsonKind::True);
    let mark = asking.owner().mark();
    let elements = members.take("data").and_then(|node| node.array().ok()).unwrap_or_default();
    let (mut own, mut last) = (Vec::new(), None);
    for element in elements {
        let Ok(mut object) = element.object() else { continue };
        let Some(name) = object.take("id").and_then(|node| Some(node.string().ok()?.into_owned())) else {
            continue;
        };
        last = Some(ObjectId { upstream: name, ..like.clone() })
            .filter(|object| ObjectId::is_plain(&object.upstream));
        let is_own = match kind {
            Kind::File => {
                let file_name =
                    object.take("filename").and_then(|node| Some(node.string().ok()?.into_owned()));
                file_name.is_some_and(|name| name.starts_with(&format!("tg-{mark}-")))
            }
            Kind::Batch => has_mark(&mut object, &mark),
            // nobody lists them
            Kind::Response => false,
        };
        if is_own {
            let claim = if kind == Kind::Batch { batch_end::claim_in(asking, &element) } else { None };
            if kind == Kind::Batch && claim.is_none() {
                continue;
            }
            let Some(named) = last.clone() else { continue };
            own.push(Own {
                text: element.text().as_bytes().to_vec(),
                like: ObjectId { batch: claim, ..named },
            });
        }
    }
    Ok(Page { own, last, has_more })
}

fn has_mark(members: &mut Members<'_>, mark: &str) -> bool {
    let metadata = members.take("metadata").filter(|node| node.kind() == JsonKind::Object);
    let found = metadata
        .and_then(|node| node.object().ok())
        .and_then(|mut members| members.take(batches::MARK_MEMBER));
    found.and_then(|node| node.string().ok().map(|text| text == mark)).unwrap_or(false)
}
