//! Admission: the call's arguments and its answer's meaning. The decision itself is in `admit.lua`.

use redis::{Cmd, Value};
use tollgate_domain::{KeyId, NanoUsd, NodeId, Period, TenantId, UnixMillis};

use super::RedisLedger;
use super::keys::{self, TenantKeys};
use super::register::KnownEpoch;
use super::reply::Integers;
use super::scripts;
use crate::error::LedgerError;
use crate::rate;
use crate::types::{
    Admission, AdmitOutcome, BudgetCheck, Grant, LimitKind, MAX_CLOCK_LEAD_MS, MoneyNode, MoneyRefusal,
    RateRefusal, RateStatus, WalletRule,
};

/// Lua counts in doubles: larger numbers are taken for this one.
const MAX_EXACT: i64 = (1 << 53) - 1;
/// How the script is told that there is no limit.
const NOT_LIMITED: i64 = -1;
/// Bytes of keys and fixed arguments, of a budget and of a rate limit's owner: guesses that spare
/// reallocations.
const FIXED_BYTES: usize = 720;
const BUDGET_BYTES: usize = 144;
const OWNER_BYTES: usize = 72;

/// Room for the notes that are kept with a hold: two ids before the memo.
const NOTE_BYTES: usize = 32;

/// How often the same is asked because a report was made before the answer came.
const MAX_ASKED: usize = 4;

/// What came of asking.
#[derive(PartialEq, Eq)]
enum Answer {
    Outcome(AdmitOutcome),
    /// Granted, maybe by a state that is lost: to be asked again.
    Doubtful,
}

impl RedisLedger {
    pub(crate) async fn admit(&self, admission: &Admission<'_>) -> Result<AdmitOutcome, LedgerError> {
        let register = &self.shared.register;
        for n_asked in 0..MAX_ASKED {
            let known = match register.open(admission) {
                // Asked before: the hold may be there.
                Err(error) if n_asked > 0 => return Err(LedgerError::Unavailable(error.to_string())),
                known => known?,
            };
            let mut answer = self.ask(admission, known.as_ref()).await?;
            if answer == Answer::Outcome(AdmitOutcome::WrongEpoch)
                && let Some(known) = self.follow_epoch(admission.tenant).await?
            {
                answer = self.ask(admission, Some(&known)).await?;
            }
            let Answer::Outcome(outcome) = answer else { continue };
            match outcome {
                AdmitOutcome::Admitted(_) => {}
                AdmitOutcome::AlreadySettled => register.close(admission.tenant, admission.hold),
                // A repeat may be refused though the hold was granted before: then it is still under way.
                _ => register.close_unless_granted(admission.tenant, admission.hold),
            }
            return Ok(outcome);
        }
        Err(LedgerError::Unavailable("the ledger is being reseeded again and again".to_owned()))
    }

    async fn ask(
        &self,
        admission: &Admission<'_>,
        known: Option<&KnownEpoch>,
    ) -> Result<Answer, LedgerError> {
        // The connection's run, as the answered call knew it.
        let asked_run = parking_lot::Mutex::new(String::new());
        let build = |run: &str| {
            if known.is_none() {
                run.clone_into(&mut asked_run.lock());
            }
            admit_call(admission, run, known)
        };
        let answer = self.shared.client.call_script(&scripts::ADMIT, build).await?;
        let (outcome, epoch_n) = read_outcome(admission, &answer)?;
        match &outcome {
            AdmitOutcome::Admitted(grant) => {
                let epoch = match epoch_n {
                    0 => known.cloned(),
                    n => Some(format!("{n}{}", asked_run.into_inner()).into()),
                };
                if !self.shared.register.granted(admission.tenant, admission.hold, grant, epoch) {
                    return Ok(Answer::Doubtful);
                }
            }
            AdmitOutcome::WrongEpoch => self.shared.client.doubt_runs(),
            _ => {}
        }
        Ok(Answer::Outcome(outcome))
    }

