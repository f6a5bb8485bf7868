//! `GET /v1/models` and `/v1/models/{id}`: what this key may ask for.

use http::{Response, StatusCode};
use tollgate_wire::openai::models::{ModelEntry, encode_list, encode_model};

use crate::answer::{GatewayBody, json};
use crate::auth::Authenticated;
use crate::error::Refusal;

/// `created` of every entry: policy keeps no such date, and clients only need a number.
const CREATED: i64 = 0;

pub(crate) fn list(caller: &Authenticated) -> Response<GatewayBody> {
    let entries = caller.snapshot.visible_models(&caller.context).map(|info| ModelEntry {
        id: &info.id,
        created: CREATED,
        owned_by: &info.owned_by,
    });
    json(StatusCode::OK, encode_list(entries))
}

pub(crate) fn one(caller: &Authenticated, name: &str) -> Result<Response<GatewayBody>, Refusal> {
    let plan = caller.snapshot.plan(&caller.context, name)?;
    let listed = caller.snapshot.visible_models(&caller.context).find(|info| info.id == plan.name);
    let first = plan.candidates.first().map_or("tollgate", |candidate| &candidate.provider.name);
    let owned_by = listed.map_or(first, |info| &info.owned_by);
    Ok(json(StatusCode::OK, encode_model(&ModelEntry { id: name, created: CREATED, owned_by })))
}
