//! A trace collector that keeps what it is sent.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

/// One export: the path it was posted to and its protobuf body.
pub(crate) struct Export {
    pub(crate) path: String,
    pub(crate) body: Vec<u8>,
}

impl Export {
    /// Whether the string field `text` occurs: protobuf writes its length before it.
    pub(crate) fn has_text(&self, text: &str) -> bool {
        let mut field = vec![u8::try_from(text.len()).unwrap()];
        field.extend_from_slice(text.as_bytes());
        self.body.windows(field.len()).any(|window| window == field)
    }

    /// Whether an attribute `name` of that value occurs (`KeyValue { key = 1, value = 2 }`).
    pub(crate) fn has_text_attribute(&self, name: &str, value: &str) -> bool {
        let length = |bytes: &[u8]| u8::try_from(bytes.len()).unwrap();
        let any_value = [&[0x0a, length(value.as_bytes())], value.as_bytes()].concat();
        self.has_attribute(name, &any_value)
    }

    /// The same for an integer below 128 (`AnyValue { int_value = 3 }`).
    pub(crate) fn has_small_integer_attribute(&self, name: &str, value: u8) -> bool {
        self.has_attribute(name, &[0x18, value])
    }

    fn has_attribute(&self, name: &str, any_value: &[u8]) -> bool {
        let name_length = u8::try_from(name.len()).unwrap();
        let value_length = u8::try_from(any_value.len()).unwrap();
        let key = [&[0x0a, name_length], name.as_bytes(), &[0x12, value_length], any_value].concat();
        self.body.windows(key.len()).any(|window| window == key)
    }
}

/// The collector's address and what arrives there. It answers each export with `status`.
pub(crate) fn collector(status: u16) -> (String, Receiver<Export>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = format!("http://{}", listener.local_addr().unwrap());
    let (sender, receiver) = channel();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let Some(export) = serve_one(&stream.unwrap(), status) else { continue };
            if sender.send(export).is_err() {
                return;
            }
        }
    });
    (address, receiver)
}

/// Waits for the next export; fails the test when none comes.
pub(crate) fn next(exports: &Receiver<Export>) -> Export {
    exports.recv_timeout(Duration::from_secs(10)).unwrap()
}

fn serve_one(mut stream: &TcpStream, status: u16) -> Option<Export> {
    let mut reader = BufReader::new(stream);
    let mut request_line = String::new();
    reader.read_line(&mut request_line).ok()?;
    let path = request_line.split(' ').nth(1)?.to_owned();
    let mut length = 0;
    loop {
        let mut header = String::new();
        reader.read_line(&mut header).ok()?;
        if header.trim().is_empty() {
            break;
        }
        if let Some(value) = header.to_ascii_lowercase().strip_prefix("content-length:") {
            length = value.trim().parse().ok()?;
        }
    }
    let mut body = vec![0; length];
    reader.read_exact(&mut body).ok()?;
    write!(stream, "HTTP/1.1 {status} Answer\r\ncontent-length: 0\r\nconnection: close\r\n\r\n").ok()?;
    Some(Export { path, body })
}
