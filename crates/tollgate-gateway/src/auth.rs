//! Whose request this is: the key out of the headers, the snapshot pinned for the rest of its life.

use std::borrow::Cow;
use std::sync::Arc;

use http::HeaderMap;
use http::header::AUTHORIZATION;
use tollgate_domain::{ErrorKind, UnixMillis};
use tollgate_policy::{KeyContext, Snapshot};

use crate::edge::percent_decoded;
use crate::error::{Refusal, policy_unavailable};
use crate::gateway::Pod;

/// A caller that is known: from here on one snapshot decides, whatever arrives in the meantime.
#[derive(Clone, Debug)]
pub(crate) struct Authenticated {
    pub(crate) snapshot: Arc<Snapshot>,
    pub(crate) context: Arc<KeyContext>,
    pub(crate) now: UnixMillis,
}

/// Finds the key in the places clients put it and looks it up.
pub(crate) fn authenticate(
    gateway: &Pod,
    headers: &HeaderMap,
    query: Option<&str>,
) -> Result<Authenticated, Refusal> {
    let snapshot = gateway.policy.current().ok_or_else(policy_unavailable)?;
    let now = gateway.clock.now();
    let presented = presented_key(headers, query).ok_or_else(|| {
        let message = "no API key: send it as `Authorization: Bearer <key>`";
        Refusal::new(ErrorKind::InvalidApiKey, message)
    })?;
    let context = Arc::clone(snapshot.authenticate(&presented, now)?);
    Ok(Authenticated { snapshot, context, now })
}

fn presented_key<'a>(headers: &'a HeaderMap, query: Option<&'a str>) -> Option<Cow<'a, str>> {
    let text = |name: &str| headers.get(name).and_then(|value| value.to_str().ok()).map(str::trim);
    let bearer = headers.get(AUTHORIZATION).and_then(|value| value.to_str().ok()).and_then(|value| {
        let (scheme, key) = value.split_once(' ')?;
        scheme.eq_ignore_ascii_case("bearer").then(|| key.trim())
    });
    bearer
        .or_else(|| text("x-api-key"))
        .or_else(|| text("x-goog-api-key"))
        .or_else(|| text("api-key"))
        .filter(|key| !key.is_empty())
        .map(Cow::Borrowed)
        .or_else(|| query.and_then(key_in_query))
}

/// Google's clients write `?key=…`.
fn key_in_query(query: &str) -> Option<Cow<'_, str>> {
    let key = query.split('&').find_map(|pair| pair.strip_prefix("key="))?;
    (!key.is_empty()).then(|| Cow::Owned(percent_decoded(key)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_found_where_sdks_put_them() {
        let cases = [
            ("authorization", "Bearer abc", Some("abc")),
            ("authorization", "bearer  abc ", Some("abc")),
            ("authorization", "Basic abc", None),
            ("authorization", "Bearer ", None),
            ("x-api-key", "abc", Some("abc")),
            ("x-goog-api-key", "abc", Some("abc")),
            ("api-key", "abc", Some("abc")),
            ("cookie", "abc", None),
        ];
        for (name, value, expected) in cases {
            let mut headers = HeaderMap::new();
            headers.insert(name, value.parse().unwrap());
            assert_eq!(presented_key(&headers, None).as_deref(), expected, "{name}: {value}");
        }
        let in_query = |query| presented_key(&HeaderMap::new(), Some(query)).map(Cow::into_owned);
        assert_eq!(in_query("alt=sse&key=a%2Db").as_deref(), Some("a-b"));
        assert_eq!(in_query("monkey=a"), None);
    }
}
