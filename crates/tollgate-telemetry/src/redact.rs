//! Takes secrets out of text. A second line of defence: secrets have types that cannot be printed, but a
//! provider's error body, a driver's error or a dependency's debug line may quote one. Every log line and
//! every text a stranger wrote passes through [`scrub`] before it is written anywhere.

use std::borrow::Cow;

/// What stands in place of a secret.
pub const REDACTED: &str = "[redacted]";

/// Secrets that show by their first letters (ours and the vendors'), with what may stay of them.
const PREFIXES: [&[u8]; 6] = [b"tgk_", b"sk-", b"gsk_", b"xai-", b"AIza", b"AKIA"];
/// Shorter runs after a prefix are words, not keys.
const MIN_SECRET_LEN: usize = 8;
/// The public letters of a `tgk_` key, which may be shown.
const TGK_PUBLIC_LEN: usize = 12;
/// Names after which, and a colon or an equals sign, a secret follows.
const NAMES: [&[u8]; 10] = [
    b"authorization",
    b"x-api-key",
    b"x-goog-api-key",
    b"api-key",
    b"api_key",
    b"apikey",
    b"password",
    b"client_secret",
    b"access_token",
    b"key",
];
/// Authentication schemes before a token.
const SCHEMES: [&[u8]; 2] = [b"bearer", b"basic"];

/// `text` with every recognisable secret replaced by `[redacted]`: API keys by their prefix, tokens after
/// `Bearer` and `Basic`, values of credential headers, fields and query parameters, passwords in URLs.
/// Borrowed where there is none. Valid JSON stays valid JSON.
#[must_use]
pub fn scrub(text: &str) -> Cow<'_, str> {
    let bytes = text.as_bytes();
    let mut clean: Option<String> = None;
    let (mut copied, mut at) = (0, 0);
    while at < bytes.len() {
        let Some((start, end)) = secret_at(bytes, at) else {
            at += 1;
            continue;
        };
        let clean = clean.get_or_insert_with(|| String::with_capacity(text.len()));
        clean.push_str(&text[copied..start]);
        clean.push_str(REDACTED);
        (copied, at) = (end, end);
    }
    match clean {
        Some(mut clean) => {
            clean.push_str(&text[copied..]);
            Cow::Owned(clean)
        }
        None => Cow::Borrowed(text),
    }
}

/// `url` as it may be shown: the password in its user part is replaced, and so are credentials in its query.
#[must_use]
pub fn url_without_password(url: &str) -> String {
    let Some((scheme, rest)) = url.split_once("://") else { return scrub(url).into_owned() };
    let authority_end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
    // a password with an unescaped slash is a mistake that must not show it
    let port = rest[..authority_end].rsplit_once(':').map_or("", |(_, port)| port);
    let is_plain_host = port.bytes().all(|byte| byte.is_ascii_digit()) || port.ends_with(']');
    let user_end = match rest[..authority_end].rfind('@') {
        None if !is_plain_host => rest.rfind('@'),
        found => found,
    };
    let Some(user_end) = user_end else { return scrub(url).into_owned() };
    let (user, host) = rest.split_at(user_end);
    match user.split_once(':') {
        Some((user, _)) => format!("{scheme}://{user}:{REDACTED}{}", scrub(host)),
        None => format!("{scheme}://{user}{}", scrub(host)),
    }
}

/// The first `max_chars` characters of a text that a stranger wrote, scrubbed, fit for a log field.
#[must_use]
pub fn excerpt(text: &str, max_chars: usize) -> Cow<'_, str> {
    if text.char_indices().nth(max_chars).is_none() {
        return scrub(text);
    }
    // scrubbed before it is cut, so that the cut cannot leave an unrecognisable half
    let window =
        text.char_indices().nth(max_chars + EXCERPT_LOOKAHEAD_CHARS).map_or(text.len(), |(end, _)| end);
    let clean = scrub(&text[..window]);
    match clean.char_indices().nth(max_chars) {
        Some((cut, _)) => Cow::Owned(format!("{}…", &clean[..cut])),
        None => Cow::Owned(clean.into_owned()),
    }
}

/// The longest credentials in use have fewer characters.
const EXCERPT_LOOKAHEAD_CHARS: usize = 2_048;

