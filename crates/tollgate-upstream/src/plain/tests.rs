//! Framing, and what becomes of a connection, against a server that writes what a test tells it to.

use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http::{HeaderMap, HeaderValue, Method};
use http_body_util::BodyExt as _;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

use super::decoder::{Decoded, Decoder, Framing};
use super::head;
use crate::{RequestBody, UpstreamClient, UpstreamConfig, UpstreamErrorKind, UpstreamRequest};

/// Far above what anything here takes on a loaded machine.
const AMPLE: Duration = Duration::from_secs(30);

fn request(url: &str) -> UpstreamRequest {
    UpstreamRequest {
        method: Method::POST,
        url: url.parse().unwrap(),
        headers: HeaderMap::new(),
        body: Bytes::from_static(b"{}").into(),
        connect_timeout: AMPLE,
        first_byte_timeout: AMPLE,
        idle_timeout: AMPLE,
    }
}

/// Accepts connections and answers on each, one text per request; after the last one the connection is closed.
struct Server {
    listener: TcpListener,
    url: String,
}

impl Server {
    async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/v1/x", listener.local_addr().unwrap());
        Self { listener, url }
    }

    /// Answers the requests of the next connection, and gives it back.
    async fn answer(&self, answers: &[&[u8]]) -> TcpStream {
        let (mut stream, _) = self.listener.accept().await.unwrap();
        for answer in answers {
            read_request(&mut stream).await;
            stream.write_all(answer).await.unwrap();
        }
        stream
    }
}

async fn read_request(stream: &mut TcpStream) -> String {
    let mut read = Vec::new();
    while !read.ends_with(b"\r\n\r\n{}") {
        assert_ne!(stream.read_buf(&mut read).await.unwrap(), 0, "{:?}", String::from_utf8_lossy(&read));
    }
    String::from_utf8(read).unwrap()
}

fn client() -> UpstreamClient {
    UpstreamClient::new(&UpstreamConfig::default()).unwrap()
}

/// What a client makes of an answer: its body, or the class of what went wrong.
async fn read(client: &UpstreamClient, url: &str) -> Result<Bytes, UpstreamErrorKind> {
    let answer = client.send(request(url)).await.map_err(|error| error.kind)?;
    Ok(answer.into_body().collect().await.map_err(|error| error.kind)?.to_bytes())
}

// === heads ===

#[test]
fn a_request_is_framed_by_its_length_and_by_nothing_a_caller_says() {
    let mut headers = HeaderMap::new();
    for (name, value) in [
        ("x-b", "1"),
        ("host", "elsewhere"),
        ("content-length", "7"),
        ("transfer-encoding", "chunked"),
        ("connection", "close"),
        ("accept-encoding", "br"),
    ] {
        headers.insert(name, HeaderValue::from_static(value));
    }
    let request = UpstreamRequest { headers, ..request("http://me:secret@Host:8080/a?b=c") };
    let expected = "POST /a?b=c HTTP/1.1\r\nhost: Host:8080\r\naccept-encoding: identity\r\ncontent-length: 2\r\nx-b: 1\r\n\r\n";
    assert_eq!(String::from_utf8(head::write(&request)).unwrap(), expected);

    let get =
        UpstreamRequest { method: Method::GET, body: RequestBody::default(), ..self::request("http://h:80") };
    let expected = "GET / HTTP/1.1\r\nhost: h\r\naccept-encoding: identity\r\n\r\n";
    assert_eq!(String::from_utf8(head::write(&get)).unwrap(), expected);
}