    /// Where the tenant was reseeded with everything that this process holds of it, that epoch is the one to
    /// go on with; `None` where something is missing there, or nothing answers.
    async fn follow_epoch(&self, tenant: TenantId) -> Result<Option<KnownEpoch>, LedgerError> {
        let Some((old, holds)) = self.shared.register.granted_holds(tenant) else { return Ok(None) };
        let names = TenantKeys::new(tenant);
        let build = |run: &str| {
            let mut keys = Vec::with_capacity(1 + holds.len());
            keys.push(names.state());
            keys.extend(holds.iter().map(|hold| names.hold(*hold)));
            let mut call = scripts::CARRIED_OVER.call(&keys, 1, BUDGET_BYTES * (1 + keys.len()));
            call.arg(run);
            call
        };
        let answer = self.shared.client.call_script(&scripts::CARRIED_OVER, build).await?;
        let epoch = Integers::new(&answer)?.next_text()?;
        if epoch.is_empty() || *epoch == *old {
            return Ok(None);
        }
        let new: KnownEpoch = epoch.into();
        self.shared.register.carried_over(tenant, &old, &new);
        Ok(Some(new))
    }
}

fn admit_call(admission: &Admission<'_>, run: &str, known: Option<&KnownEpoch>) -> Cmd {
    // Nothing to hold: the levels are not looked at.
    let is_free = admission.amount == NanoUsd::ZERO;
    let budgets = if is_free { &[][..] } else { admission.budgets };
    let wallet = if is_free { WalletRule::None } else { admission.wallet };
    let names = TenantKeys::new(admission.tenant);
    let keys = [names.state(), names.hold(admission.hold), names.leases(), names.index()];
    let n_arguments = 7 + 2 * budgets.len() + admission.limits.len();
    let n_bytes = FIXED_BYTES
        + admission.memo.len()
        + BUDGET_BYTES * budgets.len()
        + OWNER_BYTES * admission.limits.len();
    let mut call = scripts::ADMIT.call(&keys, n_arguments, n_bytes);

    let mut text = String::with_capacity(96);
    call.arg(run).arg(known.map_or("", |epoch| epoch));
    keys::write_tenant(&mut text, admission.tenant);
    call.arg(&text);
    keys::write_hold(&mut text, admission.hold);
    call.arg(&text);
    keys::write_revoked_flag(&mut text, admission.key);
    call.arg(&text);
    call.arg(note(admission.node, admission.key, admission.memo));
    call.arg(pack_numbers(admission, wallet, budgets));
    for check in budgets {
        for period in [check.periods.current, check.periods.next] {
            keys::write_counter(&mut text, check.budget, period.starts_at);
            call.arg(&text);
        }
    }
    for check in admission.limits {
        keys::write_owner(&mut text, check.owner);
        call.arg(&text);
    }
    call
}

/// Whose a hold is, and its memo, as the record ends.
pub(super) fn note(node: NodeId, key: KeyId, memo: &[u8]) -> Vec<u8> {
    let mut note = Vec::with_capacity(NOTE_BYTES + memo.len());
    note.extend_from_slice(node.as_uuid().as_bytes());
    note.extend_from_slice(key.as_uuid().as_bytes());
    note.extend_from_slice(memo);
    note
}

/// The parts of a note.
pub(super) fn read_note(note: &[u8]) -> Result<(NodeId, KeyId, Vec<u8>), LedgerError> {
    let id = |range: std::ops::Range<usize>| -> Option<u128> {
        Some(u128::from_be_bytes(note.get(range)?.try_into().ok()?))
    };
    match (id(0..16), id(16..32)) {
        (Some(node), Some(key)) => {
            Ok((NodeId::from_u128(node), KeyId::from_u128(key), note[NOTE_BYTES..].to_vec()))
        }
        _ => Err(LedgerError::Protocol("a hold's record is too short".to_owned())),
    }
}

/// All numbers of a call in one argument, in the order that `admit.lua` says.
fn pack_numbers(admission: &Admission<'_>, wallet: WalletRule, budgets: &[BudgetCheck]) -> Vec<u8> {
    let mut packed = Vec::with_capacity(8 * (8 + 3 * budgets.len() + 3 * admission.limits.len()));
    let mut push = |number: i64| packed.extend_from_slice(&number.to_le_bytes());
    push(exact(admission.lease_ms));
    push(admission.amount.0);
    push(admission.minimum.0);
    push(match wallet {
        WalletRule::None => 0,
        WalletRule::Enforced => 1,
        WalletRule::Counted => 2,
    });
    push(exact(admission.tokens));
    push(count(budgets.len()));
    push(count(admission.limits.len()));
    push(MAX_CLOCK_LEAD_MS);
    for check in budgets {
        push(check.limit.0);
        push(check.periods.current.ends_at.0);
        push(check.periods.current.starts_at.0);
    }
    for check in admission.limits {
        let limits = check.limits;
        for limit in [limits.requests_per_minute, limits.tokens_per_minute, limits.concurrent_requests] {
            push(limit.map_or(NOT_LIMITED, exact));
        }
    }
    packed
}

