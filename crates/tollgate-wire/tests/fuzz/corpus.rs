//! The inputs that mutations begin with.

use std::path::Path;

use serde_json::{Value, json};
use tollgate_wire::bedrock::event_stream;

fn tests() -> std::path::PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests")
}

/// What once failed in a target, or is a shape that no case has.
fn kept(target: &str) -> Vec<Vec<u8>> {
    let Ok(entries) = std::fs::read_dir(tests().join("fuzz/corpus").join(target)) else {
        return Vec::new();
    };
    let mut paths: Vec<_> = entries.map(|entry| entry.unwrap().path()).collect();
    paths.sort();
    paths.iter().map(|path| std::fs::read(path).unwrap()).collect()
}

/// The bodies that a case file has in a dialect.
fn bodies(file: &str, dialect: &str) -> Vec<Vec<u8>> {
    let text = std::fs::read_to_string(tests().join("translation").join(file)).unwrap();
    let cases: Vec<Value> = serde_json::from_str(&text).unwrap();
    cases.iter().filter_map(|case| case.get(dialect)).map(|body| body.to_string().into_bytes()).collect()
}

/// Requests in a dialect.
pub(crate) fn requests(dialect: &str) -> Vec<Vec<u8>> {
    let base = match dialect {
        "openai_responses" => json!({"model": "m", "input": "Hi", "max_output_tokens": 900}),
        "gemini" => json!({"contents": [{"parts": [{"text": "Hi"}]}]}),
        _ => json!({"model": "m", "messages": [{"role": "user", "content": "Hi"}], "max_tokens": 900}),
    };
    let whole = bodies("requests.json", dialect).into_iter().map(|body| {
        let mut whole = base.clone();
        let body: Value = serde_json::from_slice(&body).unwrap();
        whole.as_object_mut().unwrap().extend(body.as_object().unwrap().clone());
        whole.to_string().into_bytes()
    });
    whole.chain(kept(&format!("request_{dialect}"))).collect()
}

/// Answers in a dialect.
pub(crate) fn answers(dialect: &str) -> Vec<Vec<u8>> {
    let mut answers = bodies("answers.json", dialect);
    answers.extend(kept(&format!("answer_{dialect}")));
    answers
}

/// Streams in a dialect.
pub(crate) fn streams(dialect: &str) -> Vec<Vec<u8>> {
    let mut streams = Vec::new();
    for entry in std::fs::read_dir(tests().join("translation/streams")).unwrap() {
        let path = entry.unwrap().path();
        if !path.file_name().unwrap().to_str().unwrap().starts_with(&format!("{dialect}-")) {
            continue;
        }
        let text = std::fs::read_to_string(&path).unwrap();
        streams.push(if dialect == "bedrock" { framed(&text) } else { text.into_bytes() });
    }
    // folders have no order of their own
    streams.sort();
    streams.extend(kept(&format!("stream_{dialect}")));
    streams
}

fn framed(lines: &str) -> Vec<u8> {
    let message = |line: &str| {
        let (name, payload): (String, Value) = serde_json::from_str(line).unwrap();
        let exception = name.strip_prefix('!');
        event_stream::encode(exception.unwrap_or(&name), exception.is_some(), payload.to_string().as_bytes())
    };
    lines.lines().flat_map(message).collect()
}

/// Every body there is: for what reads any JSON.
pub(crate) fn json() -> Vec<Vec<u8>> {
    let dialects = ["openai_chat", "openai_responses", "anthropic", "gemini"];
    let mut all: Vec<Vec<u8>> = dialects.iter().flat_map(|dialect| requests(dialect)).collect();
    all.extend(answers("openai_chat"));
    all.extend(kept("json"));
    all
}

/// Streams of every dialect that has events.
pub(crate) fn events() -> Vec<Vec<u8>> {
    let dialects = ["openai_chat", "openai_responses", "anthropic", "gemini", "cohere"];
    let mut all: Vec<Vec<u8>> = dialects.iter().flat_map(|dialect| streams(dialect)).collect();
    all.extend(kept("sse"));
    all
}

/// Forms whose boundary is `x`.
pub(crate) fn forms() -> Vec<Vec<u8>> {
    let part = |head: &str, content: &str| {
        format!("--x\r\nContent-Disposition: form-data; {head}\r\n\r\n{content}\r\n")
    };
    let model = part("name=\"model\"", "whisper-1");
    let file = part("name=\"file\"; filename=\"a.wav\"\r\nContent-Type: audio/wav", "RIFF\0\0\0\0WAVE");
    let mut all: Vec<Vec<u8>> = vec![
        format!("{model}{file}--x--\r\n").into_bytes(),
        format!("{file}{model}--x--").into_bytes(),
        format!("{}--x--\r\n", part("name=\"prompt\"", "")).into_bytes(),
    ];
    all.extend(kept("multipart"));
    all
}
