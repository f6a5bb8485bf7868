//! The built-in provider: answers offline in OpenAI's format.

use http::Response;
use tollgate_domain::Surface;

use crate::UpstreamBody;


/// Answers a request body of `surface`; a bad body gets an OpenAI-shaped 400.
#[must_use]
pub fn answer(surface: Surface, body: &[u8]) -> Response<UpstreamBody> {
    let _ = (surface, body);
    todo!()
}
