//! A TCP server on a runtime of its own.
//!
//! The mock provider and the fault proxy do not run on the test's runtime: a test that blocks its only
//! thread (waiting for a child process, say) must not stop the world it is talking to.

use std::future::Future;
use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use anyhow::Context as _;
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::runtime::{Builder, Runtime};
use tokio::task::{JoinHandle, JoinSet};
use tokio_util::sync::CancellationToken;

use crate::ports;

/// Connections the kernel may hold until they are accepted: bursts of thousands are part of the tests.
const LISTEN_BACKLOG: u32 = 4096;
/// Ports tried when another process takes the one that was free a moment ago.
const BIND_ATTEMPTS: usize = 20;
/// Pause after a failed accept (out of descriptors), so that the loop does not spin.
const ACCEPT_RETRY_DELAY: Duration = Duration::from_millis(10);

/// A listening port whose connections are served until [`ServerThread::stop`] or drop.
pub(crate) struct ServerThread {
    runtime: Option<Runtime>,
    cancelled: CancellationToken,
    accept_loop: Option<JoinHandle<()>>,
    address: SocketAddr,
}

impl ServerThread {
    /// Listens on `port` of 127.0.0.1, or on a free one, and calls `serve` with each connection and its
    /// number, which counts up from 1. `n_threads` worker threads carry everything.
    pub(crate) fn start<Served>(
        name: &str,
        port: Option<u16>,
        n_threads: usize,
        serve: impl Fn(TcpStream, u64) -> Served + Send + 'static,
    ) -> anyhow::Result<Self>
    where
        Served: Future<Output = ()> + Send + 'static,
    {
        let runtime = Builder::new_multi_thread()
            .worker_threads(n_threads.max(1))
            .thread_name(name)
            .enable_all()
            .build()
            .with_context(|| format!("cannot start the threads of {name}"))?;
        let listener = {
            let _entered = runtime.enter();
            listen(port)?
        };
        let address = listener.local_addr()?;
        let cancelled = CancellationToken::new();
        let accept_loop = runtime.spawn(accept(listener, cancelled.clone(), serve));
        Ok(Self { runtime: Some(runtime), cancelled, accept_loop: Some(accept_loop), address })
    }

    /// Where it listens.
    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    /// Closes the listener and every connection; the port refuses connections when this returns.
    pub(crate) async fn stop(mut self) -> anyhow::Result<()> {
        self.cancelled.cancel();
        if let Some(accept_loop) = self.accept_loop.take() {
            accept_loop.await.context("the accept loop failed")?;
        }
        Ok(())
    }
}

impl Drop for ServerThread {
    fn drop(&mut self) {
        self.cancelled.cancel();
        if let Some(runtime) = self.runtime.take() {
            // A plain drop would wait for the threads, which is forbidden inside another runtime.
            runtime.shutdown_background();
        }
    }
}

fn listen(port: Option<u16>) -> anyhow::Result<TcpListener> {
    if let Some(port) = port {
        return listen_on(port).with_context(|| format!("cannot listen on 127.0.0.1:{port}"));
    }
    for _ in 0..BIND_ATTEMPTS {
        if let Ok(listener) = listen_on(ports::free_port()?) {
            return Ok(listener);
        }
    }
    listen_on(0).context("cannot listen on a free port of 127.0.0.1")
}

fn listen_on(port: u16) -> std::io::Result<TcpListener> {
    let socket = TcpSocket::new_v4()?;
    socket.set_reuseaddr(true)?;
    socket.bind((Ipv4Addr::LOCALHOST, port).into())?;
    socket.listen(LISTEN_BACKLOG)
}

async fn accept<Served>(
    listener: TcpListener,
    cancelled: CancellationToken,
    serve: impl Fn(TcpStream, u64) -> Served + Send + 'static,
) where
    Served: Future<Output = ()> + Send + 'static,
{
    let mut connections = JoinSet::new();
    let mut n_connections = 0_u64;
    loop {
        tokio::select! {
            () = cancelled.cancelled() => break,
            Some(_ended) = connections.join_next(), if !connections.is_empty() => {}
            accepted = listener.accept() => match accepted {
                Ok((stream, _peer)) => {
                    n_connections += 1;
                    // A socket that refuses the option is closed already; serving it ends at once.
                    let _ = stream.set_nodelay(true);
                    connections.spawn(serve(stream, n_connections));
                }
                Err(_) => tokio::time::sleep(ACCEPT_RETRY_DELAY).await,
            },
        }
    }
    drop(listener);
    connections.shutdown().await;
}
