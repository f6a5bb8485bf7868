//! What stands in the log: a hold as it is, a settlement, the end of a hold that nothing was sent for, and what the
//! journal has taken.

use tollgate_domain::{EventId, HoldId, Id, KeyId, NanoUsd, NodeId, TenantId, UnixMillis, UsageEvent};

const HOLD: u8 = 1;
const SETTLED: u8 = 2;
const ENDED: u8 = 3;
const JOURNALED: u8 = 4;

/// A hold as it is now; the last record of a hold is the one that counts. Its levels are not told: after a restart
/// they follow from the journal.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct HoldRecord<'a> {
    pub(crate) tenant: TenantId,
    pub(crate) hold: HoldId,
    pub(crate) key: KeyId,
    pub(crate) node: NodeId,
    pub(crate) amount: NanoUsd,
    pub(crate) admitted_at: UnixMillis,
    pub(crate) progress: NanoUsd,
    pub(crate) memo: &'a [u8],
}

/// A record as it is read.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Record<'a> {
    Hold(HoldRecord<'a>),
    /// The hold ended with this event, whose bytes are read when they are needed.
    Settled {
        hold: HoldId,
        event: EventId,
        bytes: &'a [u8],
    },
    /// The hold ended without an event.
    Ended(HoldId),
    /// The journal has these events: their ids, side by side.
    Journaled(&'a [[u8; 16]]),
}

impl HoldRecord<'_> {
    pub(crate) fn append(&self, out: &mut Vec<u8>) {
        out.push(HOLD);
        id(out, self.tenant);
        id(out, self.hold);
        id(out, self.key);
        id(out, self.node);
        out.extend_from_slice(&self.amount.0.to_le_bytes());
        out.extend_from_slice(&self.admitted_at.0.to_le_bytes());
        out.extend_from_slice(&self.progress.0.to_le_bytes());
        out.extend_from_slice(self.memo);
    }
}

pub(crate) fn append_settled(out: &mut Vec<u8>, event: &UsageEvent) {
    out.push(SETTLED);
    id(out, event.hold);
    id(out, event.event);
    event.append_bytes(out);
}

pub(crate) fn append_ended(out: &mut Vec<u8>, hold: HoldId) {
    out.push(ENDED);
    id(out, hold);
}

pub(crate) fn append_journaled(out: &mut Vec<u8>, events: &[EventId]) {
    out.push(JOURNALED);
    events.iter().for_each(|event| id(out, *event));
}

fn id<T>(out: &mut Vec<u8>, id: Id<T>) {
    out.extend_from_slice(id.as_uuid().as_bytes());
}

impl<'a> Record<'a> {
    /// The record that a frame holds; `None` where this release does not know it.
    pub(crate) fn read(payload: &'a [u8]) -> Option<Self> {
        let (kind, body) = payload.split_first()?;
        let mut reader = Reader(body);
        match *kind {
            HOLD => Some(Self::Hold(HoldRecord {
                tenant: reader.id()?,
                hold: reader.id()?,
                key: reader.id()?,
                node: reader.id()?,
                amount: NanoUsd(reader.number()?),
                admitted_at: UnixMillis(reader.number()?),
                progress: NanoUsd(reader.number()?),
                memo: reader.0,
            })),
            SETTLED => Some(Self::Settled { hold: reader.id()?, event: reader.id()?, bytes: reader.0 }),
            ENDED => reader.id().filter(|_| reader.0.is_empty()).map(Self::Ended),
            JOURNALED => {
                let (ids, rest) = body.as_chunks();
                rest.is_empty().then_some(Self::Journaled(ids))
            }
            _ => None,
        }
    }
}

struct Reader<'a>(&'a [u8]);

impl Reader<'_> {
    fn array<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (array, rest) = self.0.split_first_chunk()?;
        self.0 = rest;
        Some(*array)
    }

    fn id<T>(&mut self) -> Option<Id<T>> {
        self.array().map(id_of)
    }

    fn number(&mut self) -> Option<i64> {
        self.array().map(i64::from_le_bytes)
    }
}

/// The id with these bytes.
pub(crate) fn id_of<T>(bytes: [u8; 16]) -> Id<T> {
    Id::from_u128(u128::from_be_bytes(bytes))
}
