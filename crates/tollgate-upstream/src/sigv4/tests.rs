//! Against the cases of Amazon's own test suite for Signature Version 4.

use super::*;

const DATE_TEXT: &str = "20150830T123600Z";
const TOKEN_TEXT: &str = "AQoDYXdzEPT//////////wEXAMPLEtc764bNrC9SAPBSM22wDOk4x4HIZ8j4FZTwdQWLWsKWHGBuFqwAeMicRXmxfpSPfIeoIYRqTflfKD8YUuwthAx7mSEI/qkPpKPi/kMcGdQrmGdeehM4IC1NtBmUpp2wUE8phUZampKsburEDy0KPkyQDYwT7WZ0wq5VSXDvp75YU9HFvlRd8Tx6q6fE8YQcHNVXAkiY9q6d+xo0rKwT38xVqr7ZD0u0iPPkUL64lIZbqBAz+scqKmlzm8FDrypNC9Yjc8fPOLn9FX9KSYvKTr4rvx3iSIlTJabIQwj2ICCR/oLxBA==";
const UNRESERVED: &str = "-._~0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";

fn secret() -> Secret {
    Secret::new("wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY")
}

/// A case: its name, method, path, query, headers beside host and date, body; the signed headers and the signature.
type Case<'a> = (&'a str, &'a str, &'a str, &'a str, &'a [(&'a str, &'a str)], &'a str, &'a str, &'a str);

const PLAIN: &str = "host;x-amz-date";
const VANILLA: &str = "5fa00fa31553b73ebf1942676e86291e8372ff2a2260956d9b8aae1d763fbf31";

const CASES: &[Case<'static>] = &[
    ("get-vanilla", "GET", "/", "", &[], "", PLAIN, VANILLA),
    ("get-slash", "GET", "//", "", &[], "", PLAIN, VANILLA),
    ("get-slash-dot-slash", "GET", "/./", "", &[], "", PLAIN, VANILLA),
    ("get-relative", "GET", "/example/..", "", &[], "", PLAIN, VANILLA),
    ("get-relative-relative", "GET", "/example1/example2/../..", "", &[], "", PLAIN, VANILLA),
    (
        "get-slashes",
        "GET",
        "//example//",
        "",
        &[],
        "",
        PLAIN,
        "9a624bd73a37c9a373b5312afbebe7a714a789de108f0bdfe846570885f57e84",
    ),
    (
        "get-slash-pointless-dot",
        "GET",
        "/./example",
        "",
        &[],
        "",
        PLAIN,
        "ef75d96142cf21edca26f06005da7988e4f8dc83a165a80865db7089db637ec5",
    ),
    (
        "get-space",
        "GET",
        "/example space/",
        "",
        &[],
        "",
        PLAIN,
        "652487583200325589f1fba4c7e578f72c47cb61beeca81406b39ddec1366741",
    ),
    (
        "get-utf8",
        "GET",
        "/ሴ",
        "",
        &[],
        "",
        PLAIN,
        "8318018e0b0f223aa2bbf98705b62bb787dc9c0e678f255a891fd03141be5d85",
    ),
    (
        "get-vanilla-query-order-key-case",
        "GET",
        "/",
        "Param2=value2&Param1=value1",
        &[],
        "",
        PLAIN,
        "b97d918cfa904a5beff61c982a1b6f458b799221646efd99d3219ec94cdf2500",
    ),
    (
        "get-vanilla-empty-query-key",
        "GET",
        "/",
        "Param1=value1",
        &[],
        "",
        PLAIN,
        "a67d582fa61cc504c4bae71f336f98b97f1ea3c7a6bfe1b6e45aec72011b9aeb",
    ),
    (
        "get-vanilla-utf8-query",
        "GET",
        "/",
        "ሴ=bar",
        &[],
        "",
        PLAIN,
        "2cdec8eed098649ff3a119c94853b13c643bcf08f8b0a1d91e12c9027818dd04",
    ),
    (
        "get-header-value-trim",
        "GET",
        "/",
        "",
        &[("My-Header1", " value1"), ("My-Header2", " \"a   b   c\"")],
        "",
        "host;my-header1;my-header2;x-amz-date",
        "acc3ed3afb60bb290fc8d2dd0098b9911fcaa05412b367055dee359757a9c736",
    ),
    (
        "get-header-key-duplicate",
        "GET",
        "/",
        "",
        &[("My-Header1", "value2"), ("My-Header1", "value2"), ("My-Header1", "value1")],
        "",
        "host;my-header1;x-amz-date",
        "c9d5ea9f3f72853aea855b47ea873832890dbdd183b4468f858259531a5138ea",
    ),
    (
        "post-vanilla",
        "POST",
        "/",
        "",
        &[],
        "",
        PLAIN,
        "5da7c1a2acd57cee7505fc6676e4e544621c30862966e37dddb68e92efbe5d6b",
    ),
    (
        "post-vanilla-query",
        "POST",
        "/",
        "Param1=value1",
        &[],
        "",
        PLAIN,
        "28038455d6de14eafc1f9222cf5aa6f1a96197d7deb8263271d420d138af7f11",
    ),
    (
        "post-x-www-form-urlencoded",
        "POST",
        "/",
        "",
        &[("Content-Type", "application/x-www-form-urlencoded")],
        "Param1=value1",
        "content-type;host;x-amz-date",
        "ff11897932ad3f4e8b18135d722051e5ac45fc38421b1da7b9d196a0fe09473a",
    ),
    (
        "post-header-key-sort",
        "POST",
        "/",
        "",
        &[("My-Header1", "value1")],
        "",
        "host;my-header1;x-amz-date",
        "c5410059b04c1ee005303aed430f6e6645f61f4dc9e1461ec8f8916fdf18852c",
    ),
    (
        "post-header-value-case",
        "POST",
        "/",
        "",
        &[("My-Header1", "VALUE1")],
        "",
        "host;my-header1;x-amz-date",
        "cdbc9802e29d2942e5e10b5bccfdd67c5f22c7c4e8ae67b53629efa58b974b7d",
    ),
    (
        "post-sts-header-before",
        "POST",
        "/",
        "",
        &[("X-Amz-Security-Token", TOKEN_TEXT)],
        "",
        "host;x-amz-date;x-amz-security-token",
        "85d96828115b5dc0cfc3bd16ad9e210dd772bbebba041836c64533a82be05ead",
    ),
];

