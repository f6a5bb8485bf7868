//! The admin commands against a small server of their own: what is sent, what is printed.

use std::collections::VecDeque;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener};
use std::sync::mpsc;

use clap::ArgMatches;
use hyper::StatusCode;
use serde_json::{Value, json};
use tollgate_domain::Secret;

use super::output::{explain_refusal, run};
use super::{AdminClient, command, resources, table};
use crate::cli::OutputFormat;

/// What the server was asked.
#[derive(Debug)]
struct Asked {
    line: String,
    headers: String,
    body: String,
}

/// Answers one request per script entry, in order, then stops.
fn serve(script: Vec<(u16, &'static str, String)>) -> (SocketAddr, mpsc::Receiver<Asked>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let (sender, receiver) = mpsc::channel();
    let mut script = VecDeque::from(script);
    std::thread::spawn(move || {
        while let Some((status, content_type, answer)) = script.pop_front() {
            let (mut stream, _) = listener.accept().unwrap();
            let mut reader = BufReader::new(stream.try_clone().unwrap());
            let mut line = String::new();
            reader.read_line(&mut line).unwrap();
            let mut headers = String::new();
            while !headers.ends_with("\r\n\r\n") && headers != "\r\n" {
                reader.read_line(&mut headers).unwrap();
            }
            let length = headers.lines().find_map(|header| header.strip_prefix("content-length: "));
            let mut body = vec![0; length.map_or(0, |length| length.parse().unwrap())];
            reader.read_exact(&mut body).unwrap();
            let asked =
                Asked { line: line.trim().to_owned(), headers, body: String::from_utf8(body).unwrap() };
            sender.send(asked).unwrap();
            let head = format!(
                "HTTP/1.1 {status} X\r\ncontent-type: {content_type}\r\ncontent-length: {}\r\nconnection: close\r\n\r\n",
                answer.len()
            );
            stream.write_all(head.as_bytes()).unwrap();
            stream.write_all(answer.as_bytes()).unwrap();
        }
    });
    (address, receiver)
}

fn client(address: SocketAddr) -> AdminClient {
    AdminClient::new(&format!("http://{address}"), Some(Secret::new("the-token")), None).unwrap()
}

/// Runs `tollgate <words>` against `client` and gives what would stand on stdout.
fn tollgate(client: &AdminClient, words: &[&str], output: OutputFormat) -> anyhow::Result<String> {
    let resource = resources::RESOURCES.iter().find(|resource| resource.name == words[0]).unwrap();
    let matches: ArgMatches = command::of_resource(resource).try_get_matches_from(words).unwrap();
    let (verb, arguments) = command::chosen_verb(resource, &matches);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(run(client, verb, arguments, output))
}

fn ok(body: &Value) -> (u16, &'static str, String) {
    (200, "application/json", body.to_string())
}

/// One request: its line and body as the server saw them.
#[track_caller]
fn sends(words: &[&str], line: &str, body: &Value) {
    let (address, asked) = serve(vec![ok(&json!({ "id": "x" }))]);
    tollgate(&client(address), words, OutputFormat::Table).unwrap();
    let asked = asked.recv().unwrap();
    assert_eq!(asked.line, format!("{line} HTTP/1.1"));
    assert!(asked.headers.contains("authorization: Bearer the-token\r\n"), "{}", asked.headers);
    let sent = if asked.body.is_empty() { Value::Null } else { serde_json::from_str(&asked.body).unwrap() };
    assert_eq!(&sent, body);
    assert_eq!(asked.headers.contains("idempotency-key: "), !line.starts_with("GET"), "{}", asked.headers);
}

#[test]
fn commands_become_requests() {
    sends(&["tenants", "get", "a/b ü"], "GET /api/v1/tenants/a%2Fb%20%C3%BC", &Value::Null);
    sends(&["tenants", "delete", "acme"], "DELETE /api/v1/tenants/acme", &Value::Null);
    sends(
        &["tenants", "create", "acme", "--billing", "prepaid", "--requests-per-minute", "60"],
        "POST /api/v1/tenants",
        &json!({"name": "acme", "billing": "prepaid", "limits": {"requests_per_minute": 60}}),
    );
    sends(
        &["tenants", "update", "acme", "--blocked", "true", "--data", "{\"x\": 1, \"blocked\": false}"],
        "PATCH /api/v1/tenants/acme",
        &json!({"blocked": true, "x": 1}),
    );
    sends(
        &["projects", "create", "bot", "--tenant", "acme", "--labels", "a=b,c=d=e"],
        "POST /api/v1/tenants/acme/projects",
        &json!({"name": "bot", "labels": {"a": "b", "c": "d=e"}}),
    );
    sends(
        &["keys", "rotate", "prod", "--grace-seconds", "60"],
        "POST /api/v1/keys/prod/rotate",
        &json!({"grace_seconds": 60}),
    );
    sends(&["keys", "block", "prod"], "POST /api/v1/keys/prod/block", &json!({}));
    sends(&["keys", "revoke", "prod"], "DELETE /api/v1/keys/prod", &Value::Null);
    sends(
        &["models", "create", "chat", "--targets", "openai/gpt-5-mini,hf/meta/llama", "--fallbacks", "cheap"],
        "POST /api/v1/models",
        &json!({"name": "chat", "fallbacks": ["cheap"], "targets": [
            {"provider": "openai", "model": "gpt-5-mini", "priority": 0},
            {"provider": "hf", "model": "meta/llama", "priority": 1},
        ]}),
    );
    sends(
        &["prices", "create", "--provider", "p", "--model", "*", "--free"],
        "POST /api/v1/prices",
        &json!({"provider": "p", "model": "*", "free": true}),
    );
    sends(
        &["credits", "grant", "25.00", "--tenant", "acme"],
        "POST /api/v1/tenants/acme/credits",
        &json!({"amount": "25.00", "kind": "grant"}),
    );
    sends(
        &["usage", "--group-by", "project,label:department", "--from", "2026-11-01T00:00:00Z"],
        "GET /api/v1/usage?group_by=project%2Clabel%3Adepartment&from=2026-11-01T00%3A00%3A00Z",
        &Value::Null,
    );
}

#[test]
fn a_change_of_one_limit_keeps_the_others() {
    let present = json!({"limits": {"requests_per_minute": 60, "tokens_per_minute": 900}, "data_policy": {"regions": ["us"]}});
    let (address, asked) = serve(vec![ok(&present), ok(&json!({"id": "x"}))]);
    let words = ["tenants", "update", "acme", "--requests-per-minute", "5"];
    tollgate(&client(address), &words, OutputFormat::Table).unwrap();
    assert_eq!(asked.recv().unwrap().line, "GET /api/v1/tenants/acme HTTP/1.1");
    let write = asked.recv().unwrap();
    assert_eq!(write.line, "PATCH /api/v1/tenants/acme HTTP/1.1");
    assert_eq!(
        write.body,
        json!({"limits": {"requests_per_minute": 5, "tokens_per_minute": 900}}).to_string()
    );
}

#[test]
fn secrets_are_read_from_files() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("key");
    std::fs::write(&file, "vendor-key\n").unwrap();
    let file = file.to_str().unwrap();
    sends(
        &["providers", "create", "openai", "--dialect", "openai", "--secret-file", file],
        "POST /api/v1/providers",
        &json!({"name": "openai", "dialect": "openai", "credentials": [{"name": "main", "secret": "vendor-key", "weight": 1}]}),
    );
    sends(
        &["keys", "create", "prod", "--project", "bot", "--secret-file", file],
        "POST /api/v1/projects/bot/keys",
        &json!({"name": "prod", "secret": "vendor-key"}),
    );
}

