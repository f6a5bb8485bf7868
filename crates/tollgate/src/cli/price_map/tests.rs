//! Drift and sync against a real control plane: what is shown, what is written, what is left out.

use std::sync::Arc;

use serde_json::{Value, json};
use tollgate_admin::AdminState;
use tollgate_catalog::PriceMap;
use tollgate_control::{Control, ControlConfig, MasterKey};
use tollgate_domain::{Clock, Secret};
use tollgate_ledger::Ledger;
use tollgate_store::Store;

use super::sync::{self, Plan};
use super::{load, run_drift};
use crate::admin_client::{AdminClient, AdminRequest};
use crate::cli::{EXIT_FAILURE, EXIT_USAGE, exit_code};
use crate::run::SystemClock;

const TOKEN: &str = "admin-token-of-the-test";

/// A control plane with one provider of OpenAI's, and a client of its admin API.
struct Stand {
    client: AdminClient,
    _control: Control,
    server: tokio::task::JoinHandle<()>,
}

impl Drop for Stand {
    fn drop(&mut self) {
        self.server.abort();
    }
}

impl Stand {
    async fn start() -> Self {
        let clock: Arc<dyn Clock> = Arc::new(SystemClock);
        let store = Store::connect("sqlite::memory:").await.unwrap();
        store.migrate().await.unwrap();
        let ledger = Ledger::memory(clock.clone());
        let config = ControlConfig { admin_token: Some(Secret::new(TOKEN)), ..ControlConfig::default() };
        let control = Control::start(config, store, ledger, clock, MasterKey::new([7; 32])).await.unwrap();
        let router = tollgate_admin::router(AdminState::new(control.app().clone(), None));
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let server = tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
        let client = AdminClient::new(&url, Some(Secret::new(TOKEN)), None).unwrap();
        let stand = Self { client, _control: control, server };
        let credentials = json!([{"name": "main", "secret": "sk-not-a-real-key", "weight": 1}]);
        stand
            .post(
                "/providers",
                json!({"name": "mine", "dialect": "openai", "base_url": "https://api.openai.com/v1",
                    "credentials": credentials}),
            )
            .await;
        stand
    }

    async fn post(&self, path: &str, body: Value) -> Value {
        self.client.send(&AdminRequest::post(path, body)).await.unwrap().json().unwrap()
    }

    async fn prices(&self) -> Vec<Value> {
        let list = self.client.send(&AdminRequest::get("/prices")).await.unwrap().json().unwrap();
        list["data"].as_array().unwrap().clone()
    }

    async fn plan(&self, map: &PriceMap) -> Plan {
        sync::plan(&self.client, map, None).await.unwrap()
    }
}