#[test]
fn heads_say_how_bodies_end() {
    let chunked = "transfer-encoding: gzip, Chunked\r\n";
    for (head, expected) in [
        ("HTTP/1.1 200 OK\r\ncontent-length: 5\r\n", Ok((Framing::Length(5), true))),
        ("HTTP/1.1 200 OK\r\ncontent-length: 5, 5\r\ncontent-length: 5\r\n", Ok((Framing::Length(5), true))),
        ("HTTP/1.1 200 OK\r\ncontent-length: 5\r\ncontent-length: 6\r\n", Err(())),
        ("HTTP/1.1 200 OK\r\ncontent-length: +5\r\n", Err(())),
        ("HTTP/1.1 200 OK\r\ncontent-length:\r\n", Err(())),
        ("HTTP/1.1 200 OK\r\ncontent-length: 99999999999999999999\r\n", Err(())),
        ("HTTP/1.1 200 OK\r\n", Ok((Framing::ToClose, false))),
        ("HTTP/1.1 204 No Content\r\n", Ok((Framing::Length(0), true))),
        ("HTTP/1.1 200 OK\r\ncontent-length: 5\r\nconnection: x, Close\r\n", Ok((Framing::Length(5), false))),
        ("HTTP/1.0 200 OK\r\ncontent-length: 5\r\n", Ok((Framing::Length(5), false))),
        (
            "HTTP/1.0 200 OK\r\ncontent-length: 5\r\nconnection: keep-alive\r\n",
            Ok((Framing::Length(5), true)),
        ),
        (&format!("HTTP/1.1 200 OK\r\n{chunked}"), Ok((Framing::Chunked, true))),
        // two framings: the connection is not trusted after it
        (&format!("HTTP/1.1 200 OK\r\ncontent-length: 5\r\n{chunked}"), Ok((Framing::Chunked, false))),
        (&format!("HTTP/1.0 200 OK\r\n{chunked}"), Err(())),
        ("HTTP/1.1 200 OK\r\ntransfer-encoding: gzip\r\n", Ok((Framing::ToClose, false))),
        ("HTTP/1.1 101 Switching Protocols\r\n", Err(())),
        (
            "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\ncontent-length: 5\r\n",
            Ok((Framing::Length(5), true)),
        ),
        (
            "HTTP/1.1 103 Early Hints\r\nlink: </a.css>; rel=preload\r\n\r\nHTTP/1.1 103 Early Hints\r\n\r\n\
             HTTP/1.1 200 OK\r\ncontent-length: 5\r\n",
            Ok((Framing::Length(5), true)),
        ),
        ("HTTP/1.1 200 OK\ncontent-length: 5\r\n", Ok((Framing::Length(5), true))),
        ("HTTP/2 200 OK\r\n", Err(())),
        ("HTTP/1.1 200 OK\r\nbad header\r\n", Err(())),
    ] {
        let mut buffer = BytesMut::from(format!("{head}\r\nrest").as_bytes());
        let read = head::read(&mut buffer, false);
        let found = read.map(|head| head.map(|head| (head.framing, head.keeps_alive))).map_err(drop);
        assert_eq!(found, expected.map(Some), "{head:?}");
        if expected.is_ok() {
            assert_eq!(buffer, "rest", "{head:?}");
        }
    }
}

#[test]
fn a_head_is_awaited_whole_and_not_for_ever() {
    let whole = b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\n";
    for n in 0..whole.len() {
        assert!(head::read(&mut BytesMut::from(&whole[..n]), false).unwrap().is_none(), "{n}");
    }
    let mut garbage = BytesMut::from(&b"SSH-2.0"[..]);
    assert!(head::read(&mut garbage, false).is_err());
    let endless = format!("HTTP/1.1 200 OK\r\nx: {}", "a".repeat(crate::client::MAX_HEAD_BYTES));
    assert!(head::read(&mut BytesMut::from(endless.as_bytes()), false).is_err());
}

// === bodies ===

/// Feeds `bytes` in two parts, cut at `cut`; the body and whether it has ended, and what was left.
fn decode(framing: Framing, bytes: &[u8], cut: usize) -> Result<(Vec<u8>, bool, usize), &'static str> {
    let (mut decoder, mut buffer, mut body) = (Decoder::new(framing), BytesMut::new(), Vec::new());
    for part in [&bytes[..cut], &bytes[cut..]] {
        buffer.extend_from_slice(part);
        while let Decoded::Data(data) = decoder.next(&mut buffer)? {
            body.extend_from_slice(&data);
        }
    }
    Ok((body, decoder.has_ended(), buffer.len()))
}

#[test]
fn bodies_are_the_same_however_they_are_cut() {
    let chunks = b"5\r\nhello\r\n00a;x=\"y\"\r\n, 10 bytes\r\n0\r\nx-trailer: 1\r\n\r\nGET";
    for (framing, bytes, expected) in [
        (Framing::Length(5), &b"helloGET"[..], (b"hello".to_vec(), true, 3)),
        (Framing::Length(9), b"hello", (b"hello".to_vec(), false, 0)),
        (Framing::ToClose, b"hello", (b"hello".to_vec(), false, 0)),
        (Framing::Chunked, chunks, (b"hello, 10 bytes".to_vec(), true, 3)),
        (Framing::Chunked, b"3\r\nabc\r\n", (b"abc".to_vec(), false, 0)),
    ] {
        for cut in 0..=bytes.len() {
            assert_eq!(decode(framing, bytes, cut), Ok(expected.clone()), "{framing:?} cut at {cut}");
        }
    }
}

