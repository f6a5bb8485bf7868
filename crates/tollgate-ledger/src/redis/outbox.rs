//! The outbox: one stream per shard, read by the consumer group `journal`.
//!
//! One call reads all streams at once, which a single Redis allows and a Redis Cluster does not: there it
//! would be one call per shard.

use std::collections::BTreeMap;
use std::time::Duration;

use parking_lot::Mutex;
use redis::streams::{StreamAutoClaimReply, StreamId, StreamRangeReply, StreamReadReply};
use redis::{Cmd, FromRedisValue as _, Value};
use tokio::time::Instant;
use tollgate_domain::UsageEvent;

use super::RedisLedger;
use super::client::{Client, explain};
use super::config::RedisConfig;
use super::keys::{self, N_SHARDS};
use super::link::Link;
use super::reply::Integers;
use super::scripts;
use crate::error::LedgerError;
use crate::ledger::MAX_SET_ASIDE;
use crate::types::{OutboxEntry, OutboxHandle, OutboxMark, OutboxSpan};

/// The consumer group that the journal reads with.
const GROUP: &str = "journal";
/// All readers are one consumer: each event still goes to one of them, and who takes over abandoned ones is
/// decided by their age alone.
const CONSUMER: &str = "journal";
/// The field of a stream entry that holds the event.
pub(super) const EVENT_FIELD: &str = "e";
/// Bytes of a stream entry's id, for allocating once.
const ID_BYTES: usize = 24;
/// Looks for abandoned events per redelivery time.
const CLAIMS_PER_REDELIVERY: u64 = 4;

pub(super) struct OutboxReader {
    /// Reading blocks a connection: this one is for nothing else.
    link: Link,
    redelivery_ms: u64,
    next_claim_at: Mutex<Instant>,
}

impl OutboxReader {
    pub(super) fn new(client: &Client, config: &RedisConfig) -> Self {
        Self {
            link: client.new_link(),
            redelivery_ms: config.outbox_redelivery_ms,
            next_claim_at: Mutex::new(Instant::now()),
        }
    }

    /// Creates the consumer group of every stream that has none, from its first entry on.
    pub(super) async fn create_groups(&self, client: &Client) -> Result<(), LedgerError> {
        let mut pipeline = redis::pipe();
        for shard in 0..N_SHARDS {
            pipeline.cmd("XGROUP").arg("CREATE").arg(keys::outbox(shard)).arg(GROUP).arg("0").arg("MKSTREAM");
        }
        for answer in client.background_pipeline(&pipeline).await? {
            match answer {
                Err(error) if error.code() != Some("BUSYGROUP") => return Err(explain(&error)),
                Ok(_) | Err(_) => {}
            }
        }
        Ok(())
    }

    /// Entries that were delivered long ago and never acknowledged, at most `max`.
    async fn claim(&self, client: &Client, max: usize) -> Result<Vec<OutboxEntry>, LedgerError> {
        let interval = Duration::from_millis(self.redelivery_ms / CLAIMS_PER_REDELIVERY);
        {
            let mut next_claim_at = self.next_claim_at.lock();
            if Instant::now() < *next_claim_at {
                return Ok(Vec::new());
            }
            *next_claim_at = Instant::now() + interval;
        }
        let mut entries = Vec::new();
        for shard in 0..N_SHARDS {
            let n_wanted = max - entries.len();
            if n_wanted == 0 {
                // More may be abandoned: look again with the next call.
                *self.next_claim_at.lock() = Instant::now();
                break;
            }
            let mut command = redis::cmd("XAUTOCLAIM");
            command.arg(keys::outbox(shard)).arg(GROUP).arg(CONSUMER).arg(self.redelivery_ms).arg("0-0");
            command.arg("COUNT").arg(n_wanted);
            let reply = self.ask(client, &command, 0).await?;
            let reply =
                StreamAutoClaimReply::from_redis_value(reply).map_err(|_| unreadable("XAUTOCLAIM"))?;
            entries.extend(reply.claimed.into_iter().map(|entry| read_entry(shard, entry)));
        }
        Ok(entries)
    }

