//! The random part of request ids, fetched from the system for many requests at once.

use std::cell::RefCell;
use std::sync::atomic::{AtomicU64, Ordering};

/// Random bytes of one id.
pub(crate) const ID_BYTES: usize = 10;
/// Fetched at once, per thread: a system call for four hundred requests instead of one for each.
const POOL_BYTES: usize = 400 * ID_BYTES;

struct Pool {
    bytes: [u8; POOL_BYTES],
    used: usize,
}

thread_local! {
    static POOL: RefCell<Pool> = const { RefCell::new(Pool { bytes: [0; POOL_BYTES], used: POOL_BYTES }) };
}

/// Bytes that were given to nobody else.
pub(crate) fn bytes() -> [u8; ID_BYTES] {
    POOL.with_borrow_mut(|pool| {
        if pool.used == POOL_BYTES {
            if getrandom::fill(&mut pool.bytes).is_err() {
                tracing::error!("the system gives no randomness: ids of requests can be guessed");
                return counted();
            }
            pool.used = 0;
        }
        let mut bytes = [0; ID_BYTES];
        bytes.copy_from_slice(&pool.bytes[pool.used..pool.used + ID_BYTES]);
        pool.used += ID_BYTES;
        bytes
    })
}

/// Unique in this process, and unlikely in another one: two requests with one id would share one hold.
fn counted() -> [u8; ID_BYTES] {
    static NEXT: AtomicU64 = AtomicU64::new(0);
    let mut bytes = [0; ID_BYTES];
    let (process, count) = bytes.split_at_mut(ID_BYTES - size_of::<u64>());
    process.copy_from_slice(&std::process::id().to_be_bytes()[2..]);
    count.copy_from_slice(&NEXT.fetch_add(1, Ordering::Relaxed).to_be_bytes());
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_two_are_alike_without_randomness() {
        let distinct: std::collections::HashSet<_> = (0..1_000).map(|_| counted()).collect();
        assert_eq!(distinct.len(), 1_000);
    }

    #[test]
    fn no_two_are_alike_across_refills_and_threads() {
        let some = || (0..1_000).map(|_| bytes()).collect::<Vec<_>>();
        let other = std::thread::spawn(some);
        let all: Vec<_> = some().into_iter().chain(other.join().unwrap()).collect();
        let distinct: std::collections::HashSet<_> = all.iter().collect();
        assert_eq!(distinct.len(), all.len());
    }
}