/// The secret that is recognised at `at`: the range to replace.
fn secret_at(bytes: &[u8], at: usize) -> Option<(usize, usize)> {
    match bytes[at] {
        b't' | b's' | b'g' | b'x' | b'A' | b'a' | b'b' | b'B' | b'p' | b'P' | b'c' | b'C' | b'X' | b'k' => {}
        b':' => return password_in_url(bytes, at),
        _ => return None,
    }
    if !starts_word(bytes, at) {
        return None;
    }
    prefixed_secret(bytes, at)
        .or_else(|| token_after_scheme(bytes, at))
        .or_else(|| value_after_name(bytes, at))
}

/// No letter before it; the `n` of an escaped newline is none.
fn starts_word(bytes: &[u8], at: usize) -> bool {
    let Some(before) = at.checked_sub(1).map(|index| bytes[index]) else { return true };
    let is_escape = matches!(before, b'n' | b'r' | b't') && at >= 2 && bytes[at - 2] == b'\\';
    is_escape || !(before.is_ascii_alphanumeric() || before == b'_' || before == b'-')
}

fn prefixed_secret(bytes: &[u8], at: usize) -> Option<(usize, usize)> {
    let prefix = PREFIXES.into_iter().find(|prefix| bytes[at..].starts_with(prefix))?;
    let is_key_byte = |byte: &u8| byte.is_ascii_alphanumeric() || *byte == b'_' || *byte == b'-';
    let start = at + prefix.len();
    let length = bytes[start..].iter().take_while(|byte| is_key_byte(byte)).count();
    if prefix == b"tgk_" && bytes.get(start + TGK_PUBLIC_LEN).is_none_or(|byte| !is_key_byte(byte)) {
        return None;
    }
    let public_len = if prefix == b"tgk_" { TGK_PUBLIC_LEN + 1 } else { 0 };
    (length >= MIN_SECRET_LEN && length > public_len).then_some((start + public_len, start + length))
}

fn token_after_scheme(bytes: &[u8], at: usize) -> Option<(usize, usize)> {
    let scheme = SCHEMES.into_iter().find(|scheme| starts_with_ignore_case(&bytes[at..], scheme))?;
    let start = at + scheme.len();
    if !bytes[start..].starts_with(b" ") {
        return None;
    }
    let range = value_from(bytes, start + 1);
    (range.1 - range.0 >= MIN_SECRET_LEN).then_some(range)
}

/// `name: value`, `name=value`, `"name":"value"`, `?key=value`.
fn value_after_name(bytes: &[u8], at: usize) -> Option<(usize, usize)> {
    let name = NAMES.into_iter().find(|name| starts_with_ignore_case(&bytes[at..], name))?;
    if name == b"key" && !matches!(at.checked_sub(1).map(|index| bytes[index]), Some(b'?' | b'&')) {
        return None;
    }
    let skip = |from: usize, skipped: &[u8]| {
        from + bytes[from..].iter().take_while(|byte| skipped.contains(byte)).count()
    };
    let separator = skip(at + name.len(), b"\\\"' ");
    if !matches!(bytes.get(separator), Some(b':' | b'=')) {
        return None;
    }
    let mut start = skip(separator + 1, b"\\\"' ");
    if let Some(scheme) = SCHEMES.into_iter().find(|scheme| starts_with_ignore_case(&bytes[start..], scheme))
    {
        start = skip(start + scheme.len(), b" ");
    }
    let range = value_from(bytes, start);
    (range.1 > range.0 && !bytes[range.0..].starts_with(REDACTED.as_bytes())).then_some(range)
}

/// `://user:password@`: called at the first colon of `://`.
fn password_in_url(bytes: &[u8], at: usize) -> Option<(usize, usize)> {
    let authority = bytes[at..].strip_prefix(b"://")?;
    let authority_end =
        authority.iter().position(|byte| is_value_end(*byte) || matches!(byte, b'/' | b'?' | b'#'));
    let authority = &authority[..authority_end.unwrap_or(authority.len())];
    let user_end = authority.iter().rposition(|byte| *byte == b'@')?;
    let colon = authority[..user_end].iter().position(|byte| *byte == b':')?;
    let first = at + b"://".len();
    (colon + 1 < user_end).then_some((first + colon + 1, first + user_end))
}

/// The run of bytes that belongs to a value which starts at `start`.
fn value_from(bytes: &[u8], start: usize) -> (usize, usize) {
    let start = start.min(bytes.len());
    let length = bytes[start..].iter().take_while(|byte| !is_value_end(**byte)).count();
    (start, start + length)
}

