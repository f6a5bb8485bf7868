//! What happened in a slab, in one call. What happens there is in `slab.lua`.

use redis::Cmd;
use tollgate_domain::HoldId;

use super::RedisLedger;
use super::admit::note;
use super::keys::{self, TenantKeys};
use super::register::{KnownEpoch, StreamId};
use super::reply::Integers;
use super::scripts;
use super::settle::TOMBSTONE_TTL_MS;
use super::tenant::COUNTER_BYTES;
use crate::error::LedgerError;
use crate::rate;
use crate::slab::{Block, EndedPart, Part, PartEnd, SlabAnswer, SlabCall, SlabDone};

/// Bytes of the fixed keys and arguments, and of what each hold adds to its memo or event: guesses that spare
/// reallocations.
const FIXED_BYTES: usize = 720;
const HOLD_BYTES: usize = 192;
/// Tells the script that there is no limit.
const NOT_LIMITED: i64 = -1;

impl RedisLedger {
    pub(crate) async fn slab(&self, call: &SlabCall<'_>) -> Result<SlabAnswer, LedgerError> {
        let register = &self.shared.register;
        let epoch = register.epoch_of(call.tenant, call.slab);
        let life = register.outbox_life(call.tenant);
        let events: Vec<String> = call.ended.iter().map(json_of).collect();
        let build = |run: &str| slab_call(call, &events, run, epoch.as_ref());
        let answer = self.shared.client.background_script(&scripts::SLAB, build).await?;
        let mut answer = Integers::new(&answer)?;
        match answer.next()? {
            0 => {}
            1 => return self.gone(call, &mut answer).map(SlabAnswer::Gone),
            2 => {
                self.shared.client.doubt_runs();
                return Ok(SlabAnswer::WrongEpoch);
            }
            code => {
                return Err(LedgerError::Protocol(format!("slab answered with the unknown code {code}")));
            }
        }
        let mut done = SlabDone {
            ended: Vec::with_capacity(call.ended.len()),
            available: answer.next_amount()?,
            is_low: answer.next()? == 1,
            is_revoked: answer.next()? == 1,
            has_block: answer.next()? == 1,
        };
        for part in call.opened {
            register.adopt(call.tenant, call.slab, part, None);
        }
        for (ended, json) in call.ended.iter().zip(&events) {
            let (code, id) = (answer.next()?, StreamId::parse(answer.next_text()?));
            done.ended.push(match code {
                0 | 1 => {
                    if let (Some(event), Some(id)) = (&ended.settlement.event, id) {
                        register.part_settled(call.tenant, call.slab, event, life, id, json.len());
                    }
                    if code == 0 { PartEnd::Settled } else { PartEnd::AlreadySettled }
                }
                2 => {
                    register.adopt(call.tenant, call.slab, &ended.part, Some(ended.settlement.actual));
                    PartEnd::IsHold
                }
                _ => return Err(LedgerError::Protocol(format!("slab answered with the unknown end {code}"))),
            });
        }
        Ok(SlabAnswer::Done(done))
    }

    /// The parts that a reseed made holds of their own before their slab was settled.
    fn gone(&self, call: &SlabCall<'_>, answer: &mut Integers<'_>) -> Result<Vec<HoldId>, LedgerError> {
        let mut own = Vec::new();
        let opened = call.opened.iter().map(|part| (part, None));
        let ended = call.ended.iter().map(|ended| (&ended.part, Some(ended.settlement.actual)));
        for (part, ending) in opened.chain(ended) {
            if answer.next()? == 1 {
                self.shared.register.adopt(call.tenant, call.slab, part, ending);
                own.push(part.hold);
            }
        }
        Ok(own)
    }
}

fn json_of(ended: &EndedPart) -> String {
    ended.settlement.event.as_ref().map_or_else(String::new, |event| event.to_json())
}

fn slab_call(call: &SlabCall<'_>, events: &[String], run: &str, epoch: Option<&KnownEpoch>) -> Cmd {
    let names = TenantKeys::new(call.tenant);
    let mut holds = Vec::with_capacity(4 + call.opened.len() + call.ended.len());
    holds.extend([names.state(), names.hold(call.slab), names.leases(), names.outbox()]);
    holds.extend(call.opened.iter().map(|part| names.hold(part.hold)));
    holds.extend(call.ended.iter().map(|ended| names.hold(ended.part.hold)));
    let owners = call.block.map_or(&[][..], |block| &block.limits);
    let n_arguments = 6 + 3 * call.opened.len() + 2 * call.ended.len() + 1 + owners.len();
    let n_bytes = FIXED_BYTES
        + call.opened.iter().map(|part| HOLD_BYTES + part.memo.len()).sum::<usize>()
        + events.iter().map(|event| HOLD_BYTES + event.len()).sum::<usize>()
        + COUNTER_BYTES * owners.len();
    let mut command = scripts::SLAB.call(&holds, n_arguments, n_bytes);
    let mut text = String::with_capacity(COUNTER_BYTES);
    command.arg(run).arg(epoch.map_or("", |epoch| epoch));
    keys::write_revoked_flag(&mut text, call.key);
    command.arg(&text).arg(TOMBSTONE_TTL_MS).arg(call.opened.len()).arg(owners.len());
    for part in call.opened {
        keys::write_hold(&mut text, part.hold);
        command.arg(&text).arg(note(part.node, part.key, &part.memo)).arg(numbers_of_opened(part));
    }
    for (ended, event) in call.ended.iter().zip(events) {
        command.arg(numbers_of_ended(ended)).arg(event);
    }
    if let Some(block) = call.block {
        command.arg(numbers_of_block(block));
        for check in owners {
            keys::write_owner(&mut text, check.owner);
            command.arg(&text);
        }
    }
    command
}

fn numbers_of_opened(part: &Part) -> Vec<u8> {
    packed([part.amount.0, part.admitted_at.0, exact(part.lease_ms), tokens(part.tokens)])
}

fn numbers_of_ended(ended: &EndedPart) -> Vec<u8> {
    let settlement = &ended.settlement;
    packed([ended.part.amount.0, settlement.actual.0, tokens(ended.part.tokens), tokens(settlement.tokens)])
}

fn numbers_of_block(block: &Block) -> Vec<u8> {
    let limits = block.limits.iter().flat_map(|check| {
        let limits = check.limits;
        [limits.requests_per_minute, limits.tokens_per_minute, limits.concurrent_requests]
    });
    let limits = limits.map(|limit| limit.map_or(NOT_LIMITED, exact));
    packed([exact(block.requests), exact(block.places)].into_iter().chain(limits))
}

fn packed(numbers: impl IntoIterator<Item = i64>) -> Vec<u8> {
    numbers.into_iter().flat_map(i64::to_le_bytes).collect()
}

fn tokens(tokens: u64) -> i64 {
    exact(rate::bounded_units(tokens))
}

/// Lua counts in doubles.
fn exact(number: u64) -> i64 {
    const MAX_EXACT: i64 = (1 << 53) - 1;
    i64::try_from(number).map_or(MAX_EXACT, |number| number.min(MAX_EXACT))
}