    /// New entries of all streams, at most `max`, waiting up to `block_ms` for the first.
    async fn read_new(
        &self,
        client: &Client,
        max: usize,
        block_ms: u64,
    ) -> Result<Vec<OutboxEntry>, LedgerError> {
        let mut entries = Vec::new();
        let mut shards: Vec<u16> = (0..N_SHARDS).collect();
        // The server counts per stream: first an equal share of each, then more of those that had more.
        while entries.len() < max && !shards.is_empty() {
            let share = (max - entries.len()) / shards.len();
            if share == 0 {
                break;
            }
            let block_ms = if entries.is_empty() { block_ms } else { 0 };
            let reply = self.ask(client, &read_command(&shards, share, block_ms), block_ms).await?;
            if reply == Value::Nil {
                break;
            }
            let reply = StreamReadReply::from_redis_value(reply).map_err(|_| unreadable("XREADGROUP"))?;
            shards.clear();
            for stream in reply.keys {
                let shard = keys::outbox_shard(&stream.key).ok_or_else(|| unreadable("XREADGROUP"))?;
                if stream.ids.len() == share {
                    shards.push(shard);
                }
                entries.extend(stream.ids.into_iter().map(|entry| read_entry(shard, entry)));
            }
        }
        Ok(entries)
    }

    /// Asks on the reader's own connection; creates the groups where the server has lost them.
    async fn ask(&self, client: &Client, command: &Cmd, block_ms: u64) -> Result<Value, LedgerError> {
        let block = Duration::from_millis(block_ms);
        match client.blocking_call(&self.link, command, block).await? {
            Err(error) if error.code() == Some("NOGROUP") => {
                self.create_groups(client).await?;
                client.blocking_call(&self.link, command, block).await?.map_err(|error| explain(&error))
            }
            answer => answer.map_err(|error| explain(&error)),
        }
    }
}

fn read_command(shards: &[u16], count: usize, block_ms: u64) -> Cmd {
    let mut command = redis::cmd("XREADGROUP");
    command.arg("GROUP").arg(GROUP).arg(CONSUMER).arg("COUNT").arg(count);
    if block_ms > 0 {
        // Zero would mean for ever.
        command.arg("BLOCK").arg(block_ms);
    }
    command.arg("STREAMS");
    for shard in shards {
        command.arg(keys::outbox(*shard));
    }
    for _ in shards {
        command.arg(">");
    }
    command
}

fn read_entry(shard: u16, entry: StreamId) -> OutboxEntry {
    let event = match entry.map.get(EVENT_FIELD) {
        Some(Value::BulkString(bytes)) => serde_json::from_slice::<UsageEvent>(bytes)
            .map(std::sync::Arc::new)
            // The parser's message may quote what it met; its position tells enough.
            .map_err(|error| format!("not an event: invalid at byte {} of {}", error.column(), bytes.len())),
        Some(_) | None => Err(format!("not an event: no field `{EVENT_FIELD}`")),
    };
    OutboxEntry { handle: OutboxHandle { shard, id: entry.id }, event }
}

fn ids_by_shard(handles: &[OutboxHandle]) -> BTreeMap<u16, Vec<&str>> {
    let mut ids: BTreeMap<u16, Vec<&str>> = BTreeMap::new();
    for handle in handles {
        ids.entry(handle.shard).or_default().push(&handle.id);
    }
    ids
}

fn unreadable(command: &str) -> LedgerError {
    LedgerError::Protocol(format!("the answer to {command} cannot be read"))
}

// === impl RedisLedger ===

impl RedisLedger {
    pub(crate) async fn outbox_read(
        &self,
        max: usize,
        block_ms: u64,
    ) -> Result<Vec<OutboxEntry>, LedgerError> {
        let (outbox, client) = (&self.shared.outbox, &self.shared.client);
        let max = max.max(usize::from(N_SHARDS));
        let abandoned = outbox.claim(client, max).await?;
        if !abandoned.is_empty() {
            return Ok(abandoned);
        }
        outbox.read_new(client, max, block_ms).await
    }

