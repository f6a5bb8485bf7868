//! A minimal HTTP/1.1 client: one connection, one request at a time, the answer's framing understood and
//! its body counted. Cheap, because it shares a core with the mock provider.

use std::net::SocketAddr;

use anyhow::{Context as _, bail, ensure};
use bytes::{Buf as _, BytesMut};
use memchr::memmem;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

const READ_BUFFER_BYTES: usize = 16 * 1024;

/// What an answer was, without its bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct AnswerShape {
    /// HTTP status.
    pub(crate) status: u16,
    /// Bytes of the body, without its framing.
    pub(crate) body_bytes: usize,
}

/// A kept-alive connection.
pub(crate) struct Connection {
    stream: TcpStream,
    buffer: BytesMut,
}

impl Connection {
    /// Connects, without Nagle's delay.
    pub(crate) async fn open(address: SocketAddr) -> anyhow::Result<Self> {
        let stream =
            TcpStream::connect(address).await.with_context(|| format!("cannot connect to {address}"))?;
        stream.set_nodelay(true)?;
        Ok(Self { stream, buffer: BytesMut::with_capacity(READ_BUFFER_BYTES) })
    }

    /// Sends a request and reads its answer to the end; only the shape is kept.
    pub(crate) async fn exchange(&mut self, request: &[u8]) -> anyhow::Result<AnswerShape> {
        self.exchange_into(request, |_| {}).await
    }

    /// The same; `body` sees the body's bytes as they come.
    pub(crate) async fn exchange_into(
        &mut self,
        request: &[u8],
        body: impl FnMut(&[u8]),
    ) -> anyhow::Result<AnswerShape> {
        self.stream.write_all(request).await?;
        let head_length = loop {
            if let Some(at) = memmem::find(&self.buffer, b"\r\n\r\n") {
                break at + 4;
            }
            self.read_more().await?;
        };
        let (status, framing) = read_head(&self.buffer[..head_length])?;
        self.buffer.advance(head_length);
        let body_bytes = match framing {
            Framing::Length(length) => self.read_length(length, body).await?,
            Framing::Chunked => self.read_chunked(body).await?,
        };
        Ok(AnswerShape { status, body_bytes })
    }

    async fn read_length(&mut self, length: usize, mut body: impl FnMut(&[u8])) -> anyhow::Result<usize> {
        while self.buffer.len() < length {
            self.read_more().await?;
        }
        body(&self.buffer[..length]);
        self.buffer.advance(length);
        Ok(length)
    }

    async fn read_chunked(&mut self, mut body: impl FnMut(&[u8])) -> anyhow::Result<usize> {
        let mut n_bytes = 0;
        loop {
            let line_end = loop {
                if let Some(at) = memmem::find(&self.buffer, b"\r\n") {
                    break at;
                }
                self.read_more().await?;
            };
            let digits = std::str::from_utf8(&self.buffer[..line_end])?;
            let length = usize::from_str_radix(digits.trim(), 16)
                .with_context(|| format!("`{digits}` is no chunk length"))?;
            let end = line_end + 2 + length + 2;
            while self.buffer.len() < end {
                self.read_more().await?;
            }
            body(&self.buffer[line_end + 2..line_end + 2 + length]);
            self.buffer.advance(end);
            n_bytes += length;
            if length == 0 {
                return Ok(n_bytes);
            }
        }
    }

    async fn read_more(&mut self) -> anyhow::Result<()> {
        self.buffer.reserve(READ_BUFFER_BYTES / 4);
        ensure!(self.stream.read_buf(&mut self.buffer).await? > 0, "the connection closed within an answer");
        Ok(())
    }
}

enum Framing {
    Length(usize),
    Chunked,
}

fn read_head(head: &[u8]) -> anyhow::Result<(u16, Framing)> {
    let status = head.get(9..12).and_then(|digits| std::str::from_utf8(digits).ok());
    let status = status.and_then(|digits| digits.parse().ok()).context("the answer has no status")?;
    if let Some(at) = memmem::find(head, b"\r\ncontent-length: ") {
        let rest = &head[at + "\r\ncontent-length: ".len()..];
        let digits: Vec<u8> = rest.iter().copied().take_while(u8::is_ascii_digit).collect();
        return Ok((status, Framing::Length(std::str::from_utf8(&digits)?.parse()?)));
    }
    if memmem::find(head, b"\r\ntransfer-encoding: chunked").is_some() {
        return Ok((status, Framing::Chunked));
    }
    bail!("the answer has no framing that this client knows: {}", String::from_utf8_lossy(head))
}