fn signer(secret: &Secret) -> Signer<'_> {
    Signer {
        access_key_id: "AKIDEXAMPLE",
        secret_access_key: secret,
        session_token: None,
        region: "us-east-1",
        service: "service",
    }
}

fn check(name: &str, request: &Signable<'_>, signed: &str, signature: &str) {
    let expected = format!(
        "AWS4-HMAC-SHA256 Credential=AKIDEXAMPLE/20150830/us-east-1/service/aws4_request, \
         SignedHeaders={signed}, Signature={signature}"
    );
    assert_eq!(authorization(&signer(&secret()), request, DATE_TEXT), expected, "{name}");
}

#[test]
fn signatures_are_those_of_amazons_suite() {
    for &(name, method, path, query, more, body, signed, signature) in CASES {
        let mut headers = vec![("X-Amz-Date", DATE_TEXT), ("Host", "example.amazonaws.com")];
        headers.extend(more);
        let request = Signable { method, path, query, headers: &headers, body: body.as_bytes() };
        check(name, &request, signed, signature);
    }
    let headers = [("Host", "example.amazonaws.com"), ("X-Amz-Date", DATE_TEXT)];
    let path = format!("/{UNRESERVED}");
    let query = format!("{UNRESERVED}={UNRESERVED}");
    let request = Signable { method: "GET", path: &path, query: "", headers: &headers, body: b"" };
    check(
        "get-unreserved",
        &request,
        PLAIN,
        "07ef7494c76fa4850883e2b006601f940f8a34d404d0cfa977f52a65bbf5f24f",
    );
    let request = Signable { path: "/", query: &query, ..request };
    let signature = "9c3e54bfcdf0b19771a7f523ee5669cdf59bc7cc0884027167c21bb143a40197";
    check("get-vanilla-query-unreserved", &request, PLAIN, signature);
}

#[test]
fn a_request_is_signed_over_what_goes_out() {
    let (secret, token) = (secret(), Secret::new(TOKEN_TEXT));
    let signer =
        Signer { session_token: Some(&token), region: "eu-west-1", service: "bedrock", ..signer(&secret) };
    let url: Uri = "http://127.0.0.1:8080/model/a%3A0/converse".parse().unwrap();
    let mut headers = HeaderMap::new();
    headers.insert(http::header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    headers.insert("accept", HeaderValue::from_static("application/json"));
    let now = UnixMillis::parse_rfc3339("2015-08-30T12:36:00.999Z").unwrap();
    sign(&signer, &Method::POST, &url, b"{}", now, &mut headers).unwrap();
    let signed = [
        ("content-type", "application/json"),
        ("host", "127.0.0.1:8080"),
        ("x-amz-date", DATE_TEXT),
        ("x-amz-security-token", TOKEN_TEXT),
    ];
    let request =
        Signable { method: "POST", path: "/model/a%3A0/converse", query: "", headers: &signed, body: b"{}" };
    assert_eq!(headers["authorization"], authorization(&signer, &request, DATE_TEXT).as_str());
    assert_eq!(
        (&headers["x-amz-date"], &headers["x-amz-security-token"]),
        (&HeaderValue::from_static(DATE_TEXT), &HeaderValue::from_static(TOKEN_TEXT))
    );
    assert!(headers["authorization"].is_sensitive() && headers["x-amz-security-token"].is_sensitive());
    let (canonical, _) = canonical_request(&request);
    assert!(canonical.contains("\n/model/a%253A0/converse\n"), "encoded twice: {canonical}");
    assert!(!format!("{signer:?}{request:?}").contains("wJalr"));
}

#[test]
fn what_cannot_be_signed_is_refused() {
    let (secret, token) = (secret(), Secret::new("two\nlines"));
    let url: Uri = "https://example.amazonaws.com/".parse().unwrap();
    let with_token = Signer { session_token: Some(&token), ..signer(&secret) };
    let mut headers = HeaderMap::new();
    let now = UnixMillis(1_440_938_160_000);
    assert_eq!(sign(&with_token, &Method::GET, &url, b"", now, &mut headers), Err(SigningError::Credential));
    let never = UnixMillis(i64::MAX);
    assert_eq!(sign(&signer(&secret), &Method::GET, &url, b"", never, &mut headers), Err(SigningError::Time));
    assert_eq!(amz_date(UnixMillis(-62_198_755_200_001)), None, "before the year 0");
    assert_eq!(host_header(&"https://a.example:443/".parse().unwrap()), "a.example");
    assert_eq!(canonical_query("a=%41&a=%&b"), "a=%25&a=A&b=");
}
