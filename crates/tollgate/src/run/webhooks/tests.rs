//! Alerts on their way to a real receiver that fails as it is told, with a clock that the test sets.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::any;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};
use tokio::sync::Mutex;
use tollgate_admin::AdminState;
use tollgate_control::{Actor, Control, ControlConfig, MasterKey, UpdateBudget};
use tollgate_domain::{ManualClock, Secret, UnixMillis};
use tollgate_ledger::Ledger;
use tollgate_store::{PageRequest, Store};
use tollgate_testkit::wait::eventually;

use super::transport;
use crate::admin_client::{AdminClient, AdminRequest};

const TOKEN: &str = "admin-token-of-the-test";
const SECRET: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";
/// 2026-11-22T12:00:00Z
const NOW: UnixMillis = UnixMillis(1_795_348_800_000);
/// Far above what anything here takes on a loaded machine.
const PATIENCE: Duration = Duration::from_secs(30);

/// What the receiver does with the next message.
#[derive(Clone, Copy, Debug)]
enum Act {
    Status(u16),
    Redirect,
    Hang,
}

#[derive(Clone, Default)]
struct Receiver {
    script: Arc<Mutex<VecDeque<Act>>>,
    got: Arc<Mutex<Vec<(HeaderMap, String)>>>,
    redirected: Arc<Mutex<u32>>,
}

impl Receiver {
    async fn start(script: &[Act]) -> (Self, SocketAddr, tokio::task::JoinHandle<()>) {
        let this = Self::default();
        this.script.lock().await.extend(script.iter().copied());
        let router = Router::new()
            .route("/hook", any(receive))
            .route("/elsewhere", any(async |State(this): State<Receiver>| *this.redirected.lock().await += 1))
            .with_state(this.clone());
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let server = tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
        (this, address, server)
    }

    async fn count(&self) -> usize {
        self.got.lock().await.len()
    }
}

async fn receive(State(this): State<Receiver>, headers: HeaderMap, body: String) -> Response {
    this.got.lock().await.push((headers, body));
    let act = this.script.lock().await.pop_front().unwrap_or(Act::Status(204));
    match act {
        Act::Status(status) => StatusCode::from_u16(status).unwrap().into_response(),
        Act::Redirect => (StatusCode::TEMPORARY_REDIRECT, [(header::LOCATION, "/elsewhere")]).into_response(),
        Act::Hang => std::future::pending().await,
    }
}

/// A control plane that sends webhooks, and a client of its admin API.
struct Stand {
    client: AdminClient,
    control: Control,
    store: Store,
    clock: Arc<ManualClock>,
    servers: Vec<tokio::task::JoinHandle<()>>,
}

impl Drop for Stand {
    fn drop(&mut self) {
        self.servers.iter().for_each(tokio::task::JoinHandle::abort);
    }
}

impl Stand {
    async fn start() -> Self {
        let store = Store::connect("sqlite::memory:").await.unwrap();
        store.migrate().await.unwrap();
        let clock = Arc::new(ManualClock::new(NOW));
        let ledger = Ledger::memory(clock.clone());
        let config = ControlConfig {
            admin_token: Some(Secret::new(TOKEN)),
            webhook_transport: Some(transport(false).unwrap()),
            ..ControlConfig::default()
        };
        let master_key = MasterKey::new([7; 32]);
        let control = Control::start(config, store.clone(), ledger, clock.clone(), master_key).await.unwrap();
        let router = tollgate_admin::router(AdminState::new(control.app().clone(), None));
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let server = tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
        let client = AdminClient::new(&url, Some(Secret::new(TOKEN)), None).unwrap();
        Self { client, control, store, clock, servers: vec![server] }
    }

    async fn post(&self, path: &str, body: Value) -> Value {
        self.client.send(&AdminRequest::post(path, body)).await.unwrap().json().unwrap()
    }

    async fn get(&self, path: &str) -> Value {
        let (path, query) = path.split_once('?').unwrap_or((path, ""));
        let pair = |pair: &str| pair.split_once('=').map(|(name, value)| (name.to_owned(), value.to_owned()));
        let query = query.split('&').filter_map(pair).collect();
        self.client.send(&AdminRequest { query, ..AdminRequest::get(path) }).await.unwrap().json().unwrap()
    }

    async fn receiver(&mut self, name: &str, script: &[Act]) -> Receiver {
        let (receiver, address, server) = Receiver::start(script).await;
        self.servers.push(server);
        let url = format!("http://{address}/hook");
        let body = json!({ "name": name, "url": url, "secret": SECRET, "events": ["budget.threshold"] });
        self.post("/webhooks", body).await;
        receiver
    }

