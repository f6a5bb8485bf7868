//! What is asked of a ledger, at random.

use proptest::prelude::*;

use crate::model::Wallet;

pub(crate) const N_BUDGETS: usize = 4;
/// So few that the same hold is met again and again.
const N_HOLDS: u8 = 10;
/// So long does a lease last that is not to end; others end at once.
pub(crate) const LEASE_MS: i64 = 60_000;

#[derive(Clone, Debug)]
pub(crate) enum Command {
    Admit {
        hold: u8,
        with_second_key: bool,
        amount: i64,
        minimum_percent: i64,
        wallet: Wallet,
        /// Which budgets, and whether in the later of their two periods.
        budgets: [Option<bool>; N_BUDGETS],
        concurrent: Option<usize>,
        lease_ms: i64,
    },
    Settle {
        hold: u8,
        percent: i64,
        has_event: bool,
    },
    Grow {
        hold: u8,
        by: i64,
    },
    Renew {
        hold: u8,
        cost: i64,
        lease_ms: i64,
    },
    Seed {
        counters: [bool; N_BUDGETS],
    },
    Credit {
        limit: i64,
        version: u64,
    },
    Revoke(bool),
    Fence,
    Reseed {
        saw_this_epoch: bool,
        counters: [bool; N_BUDGETS],
        settled: i64,
        version: u64,
    },
    Advance(i64),
    /// The process ends without a goodbye, and another one reads its log.
    Kill,
}

fn wallet() -> impl Strategy<Value = Wallet> {
    prop_oneof![1 => Just(Wallet::None), 3 => Just(Wallet::Enforced), 1 => Just(Wallet::Counted)]
}

fn lease_ms() -> impl Strategy<Value = i64> {
    prop_oneof![2 => Just(LEASE_MS), 1 => Just(0)]
}

fn admit() -> impl Strategy<Value = Command> {
    let budget = prop_oneof![2 => Just(None), 3 => Just(Some(false)), 1 => Just(Some(true))];
    let budgets = prop::array::uniform4(budget);
    let concurrent = prop_oneof![3 => Just(None), 1 => (1_usize..4).prop_map(Some)];
    let asked = (0_i64..500, 0_i64..=100);
    (0..N_HOLDS, any::<bool>(), asked, wallet(), budgets, concurrent, lease_ms()).prop_map(
        |(hold, with_second_key, (amount, minimum_percent), wallet, budgets, concurrent, lease_ms)| {
            Command::Admit {
                hold,
                with_second_key,
                amount,
                minimum_percent,
                wallet,
                budgets,
                concurrent,
                lease_ms,
            }
        },
    )
}

fn command() -> impl Strategy<Value = Command> {
    let counters = prop::array::uniform4(prop::bool::weighted(0.8));
    prop_oneof![
        20 => admit(),
        12 => (0..N_HOLDS, 0_i64..=100, prop::bool::weighted(0.8))
            .prop_map(|(hold, percent, has_event)| Command::Settle { hold, percent, has_event }),
        5 => (0..N_HOLDS, -50_i64..300).prop_map(|(hold, by)| Command::Grow { hold, by }),
        5 => (0..N_HOLDS, 0_i64..400, lease_ms())
            .prop_map(|(hold, cost, lease_ms)| Command::Renew { hold, cost, lease_ms }),
        2 => counters.prop_map(|counters| Command::Seed { counters }),
        2 => (500_i64..2_500, 0_u64..8).prop_map(|(limit, version)| Command::Credit { limit, version }),
        1 => any::<bool>().prop_map(Command::Revoke),
        1 => Just(Command::Fence),
        3 => (prop::bool::weighted(0.8), counters, 0_i64..600, 0_u64..8).prop_map(
            |(saw_this_epoch, counters, settled, version)| {
                Command::Reseed { saw_this_epoch, counters, settled, version }
            }
        ),
        2 => (0_i64..90_000).prop_map(Command::Advance),
        1 => Just(Command::Kill),
    ]
}

/// Sequences; all but some begin with what a tenant begins with.
pub(crate) fn commands(n_most: usize) -> impl Strategy<Value = Vec<Command>> {
    let begin = prop_oneof![
        5 => Just(Some(Command::Seed { counters: [true; N_BUDGETS] })),
        1 => Just(None),
    ];
    (begin, prop::collection::vec(command(), 1..n_most))
        .prop_map(|(begin, commands)| begin.into_iter().chain(commands).collect())
}
