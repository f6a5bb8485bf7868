//! The Lua scripts and how they are called: by hash, and by source where the server does not know the hash.

use std::borrow::Cow;
use std::sync::LazyLock;

use redis::{Cmd, Script};

/// A script and its hash.
pub(super) struct LedgerScript {
    source: Cow<'static, str>,
    hash: String,
}

/// Puts a script together from its shared parts and its own.
macro_rules! script {
    ($name:ident = $($file:literal)+) => {
        pub(super) static $name: LazyLock<LedgerScript> =
            LazyLock::new(|| LedgerScript::new(Cow::Borrowed(concat!($(include_str!($file)),+))));
    };
}

/// The shared parts stand where they are needed, which is not on the way of most calls.
pub(super) static ADMIT: LazyLock<LedgerScript> = LazyLock::new(|| {
    let parts = [
        ("--[[include record.lua]]", include_str!("record.lua")),
        ("--[[include periods.lua]]", include_str!("periods.lua")),
    ];
    let source = include_str!("admit.lua").to_owned();
    let source = parts.iter().fold(source, |source, (place, part)| source.replace(place, part));
    LedgerScript::new(Cow::Owned(source))
});
script!(SETTLE = "fence.lua" "record.lua" "settle.lua");
script!(GROW = "fence.lua" "record.lua" "grow.lua");
script!(RENEW = "fence.lua" "record.lua" "renew.lua");
script!(SEED = "fence.lua" "next_epoch.lua" "periods.lua" "seed.lua");
script!(RESEED = "fence.lua" "next_epoch.lua" "record.lua" "periods.lua" "reseed.lua");
script!(CLOSE = "fence.lua" "next_epoch.lua" "close.lua");
script!(FORGET = "forget.lua");
script!(BALANCES = "fence.lua" "balances.lua");
script!(SET_WALLET_LIMIT = "set_wallet_limit.lua");
script!(LIST_HOLDS = "record.lua" "list_holds.lua");
script!(SUSPECTS = "fence.lua" "record.lua" "suspects.lua");
script!(CARRIED_OVER = "fence.lua" "carried_over.lua");
script!(JOURNALED = "fence.lua" "next_epoch.lua" "journaled.lua");
script!(EPOCH = "fence.lua" "epoch.lua");
script!(SLAB = "fence.lua" "record.lua" "slab.lua");
script!(ENDED_LEASES = "ended_leases.lua");
script!(SET_ASIDE = "set_aside.lua");
script!(IDEMPOTENCY_CLAIM = "idempotency.lua" "idempotency_claim.lua");
script!(IDEMPOTENCY_END = "idempotency.lua" "idempotency_end.lua");
script!(IDEMPOTENCY_FORGET = "idempotency.lua" "idempotency_forget.lua");

/// Every script, to be loaded when connecting.
pub(super) fn all() -> [&'static LedgerScript; 21] {
    [
        &ADMIT,
        &SETTLE,
        &GROW,
        &RENEW,
        &SEED,
        &RESEED,
        &CLOSE,
        &FORGET,
        &BALANCES,
        &SET_WALLET_LIMIT,
        &LIST_HOLDS,
        &SUSPECTS,
        &CARRIED_OVER,
        &JOURNALED,
        &EPOCH,
        &SLAB,
        &ENDED_LEASES,
        &SET_ASIDE,
        &IDEMPOTENCY_CLAIM,
        &IDEMPOTENCY_END,
        &IDEMPOTENCY_FORGET,
    ]
}

impl LedgerScript {
    pub(super) fn new(source: Cow<'static, str>) -> Self {
        let hash = Script::new(&source).get_hash().to_owned();
        Self { source, hash }
    }

    /// The command that loads it.
    pub(super) fn load(&self) -> Cmd {
        let mut command = redis::cmd("SCRIPT");
        command.arg("LOAD").arg(&*self.source);
        command
    }

    /// Starts a call by hash with its keys; the caller appends the arguments. `n_bytes` is a guess of all of
    /// them together, to allocate once.
    pub(super) fn call(&self, keys: &[String], n_arguments: usize, n_bytes: usize) -> Cmd {
        let mut command = Cmd::with_capacity(3 + keys.len() + n_arguments, 96 + n_bytes);
        command.arg("EVALSHA").arg(self.present_hash().as_ref()).arg(keys.len());
        for key in keys {
            command.arg(key);
        }
        command
    }

    /// The same call by source, which also loads it: for a server that has lost its scripts.
    pub(super) fn by_source(&self, call: &Cmd) -> Cmd {
        let mut command = redis::cmd("EVAL");
        command.arg(self.present_source().as_ref());
        for argument in call.args_iter().skip(2) {
            if let redis::Arg::Simple(argument) = argument {
                command.arg(argument);
            }
        }
        command
    }

