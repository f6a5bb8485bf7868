//! An event as bytes laid side by side, for a log that every request is written to: JSON costs several times as
//! much. Read back by the release that wrote it, or by one that still knows its layout.

use super::{
    Attempt, AttemptBill, AttemptOutcome, ChargeLine, Labels, RequestOutcome, SettlementBasis, Surface,
    UsageEvent,
};
use crate::{AppliedMargin, BasisPoints, ErrorKind, Id, Meter, NanoUsd, PricePerMillion, UnixMillis, Usage};

/// The layout; a reader refuses what it does not know. To be raised with every change of it, and where a variant
/// is added to an enumeration elsewhere than at its end.
const VERSION: u8 = 2;
/// The layout before attempts had bills of their own.
const WITHOUT_BILLS: u8 = 1;
/// The bases in the order of their bytes.
const BASES: [SettlementBasis; 3] =
    [SettlementBasis::Provider, SettlementBasis::Counted, SettlementBasis::Estimated];
/// An outcome's byte: the first three, or this and the kind's.
const OK: u8 = 0;
const CLIENT_CLOSED: u8 = 1;
const LOST: u8 = 2;
const ERROR: u8 = 3;

/// The bytes are no event of a layout that this release knows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the event cannot be read: another release wrote it, or nobody")]
pub struct UnreadableEvent;

impl UsageEvent {
    /// Appends the event to `out`, some hundred bytes.
    pub fn append_bytes(&self, out: &mut Vec<u8>) {
        out.push(VERSION);
        id(out, self.event);
        id(out, self.request);
        id(out, self.hold);
        id(out, self.tenant);
        id(out, self.project);
        id(out, self.key);
        option(out, self.end_user.as_deref(), text);
        count(out, self.labels.len());
        for (name, value) in &self.labels {
            text(out, name);
            text(out, value);
        }
        out.push(self.surface as u8);
        text(out, &self.requested_model);
        text(out, &self.provider);
        text(out, &self.model);
        out.push(u8::from(self.streamed));
        for signed in [self.admitted_at.0, self.finished_at.0, self.held.0, self.cost.0, self.provider_cost.0]
        {
            out.extend_from_slice(&signed.to_le_bytes());
        }
        usage(out, &self.usage);
        charge(out, &self.charge);
        option(out, self.margin, margin);
        option(out, self.provider_charge.as_deref(), charge);
        out.push(self.basis as u8);
        outcome(out, self.outcome);
        out.extend_from_slice(&self.status.to_le_bytes());
        count(out, self.attempts.len());
        self.attempts.iter().for_each(|one| attempt(out, one));
        number(out, self.duration_ms);
        option(out, self.first_byte_ms, number);
        number(out, self.overhead_us);
        number(out, self.policy_revision);
    }

    /// Reads what [`UsageEvent::append_bytes`] wrote.
    ///
    /// # Errors
    /// [`UnreadableEvent`] for anything else.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, UnreadableEvent> {
        let mut reader = Reader { left: bytes, version: VERSION };
        let event = reader.event().ok_or(UnreadableEvent)?;
        if reader.left.is_empty() { Ok(event) } else { Err(UnreadableEvent) }
    }
}

fn id<T>(out: &mut Vec<u8>, id: Id<T>) {
    out.extend_from_slice(id.as_uuid().as_bytes());
}

fn number(out: &mut Vec<u8>, number: u64) {
    out.extend_from_slice(&number.to_le_bytes());
}

fn count(out: &mut Vec<u8>, n: usize) {
    let n = u32::try_from(n).expect("nothing in an event has four thousand million parts");
    out.extend_from_slice(&n.to_le_bytes());
}

fn text(out: &mut Vec<u8>, text: &str) {
    count(out, text.len());
    out.extend_from_slice(text.as_bytes());
}

fn option<T>(out: &mut Vec<u8>, value: Option<T>, write: impl FnOnce(&mut Vec<u8>, T)) {
    out.push(u8::from(value.is_some()));
    if let Some(value) = value {
        write(out, value);
    }
}

fn charge(out: &mut Vec<u8>, lines: &[ChargeLine]) {
    count(out, lines.len());
    lines.iter().for_each(|line| charge_line(out, line));
}

fn margin(out: &mut Vec<u8>, margin: AppliedMargin) {
    id(out, margin.rule);
    out.extend_from_slice(&margin.basis_points.get().to_le_bytes());
}

fn charge_line(out: &mut Vec<u8>, line: &ChargeLine) {
    out.push(line.meter as u8);
    number(out, line.units);
    out.extend_from_slice(&line.price.0.to_le_bytes());
    option(out, line.price_row, id);
    out.push(u8::from(line.tenant_price));
    text(out, &line.source);
}

fn outcome(out: &mut Vec<u8>, outcome: RequestOutcome) {
    match outcome {
        RequestOutcome::Ok => out.push(OK),
        RequestOutcome::ClientClosed => out.push(CLIENT_CLOSED),
        RequestOutcome::Lost => out.push(LOST),
        RequestOutcome::Error(kind) => out.extend_from_slice(&[ERROR, kind as u8]),
    }
}

