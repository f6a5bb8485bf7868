//! Requests that are refused by their head, whose body may come later: the next one on the connection is answered.

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use crate::harness::{Pod, Setup};

/// What a client without a key sends, in two pieces.
fn request(n_bytes: usize, more: &str) -> (String, String) {
    let head = format!(
        "POST /v1/chat/completions HTTP/1.1\r\nhost: here\r\nauthorization: Bearer sk-nobody-0123456789\r\n\
         content-type: application/json\r\n{more}content-length: {n_bytes}\r\n\r\n"
    );
    (head, " ".repeat(n_bytes))
}

/// One answer: its head in lower case. Bodies of refusals say their length.
async fn answer(stream: &mut TcpStream) -> String {
    let mut read = Vec::new();
    let head = loop {
        read.push(stream.read_u8().await.unwrap());
        if read.ends_with(b"\r\n\r\n") {
            break String::from_utf8(read).unwrap().to_lowercase();
        }
    };
    let length = head.lines().find_map(|line| line.strip_prefix("content-length: ")).unwrap();
    let mut body = vec![0; length.trim().parse().unwrap()];
    stream.read_exact(&mut body).await.unwrap();
    head
}

async fn connect(pod: &Pod) -> TcpStream {
    let url: http::Uri = pod.url("/").parse().unwrap();
    TcpStream::connect(url.authority().unwrap().as_str()).await.unwrap()
}

#[tokio::test]
async fn a_body_that_comes_after_its_head_leaves_the_connection_as_it_is() {
    let pod = Pod::start(Setup::default()).await;
    let mut stream = connect(&pod).await;
    for _ in 0..20 {
        let (head, body) = request(1_000, "");
        stream.write_all(head.as_bytes()).await.unwrap();
        stream.flush().await.unwrap();
        tokio::task::yield_now().await;
        stream.write_all(body.as_bytes()).await.unwrap();
        let head = answer(&mut stream).await;
        assert!(head.starts_with("http/1.1 401") && !head.contains("connection: close"), "{head}");
    }
}

#[tokio::test]
async fn an_answer_says_that_the_connection_ends_where_a_body_is_not_read() {
    let pod = Pod::start(Setup::default()).await;
    // one that never comes, one that is too long to be read for nothing, and one that waits to be asked for
    for (n_bytes, more) in [(1_000, ""), (1 << 20, ""), (1_000, "expect: 100-continue\r\n")] {
        let mut stream = connect(&pod).await;
        let (head, _) = request(n_bytes, more);
        stream.write_all(head.as_bytes()).await.unwrap();
        let head = answer(&mut stream).await;
        assert!(head.starts_with("http/1.1 401") && head.contains("connection: close"), "{head}");
        assert_eq!(stream.read(&mut [0]).await.unwrap(), 0, "and it does");
    }
}