    #[cfg(not(feature = "mutants"))]
    fn present_hash(&self) -> Cow<'_, str> {
        Cow::Borrowed(&self.hash)
    }

    #[cfg(not(feature = "mutants"))]
    fn present_source(&self) -> Cow<'_, str> {
        Cow::Borrowed(&self.source)
    }
}

#[cfg(feature = "mutants")]
mod faulty {
    //! The scripts with one fault.

    use std::borrow::Cow;

    use redis::Script;

    use super::LedgerScript;
    use crate::mutants::{Mutant, active};

    /// What a fault puts in the place of what; each text is in one script at least.
    pub(super) fn edits(mutant: Mutant) -> &'static [(&'static str, &'static str)] {
        match mutant {
            Mutant::MissingIsFull => &[
                ("if not seeded_at or (has_wallet and not values[4]) then", "if false then"),
                (
                    "if tonumber(string.match(names[i], ':(-?%d+)$')) < tonumber(seeded_at) then",
                    "if false then",
                ),
                (
                    "= unpack_struct('<dddd', values[4])",
                    "= unpack_struct('<dddd', values[4] or pack('<dddd', 9007199254740991, 0, 0, 0))",
                ),
            ],
            Mutant::ExpiredIsReleased => &[("-- What is known.\n", RELEASE_EXPIRED)],
            Mutant::FirstLevelOnly => &[
                ("local last_node = n_budgets", "local last_node = math.min(first_node, n_budgets)"),
                (
                    "last_node = hold[10] == 1 and 0 or 1, #names",
                    "last_node = hold[10] == 1 and 0 or 1, math.min(hold[10] == 1 and 0 or 1, #names)",
                ),
            ],
            Mutant::HoldsIgnored => &[("limits[i] - settled[i] - held[i]", "limits[i] - settled[i]")],
            Mutant::NoTombstone => {
                &[("call('SET', KEYS[2], 'T' .. id, 'PX', ARGV[6])", "call('DEL', KEYS[2])")]
            }
            Mutant::NoFence => &[
                ("return string.sub(epoch, -#run) == run", "return string.sub(run, -7) ~= ':fenced'"),
                ("return known == '' or epoch == known", "return true"),
                ("if not is_right then", "if false then"),
                ("  return known ~= ''", "  return false"),
                ("not values[1] and ARGV[2] ~= ''", "false"),
                ("epoch and is_live(epoch, ARGV[1]) then\n  return {2", "false then\n  return {2"),
                ("if not epoch or not is_live(epoch, ARGV[1] .. ':fenced') then", "if false then"),
            ],
        }
    }

    const RELEASE_EXPIRED: &str = concat!(
        "do\n",
        include_str!("record.lua"),
        "
for _, id in ipairs(call('ZRANGEBYSCORE', KEYS[3], '-inf', now_ms)) do
  local key = string.sub(KEYS[2], 1, -37) .. id
  local stored = call('GET', key)
  if is_hold(stored) then
    local hold, names = read_record(stored)
    if hold[10] > 0 and call('HEXISTS', state, 'w') == 1 then
      local limit, version, settled, held = unpack_struct('<dddd', call('HGET', state, 'w'))
      call('HSET', state, 'w', pack('<dddd', limit, version, settled, max(held - hold[2], 0)))
    end
    for i = 1, #names do
      local counter = call('HGET', state, names[i])
      if counter then
        local settled, held = unpack_struct('<dd', counter)
        call('HSET', state, names[i], pack('<dd', settled, max(held - hold[2], 0)))
      end
    end
  end
  call('DEL', key)
  call('ZREM', KEYS[3], id)
end
end
"
    );

    impl LedgerScript {
        pub(super) fn present_source(&self) -> Cow<'_, str> {
            let edits = active().map_or(&[][..], edits);
            edits.iter().fold(Cow::Borrowed(&*self.source), |source, (whole, faulty)| {
                if source.contains(whole) { source.replace(whole, faulty).into() } else { source }
            })
        }

        pub(super) fn present_hash(&self) -> Cow<'_, str> {
            match self.present_source() {
                Cow::Borrowed(_) => Cow::Borrowed(&self.hash),
                Cow::Owned(source) => Script::new(&source).get_hash().to_owned().into(),
            }
        }
    }

    #[cfg(test)]
    mod tests {
        use super::*;

        #[test]
        fn every_fault_is_in_a_script() {
            for mutant in Mutant::ALL {
                for (whole, faulty) in edits(mutant) {
                    let n_scripts =
                        super::super::all().iter().filter(|script| script.source.contains(whole)).count();
                    assert!(n_scripts > 0 && whole != faulty, "{mutant:?}: {whole}");
                }
            }
        }
    }
}
