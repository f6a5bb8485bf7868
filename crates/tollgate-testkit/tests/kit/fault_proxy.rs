//! The TCP proxy with faults.

use std::io::ErrorKind;
use std::time::{Duration, Instant};

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tokio::time::timeout;
use tollgate_testkit::fault_proxy::{FaultMode, FaultProxy};

/// Long enough for a byte to come round on a loaded machine, short enough to wait for in vain.
const QUIET: Duration = Duration::from_millis(200);

/// A server that sends back what it gets, and a proxy before it.
async fn echo_behind_proxy() -> anyhow::Result<(FaultProxy, JoinSet<()>)> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let proxy = FaultProxy::start(listener.local_addr()?).await?;
    let mut tasks = JoinSet::new();
    tasks.spawn(async move {
        let mut connections = JoinSet::new();
        while let Ok((mut stream, _)) = listener.accept().await {
            connections.spawn(async move {
                let (mut read, mut write) = stream.split();
                tokio::io::copy(&mut read, &mut write).await
            });
        }
    });
    Ok((proxy, tasks))
}

async fn round_trip(stream: &mut TcpStream, byte: u8) -> std::io::Result<u8> {
    stream.write_u8(byte).await?;
    stream.read_u8().await
}

/// A new connection is reset, which its `connect` may already see.
async fn assert_reset_at_once(proxy: &FaultProxy) -> anyhow::Result<()> {
    let connect_and_read = async { TcpStream::connect(proxy.address()).await?.read_u8().await };
    let read = timeout(Duration::from_secs(5), connect_and_read).await?;
    assert_eq!(read.map_err(|error| error.kind()), Err(ErrorKind::ConnectionReset));
    Ok(())
}

#[tokio::test]
async fn passes_bytes_and_ends_both_ways() -> anyhow::Result<()> {
    let (proxy, _echo) = echo_behind_proxy().await?;
    let mut stream = TcpStream::connect(proxy.address()).await?;
    let sent = (0..1_000_000_u32).flat_map(u32::to_le_bytes).collect::<Vec<_>>();
    let (mut read, mut write) = stream.split();
    let mut received = Vec::new();
    tokio::try_join!(
        async {
            write.write_all(&sent).await?;
            write.shutdown().await
        },
        read.read_to_end(&mut received),
    )?;
    assert!(received == sent, "{} bytes came back of {}", received.len(), sent.len());
    assert_eq!(proxy.n_accepted_connections(), 1);
    Ok(())
}

#[tokio::test]
async fn refuses_new_connections_only() -> anyhow::Result<()> {
    let (proxy, _echo) = echo_behind_proxy().await?;
    let mut open = TcpStream::connect(proxy.address()).await?;
    assert_eq!(round_trip(&mut open, 1).await?, 1);
    proxy.set_mode(FaultMode::Refuse);
    assert_reset_at_once(&proxy).await?;
    assert_eq!(round_trip(&mut open, 2).await?, 2);
    proxy.set_mode(FaultMode::Pass);
    let mut again = TcpStream::connect(proxy.address()).await?;
    assert_eq!(round_trip(&mut again, 3).await?, 3);
    Ok(())
}

#[tokio::test]
async fn swallows_everything_until_it_passes_again() -> anyhow::Result<()> {
    let (proxy, _echo) = echo_behind_proxy().await?;
    let mut open = TcpStream::connect(proxy.address()).await?;
    assert_eq!(round_trip(&mut open, 1).await?, 1);
    proxy.set_mode(FaultMode::Blackhole);
    let mut new = TcpStream::connect(proxy.address()).await?;
    for stream in [&mut open, &mut new] {
        assert!(timeout(QUIET, round_trip(stream, 2)).await.is_err());
    }
    proxy.set_mode(FaultMode::Pass);
    for stream in [&mut open, &mut new] {
        assert_eq!(timeout(Duration::from_secs(5), stream.read_u8()).await??, 2);
    }
    Ok(())
}

#[tokio::test]
async fn delays_each_way() -> anyhow::Result<()> {
    let (proxy, _echo) = echo_behind_proxy().await?;
    let mut stream = TcpStream::connect(proxy.address()).await?;
    assert_eq!(round_trip(&mut stream, 1).await?, 1);
    proxy.set_mode(FaultMode::Delay(Duration::from_millis(50)));
    let started = Instant::now();
    assert_eq!(round_trip(&mut stream, 2).await?, 2);
    assert!(started.elapsed() >= Duration::from_millis(100), "{:?}", started.elapsed());
    Ok(())
}

#[tokio::test]
async fn cuts_with_a_reset() -> anyhow::Result<()> {
    let (proxy, _echo) = echo_behind_proxy().await?;
    let mut streams = Vec::new();
    for _ in 0..5 {
        let mut stream = TcpStream::connect(proxy.address()).await?;
        round_trip(&mut stream, 1).await?;
        streams.push(stream);
    }
    proxy.wait_for_open_connections(5).await?;
    assert_eq!(proxy.cut().await?, 5);
    assert_eq!(proxy.n_open_connections(), 0);
    for stream in &mut streams {
        assert_eq!(stream.read_u8().await.unwrap_err().kind(), ErrorKind::ConnectionReset);
    }
    let mut again = TcpStream::connect(proxy.address()).await?;
    assert_eq!(round_trip(&mut again, 2).await?, 2);
    Ok(())
}

#[tokio::test]
async fn a_dead_upstream_resets_the_client() -> anyhow::Result<()> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let proxy = FaultProxy::start(listener.local_addr()?).await?;
    drop(listener);
    assert_reset_at_once(&proxy).await
}