fn is_value_end(byte: u8) -> bool {
    byte.is_ascii_whitespace()
        || matches!(byte, b'"' | b'\'' | b'\\' | b',' | b';' | b'&' | b'}' | b')' | b'<' | b'`')
}

fn starts_with_ignore_case(bytes: &[u8], lower: &[u8]) -> bool {
    bytes.get(..lower.len()).is_some_and(|start| start.eq_ignore_ascii_case(lower))
}

#[cfg(test)]
mod tests {
    use super::*;
    use tollgate_domain::ApiKeySecret;

    #[test]
    fn secrets_are_taken_out() {
        let cases = [
            (
                "Incorrect API key provided: sk-proj-abcDEF123456.",
                "Incorrect API key provided: sk-[redacted].",
            ),
            ("key sk-ant-api03-xxxxxxxx_yy ok", "key sk-[redacted] ok"),
            (r#"{"authorization":"Bearer abc.def.ghi"}"#, r#"{"authorization":"Bearer [redacted]"}"#),
            ("authorization: Basic dXNlcjpwYXNz", "authorization: Basic [redacted]"),
            ("sent bearer eyJhbGciOiJIUzI1NiJ9.x", "sent bearer [redacted]"),
            (r#""x-api-key": "short", more"#, r#""x-api-key": "[redacted]", more"#),
            (r#"{\"api_key\":\"hunter2\"}"#, r#"{\"api_key\":\"[redacted]\"}"#),
            ("GET /v1beta/models?key=abc123&alt=sse", "GET /v1beta/models?key=[redacted]&alt=sse"),
            ("postgres://app:pa55@db:5432/x refused", "postgres://app:[redacted]@db:5432/x refused"),
            (
                "redis://:pw@cache/0 and https://u:p@h",
                "redis://:[redacted]@cache/0 and https://u:[redacted]@h",
            ),
            (r"first line\nsk-abcdefgh12345", r"first line\nsk-[redacted]"),
            ("gsk_abcdefgh12 xai-abcdefgh12 AIzaSyA12345678", "gsk_[redacted] xai-[redacted] AIza[redacted]"),
        ];
        for (text, expected) in cases {
            assert_eq!(scrub(text), expected);
            assert_eq!(scrub(expected), expected, "scrubbing twice changes nothing more");
        }
    }

    #[test]
    fn our_own_keys_keep_their_public_part() {
        let key = ApiKeySecret::generate(&std::array::from_fn(|index| (index * 37 % 256) as u8));
        let text = format!("refused {} twice", key.expose());
        assert_eq!(scrub(&text), format!("refused {}_[redacted] twice", key.public_prefix()));
        let prefix_only = format!("key {} is blocked", key.public_prefix());
        assert_eq!(scrub(&prefix_only), prefix_only);
    }

    #[test]
    fn ordinary_text_is_borrowed() {
        for text in [
            "the task-force asked for a basic plan",
            "http://127.0.0.1:8080/v1/models?limit=3",
            "key=0198 tokens=12 bearer of news",
            "max_tokens: 100, päßwörter ☂",
            "user@example.com wrote to https://example.com/@me",
        ] {
            assert!(matches!(scrub(text), Cow::Borrowed(_)), "{text}");
        }
    }

    #[test]
    fn urls_lose_their_password() {
        let cases = [
            ("postgres://app:pa55@db:5432/x", "postgres://app:[redacted]@db:5432/x"),
            (
                "postgres://app@db/x?password=pw&sslmode=require",
                "postgres://app@db/x?password=[redacted]&sslmode=require",
            ),
            ("redis://:p/w@cache:6379", "redis://:[redacted]@cache:6379"),
            ("redis://[::1]:6379/0", "redis://[::1]:6379/0"),
            ("sqlite://data/tollgate.db", "sqlite://data/tollgate.db"),
        ];
        for (url, expected) in cases {
            assert_eq!(url_without_password(url), expected);
        }
    }

    #[test]
    fn excerpts_are_cut_after_scrubbing() {
        assert_eq!(excerpt("short", 10), "short");
        let text = format!("{} sk-abcdefghijklmnopqrstuvwxyz", "x".repeat(10));
        let cut = excerpt(&text, 24);
        assert_eq!(cut, "xxxxxxxxxx sk-[redacted]");
        assert_eq!(excerpt(&"é".repeat(30), 3), "ééé…");
    }
}
