//! Free ports below the kernel's ephemeral range.
//!
//! A server that a test stops and starts again must find its port free. A port from `bind(0)` is in the
//! ephemeral range: while the server is down the kernel may hand the port to any outgoing connection,
//! even to the very client that tries to reconnect, which then talks to itself. Ports below the range
//! are only taken by those who ask for them.

use std::net::{Ipv4Addr, TcpListener};
use std::process;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::Context as _;

/// The lowest port handed out: above the well-known services of a developer's machine.
const LOWEST_PORT: u64 = 10_000;
/// The start of Linux's default ephemeral range, used where the kernel does not tell.
const DEFAULT_EPHEMERAL_START: u64 = 32_768;
/// Ports tried before giving up: a machine with so many neighbours in use is out of ports.
const PORT_ATTEMPTS: usize = 500;

/// A port on 127.0.0.1 that nobody listened on a moment ago; the caller retries when it is taken since.
pub(crate) fn free_port() -> anyhow::Result<u16> {
    bind_free_port().map(|(_listener, port)| port)
}

/// A listener on a free port of 127.0.0.1, and the port.
fn bind_free_port() -> anyhow::Result<(TcpListener, u16)> {
    let n_ports = ephemeral_start().saturating_sub(LOWEST_PORT).max(1);
    for _ in 0..PORT_ATTEMPTS {
        let port = u16::try_from(LOWEST_PORT + next_random() % n_ports).unwrap_or(0);
        if let Ok(listener) = TcpListener::bind((Ipv4Addr::LOCALHOST, port)) {
            let port = listener.local_addr()?.port();
            return Ok((listener, port));
        }
    }
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).context("no free port on 127.0.0.1")?;
    let port = listener.local_addr()?.port();
    Ok((listener, port))
}

fn ephemeral_start() -> u64 {
    std::fs::read_to_string("/proc/sys/net/ipv4/ip_local_port_range")
        .ok()
        .and_then(|range| range.split_whitespace().next()?.parse().ok())
        .unwrap_or(DEFAULT_EPHEMERAL_START)
}

/// Spreads parallel test processes over the range (splitmix64 over process id, time and a counter).
fn next_random() -> u64 {
    static COUNTER: AtomicU64 = AtomicU64::new(0);
    let now_ns =
        SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| u64::from(since.subsec_nanos()));
    let count = COUNTER.fetch_add(1, Ordering::Relaxed);
    let mut state = (u64::from(process::id()) << 32) ^ now_ns ^ count.wrapping_mul(0x9E37_79B9_7F4A_7C15);
    state = (state ^ (state >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    state = (state ^ (state >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    state ^ (state >> 31)
}
