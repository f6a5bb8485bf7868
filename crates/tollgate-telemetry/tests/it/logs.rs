use std::io;
use std::sync::{Arc, Mutex};

use serde_json::Value;
use tollgate_domain::{ApiKeySecret, KeyPepper, PromptBytes, Secret};
use tollgate_telemetry::{LogConfig, LogFormat, log_request, logging};

use crate::event::{failed_request, finished_request};

/// A log file in memory.
#[derive(Clone, Default)]
struct LogFile(Arc<Mutex<Vec<u8>>>);

impl LogFile {
    fn text(&self) -> String {
        String::from_utf8(self.0.lock().unwrap().clone()).unwrap()
    }

    fn json_lines(&self) -> Vec<Value> {
        self.text().lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }
}

impl io::Write for LogFile {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn logged(format: LogFormat, filter: &str, log: impl FnOnce()) -> LogFile {
    let file = LogFile::default();
    let config = LogConfig { format, filter: filter.to_owned(), otlp: None };
    let writer = file.clone();
    let subscriber = logging::subscriber(&config, move || writer.clone()).unwrap();
    tracing::subscriber::with_default(subscriber, log);
    file
}

#[test]
fn json_lines_are_flat_and_carry_the_request_id() {
    let file = logged(LogFormat::Json, "info", || {
        let span =
            tracing::info_span!("request", request_id = "r-1", surface = "chat", n = tracing::field::Empty);
        let _entered = span.enter();
        span.record("n", 3_u64);
        tracing::warn!(
            error = "line\nbreak \"quoted\"",
            attempt = 2_u64,
            ok = false,
            level = "x",
            "upstream {}",
            "failed"
        );
        tracing::debug!("not at this level");
        tracing::info!(surface = "inner", "second");
    });
    let lines = file.json_lines();
    assert_eq!(lines.len(), 2, "{}", file.text());
    let expected = serde_json::json!({
        "timestamp": lines[0]["timestamp"], "level": "WARN", "target": "it::logs", "message": "upstream failed",
        "request_id": "r-1", "surface": "chat", "n": 3,
        "error": "line\nbreak \"quoted\"", "attempt": 2, "ok": false, "level_": "x",
    });
    assert_eq!(lines[0], expected);
    assert!(lines[0]["timestamp"].as_str().unwrap().ends_with('Z'));
    assert_eq!((&lines[1]["surface"], &lines[1]["request_id"]), (&Value::from("inner"), &Value::from("r-1")));
    let names = file.text().matches("\"surface\"").count();
    assert_eq!(names, 2, "no name stands twice in a line");
}

#[test]
fn text_lines_carry_the_request_id() {
    let file = logged(LogFormat::Text, "", || {
        tracing::info_span!("request", request_id = "r-1")
            .in_scope(|| tracing::info!(status = 200_u64, "done"));
    });
    let text = file.text();
    assert!(
        text.contains("request_id=\"r-1\"") && text.contains("status=200") && text.contains("done"),
        "{text}"
    );
    assert!(!text.contains('\u{1b}'), "no colour codes");
}

#[test]
fn filters_name_targets_and_wrong_ones_are_refused() {
    let file = logged(LogFormat::Json, "warn,tollgate::access=debug", || {
        tracing::info!("hidden");
        log_request(&finished_request());
    });
    assert_eq!(file.json_lines().len(), 1);
    let config = LogConfig { filter: "tollgate=loud".to_owned(), ..LogConfig::default() };
    let error = logging::subscriber(&config, io::sink).err().unwrap().to_string();
    assert!(error.contains("tollgate=loud") && error.contains("info"), "{error}");
}

#[test]
fn healthy_requests_are_debug_and_failed_ones_warn() {
    let file = logged(LogFormat::Json, "debug", || {
        log_request(&finished_request());
        log_request(&failed_request());
    });
    let lines = file.json_lines();
    assert_eq!((&lines[0]["level"], &lines[1]["level"]), (&Value::from("DEBUG"), &Value::from("WARN")));
    assert_eq!(lines[1]["outcome"], "upstream_error");
    assert_eq!(lines[0]["request_id"], finished_request().request.to_string());
    assert_eq!(
        (&lines[0]["cost_nano_usd"], &lines[0]["input_tokens"]),
        (&Value::from(420_000), &Value::from(100))
    );
    assert!(
        !file.text().contains("canary-end-user") && !file.text().contains("canary-label"),
        "people's data"
    );
}

/// Debug output of everything secret, and texts that quote secrets, at the lowest level in both formats.
#[test]
fn secrets_never_reach_a_line() {
    let key = ApiKeySecret::generate(&[11; 64]);
    let credential = "sk-canary-0123456789abcdef";
    for format in [LogFormat::Text, LogFormat::Json] {
        let file = logged(format, "trace", || {
            let secret = Secret::new(credential);
            let prompt = PromptBytes(b"canary prompt".to_vec());
            let pepper = KeyPepper::new([0xca; 32]);
            tracing::info!(?secret, ?prompt, ?key, ?pepper, hash = ?key.hash(&pepper), "by type");
            tracing::error!(body = %format!("{{\"error\":\"bad key {credential}\"}}"), "by pattern");
            tracing::debug!(
                header = format!("Bearer {}", key.expose()),
                "Authorization: Basic Y2FuYXJ5OmNhbmFyeQ=="
            );
            tracing::debug!(url = "postgres://app:canary-pw@db/x", raw = key.expose(), "connecting");
        });
        let text = file.text();
        assert_eq!(text.lines().count(), 4, "{text}");
        for secret in
            [credential, key.expose(), &key.expose()[17..], "canary prompt", "canary-pw", "Y2FuYXJ5"]
        {
            assert!(!text.contains(secret), "{secret} stands in\n{text}");
        }
        assert!(text.contains("[redacted]"));
        if format == LogFormat::Json {
            assert_eq!(file.json_lines().len(), 4);
        }
    }
}