#[test]
fn lists_follow_next_and_stop_at_the_limit() {
    let page = |names: &[&str], next: Option<&str>| {
        let rows: Vec<Value> = names.iter().map(|name| json!({"name": name, "billing": "prepaid"})).collect();
        ok(&json!({"data": rows, "next": next}))
    };
    let (address, asked) = serve(vec![page(&["a", "b"], Some("c+1")), page(&["c"], None)]);
    let text = tollgate(&client(address), &["tenants", "list"], OutputFormat::Table).unwrap();
    assert_eq!(text, "NAME  BILLING\na     prepaid\nb     prepaid\nc     prepaid\n");
    assert_eq!(asked.recv().unwrap().line, "GET /api/v1/tenants?limit=200 HTTP/1.1");
    assert_eq!(asked.recv().unwrap().line, "GET /api/v1/tenants?limit=200&after=c%2B1 HTTP/1.1");

    let (address, asked) = serve(vec![page(&["a", "b"], Some("c"))]);
    let text = tollgate(&client(address), &["tenants", "list", "--limit", "2"], OutputFormat::Table).unwrap();
    assert_eq!(text.lines().count(), 3);
    assert_eq!(asked.recv().unwrap().line, "GET /api/v1/tenants?limit=2 HTTP/1.1");
}