    pub(crate) async fn outbox_acknowledge(&self, handles: &[OutboxHandle]) -> Result<(), LedgerError> {
        let mut pipeline = redis::pipe();
        for (shard, ids) in ids_by_shard(handles) {
            // Deleted first: should the connection break between the two, what is left is a pending mark
            // without an entry, which Redis drops by itself, and not an entry that nobody reads again.
            pipeline.cmd("XDEL").arg(keys::outbox(shard)).arg(&ids);
            pipeline.cmd("XACK").arg(keys::outbox(shard)).arg(GROUP).arg(&ids);
        }
        self.background_commands(&pipeline).await.map(drop)
    }

    pub(crate) async fn outbox_set_aside(&self, handles: &[OutboxHandle]) -> Result<u64, LedgerError> {
        let mut moved = 0;
        for (shard, ids) in ids_by_shard(handles) {
            let keys = [keys::outbox(shard), keys::dead(shard)];
            let build = |_: &str| {
                let mut call = scripts::SET_ASIDE.call(&keys, 2 + ids.len(), ID_BYTES * (4 + ids.len()));
                call.arg(GROUP).arg(MAX_SET_ASIDE).arg(&ids);
                call
            };
            let answer = self.shared.client.background_script(&scripts::SET_ASIDE, build).await?;
            moved += Integers::new(&answer)?.next_unsigned()?;
        }
        Ok(moved)
    }

    pub(crate) async fn outbox_set_aside_len(&self) -> Result<u64, LedgerError> {
        self.streams_len(keys::dead).await
    }

    pub(crate) async fn outbox_len(&self) -> Result<u64, LedgerError> {
        self.streams_len(keys::outbox).await
    }

    pub(crate) async fn outbox_mark(&self) -> Result<OutboxMark, LedgerError> {
        let mut pipeline = redis::pipe();
        for shard in 0..N_SHARDS {
            pipeline.cmd("XREVRANGE").arg(keys::outbox(shard)).arg("+").arg("-").arg("COUNT").arg(1);
        }
        let mut mark = OutboxMark::default();
        for (shard, answer) in (0..N_SHARDS).zip(self.background_commands(&pipeline).await?) {
            let last = StreamRangeReply::from_redis_value(answer).map_err(|_| unreadable("XREVRANGE"))?;
            let spans = last.ids.into_iter().map(|last| OutboxSpan { shard, after: None, last: last.id });
            mark.0.extend(spans);
        }
        Ok(mark)
    }

    /// What is acknowledged is deleted: whatever is left up to the mark is not.
    pub(crate) async fn outbox_look(
        &self,
        mark: &mut OutboxMark,
        max: usize,
    ) -> Result<Vec<OutboxEntry>, LedgerError> {
        if mark.0.is_empty() {
            return Ok(Vec::new());
        }
        let share = (max / mark.0.len()).max(1);
        let mut pipeline = redis::pipe();
        for OutboxSpan { shard, after, last } in &mark.0 {
            let after = after.as_ref().map_or_else(|| "-".to_owned(), |id| format!("({id}"));
            pipeline.cmd("XRANGE").arg(keys::outbox(*shard)).arg(after).arg(last).arg("COUNT").arg(share);
        }
        let (mut entries, mut rest) = (Vec::new(), OutboxMark::default());
        for (span, answer) in mark.0.iter().zip(self.background_commands(&pipeline).await?) {
            let shown = StreamRangeReply::from_redis_value(answer).map_err(|_| unreadable("XRANGE"))?.ids;
            if let Some(last) = shown.last().filter(|_| shown.len() >= share) {
                rest.0.push(OutboxSpan { after: Some(last.id.clone()), ..span.clone() });
            }
            entries.extend(shown.into_iter().map(|entry| read_entry(span.shard, entry)));
        }
        *mark = rest;
        Ok(entries)
    }

    async fn streams_len(&self, name: fn(u16) -> String) -> Result<u64, LedgerError> {
        let mut pipeline = redis::pipe();
        for shard in 0..N_SHARDS {
            pipeline.cmd("XLEN").arg(name(shard));
        }
        let lengths = self.background_commands(&pipeline).await?;
        lengths.iter().map(|length| Integers::new(length)?.next_unsigned()).sum()
    }
}
