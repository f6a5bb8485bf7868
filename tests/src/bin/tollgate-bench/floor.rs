//! The floor: hyper on both sides, bodies handed through, and nothing else. What a gateway costs beyond
//! this is its own work.

use std::io::Write as _;

use anyhow::Context as _;
use http_body_util::{Either, Empty};
use hyper::body::{Bytes, Incoming};
use hyper::http::uri::{Authority, Scheme};
use hyper::service::service_fn;
use hyper::{Request, Response, StatusCode, Uri, header};
use hyper_util::client::legacy::{Client, connect::HttpConnector};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use tokio::net::TcpListener;

type Upstream = Client<HttpConnector, Incoming>;

/// Serves on 127.0.0.1 until killed; prints `ready http://…` first. The worker threads are the runtime's
/// own choice, as in the product: one per core that the process may use.
pub(crate) fn run(port: u16, upstream: &str) -> anyhow::Result<()> {
    let authority: Authority = upstream.parse().context("--upstream is host:port")?;
    tokio::runtime::Builder::new_multi_thread().enable_all().build()?.block_on(serve(port, authority))
}

async fn serve(port: u16, authority: Authority) -> anyhow::Result<()> {
    let listener = TcpListener::bind(("127.0.0.1", port)).await?;
    writeln!(std::io::stdout(), "ready http://{}", listener.local_addr()?)?;
    let mut connector = HttpConnector::new();
    connector.set_nodelay(true);
    let client: Upstream =
        Client::builder(TokioExecutor::new()).pool_timer(TokioTimer::new()).build(connector);
    loop {
        let (stream, _) = listener.accept().await?;
        stream.set_nodelay(true)?;
        let (client, authority) = (client.clone(), authority.clone());
        tokio::spawn(async move {
            let service = service_fn(|request| forward(&client, &authority, request));
            let connection = hyper::server::conn::http1::Builder::new();
            // A client that goes away ends its connection, nothing else.
            let _ = connection.serve_connection(TokioIo::new(stream), service).await;
        });
    }
}

async fn forward(
    client: &Upstream,
    authority: &Authority,
    mut request: Request<Incoming>,
) -> Result<Response<Either<Incoming, Empty<Bytes>>>, hyper::http::Error> {
    let mut parts = request.uri().clone().into_parts();
    parts.scheme = Some(Scheme::HTTP);
    parts.authority = Some(authority.clone());
    *request.uri_mut() = Uri::from_parts(parts)?;
    request.headers_mut().remove(header::HOST);
    Ok(client.request(request).await.map_or_else(
        |_| {
            let mut refused = Response::new(Either::Right(Empty::new()));
            *refused.status_mut() = StatusCode::BAD_GATEWAY;
            refused
        },
        |answer| answer.map(Either::Left),
    ))
}
