//! Budgets of end users: each gets exactly what its own affords, also when Redis forgets everything, and also
//! for what was spent before there was a budget.

use serde_json::{Value, json};
use tollgate_testkit::http::HttpClient;
use tollgate_testkit::wait::eventually;

use crate::installation::{Installation, PAGE_PRICE, SETTLE_TIMEOUT, chat};
use crate::recovery::Bill;

const N_CALLS: usize = 12;
/// 3 × `PAGE_PRICE`.
const LIMIT: &str = "0.03";
const N_AFFORDED: u64 = 3;
/// Tries per call while the ledger does not answer in time: nothing was sent then, and every SDK tries again.
const MAX_TRIES: usize = 40;

fn page_of(user: &str) -> Value {
    let mut body = chat("mock/page");
    body["user"] = json!(user);
    body
}

/// A key whose end users may spend `LIMIT` each, known to every pod.
async fn limited_key(installation: &Installation, name: &str, window: &str) -> anyhow::Result<Value> {
    let rules = json!({ "budgets": [{ "limit": LIMIT, "window": window }] });
    let body = json!({ "name": name, "end_users": rules });
    let key = installation.admin.post("/projects/bot/keys", &body).await?;
    let http = HttpClient::new().with_bearer(key["secret"].as_str().unwrap_or_default());
    for traffic in &installation.traffic {
        eventually(SETTLE_TIMEOUT, "the new key on every pod", async || {
            http.get(&format!("{traffic}/v1/models")).await.ok().filter(|answer| answer.status == 200)
        })
        .await?;
    }
    Ok(key)
}

/// Calls of one user, all at once; how many were answered.
async fn calls(installation: &Installation, key: &Value, user: &str, n: usize) -> anyhow::Result<u64> {
    let http = HttpClient::new().with_bearer(key["secret"].as_str().unwrap_or_default());
    let mut calls = tokio::task::JoinSet::new();
    for n in 0..n {
        let (http, url, body) = (http.clone(), installation.chat_url(n), page_of(user));
        calls.spawn(async move {
            for _ in 0..MAX_TRIES {
                let answer = http.post_json(&url, &body).await?;
                if answer.status != 503 {
                    return Ok(answer);
                }
            }
            anyhow::bail!("the ledger did not answer in time {MAX_TRIES} times")
        });
    }
    let mut n_answered = 0;
    for answer in calls.join_all().await {
        let answer = answer?;
        match answer.status.as_u16() {
            200 => n_answered += 1,
            402 => {
                let error = answer.json()?["error"].clone();
                assert_eq!(error["code"], "budget_exceeded", "{error}");
                assert_eq!(error["metadata"]["scope"], "end_user", "{error}");
            }
            other => anyhow::bail!("status {other}: {}", answer.text()),
        }
    }
    Ok(n_answered)
}

/// What the admin API tells of one user once nothing is held.
async fn told(installation: &Installation, key: &Value, window: &str, user: &str) -> anyhow::Result<Value> {
    let id = key["id"].as_str().unwrap_or_default();
    let path = format!("/end-users?key={id}&window={window}&user={user}");
    eventually(SETTLE_TIMEOUT, "nothing to be held", async || {
        let list = installation.admin.get(&path).await.ok()?;
        Some(list["data"][0].clone()).filter(|user| user["held"] == "0" && user["source"] == "ledger")
    })
    .await
}