/// A map of LiteLLM's shape with these fields of `gpt-5-mini`, which costs 0.25 and 2 in the catalogue.
fn map(fields: &str) -> PriceMap {
    let text = format!(r#"{{"gpt-5-mini":{{"litellm_provider":"openai","mode":"chat",{fields}}}}}"#);
    PriceMap::from_json(&text).unwrap()
}

fn shown(plan: &Plan) -> Vec<String> {
    let line =
        |row: &Value| format!("{} {} {} {}", row["provider"], row["meter"], row["ours"], row["theirs"]);
    sync::plan_json(plan, 0)["rows"].as_array().unwrap().iter().map(line).collect()
}

#[tokio::test]
async fn approved_differences_become_rows_and_are_gone_then() {
    let stand = Stand::start().await;
    let dearer = map(r#""input_cost_per_token":3e-07,"output_cost_per_token":2e-06"#);
    let plan = stand.plan(&dearer).await;
    assert_eq!(shown(&plan), [r#""mine" "input" "0.25" "0.3""#]);
    assert_eq!(plan.n_prices_same, 1);
    assert!(sync::plan_table(&plan).contains("+20.00"), "{}", sync::plan_table(&plan));
    assert!(stand.prices().await.is_empty(), "a plan writes nothing");

    let before = SystemClock.now();
    let mut n_written = 0;
    sync::write_approved(&stand.client, &plan, true, &mut n_written).await.unwrap();
    assert_eq!(n_written, 1);
    let prices = stand.prices().await;
    assert_eq!((prices.len(), &prices[0]["price"], &prices[0]["meter"]), (1, &json!("0.3"), &json!("input")));
    let from = prices[0]["effective_from"].as_str().unwrap();
    assert!(tollgate_domain::UnixMillis::parse_rfc3339(from).unwrap() >= before, "{from}");
    assert_eq!(shown(&stand.plan(&dearer).await), Vec::<String>::new());

    // The next map replaces the row that the first one made.
    let again = map(r#""input_cost_per_token":2.5e-07"#);
    let plan = stand.plan(&again).await;
    assert_eq!(shown(&plan), [r#""mine" "input" "0.3" "0.25""#]);
    sync::write_approved(&stand.client, &plan, true, &mut 0).await.unwrap();
    assert_eq!(stand.prices().await.len(), 2);
    assert_eq!(shown(&stand.plan(&again).await), Vec::<String>::new());
}

#[tokio::test]
async fn absurd_rows_are_left_out_with_the_reason() {
    let stand = Stand::start().await;
    let absurd = map(r#""input_cost_per_token":0.25,"output_cost_per_token":3e-06"#);
    let plan = stand.plan(&absurd).await;
    assert_eq!(shown(&plan), [r#""mine" "output" "2" "3""#]);
    let json = sync::plan_json(&plan, 0);
    let reason = json["refused"][0]["reason"].as_str().unwrap();
    assert!(reason.contains("looks like a price per token"), "{reason}");
    assert_eq!((json["refused"].as_array().unwrap().len(), &json["written"]), (1, &json!(0)));
}

#[tokio::test]
async fn what_the_operator_made_free_or_did_not_name_stays() {
    let stand = Stand::start().await;
    stand.post("/prices", json!({"provider": "mine", "model": "gpt-5-mini", "free": true})).await;
    let dearer = map(r#""input_cost_per_token":3e-07"#);
    assert_eq!(shown(&stand.plan(&dearer).await), Vec::<String>::new());
    let error = sync::plan(&stand.client, &dearer, Some("other")).await.unwrap_err();
    assert_eq!((exit_code(&error), error.to_string().as_str()), (EXIT_USAGE, "there is no provider `other`"));
}

#[tokio::test]
async fn a_failed_write_says_how_far_it_came() {
    let stand = Stand::start().await;
    let plan = stand.plan(&map(r#""input_cost_per_token":3e-07,"output_cost_per_token":3e-06"#)).await;
    assert_eq!(plan.rows.len(), 2);
    let nobody = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let client = AdminClient::new(&format!("http://{nobody}"), None, None).unwrap();
    let error = sync::write_approved(&client, &plan, true, &mut 0).await.unwrap_err();
    assert_eq!(error.to_string(), "0 of 2 price rows were written, then one failed");
    assert_eq!(exit_code(&error), EXIT_FAILURE);
    assert!(stand.prices().await.is_empty());
}

#[test]
fn only_a_yes_is_a_yes() {
    for (answer, expected) in
        [("y\n", true), (" YES \n", true), ("\n", false), ("", false), ("no\n", false), ("yep\n", false)]
    {
        assert_eq!(sync::is_yes(answer), expected, "{answer:?}");
    }
}

// === drift ===

fn drift(words: &[&str]) -> Result<(), (u8, String)> {
    let matches =
        crate::cli::command().try_get_matches_from([&["tollgate", "models", "drift"], words].concat());
    let matches = matches.unwrap();
    let arguments = matches.subcommand().unwrap().1.subcommand().unwrap().1;
    run_drift(arguments).map_err(|error| (exit_code(&error), format!("{error:#}")))
}

#[test]
fn drift_exits_by_what_it_finds() {
    let folder = tempfile::tempdir().unwrap();
    let file = |name: &str, text: &str| {
        let path = folder.path().join(name);
        std::fs::write(&path, text).unwrap();
        path.to_str().unwrap().to_owned()
    };
    let model = |price: &str| {
        format!(
            r#"{{"gpt-5-mini":{{"litellm_provider":"openai","mode":"chat","input_cost_per_token":{price}}}}}"#
        )
    };
    let (same, other, none) = (file("a", &model("2.5e-07")), file("b", &model("3e-07")), file("c", "{}"));
    assert_eq!(drift(&["--map", &same]), Ok(()));
    assert_eq!(drift(&["--map", &same, "--json"]), Ok(()));
    assert_eq!(drift(&["--map", &other]), Err((EXIT_FAILURE, "1 price differs from the map".to_owned())));
    assert_eq!(drift(&["--map", &other, "--vendor", "anthropic"]), Ok(()));
    let (code, message) = drift(&["--map", &none]).unwrap_err();
    assert_eq!(code, EXIT_USAGE);
    assert!(message.contains("has no model with a price"), "{message}");
    let (code, message) = drift(&["--map", "/no/such/file"]).unwrap_err();
    assert!(code == EXIT_USAGE && message.starts_with("/no/such/file: cannot be read: "), "{message}");
    let (code, message) = drift(&["--map", &same, "--vendor", "nobody"]).unwrap_err();
    assert!(code == EXIT_USAGE && message.contains("no vendor `nobody`; it has demo, openai"), "{message}");
}

#[tokio::test]
async fn maps_are_fetched_over_http() {
    let body = r#"{"gpt-5-mini":{"litellm_provider":"openai","mode":"chat","input_cost_per_token":1e-06}}"#;
    let router = axum::Router::new().route("/map.json", axum::routing::get(move || async move { body }));
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let base = format!("http://{}", listener.local_addr().unwrap());
    let server = tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
    let map = load::price_map(&format!("{base}/map.json?token=canary")).await.unwrap();
    assert_eq!(map.n_models(), 1);
    let error = format!("{:#}", load::price_map(&format!("{base}/other?token=canary")).await.unwrap_err());
    assert!(error.contains("404") && !error.contains("canary"), "{error}");
    let error = load::price_map("http://user:hunter2@127.0.0.1/x").await.unwrap_err();
    assert_eq!(exit_code(&error), EXIT_USAGE);
    assert!(!format!("{error:#}").contains("hunter2"));
    server.abort();
}