    /// A prepaid tenant whose budget of 1 USD tells at half of it.
    async fn tenant(&self) {
        self.post("/tenants", json!({ "name": "acme", "billing": "prepaid" })).await;
        let budget = json!({ "tenant": "acme", "limit": "1.00", "window": "day", "alert_at": [0.5, 0.8] });
        self.post("/budgets", budget).await;
    }

    async fn spend(&self, number: u128, cost: i64) {
        let tenant = self.store.tenant_by_name("acme").await.unwrap().id;
        let event = finished_request(tenant, number, cost);
        self.store.journal_events(&[event]).await.unwrap();
        // what was journaled past the writer is seen when the budget is written
        let budget = self.store.list_alerting_budgets(PageRequest::first(1)).await.unwrap().items.remove(0);
        let admin = Actor::system();
        let update = UpdateBudget::default();
        self.control.app().update_budget(&admin, &budget.id.to_string(), update).await.unwrap();
    }

    async fn delivery(&self, webhook: &str, state: &str) -> Value {
        let path = format!("/webhooks/{webhook}/deliveries?state={state}");
        let found = async || self.get(&path).await["data"].as_array().and_then(|list| list.first().cloned());
        eventually(PATIENCE, &format!("a {state} delivery to {webhook}"), found).await.unwrap()
    }
}

fn finished_request(
    tenant: tollgate_domain::TenantId,
    number: u128,
    cost: i64,
) -> tollgate_domain::UsageEvent {
    use tollgate_domain::{Id, NanoUsd, RequestOutcome, SettlementBasis, Surface, Usage, UsageEvent};
    UsageEvent {
        event: Id::from_u128(number),
        request: Id::from_u128(number),
        hold: Id::from_u128(number),
        tenant,
        project: Id::from_u128(8),
        key: Id::from_u128(9),
        end_user: None,
        labels: std::collections::BTreeMap::new(),
        surface: Surface::Chat,
        requested_model: "m".into(),
        provider: "p".into(),
        model: "m".into(),
        streamed: false,
        admitted_at: NOW,
        finished_at: NOW,
        held: NanoUsd(cost),
        cost: NanoUsd(cost),
        provider_cost: NanoUsd(cost),
        margin: None,
        usage: Usage::ZERO,
        charge: Vec::new(),
        provider_charge: None,
        basis: SettlementBasis::Provider,
        outcome: RequestOutcome::Ok,
        status: 200,
        attempts: Vec::new(),
        duration_ms: 1,
        first_byte_ms: None,
        overhead_us: 1,
        policy_revision: 1,
    }
}

