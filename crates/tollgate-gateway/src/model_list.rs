//! `GET /v1/models` and `/v1/models/{id}`: what this key may ask for, in the client's dialect.

use bytes::Bytes;
use http::{HeaderMap, Response, StatusCode};
use tollgate_wire::json::JsonWriter;
use tollgate_wire::openai::models::{ModelEntry, encode_list, encode_model};

use crate::answer::{GatewayBody, json};
use crate::auth::Authenticated;
use crate::edge::percent_decoded;
use crate::error::Refusal;

/// `created` of every entry: policy keeps no such date, and clients only need a number.
const CREATED: i64 = 0;
/// The same for clients that need a date.
const CREATED_AT: &str = "1970-01-01T00:00:00Z";

pub(crate) fn list(caller: &Authenticated, path: &str, headers: &HeaderMap) -> Response<GatewayBody> {
    let visible = || caller.snapshot.visible_models(&caller.context);
    // newer clients of Google's list under /v1, too: their key's header tells them
    if path.starts_with("/v1beta/") || headers.contains_key("x-goog-api-key") {
        return json(StatusCode::OK, google_list(visible().map(|info| &*info.id)));
    }
    if headers.contains_key("anthropic-version") {
        return json(StatusCode::OK, anthropic_list(visible().map(|info| &*info.id)));
    }
    let entries =
        visible().map(|info| ModelEntry { id: &info.id, created: CREATED, owned_by: &info.owned_by });
    json(StatusCode::OK, encode_list(entries))
}

fn anthropic_members(writer: &mut JsonWriter, id: &str) {
    writer.member_string("type", "model");
    writer.member_string("id", id);
    writer.member_string("display_name", id);
    writer.member_string("created_at", CREATED_AT);
}

fn google_members(writer: &mut JsonWriter, id: &str) {
    writer.member_string("name", &format!("models/{id}"));
    writer.member_string("displayName", id);
    writer.member_array("supportedGenerationMethods", |writer| {
        ["generateContent", "streamGenerateContent", "countTokens"]
            .iter()
            .for_each(|method| writer.string(method));
    });
}

/// Everything at once: there is no further page.
fn anthropic_list<'a>(ids: impl Iterator<Item = &'a str>) -> Bytes {
    let ids: Vec<&str> = ids.collect();
    Bytes::from(JsonWriter::document(256, |writer| {
        writer.member_array("data", |writer| {
            for id in &ids {
                writer.object(|writer| anthropic_members(writer, id));
            }
        });
        writer.member_flag("has_more", false);
        for (name, id) in [("first_id", ids.first()), ("last_id", ids.last())] {
            match id {
                Some(id) => writer.member_string(name, id),
                None => writer.member_null(name),
            }
        }
    }))
}

fn google_list<'a>(ids: impl Iterator<Item = &'a str>) -> Bytes {
    Bytes::from(JsonWriter::document(256, |writer| {
        writer.member_array("models", |writer| {
            for id in ids {
                writer.object(|writer| google_members(writer, id));
            }
        });
    }))
}

/// The model's name in the path of a single one, as it is escaped there.
pub(crate) fn name_in(path: &str) -> Option<&str> {
    let name = path.strip_prefix("/v1/models/").or_else(|| path.strip_prefix("/v1beta/models/"))?;
    Some(name).filter(|name| !name.is_empty())
}

pub(crate) fn one(
    caller: &Authenticated,
    path: &str,
    headers: &HeaderMap,
) -> Result<Response<GatewayBody>, Refusal> {
    let path = path.strip_suffix('/').unwrap_or(path);
    let name = percent_decoded(name_in(path).unwrap_or_default());
    let name = name.as_str();
    let plan = caller.snapshot.plan(&caller.context, name)?;
    if path.starts_with("/v1beta/") {
        let body = JsonWriter::document(128, |writer| google_members(writer, name));
        return Ok(json(StatusCode::OK, Bytes::from(body)));
    }
    if headers.contains_key("anthropic-version") {
        let body = JsonWriter::document(128, |writer| anthropic_members(writer, name));
        return Ok(json(StatusCode::OK, Bytes::from(body)));
    }
    let listed = caller.snapshot.visible_models(&caller.context).find(|info| info.id == plan.name);
    let first = plan.candidates.first().map_or("tollgate", |candidate| &candidate.provider.name);
    let owned_by = listed.map_or(first, |info| &info.owned_by);
    Ok(json(StatusCode::OK, encode_model(&ModelEntry { id: name, created: CREATED, owned_by })))
}