#[test]
fn chunks_that_are_none_are_refused() {
    let endless = [b'0'; 70_000];
    for bytes in [
        &b"x\r\n"[..],
        b"\r\n",
        b"-1\r\n",
        b"5\r\nhelloX\r\n",
        b"11111111111111111\r\n",
        b"1 2\r\n",
        &endless,
    ] {
        assert!(decode(Framing::Chunked, bytes, 0).is_err(), "{:?}", &bytes[..bytes.len().min(20)]);
    }
}

// === connections ===

#[tokio::test]
async fn connections_are_used_again_where_nothing_speaks_against_it() {
    let server = Server::start().await;
    let last = b"HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\nlast";
    for (answer, body, is_reused) in [
        (&b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nhello"[..], "hello", true),
        (b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n", "hello", true),
        (b"HTTP/1.1 204 No Content\r\n\r\n", "", true),
        (b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\nconnection: close\r\n\r\nhello", "hello", false),
        (b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nhelloHTTP/1.1 200 OK\r\n", "hello", false),
    ] {
        let client = client();
        let serving = async {
            if is_reused {
                drop(server.answer(&[answer, last]).await);
            } else {
                let first = server.answer(&[answer]).await;
                drop(server.answer(&[last]).await);
                drop(first);
            }
        };
        let asking = async {
            assert_eq!(read(&client, &server.url).await.unwrap(), body);
            assert_eq!(read(&client, &server.url).await.unwrap(), "last");
        };
        tokio::join!(serving, asking);
    }
}

#[tokio::test]
async fn a_body_may_end_with_the_connection_and_only_where_nothing_else_was_said() {
    let server = Server::start().await;
    for (answer, expected) in [
        (&b"HTTP/1.1 200 OK\r\n\r\nhello"[..], Ok(Bytes::from_static(b"hello"))),
        (b"HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nhello", Err(UpstreamErrorKind::BodyBroken)),
        (
            b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\nhello\r\n",
            Err(UpstreamErrorKind::BodyBroken),
        ),
        (
            b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\nhello\r\n",
            Err(UpstreamErrorKind::BodyBroken),
        ),
        (b"HTTP/1.1 200 OK\r\ncontent", Err(UpstreamErrorKind::ResetBeforeHeaders)),
        (b"220 smtp", Err(UpstreamErrorKind::InvalidResponse)),
    ] {
        let client = client();
        let serving = async { drop(server.answer(&[answer]).await) };
        let (found, ()) = tokio::join!(read(&client, &server.url), serving);
        assert_eq!(found, expected, "{:?}", String::from_utf8_lossy(answer));
    }
}

#[tokio::test]
async fn an_answer_that_comes_before_the_request_is_sent_whole_is_taken() {
    let server = Server::start().await;
    let client = client();
    // More than two sockets' buffers hold.
    let body = RequestBody::from(Bytes::from(vec![b'x'; 64 << 20]));
    let refusing = async {
        let (mut stream, _) = server.listener.accept().await.unwrap();
        stream.read_u8().await.unwrap();
        stream.write_all(b"HTTP/1.1 413 Too Large\r\ncontent-length: 2\r\n\r\nno").await.unwrap();
        stream
    };
    let sending = client.send(UpstreamRequest { body, ..request(&server.url) });
    let (answer, first) = tokio::join!(sending, refusing);
    let answer = answer.unwrap();
    assert_eq!(answer.status(), 413);
    assert_eq!(answer.into_body().collect().await.unwrap().to_bytes(), "no");
    // Half a request is on that connection: the next one gets its own.
    let next = b"HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\nnext";
    let next: [&[u8]; 1] = [next];
    let (found, _) = tokio::join!(read(&client, &server.url), server.answer(&next));
    assert_eq!(found.unwrap(), "next");
    drop(first);
}

#[tokio::test]
async fn idle_connections_are_closed_in_time() {
    let server = Server::start().await;
    let client = client();
    let answer = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok";
    let answers: [&[u8]; 1] = [answer];
    let (found, mut stream) = tokio::join!(read(&client, &server.url), server.answer(&answers));
    assert_eq!(found.unwrap(), "ok");
    // From here on time passes by itself whenever nothing happens.
    tokio::time::pause();
    let began = tokio::time::Instant::now();
    assert_eq!(stream.read(&mut [0; 1]).await.unwrap(), 0);
    let idle = began.elapsed();
    assert!(idle <= crate::client::POOL_IDLE_TIMEOUT + 2 * super::SWEEP_EVERY, "{idle:?}");
}
