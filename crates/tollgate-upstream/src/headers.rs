//! Which headers pass, each way. Everything else stays here: cookies, credentials, hop-by-hop headers,
//! addresses, `x-tollgate-*`, and what nobody has thought about.
//!
//! | client → provider | why |
//! |---|---|
//! | `content-type`, `accept` | what the body is, and what is wanted |
//! | `openai-beta`, `anthropic-beta`, `anthropic-version` | switch on a vendor's features |
//! | `x-client-request-id` | the client's own id, for the vendor's support |
//! | `http-referer`, `x-title` | OpenRouter's attribution |
//!
//! | provider → client | as |
//! |---|---|
//! | `content-type`, `retry-after`, `retry-after-ms` | the same |
//! | `openai-*` without `openai-organization` and `openai-project` | the same |
//! | `x-ratelimit-*` | `x-provider-ratelimit-*`: `x-ratelimit-*` are the gateway's own limits |
//! | `x-request-id`, `request-id`, `x-amzn-requestid` | `x-provider-request-id`: the gateway has an id of its own |
//!
//! The account a credential belongs to (organization, project) is not told to clients.

use http::header::{HeaderMap, HeaderName, HeaderValue};

const TO_PROVIDER: [&str; 8] = [
    "content-type",
    "accept",
    "openai-beta",
    "anthropic-beta",
    "anthropic-version",
    "x-client-request-id",
    "http-referer",
    "x-title",
];
/// Room for what a usual request tells a provider, credentials included.
const ROOM_TO_PROVIDER: usize = 6;
/// Room for what the gateway adds to an answer, so that the map never grows.
const ROOM_TO_CLIENT: usize = 20;
const TO_CLIENT: [&str; 3] = ["content-type", "retry-after", "retry-after-ms"];
const ACCOUNT: [&str; 2] = ["openai-organization", "openai-project"];
const PROVIDER_REQUEST_ID: HeaderName = HeaderName::from_static("x-provider-request-id");

/// The client's headers that a provider may see.
#[must_use]
pub fn client_to_provider(headers: &HeaderMap) -> HeaderMap {
    let mut passed = HeaderMap::with_capacity(ROOM_TO_PROVIDER);
    for (name, value) in headers {
        if TO_PROVIDER.contains(&name.as_str()) {
            passed.append(name.clone(), HeaderValue::clone(value));
        }
    }
    passed
}

/// The provider's headers that the client may see, under the names they have there.
#[must_use]
pub fn provider_to_client(headers: &HeaderMap) -> HeaderMap {
    let mut passed = HeaderMap::with_capacity(headers.len() + ROOM_TO_CLIENT);
    for (name, value) in headers {
        if let Some(name) = client_name(name) {
            passed.append(name, HeaderValue::clone(value));
        }
    }
    passed
}

fn client_name(name: &HeaderName) -> Option<HeaderName> {
    let text = name.as_str();
    if ["x-request-id", "request-id", "x-amzn-requestid"].contains(&text) {
        return Some(PROVIDER_REQUEST_ID);
    }
    if let Some(which) = text.strip_prefix("x-ratelimit-") {
        return HeaderName::try_from(format!("x-provider-ratelimit-{which}")).ok();
    }
    let is_passed = TO_CLIENT.contains(&text) || (text.starts_with("openai-") && !ACCOUNT.contains(&text));
    is_passed.then(|| name.clone())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn map(pairs: &[(&'static str, &'static str)]) -> HeaderMap {
        pairs
            .iter()
            .map(|(name, value)| (HeaderName::from_static(name), HeaderValue::from_static(value)))
            .collect()
    }

    #[test]
    fn only_listed_headers_reach_the_provider() {
        let passed = client_to_provider(&map(&[
            ("content-type", "application/json"),
            ("openai-beta", "assistants=v2"),
            ("authorization", "Bearer tgk_x"),
            ("x-api-key", "tgk_x"),
            ("api-key", "tgk_x"),
            ("x-goog-api-key", "tgk_x"),
            ("cookie", "a=b"),
            ("connection", "keep-alive"),
            ("transfer-encoding", "chunked"),
            ("host", "gateway"),
            ("x-forwarded-for", "10.0.0.1"),
            ("x-tollgate-labels", "a=b"),
            ("openai-organization", "org"),
            ("accept-encoding", "br"),
            ("content-length", "5"),
        ]));
        assert_eq!(passed, map(&[("content-type", "application/json"), ("openai-beta", "assistants=v2")]));
    }

    #[test]
    fn only_listed_headers_reach_the_client() {
        let passed = provider_to_client(&map(&[
            ("content-type", "text/event-stream"),
            ("x-request-id", "req_1"),
            ("x-ratelimit-remaining-tokens", "5"),
            ("openai-processing-ms", "12"),
            ("openai-organization", "org-secret"),
            ("retry-after", "3"),
            ("set-cookie", "__cf_bm=x"),
            ("server", "cloudflare"),
            ("content-length", "10"),
            ("content-encoding", "gzip"),
            ("x-tollgate-provider", "forged"),
            ("connection", "close"),
        ]));
        let expected = map(&[
            ("content-type", "text/event-stream"),
            ("x-provider-request-id", "req_1"),
            ("x-provider-ratelimit-remaining-tokens", "5"),
            ("openai-processing-ms", "12"),
            ("retry-after", "3"),
        ]);
        assert_eq!(passed, expected);
    }
}