#[test]
fn json_is_printed_as_it_came() {
    let odd = "{\"data\": [ {\"name\":\"a\",\"cost\":0.10} ],\"next\":null}";
    let (address, _asked) = serve(vec![(200, "application/json", odd.to_owned())]);
    let text = tollgate(&client(address), &["tenants", "list"], OutputFormat::Json).unwrap();
    assert_eq!(text, format!("{odd}\n"));
    let (address, _asked) = serve(vec![(200, "text/csv", "a,b\n1,2\n".to_owned())]);
    let text = tollgate(&client(address), &["usage", "--format", "csv"], OutputFormat::Table).unwrap();
    assert_eq!(text, "a,b\n1,2\n");
}

#[test]
fn refusals_are_sentences_with_field_paths() {
    let body = json!({"error": {"message": "the budget is not valid", "code": "invalid", "fields": [
        {"path": "limit", "message": "`x` is not an amount"}, {"path": "window", "message": "is missing"},
    ]}});
    let (address, _asked) = serve(vec![(422, "application/json", body.to_string())]);
    let words = ["budgets", "create", "--limit", "x", "--window", "day"];
    let error = tollgate(&client(address), &words, OutputFormat::Table).unwrap_err();
    assert_eq!(
        error.to_string(),
        "the budget is not valid\n  limit: `x` is not an amount\n  window: is missing"
    );

    let (address, _asked) =
        serve(vec![(401, "application/json", json!({"error": {"message": "no"}}).to_string())]);
    let error =
        tollgate(&client(address), &["tenants", "list"], OutputFormat::Table).unwrap_err().to_string();
    assert!(error.starts_with("no\nset TOLLGATE_ADMIN_TOKEN"), "{error}");

    assert_eq!(
        explain_refusal(StatusCode::BAD_GATEWAY, "<html>"),
        "the admin API answered 502 Bad Gateway: <html>"
    );
    assert_eq!(explain_refusal(StatusCode::NOT_FOUND, ""), "the admin API answered 404 Not Found");
    assert_eq!(explain_refusal(StatusCode::CONFLICT, "{\"error\": \"taken\"}"), "taken");
}

#[test]
fn failures_on_the_way_are_sentences() {
    let closes_at_once = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = closes_at_once.local_addr().unwrap();
    let server = std::thread::spawn(move || drop(closes_at_once.accept().unwrap()));
    let over_tls = AdminClient::new(&format!("https://{address}"), None, None).unwrap();
    let error = tollgate(&over_tls, &["tenants", "list"], OutputFormat::Table).unwrap_err().to_string();
    assert!(error.starts_with(&format!("no TLS with https://{address}: ")), "{error}");
    server.join().unwrap();

    let free = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let error = tollgate(&client(free), &["tenants", "list"], OutputFormat::Table).unwrap_err().to_string();
    assert_eq!(
        error,
        format!(
            "nothing answers at http://{free}; start `tollgate dev` or a control plane, or set TOLLGATE_ADMIN_URL"
        )
    );
    for (url, is_usable) in [
        ("https://h", true),
        ("http://h:1/x", true),
        ("ftp://h", false),
        ("control:8081", false),
        ("http://u:hunter2@h", false),
    ] {
        let client = AdminClient::new(url, None, None);
        assert_eq!(client.is_ok(), is_usable, "{url}");
        assert!(client.err().is_none_or(|error| !error.to_string().contains("hunter2")), "{url}");
    }
    let missing =
        AdminClient::new("https://h", None, Some("/no/such/file".into())).err().unwrap().to_string();
    assert!(missing.contains("/no/such/file"), "{missing}");
}

#[test]
fn tables_align_numbers_to_the_right() {
    let rows = [
        json!({"model": "a", "requests": 7, "cost_usd": "0.5", "tags": ["x", "y"], "at": null}),
        json!({"model": "long-name", "requests": 1200, "cost_usd": "12.25", "tags": [], "at": null}),
    ];
    assert_eq!(
        table::of_rows(&rows, &["model", "requests", "cost_usd", "tags", "at", "absent"]),
        "MODEL      REQUESTS  COST_USD  TAGS\na                 7       0.5  x,y\nlong-name      1200     12.25  -\n"
    );
    assert_eq!(table::of_rows(&[], &["model"]), "");
    let targets = [
        json!({"targets": [{"provider": "p", "model": "a/b", "priority": 0}, {"provider": "q", "model": "c"}]}),
    ];
    assert_eq!(table::of_rows(&targets, &["targets"]), "TARGETS\np/a/b,q/c\n");
    assert_eq!(
        table::of_object(
            &json!({"name": "a\u{1b}[31m", "limits": {"requests_per_minute": 6}, "list": [{"x": 1}], "no": null})
        ),
        "limits.requests_per_minute  6\nlist[0].x                   1\nname                        a\u{fffd}[31m\n"
    );
}