fn attempt(out: &mut Vec<u8>, attempt: &Attempt) {
    text(out, &attempt.provider);
    text(out, &attempt.model);
    option(out, attempt.credential, id);
    out.push(attempt.outcome as u8);
    option(out, attempt.status, |out, status| out.extend_from_slice(&status.to_le_bytes()));
    out.extend_from_slice(&attempt.started_at.0.to_le_bytes());
    number(out, attempt.first_byte_ms);
    number(out, attempt.duration_ms);
    option(out, attempt.bill.as_deref(), bill);
}

fn bill(out: &mut Vec<u8>, bill: &AttemptBill) {
    out.extend_from_slice(&bill.cost.0.to_le_bytes());
    out.extend_from_slice(&bill.provider_cost.0.to_le_bytes());
    usage(out, &bill.usage);
    out.push(bill.basis as u8);
    charge(out, &bill.charge);
    option(out, bill.margin, margin);
    option(out, bill.provider_charge.as_deref(), charge);
}

fn usage(out: &mut Vec<u8>, usage: &Usage) {
    count(out, usage.iter().count());
    for (meter, units) in usage.iter() {
        out.push(meter as u8);
        number(out, units);
    }
}

/// What is left to read. `None` anywhere: the bytes are no event.
struct Reader<'a> {
    left: &'a [u8],
    version: u8,
}