fn exact(number: u64) -> i64 {
    i64::try_from(number).map_or(MAX_EXACT, |number| number.min(MAX_EXACT))
}

fn count(length: usize) -> i64 {
    i64::try_from(length).expect("no slice is longer")
}

// === the answer ===

/// The outcome, and the number of the epoch where it was not known.
fn read_outcome(admission: &Admission<'_>, answer: &Value) -> Result<(AdmitOutcome, u64), LedgerError> {
    let mut answer = Integers::new(answer)?;
    let code = answer.next()?;
    if code != 0 {
        return Ok((read_refusal(admission, code, &mut answer)?, 0));
    }
    let epoch_n = answer.next_unsigned()?;
    let grant = Grant {
        granted: answer.next_amount()?,
        admitted_at: UnixMillis(answer.next()?),
        requests: read_status(&mut answer)?,
        tokens: read_status(&mut answer)?,
    };
    Ok((AdmitOutcome::Admitted(grant), epoch_n))
}

fn read_refusal(
    admission: &Admission<'_>,
    code: i64,
    answer: &mut Integers<'_>,
) -> Result<AdmitOutcome, LedgerError> {
    match code {
        1 => read_money(admission, answer).map(AdmitOutcome::Spent),
        2 => read_money(admission, answer).map(AdmitOutcome::Held),
        3 => read_rate(admission, answer).map(AdmitOutcome::RateLimited),
        4 => Ok(AdmitOutcome::Cold),
        5 => Ok(AdmitOutcome::Revoked),
        6 => Ok(AdmitOutcome::AlreadySettled),
        8 => {
            let index = answer.next_index()?;
            let check = index.checked_sub(1).and_then(|index| admission.budgets.get(index));
            check.map(|check| AdmitOutcome::NotBegun(check.budget)).ok_or_else(|| {
                LedgerError::Protocol(format!("admit answered with the unknown budget {index}"))
            })
        }
        7 => Ok(AdmitOutcome::WrongEpoch),
        code => Err(LedgerError::Protocol(format!("admit answered with the unknown code {code}"))),
    }
}

fn read_status(answer: &mut Integers<'_>) -> Result<Option<RateStatus>, LedgerError> {
    if answer.is_empty() {
        return Ok(None);
    }
    let (limit, backlog_us) = (answer.next()?, answer.next()?);
    Ok(u64::try_from(limit).ok().map(|limit| rate::status(limit, backlog_us)))
}

fn read_money(admission: &Admission<'_>, answer: &mut Integers<'_>) -> Result<MoneyRefusal, LedgerError> {
    let node = answer.next_index()?;
    let (limit, settled, held) = (answer.next_amount()?, answer.next_amount()?, answer.next_amount()?);
    let is_next = answer.next()? == 1;
    let Some(index) = node.checked_sub(1) else {
        return Ok(MoneyRefusal { node: MoneyNode::Wallet, limit, settled, held, resets_at: None });
    };
    let check = admission
        .budgets
        .get(index)
        .ok_or_else(|| LedgerError::Protocol(format!("admit answered with the unknown budget {node}")))?;
    let period = if is_next { check.periods.next } else { check.periods.current };
    let resets_at = (period.ends_at != Period::TOTAL.ends_at).then_some(period.ends_at);
    Ok(MoneyRefusal { node: MoneyNode::Budget(check.budget), limit, settled, held, resets_at })
}

fn read_rate(admission: &Admission<'_>, answer: &mut Integers<'_>) -> Result<RateRefusal, LedgerError> {
    let (owner, kind, excess_us) = (answer.next_index()?, answer.next()?, answer.next()?);
    let unknown =
        || LedgerError::Protocol(format!("admit answered with the unknown limit {kind} of {owner}"));
    let check = owner.checked_sub(1).and_then(|index| admission.limits.get(index)).ok_or_else(unknown)?;
    let limits = check.limits;
    let (kind, limit, retry_after_ms) = match kind {
        1 => (LimitKind::Requests, limits.requests_per_minute, rate::retry_after_ms(excess_us)),
        2 => (LimitKind::Tokens, limits.tokens_per_minute, rate::retry_after_ms(excess_us)),
        3 => (LimitKind::Concurrency, limits.concurrent_requests, rate::CONCURRENCY_RETRY_AFTER_MS),
        _ => return Err(unknown()),
    };
    let limit = limit.ok_or_else(unknown)?;
    Ok(RateRefusal { owner: check.owner, kind, limit, retry_after_ms })
}
