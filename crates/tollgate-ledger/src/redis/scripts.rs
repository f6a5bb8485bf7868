//! The Lua scripts and how they are called: by hash, and by source where the server does not know the hash.

use std::sync::LazyLock;

use redis::{Cmd, Script};

/// A script and its hash.
pub(super) struct LedgerScript {
    source: &'static str,
    hash: String,
}

pub(super) static ADMIT: LazyLock<LedgerScript> =
    LazyLock::new(|| LedgerScript::new(concat!(include_str!("periods.lua"), include_str!("admit.lua"))));
pub(super) static SETTLE: LazyLock<LedgerScript> =
    LazyLock::new(|| LedgerScript::new(include_str!("settle.lua")));
pub(super) static SEED: LazyLock<LedgerScript> =
    LazyLock::new(|| LedgerScript::new(concat!(include_str!("periods.lua"), include_str!("seed.lua"))));
pub(super) static SET_WALLET_LIMIT: LazyLock<LedgerScript> =
    LazyLock::new(|| LedgerScript::new(include_str!("set_wallet_limit.lua")));
pub(super) static RENEW: LazyLock<LedgerScript> =
    LazyLock::new(|| LedgerScript::new(include_str!("renew.lua")));
pub(super) static BALANCES: LazyLock<LedgerScript> =
    LazyLock::new(|| LedgerScript::new(include_str!("balances.lua")));
pub(super) static SET_ASIDE: LazyLock<LedgerScript> =
    LazyLock::new(|| LedgerScript::new(include_str!("set_aside.lua")));

/// Every script, to be loaded when connecting.
pub(super) fn all() -> [&'static LedgerScript; 7] {
    [&ADMIT, &SETTLE, &SEED, &SET_WALLET_LIMIT, &RENEW, &BALANCES, &SET_ASIDE]
}

impl LedgerScript {
    fn new(source: &'static str) -> Self {
        Self { source, hash: Script::new(source).get_hash().to_owned() }
    }

    /// The command that loads it.
    pub(super) fn load(&self) -> Cmd {
        let mut command = redis::cmd("SCRIPT");
        command.arg("LOAD").arg(self.source);
        command
    }

    /// Starts a call by hash with its keys; the caller appends the arguments. `n_bytes` is a guess of all of
    /// them together, to allocate once.
    pub(super) fn call(&self, keys: &[String], n_arguments: usize, n_bytes: usize) -> Cmd {
        let mut command = Cmd::with_capacity(3 + keys.len() + n_arguments, 96 + n_bytes);
        command.arg("EVALSHA").arg(&self.hash).arg(keys.len());
        for key in keys {
            command.arg(key);
        }
        command
    }

    /// The same call by source, which also loads it: for a server that has lost its scripts.
    pub(super) fn by_source(&self, call: &Cmd) -> Cmd {
        let mut command = redis::cmd("EVAL");
        command.arg(self.source);
        for argument in call.args_iter().skip(2) {
            if let redis::Arg::Simple(argument) = argument {
                command.arg(argument);
            }
        }
        command
    }
}
