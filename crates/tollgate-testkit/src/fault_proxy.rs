//! A TCP proxy whose faults a test switches at run time, to put between Tollgate and Redis, PostgreSQL,
//! the control plane or a provider.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::net::tcp::{ReadHalf, WriteHalf};
use tokio::sync::watch;

use crate::server_thread::ServerThread;
use crate::wait::within_wait_timeout;

/// Bytes forwarded at once.
const COPY_BUFFER_BYTES: usize = 16 * 1024;
/// The proxy only copies.
const N_THREADS: usize = 1;

/// What the proxy does with connections.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FaultMode {
    /// Forwards both ways.
    Pass,
    /// Closes new connections right after the accept; open ones go on.
    Refuse,
    /// Accepts, reads and keeps what it read: nothing is forwarded or answered, on new and on open
    /// connections. After a switch to another mode what was kept goes on its way.
    Blackhole,
    /// Forwards every piece, each way, this much later.
    Delay(Duration),
}

/// A running proxy. Dropping it closes every connection.
pub struct FaultProxy {
    server: ServerThread,
    shared: Arc<Shared>,
}

struct Shared {
    upstream: watch::Sender<SocketAddr>,
    mode: watch::Sender<FaultMode>,
    // Counts the cuts; a connection that sees it change resets itself.
    cuts: watch::Sender<u64>,
    n_open: watch::Sender<u64>,
    n_accepted: AtomicU64,
}

impl FaultProxy {
    /// Listens on a free port of 127.0.0.1 and forwards to `upstream`, which need not listen yet.
    pub async fn start(upstream: SocketAddr) -> anyhow::Result<Self> {
        let shared = Arc::new(Shared {
            upstream: watch::Sender::new(upstream),
            mode: watch::Sender::new(FaultMode::Pass),
            cuts: watch::Sender::new(0),
            n_open: watch::Sender::new(0),
            n_accepted: AtomicU64::new(0),
        });
        let of_connections = Arc::clone(&shared);
        let server = ServerThread::start("fault-proxy", None, N_THREADS, move |stream, _number| {
            serve(stream, Arc::clone(&of_connections))
        })?;
        Ok(Self { server, shared })
    }

    /// Where clients connect.
    pub fn address(&self) -> SocketAddr {
        self.server.address()
    }

    /// Switches the mode, for new and for open connections.
    pub fn set_mode(&self, mode: FaultMode) {
        self.shared.mode.send_replace(mode);
    }

    /// Forwards new connections to another server; open ones stay where they are.
    pub fn set_upstream(&self, upstream: SocketAddr) {
        self.shared.upstream.send_replace(upstream);
    }

    /// Resets (RST) every open connection, both sides, and waits until they are gone. New connections
    /// follow the mode. Returns how many were open.
    pub async fn cut(&self) -> anyhow::Result<u64> {
        let n_open = *self.shared.n_open.borrow();
        self.shared.cuts.send_modify(|cuts| *cuts += 1);
        let mut open = self.shared.n_open.subscribe();
        within_wait_timeout("connections to be cut", open.wait_for(|&open| open == 0)).await??;
        Ok(n_open)
    }

    /// Waits until at least `n` connections are open through the proxy.
    pub async fn wait_for_open_connections(&self, n: u64) -> anyhow::Result<()> {
        let mut open = self.shared.n_open.subscribe();
        within_wait_timeout("connections through the proxy", open.wait_for(|&open| open >= n)).await??;
        Ok(())
    }

    /// Connections open now.
    pub fn n_open_connections(&self) -> u64 {
        *self.shared.n_open.borrow()
    }

    /// Connections accepted since the start, refused ones included.
    pub fn n_accepted_connections(&self) -> u64 {
        self.shared.n_accepted.load(Ordering::Relaxed)
    }
}

/// Counts an open connection until it is dropped.
struct OpenConnection<'a>(&'a Shared);

impl<'a> OpenConnection<'a> {
    fn new(shared: &'a Shared) -> Self {
        shared.n_open.send_modify(|open| *open += 1);
        Self(shared)
    }
}

impl Drop for OpenConnection<'_> {
    fn drop(&mut self) {
        self.0.n_open.send_modify(|open| *open -= 1);
    }
}

async fn serve(mut client: TcpStream, shared: Arc<Shared>) {
    shared.n_accepted.fetch_add(1, Ordering::Relaxed);
    if *shared.mode.borrow() == FaultMode::Refuse {
        // A socket that refuses the option is closed already.
        let _ = client.set_zero_linger();
        return;
    }
    let mut cuts = shared.cuts.subscribe();
    // Declared first, so that it is dropped after the sockets and a cut returns when they are closed.
    let _open = OpenConnection::new(&shared);
    let mut upstream = None;
    let was_clean = tokio::select! {
        _cut = cuts.changed() => false,
        forwarded = forward(&mut client, &mut upstream, &shared) => forwarded.is_ok(),
    };
    if !was_clean {
        let _ = client.set_zero_linger();
        let _ = upstream.as_ref().map(TcpStream::set_zero_linger);
    }
    drop(client);
    drop(upstream);
}

async fn forward(
    client: &mut TcpStream,
    upstream: &mut Option<TcpStream>,
    shared: &Shared,
) -> io::Result<()> {
    let mut mode = shared.mode.subscribe();
    if *mode.borrow_and_update() == FaultMode::Blackhole {
        // The client's bytes wait in the kernel's buffers, which is all it can see from outside.
        wait_for_passage(&mut mode).await;
    }
    let address = *shared.upstream.borrow();
    let upstream = upstream.insert(TcpStream::connect(address).await?);
    upstream.set_nodelay(true)?;
    let (client_read, client_write) = client.split();
    let (upstream_read, upstream_write) = upstream.split();
    tokio::try_join!(
        copy(client_read, upstream_write, mode.clone()),
        copy(upstream_read, client_write, mode),
    )?;
    Ok(())
}

async fn copy(
    mut from: ReadHalf<'_>,
    mut to: WriteHalf<'_>,
    mut mode: watch::Receiver<FaultMode>,
) -> io::Result<()> {
    let mut buffer = vec![0; COPY_BUFFER_BYTES];
    loop {
        let n_bytes = from.read(&mut buffer).await?;
        let current = *mode.borrow_and_update();
        match current {
            FaultMode::Pass | FaultMode::Refuse => {}
            FaultMode::Blackhole => wait_for_passage(&mut mode).await,
            FaultMode::Delay(delay) => tokio::time::sleep(delay).await,
        }
        if n_bytes == 0 {
            return to.shutdown().await;
        }
        to.write_all(&buffer[..n_bytes]).await?;
    }
}

async fn wait_for_passage(mode: &mut watch::Receiver<FaultMode>) {
    // An error means that the proxy is gone, and with it this task.
    let _ = mode.wait_for(|&mode| mode != FaultMode::Blackhole).await;
}
