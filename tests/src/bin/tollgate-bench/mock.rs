//! The fastest provider that still looks like one: one thread, fixed bytes, no parsing beyond the
//! framing. Its share of the other core must stay small, or it would be the thing that is measured.

use std::io::Write as _;
use std::time::Duration;

use bytes::BytesMut;
use memchr::memmem;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::{MissedTickBehavior, interval};

use crate::scenario::{ANSWER_BYTES, N_CHUNKS};

/// Pause between the chunks of one stream: long enough that a proxy reads each by itself, as it would the
/// tokens of a model, and two ticks of the runtime's timer.
const CHUNK_INTERVAL: Duration = Duration::from_millis(2);
/// The largest request of a scenario fits in at once.
const READ_BUFFER_BYTES: usize = 64 * 1024;
const USAGE: &str = r#""usage":{"prompt_tokens":200,"completion_tokens":100,"total_tokens":300,"prompt_tokens_details":{"cached_tokens":0},"completion_tokens_details":{"reasoning_tokens":0}}"#;

/// Serves on 127.0.0.1 until killed; prints `ready http://…` first.
pub(crate) fn run(port: u16) -> anyhow::Result<()> {
    tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(serve(port))
}

async fn serve(port: u16) -> anyhow::Result<()> {
    let listener = TcpListener::bind(("127.0.0.1", port)).await?;
    writeln!(std::io::stdout(), "ready http://{}", listener.local_addr()?)?;
    let answers: &'static Answers = Box::leak(Box::new(Answers::new()));
    loop {
        let (stream, _) = listener.accept().await?;
        stream.set_nodelay(true)?;
        tokio::spawn(async move {
            // A client that goes away ends its connection, nothing else.
            let _ = serve_connection(stream, answers).await;
        });
    }
}

/// How a request of Anthropic's dialect begins.
const MESSAGES: &[u8] = b"POST /v1/messages ";

/// Every byte that is ever sent, made once.
struct Answers {
    whole: Vec<u8>,
    /// The same in Anthropic's dialect.
    message: Vec<u8>,
    stream_head: Vec<u8>,
    chunks: Vec<Vec<u8>>,
    usage_chunk: Vec<u8>,
    last_chunk: Vec<u8>,
}

