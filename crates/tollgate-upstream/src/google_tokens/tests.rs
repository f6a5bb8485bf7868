use std::sync::atomic::{AtomicU64, Ordering};

use tollgate_testkit::mock_provider::{MockProvider, Script};

use super::*;
use crate::UpstreamConfig;

const KEY: &str = include_str!("../../testdata/service-account-test-key.pem");
const PUBLIC_KEY: &[u8] = include_bytes!("../../testdata/service-account-test-key.public.der");
const NOW: UnixMillis = UnixMillis(1_767_225_600_000);

struct World {
    endpoint: MockProvider,
    tokens: GoogleTokens,
    token_uri: String,
    key: Secret,
}

impl World {
    async fn start() -> Self {
        let endpoint = MockProvider::start().await.unwrap();
        let token_uri = format!("http://{}/token", endpoint.address());
        let client = UpstreamClient::new(&UpstreamConfig::default()).unwrap();
        Self { endpoint, tokens: GoogleTokens::new(client), token_uri, key: Secret::new(KEY) }
    }

    fn account(&self) -> TokenAccount<'_> {
        TokenAccount {
            client_email: "bot@project.iam.gserviceaccount.com",
            private_key: &self.key,
            private_key_id: Some("key-1"),
            token_uri: &self.token_uri,
        }
    }

    /// Every answer is another token.
    fn gives_tokens(&self, seconds: u64) {
        let n = AtomicU64::new(0);
        self.endpoint.set_responder(move |_| {
            let n = n.fetch_add(1, Ordering::Relaxed) + 1;
            Some(json_answer(
                200,
                &json!({"access_token": format!("ya29.{n}"), "expires_in": seconds, "token_type": "Bearer"}),
            ))
        });
    }

    async fn token_at(&self, now: UnixMillis) -> Result<String, TokenError> {
        self.tokens.token(self.account(), now).await.map(|token| token.expose().to_owned())
    }
}

fn json_answer(status: u16, body: &Value) -> Script {
    Script::new().status(status).body("application/json", body.to_string())
}

#[tokio::test]
async fn a_token_is_asked_for_with_a_signed_assertion() {
    let world = World::start().await;
    world.gives_tokens(3_600);
    assert_eq!(world.token_at(NOW).await.unwrap(), "ya29.1");
    let asked = world.endpoint.last_request().unwrap();
    assert_eq!((asked.method(), asked.path()), ("POST", "/token"));
    let body = String::from_utf8(asked.body().to_vec()).unwrap();
    let assertion = body
        .strip_prefix("grant_type=urn%3Aietf%3Aparams%3Aoauth%3Agrant-type%3Ajwt-bearer&assertion=")
        .unwrap();
    let parts: Vec<&str> = assertion.split('.').collect();
    let read =
        |part: &str| -> Value { serde_json::from_slice(&URL_SAFE_NO_PAD.decode(part).unwrap()).unwrap() };
    assert_eq!(read(parts[0]), json!({"alg": "RS256", "typ": "JWT", "kid": "key-1"}));
    let expected = json!({
        "iss": "bot@project.iam.gserviceaccount.com", "aud": world.token_uri, "iat": 1_767_225_600,
        "exp": 1_767_229_200, "scope": "https://www.googleapis.com/auth/cloud-platform",
    });
    assert_eq!(read(parts[1]), expected);
    let signed = format!("{}.{}", parts[0], parts[1]);
    let signature = URL_SAFE_NO_PAD.decode(parts[2]).unwrap();
    let provider = rustls::crypto::ring::default_provider();
    let known = provider.signature_verification_algorithms.mapping;
    let (_, algorithms) =
        known.iter().find(|(scheme, _)| *scheme == SignatureScheme::RSA_PKCS1_SHA256).unwrap();
    algorithms[0].verify_signature(PUBLIC_KEY, signed.as_bytes(), &signature).unwrap();
    assert!(algorithms[0].verify_signature(PUBLIC_KEY, b"another", &signature).is_err());
}