async fn each_user_gets_what_its_budget_affords(installation: &Installation) -> anyhow::Result<()> {
    let bill = Bill::of(&installation.mock, |_| tollgate_testkit::mock_provider::Script::new().text("x"));
    for window in ["month", "total"] {
        let key = limited_key(installation, &format!("per-{window}"), window).await?;
        let users = [format!("alice-{window}"), format!("bob-{window}")];
        let (alice, bob) = tokio::try_join!(
            calls(installation, &key, &users[0], N_CALLS),
            calls(installation, &key, &users[1], N_CALLS),
        )?;
        assert_eq!((alice, bob), (N_AFFORDED, N_AFFORDED), "{window}");
        installation.admin.wait_for_journal(&key, 2 * N_AFFORDED).await?;
        for user in &users {
            assert_eq!(bill.count(user), N_AFFORDED, "what is refused is not sent");
            let told = told(installation, &key, window, user).await?;
            let expected = (&json!(LIMIT), &json!("0"), &json!(LIMIT), &json!(N_AFFORDED));
            assert_eq!((&told["spent"], &told["remaining"], &told["limit"], &told["requests"]), expected);
        }
    }
    let usage = installation.admin.get("/usage?group_by=user").await?;
    let rows = usage["data"].as_array().cloned().unwrap_or_default();
    let alice = rows.iter().find(|row| row["user"] == "alice-month").cloned().unwrap_or_default();
    assert_eq!((&alice["cost_usd"], &alice["requests"]), (&json!(LIMIT), &json!(N_AFFORDED)), "{usage}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn one_process_gives_each_end_user_what_its_budget_affords() -> anyhow::Result<()> {
    each_user_gets_what_its_budget_affords(&Installation::single().await?).await
}

#[tokio::test(flavor = "multi_thread")]
async fn two_pods_give_each_end_user_what_its_budget_affords() -> anyhow::Result<()> {
    each_user_gets_what_its_budget_affords(&Installation::split().await?).await
}

#[tokio::test(flavor = "multi_thread")]
async fn what_end_users_spent_survives_the_loss_of_redis() -> anyhow::Result<()> {
    let mut installation = Installation::split().await?;
    let bill = Bill::of(&installation.mock, |_| tollgate_testkit::mock_provider::Script::new().text("x"));
    for window in ["month", "total"] {
        let key = limited_key(&installation, &format!("lost-{window}"), window).await?;
        let [full, begun, new] = ["full", "begun", "new"].map(|name| format!("{name}-{window}"));
        assert_eq!(calls(&installation, &key, &full, N_CALLS).await?, N_AFFORDED);
        assert_eq!(calls(&installation, &key, &begun, 1).await?, 1);
        // at once: not all that is settled is journaled yet
        installation.redis_server()?.flush_all().await?;
        let n_begun = 1 + calls(&installation, &key, &begun, N_CALLS).await?;
        assert_eq!(n_begun, N_AFFORDED, "{window}\n{}", installation.logs());
        assert_eq!(calls(&installation, &key, &full, N_CALLS).await?, 0, "{window}");
        assert_eq!(calls(&installation, &key, &new, N_CALLS).await?, N_AFFORDED, "{window}");
        for user in [full, begun, new] {
            assert_eq!(bill.count(&user), N_AFFORDED, "{user}");
            assert_eq!(told(&installation, &key, window, &user).await?["spent"], LIMIT, "{user}");
        }
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_budget_of_end_users_counts_what_they_spent_before_it() -> anyhow::Result<()> {
    let installation = Installation::split().await?;
    let admin = &installation.admin;
    let key = admin.post("/projects/bot/keys", &json!({ "name": "later" })).await?;
    let id = key["id"].as_str().unwrap_or_default();
    let secret = key["secret"].as_str().unwrap_or_default();
    let http = HttpClient::new().with_bearer(secret);
    for (user, n) in [("early", 2), ("late", 0)] {
        for n in 0..n {
            eventually(SETTLE_TIMEOUT, "an answer", async || {
                let answer = http.post_json(&installation.chat_url(n), &page_of(user)).await.ok()?;
                (answer.status == 200).then_some(())
            })
            .await?;
        }
    }
    admin.wait_for_journal(&key, 2).await?;
    let rules = json!({ "end_users": { "budgets": [{ "limit": LIMIT, "window": "month" }] } });
    admin.patch(&format!("/keys/{id}"), &rules).await?;
    // the pods have it when a fourth call of one user is refused
    let probe = format!("/keys/{id}");
    assert_eq!(admin.get(&probe).await?["end_users"]["budgets"][0]["limit"], LIMIT);
    for traffic in &installation.traffic {
        eventually(SETTLE_TIMEOUT, "the rule on every pod", async || {
            let key = http.get(&format!("{traffic}/v1/key")).await.ok()?.json().ok()?;
            key["end_users"]["budgets"].as_array().filter(|budgets| !budgets.is_empty()).map(drop)
        })
        .await?;
    }
    assert_eq!(calls(&installation, &key, "early", N_CALLS).await?, N_AFFORDED - 2);
    assert_eq!(calls(&installation, &key, "late", N_CALLS).await?, N_AFFORDED);

    // raised for a time, and back again
    let budget = json!({ "key": id, "limit": PAGE_PRICE, "window": "day" });
    let budget = admin.post("/budgets", &budget).await?;
    assert_eq!(budget["remaining"], "0");
    let path = format!("/budgets/{}", budget["id"].as_str().unwrap_or_default());
    let far = "2099-01-01T00:00:00Z";
    let refused = admin.post(&format!("{path}/increases"), &json!({ "amount": "1", "until": far })).await;
    assert!(refused.unwrap_err().to_string().contains("until"), "more than a year");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_budget_is_raised_for_a_time_and_back_again() -> anyhow::Result<()> {
    let installation = Installation::single().await?;
    let admin = &installation.admin;
    let key = admin.key_with_budget("raised", PAGE_PRICE).await?;
    let budget = admin.budget_of_key(&key).await?;
    let path = format!("/budgets/{}", budget["id"].as_str().unwrap_or_default());
    let http = HttpClient::new().with_bearer(key["secret"].as_str().unwrap_or_default());
    let status = async || {
        let answer = http.post_json(&installation.chat_url(0), &page_of("u")).await;
        answer.map(|answer| answer.status.as_u16()).unwrap_or(0)
    };
    let becomes = async |wanted: u16| {
        eventually(SETTLE_TIMEOUT, "the limit in force", async || (status().await == wanted).then_some(()))
            .await
    };
    becomes(200).await?;
    becomes(402).await?;
    let now: Value = admin.get(&path).await?;
    assert_eq!((&now["limit"], &now["effective_limit"]), (&json!(PAGE_PRICE), &json!(PAGE_PRICE)));
    // three more calls, for an hour
    let until = tollgate_domain::UnixMillis(unix_ms()? + 3_600_000).to_string();
    let body = json!({ "amount": LIMIT, "until": until, "reason": "launch" });
    let increase = admin.post(&format!("{path}/increases"), &body).await?;
    assert_eq!((&increase["active"], &increase["created_by"]), (&json!(true), &json!("bootstrap-admin")));
    becomes(200).await?;
    becomes(402).await?;
    admin.wait_for_journal(&key, 1 + N_AFFORDED).await?;
    let now = admin.get(&path).await?;
    assert_eq!((&now["limit"], &now["effective_limit"]), (&json!(PAGE_PRICE), &json!("0.04")));
    assert_eq!(now["increases"][0]["reason"], "launch");
    admin.delete(&format!("{path}/increases/{}", increase["id"].as_str().unwrap_or_default())).await?;
    let now = admin.get(&path).await?;
    assert_eq!((&now["effective_limit"], &now["remaining"]), (&json!(PAGE_PRICE), &json!("0")));
    let all = admin.get(&format!("{path}/increases")).await?;
    assert_eq!((&all["data"][0]["active"], all["data"][0]["ended_at"].is_string()), (&json!(false), true));
    let audit = admin.get("/audit?limit=10").await?;
    let actions: Vec<&str> =
        audit["data"].as_array().into_iter().flatten().filter_map(|row| row["action"].as_str()).collect();
    assert!(actions.contains(&"increase") && actions.contains(&"end_increase"), "{actions:?}");
    Ok(())
}

fn unix_ms() -> anyhow::Result<i64> {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH)?;
    Ok(i64::try_from(since.as_millis())?)
}
