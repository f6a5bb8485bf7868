//! Which headers pass, each way. Everything else stays here.

use http::HeaderMap;

/// The client's headers that a provider may see.
#[must_use]
pub fn client_to_provider(headers: &HeaderMap) -> HeaderMap {
    let _ = headers;
    HeaderMap::new()
}

/// The provider's headers that the client may see.
#[must_use]
pub fn provider_to_client(headers: &HeaderMap) -> HeaderMap {
    let _ = headers;
    HeaderMap::new()
}