#[tokio::test]
async fn a_token_is_kept_until_shortly_before_its_end() {
    let world = World::start().await;
    world.gives_tokens(3_600);
    for (after_ms, expected) in
        [(0, "ya29.1"), (3_299_999, "ya29.1"), (3_300_001, "ya29.2"), (3_400_000, "ya29.2")]
    {
        assert_eq!(world.token_at(NOW.plus_ms(after_ms)).await.unwrap(), expected, "after {after_ms} ms");
    }
    assert_eq!(world.endpoint.counts().n_received, 2);
}

#[tokio::test]
async fn many_at_once_ask_once() {
    let world = World::start().await;
    world.gives_tokens(3_600);
    let waiting = (0..20).map(|_| async { world.token_at(NOW).await.unwrap() });
    let mut all = Vec::new();
    // polled together, so that the others find the first one asking
    let mut waiting: Vec<_> = waiting.map(Box::pin).collect();
    std::future::poll_fn(|context| {
        waiting.retain_mut(|one| match one.as_mut().poll(context) {
            std::task::Poll::Ready(token) => {
                all.push(token);
                false
            }
            std::task::Poll::Pending => true,
        });
        if waiting.is_empty() { std::task::Poll::Ready(()) } else { std::task::Poll::Pending }
    })
    .await;
    assert!(all.iter().all(|token| token == "ya29.1"), "{all:?}");
    assert_eq!(world.endpoint.counts().n_received, 1);
}

#[tokio::test]
async fn a_refused_account_says_why_and_is_not_asked_for_again_at_once() {
    let world = World::start().await;
    let refusal = json!({"error": "invalid_grant", "error_description": "Invalid JWT: canary-assertion"});
    world.endpoint.set_default(json_answer(400, &refusal));
    let refused = TokenError::Refused { status: 400, code: " (invalid_grant)".to_owned() };
    assert_eq!(world.token_at(NOW).await, Err(refused.clone()));
    assert_eq!(world.token_at(NOW.plus_ms(500)).await, Err(refused.clone()));
    assert_eq!(world.endpoint.counts().n_received, 1);
    assert!(!refused.to_string().contains("canary"), "{refused}");
    world.gives_tokens(3_600);
    assert_eq!(world.token_at(NOW.plus_ms(1_500)).await.unwrap(), "ya29.1");
}

#[tokio::test]
async fn an_endpoint_that_fails_costs_nothing_while_a_token_holds() {
    let world = World::start().await;
    world.gives_tokens(3_600);
    assert_eq!(world.token_at(NOW).await.unwrap(), "ya29.1");
    world.endpoint.set_responder(|_| Some(json_answer(503, &json!({}))));
    assert_eq!(world.token_at(NOW.plus_ms(3_400_000)).await.unwrap(), "ya29.1");
    let failed = world.token_at(NOW.plus_ms(3_595_000)).await;
    assert_eq!(failed, Err(TokenError::Unavailable("it answered with status 503".to_owned())));
}

#[tokio::test]
async fn what_is_no_token_or_no_key_is_an_error() {
    let world = World::start().await;
    let answers = [
        Script::new().body("text/html", "<html>"),
        json_answer(200, &json!({"access_token": ""})),
        json_answer(200, &json!({"access_token": "two\nlines"})),
    ];
    for (n, answer) in (0..).zip(answers) {
        world.endpoint.set_default(answer);
        let failed = world.token_at(NOW.plus_ms(n * 2_000)).await;
        assert_eq!(failed, Err(TokenError::Unavailable("its answer has no access token".to_owned())), "{n}");
    }
    for key in ["", "canary", "-----BEGIN PRIVATE KEY-----\nY2FuYXJ5\n-----END PRIVATE KEY-----\n"] {
        let key = Secret::new(key);
        let account = TokenAccount { private_key: &key, ..world.account() };
        assert_eq!(world.tokens.token(account, NOW).await, Err(TokenError::BadKey));
    }
    assert!(!format!("{:?}{:?}", world.tokens, world.account()).contains("PRIVATE"));
}