impl Answers {
    fn new() -> Self {
        let head = "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\nx-request-id: req_0123456789\r\n";
        let whole = |body: &str| format!("{head}content-length: {ANSWER_BYTES}\r\n\r\n{body}").into_bytes();
        let event = |choices: &str, usage: &str| {
            let stem = r#""id":"chatcmpl-bench","object":"chat.completion.chunk","created":1700000000"#;
            framed(&format!("data: {{{stem},\"model\":\"bench-model\",\"choices\":[{choices}]{usage}}}\n\n"))
        };
        let content = |index: usize| match index {
            0 => r#"{"index":0,"delta":{"role":"assistant","content":""},"finish_reason":null}"#.to_owned(),
            last if last + 1 == N_CHUNKS => r#"{"index":0,"delta":{},"finish_reason":"stop"}"#.to_owned(),
            index => format!(r#"{{"index":0,"delta":{{"content":" word{index:03}"}},"finish_reason":null}}"#),
        };
        let mut last_chunk = framed("data: [DONE]\n\n");
        last_chunk.extend_from_slice(b"0\r\n\r\n");
        Self {
            whole: whole(&answer_body()),
            message: whole(&message_body()),
            stream_head:
                b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n"
                    .to_vec(),
            chunks: (0..N_CHUNKS).map(|index| event(&content(index), "")).collect(),
            usage_chunk: event("", &format!(",{USAGE}")),
            last_chunk,
        }
    }
}

/// An answer of exactly [`ANSWER_BYTES`].
fn answer_body() -> String {
    let head = r#"{"id":"chatcmpl-bench","object":"chat.completion","created":1700000000,"model":"bench-model","choices":[{"index":0,"message":{"role":"assistant","content":""#;
    let tail = format!(r#""}},"logprobs":null,"finish_reason":"stop"}}],{USAGE}}}"#);
    padded(head, &tail)
}

/// The same in Anthropic's dialect.
fn message_body() -> String {
    let head = r#"{"id":"msg_bench","type":"message","role":"assistant","model":"bench-model","content":[{"type":"text","text":""#;
    let tail = r#""}],"stop_reason":"end_turn","stop_sequence":null,"usage":{"input_tokens":200,"cache_creation_input_tokens":0,"cache_read_input_tokens":0,"output_tokens":100}}"#;
    padded(head, tail)
}

fn padded(head: &str, tail: &str) -> String {
    let padding = "x".repeat(ANSWER_BYTES - head.len() - tail.len());
    format!("{head}{padding}{tail}")
}

/// One chunk of HTTP's chunked framing.
fn framed(payload: &str) -> Vec<u8> {
    format!("{:x}\r\n{payload}\r\n", payload.len()).into_bytes()
}

async fn serve_connection(mut stream: TcpStream, answers: &Answers) -> anyhow::Result<()> {
    let mut buffer = BytesMut::with_capacity(READ_BUFFER_BYTES);
    let finders = Finders::new();
    loop {
        let (head_length, length) = loop {
            if let Some(lengths) = finders.request_length(&buffer)
                && buffer.len() >= lengths.1
            {
                break lengths;
            }
            buffer.reserve(READ_BUFFER_BYTES);
            if stream.read_buf(&mut buffer).await? == 0 {
                return Ok(());
            }
        };
        let body = &buffer[head_length..length];
        if buffer.starts_with(MESSAGES) {
            stream.write_all(&answers.message).await?;
        } else if finders.is_true(body, &finders.stream) {
            let wants_usage = finders.is_true(body, &finders.include_usage);
            send_stream(&mut stream, answers, wants_usage).await?;
        } else {
            stream.write_all(&answers.whole).await?;
        }
        // Pipelined bytes stay; there are none with the clients at hand.
        let _ = buffer.split_to(length);
    }
}

async fn send_stream(stream: &mut TcpStream, answers: &Answers, wants_usage: bool) -> anyhow::Result<()> {
    stream.write_all(&answers.stream_head).await?;
    let mut ticks = interval(CHUNK_INTERVAL);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    for chunk in &answers.chunks {
        ticks.tick().await;
        stream.write_all(chunk).await?;
    }
    ticks.tick().await;
    if wants_usage {
        stream.write_all(&answers.usage_chunk).await?;
    }
    stream.write_all(&answers.last_chunk).await?;
    Ok(())
}

struct Finders {
    head_end: memmem::Finder<'static>,
    content_length: memmem::Finder<'static>,
    stream: memmem::Finder<'static>,
    include_usage: memmem::Finder<'static>,
}

impl Finders {
    fn new() -> Self {
        Self {
            head_end: memmem::Finder::new(b"\r\n\r\n"),
            content_length: memmem::Finder::new(b"\r\ncontent-length: "),
            stream: memmem::Finder::new(br#""stream":"#),
            include_usage: memmem::Finder::new(br#""include_usage":"#),
        }
    }

    /// The length of the head and of the whole request, once its head is there.
    fn request_length(&self, bytes: &[u8]) -> Option<(usize, usize)> {
        let head_length = self.head_end.find(bytes)? + 4;
        let head = &bytes[..head_length];
        let body_length = self.content_length.find(head).map_or(0, |at| {
            let digits = &head[at + "\r\ncontent-length: ".len()..];
            let digits = digits.iter().take_while(|byte| byte.is_ascii_digit());
            digits.fold(0, |length, digit| length * 10 + usize::from(digit - b'0'))
        });
        Some((head_length, head_length + body_length))
    }

    fn is_true(&self, body: &[u8], member: &memmem::Finder<'static>) -> bool {
        let rest = member.find(body).map(|at| &body[at + member.needle().len()..]);
        rest.is_some_and(|rest| rest.trim_ascii_start().starts_with(b"true"))
    }
}