impl Reader<'_> {
    fn event(&mut self) -> Option<UsageEvent> {
        self.version = self.byte()?;
        if !matches!(self.version, WITHOUT_BILLS | VERSION) {
            return None;
        }
        // in the order of the fields: each is read where it stands
        Some(UsageEvent {
            event: self.id()?,
            request: self.id()?,
            hold: self.id()?,
            tenant: self.id()?,
            project: self.id()?,
            key: self.id()?,
            end_user: self.option(Self::text)?,
            labels: self.labels()?,
            surface: *Surface::ALL.get(usize::from(self.byte()?))?,
            requested_model: self.text()?,
            provider: self.text()?,
            model: self.text()?,
            streamed: self.byte()? != 0,
            admitted_at: UnixMillis(self.signed()?),
            finished_at: UnixMillis(self.signed()?),
            held: NanoUsd(self.signed()?),
            cost: NanoUsd(self.signed()?),
            provider_cost: NanoUsd(self.signed()?),
            usage: self.usage()?,
            charge: self.list(Self::charge_line)?,
            margin: self.option(Self::margin)?,
            provider_charge: self.option(|reader| reader.list(Self::charge_line))?,
            basis: *BASES.get(usize::from(self.byte()?))?,
            outcome: self.outcome()?,
            status: u16::from_le_bytes(self.array()?),
            attempts: self.list(Self::attempt)?,
            duration_ms: self.number()?,
            first_byte_ms: self.option(Self::number)?,
            overhead_us: self.number()?,
            policy_revision: self.number()?,
        })
    }

    fn array<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (array, rest) = self.left.split_first_chunk()?;
        self.left = rest;
        Some(*array)
    }

    fn byte(&mut self) -> Option<u8> {
        self.array().map(|[byte]| byte)
    }

    fn id<T>(&mut self) -> Option<Id<T>> {
        self.array().map(|bytes| Id::from_u128(u128::from_be_bytes(bytes)))
    }

    fn number(&mut self) -> Option<u64> {
        self.array().map(u64::from_le_bytes)
    }

    fn signed(&mut self) -> Option<i64> {
        self.array().map(i64::from_le_bytes)
    }

    fn count(&mut self) -> Option<usize> {
        usize::try_from(u32::from_le_bytes(self.array()?)).ok()
    }

    fn text(&mut self) -> Option<String> {
        let n_bytes = self.count()?;
        let (text, rest) = self.left.split_at_checked(n_bytes)?;
        self.left = rest;
        String::from_utf8(text.to_vec()).ok()
    }

    fn option<T>(&mut self, read: impl FnOnce(&mut Self) -> Option<T>) -> Option<Option<T>> {
        match self.byte()? {
            0 => Some(None),
            1 => read(self).map(Some),
            _ => None,
        }
    }

    /// Room is made as elements are found: a count that is none must not ask for gigabytes.
    fn list<T>(&mut self, read: impl Fn(&mut Self) -> Option<T>) -> Option<Vec<T>> {
        let n = self.count()?;
        (0..n).map(|_| read(self)).collect()
    }

    fn labels(&mut self) -> Option<Labels> {
        let n = self.count()?;
        (0..n).map(|_| Some((self.text()?, self.text()?))).collect()
    }

    fn meter(&mut self) -> Option<Meter> {
        Meter::ALL.get(usize::from(self.byte()?)).copied()
    }

    fn usage(&mut self) -> Option<Usage> {
        let n = self.count()?;
        (0..n).try_fold(Usage::ZERO, |usage, _| Some(usage.with(self.meter()?, self.number()?)))
    }

    fn charge_line(&mut self) -> Option<ChargeLine> {
        Some(ChargeLine {
            meter: self.meter()?,
            units: self.number()?,
            price: PricePerMillion(self.signed()?),
            price_row: self.option(Self::id)?,
            tenant_price: self.byte()? != 0,
            source: self.text()?,
        })
    }

    fn margin(&mut self) -> Option<AppliedMargin> {
        let rule = self.id()?;
        let basis_points = BasisPoints::new(i32::from_le_bytes(self.array()?))?;
        Some(AppliedMargin { rule, basis_points })
    }

    fn outcome(&mut self) -> Option<RequestOutcome> {
        Some(match self.byte()? {
            OK => RequestOutcome::Ok,
            CLIENT_CLOSED => RequestOutcome::ClientClosed,
            LOST => RequestOutcome::Lost,
            ERROR => RequestOutcome::Error(*ErrorKind::ALL.get(usize::from(self.byte()?))?),
            _ => return None,
        })
    }

    fn attempt(&mut self) -> Option<Attempt> {
        Some(Attempt {
            provider: self.text()?,
            model: self.text()?,
            credential: self.option(Self::id)?,
            outcome: *AttemptOutcome::ALL.get(usize::from(self.byte()?))?,
            status: self.option(|reader| reader.array().map(u16::from_le_bytes))?,
            started_at: UnixMillis(self.signed()?),
            first_byte_ms: self.number()?,
            duration_ms: self.number()?,
            bill: if self.version == WITHOUT_BILLS { None } else { self.option(Self::bill)? },
        })
    }

    fn bill(&mut self) -> Option<Box<AttemptBill>> {
        Some(Box::new(AttemptBill {
            cost: NanoUsd(self.signed()?),
            provider_cost: NanoUsd(self.signed()?),
            usage: self.usage()?,
            basis: *BASES.get(usize::from(self.byte()?))?,
            charge: self.list(Self::charge_line)?,
            margin: self.option(Self::margin)?,
            provider_charge: self.option(|reader| reader.list(Self::charge_line))?,
        }))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::event::json::tests::events;

    proptest! {
        #[test]
        fn what_is_written_is_read(event in events()) {
            let mut bytes = vec![7];
            event.append_bytes(&mut bytes);
            prop_assert_eq!(UsageEvent::from_bytes(&bytes[1..]), Ok(event));
            bytes.push(0);
            prop_assert!(UsageEvent::from_bytes(&bytes[1..]).is_err(), "nothing may follow");
        }

        #[test]
        fn a_part_of_an_event_is_none(event in events(), cut in any::<prop::sample::Index>()) {
            let mut bytes = Vec::new();
            event.append_bytes(&mut bytes);
            prop_assert_eq!(UsageEvent::from_bytes(&bytes[..cut.index(bytes.len())]), Err(UnreadableEvent));
        }

        #[test]
        fn anything_else_is_refused_without_a_panic(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
            let _ = UsageEvent::from_bytes(&bytes);
            let _ = UsageEvent::from_bytes(&[&[VERSION][..], &bytes].concat());
        }
    }

    /// What the release before wrote into a log: the same without a byte per attempt for its bill.
    #[test]
    fn the_layout_without_bills_is_read() {
        let attempt = Attempt {
            provider: "p".to_owned(),
            model: "m".to_owned(),
            credential: None,
            outcome: AttemptOutcome::Ok,
            status: Some(200),
            started_at: UnixMillis(1),
            first_byte_ms: 2,
            duration_ms: 3,
            bill: None,
        };
        let mut bytes = Vec::new();
        super::attempt(&mut bytes, &attempt);
        bytes.pop();
        let mut reader = Reader { left: &bytes, version: WITHOUT_BILLS };
        assert_eq!((reader.attempt(), reader.left.len()), (Some(attempt), 0));
    }

    /// The bytes of enumerations are their places: what this release wrote the next one must read.
    #[test]
    fn new_variants_are_added_at_the_end() {
        let meters = Meter::ALL.map(Meter::name);
        let expected = [
            "input",
            "cached_input",
            "cache_write_5m",
            "cache_write_1h",
            "input_audio",
            "input_image",
            "output",
            "reasoning",
            "output_audio",
            "output_image",
            "request",
            "image",
            "second",
            "page",
            "search",
            "character",
        ];
        assert_eq!(&meters[..expected.len()], &expected);
        let surfaces = [
            "chat",
            "completions",
            "embeddings",
            "moderations",
            "rerank",
            "images",
            "image_edits",
            "image_variations",
            "speech",
            "transcriptions",
            "translations",
            "passthrough",
            "files",
            "batches",
            "responses",
        ];
        assert_eq!(&Surface::ALL.map(Surface::name)[..surfaces.len()], &surfaces);
        for (place, surface) in Surface::ALL.into_iter().enumerate() {
            assert_eq!(surface as usize, place, "{surface:?}");
        }
        assert_eq!(
            (ErrorKind::ALL[0].code(), ErrorKind::ALL[24].code()),
            ("invalid_request", "ledger_unavailable")
        );
        for (place, basis) in BASES.into_iter().enumerate() {
            assert_eq!(basis as usize, place, "{basis:?}");
        }
        for (place, outcome) in AttemptOutcome::ALL.into_iter().enumerate() {
            assert_eq!(outcome as usize, place, "{outcome:?}");
        }
    }
}