/// As `docs/operators.md` tells receivers to.
fn is_signed(headers: &HeaderMap, body: &str) -> bool {
    use hmac::{Hmac, KeyInit as _, Mac as _};
    let text = |name: &str| headers[name].to_str().unwrap().to_owned();
    let key = STANDARD.decode(SECRET.trim_start_matches("whsec_")).unwrap();
    let mut mac = Hmac::<sha2::Sha256>::new_from_slice(&key).unwrap();
    mac.update(format!("{}.{}.{body}", text("webhook-id"), text("webhook-timestamp")).as_bytes());
    text("webhook-signature") == format!("v1,{}", STANDARD.encode(mac.finalize().into_bytes()))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_threshold_is_told_once_signed_and_repeated_until_it_is_taken() {
    let mut stand = Stand::start().await;
    let receiver =
        stand.receiver("ops", &[Act::Status(500), Act::Redirect, Act::Status(503), Act::Status(200)]).await;
    stand.tenant().await;
    stand.spend(1, 600_000_000).await;
    for n_attempts in 1..=3 {
        // an attempt counts from its claim; its status comes once it has ended
        let expected = [500, 307, 503][n_attempts - 1];
        let failed = async || {
            let data = stand.get("/webhooks/ops/deliveries?state=pending").await["data"].clone();
            let delivery = data.get(0)?.clone();
            (delivery["attempts"] == n_attempts && delivery["last_status"] == expected).then_some(delivery)
        };
        let delivery = eventually(PATIENCE, "a failed attempt", failed).await.unwrap();
        assert!(delivery["last_error"].is_string(), "{delivery}");
        // not before its time
        let next = UnixMillis::parse_rfc3339(delivery["next_attempt_at"].as_str().unwrap()).unwrap();
        assert!(next > tollgate_domain::Clock::now(stand.clock.as_ref()));
        stand.clock.set(next);
    }
    let delivered = stand.delivery("ops", "delivered").await;
    assert_eq!((delivered["attempts"].as_u64(), delivered["last_status"].as_u64()), (Some(4), Some(200)));
    assert_eq!(*receiver.redirected.lock().await, 0, "redirects are not followed");
    let got = receiver.got.lock().await.clone();
    assert_eq!(got.len(), 4);
    for (headers, body) in &got {
        assert!(is_signed(headers, body));
        assert_eq!(headers["webhook-id"].to_str().unwrap(), delivered["message_id"].as_str().unwrap());
        assert_eq!(headers["content-type"], "application/json");
        assert_eq!(*body, got[0].1);
    }
    assert_ne!(got[0].0["webhook-timestamp"], got[3].0["webhook-timestamp"], "each attempt is signed anew");
    let message: Value = serde_json::from_str(&got[0].1).unwrap();
    assert_eq!(message["type"], "budget.threshold");
    assert_eq!(message["timestamp"], "2026-11-22T12:00:00.000Z");
    let budget = stand.get("/budgets").await["data"][0].clone();
    let tenant = stand.get("/tenants/acme").await;
    assert_eq!(
        message["data"],
        json!({
            "tenant": "acme", "tenant_id": tenant["id"],
            "budget": { "id": budget["id"], "scope": "tenant", "name": "acme" },
            "window": "day", "period_start": "2026-11-22T00:00:00.000Z", "resets_at": "2026-11-23T00:00:00.000Z",
            "limit_usd": "1", "spent_usd": "0.6", "threshold": 0.5
        })
    );
    // further spend below the next threshold tells nothing, the next threshold is another message
    stand.spend(2, 100_000_000).await;
    stand.spend(3, 150_000_000).await;
    let both = async || (receiver.count().await == 5).then_some(());
    eventually(PATIENCE, "the second threshold", both).await.unwrap();
    let last: Value = serde_json::from_str(&receiver.got.lock().await[4].1).unwrap();
    assert_eq!((&last["data"]["threshold"], &last["data"]["spent_usd"]), (&json!(0.8), &json!("0.85")));
    // a message may arrive before its sender has counted it
    let counted = async || {
        let status = stand.control.alert_status();
        ((status.budget_thresholds, status.retried, status.failed) == (2, 3, 0)).then_some(())
    };
    eventually(PATIENCE, "two thresholds told, three attempts repeated", counted).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn gone_disables_and_a_dead_receiver_does_not_hold_up_the_others() {
    let mut stand = Stand::start().await;
    let gone = stand.receiver("gone", &[Act::Status(410)]).await;
    let hanging = stand.receiver("hanging", &[Act::Hang]).await;
    let well = stand.receiver("well", &[]).await;
    let nobody = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/hook", nobody.local_addr().unwrap());
    drop(nobody);
    stand.post("/webhooks", json!({ "name": "nobody", "url": url, "events": ["budget.threshold"] })).await;
    stand.tenant().await;
    stand.spend(1, 600_000_000).await;
    stand.delivery("well", "delivered").await;
    let failed = stand.delivery("gone", "failed").await;
    assert_eq!((failed["attempts"].as_u64(), failed["last_status"].as_u64()), (Some(1), Some(410)));
    let disabled = async || (stand.get("/webhooks/gone").await["enabled"] == false).then_some(());
    eventually(PATIENCE, "a disabled webhook", disabled).await.unwrap();
    let refused = stand.delivery("nobody", "pending").await;
    assert!(refused["last_error"].as_str().is_none_or(|error| error.contains("no connection")), "{refused}");
    assert_eq!((gone.count().await, hanging.count().await, well.count().await), (1, 1, 1));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_test_message_is_signed_and_answers_at_once() {
    let mut stand = Stand::start().await;
    let receiver = stand.receiver("ops", &[Act::Status(200), Act::Status(404)]).await;
    let tested = stand.post("/webhooks/ops/test", json!({})).await;
    assert_eq!((&tested["ok"], &tested["status"]), (&json!(true), &json!(200)), "{tested}");
    let refused = stand.post("/webhooks/ops/test", json!({})).await;
    assert_eq!((&refused["ok"], &refused["message"]), (&json!(false), &json!("status 404")), "{refused}");
    let got = receiver.got.lock().await.clone();
    assert!(got.iter().all(|(headers, body)| is_signed(headers, body)));
    let message: Value = serde_json::from_str(&got[0].1).unwrap();
    assert_eq!((&message["type"], &message["data"]["webhook"]), (&json!("webhook.test"), &json!("ops")));
    assert_ne!(got[0].0["webhook-id"], got[1].0["webhook-id"]);
    // the secret that is made for who brings none is shown once, and nowhere again
    let body = json!({ "name": "made", "url": "https://example.com/", "events": ["budget.threshold"] });
    let made = stand.post("/webhooks", body).await;
    let secret = made["secret"].as_str().unwrap();
    assert!(secret.starts_with("whsec_"));
    for path in ["/webhooks/made", "/webhooks", "/config/export", "/audit"] {
        assert!(!stand.get(path).await.to_string().contains(&secret[6..]), "{path}");
    }
}
