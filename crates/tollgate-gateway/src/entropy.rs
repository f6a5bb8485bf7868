//! The random part of request ids, fetched from the system for many requests at once.

use std::cell::RefCell;

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
            // without the system's randomness ids are still unique per pod and moment, only guessable
            if getrandom::fill(&mut pool.bytes).is_err() {
                tracing::error!("the system gives no randomness");
            }
            pool.used = 0;
        }
        let mut bytes = [0; ID_BYTES];
        bytes.copy_from_slice(&pool.bytes[pool.used..pool.used + ID_BYTES]);
        pool.used += ID_BYTES;
        bytes
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_two_are_alike_across_refills_and_threads() {
        let some = || (0..1_000).map(|_| bytes()).collect::<Vec<_>>();
        let other = std::thread::spawn(some);
        let all: Vec<_> = some().into_iter().chain(other.join().unwrap()).collect();
        let distinct: std::collections::HashSet<_> = all.iter().collect();
        assert_eq!(distinct.len(), all.len());
    }
}
