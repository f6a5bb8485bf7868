//! An event as JSON, written without serde: every request's is written on its way to the journal, and going
//! through the serializer costs several times as much. The text is the same to the byte; a test compares them.

use super::{Attempt, AttemptBill, ChargeLine, RequestOutcome, UsageEvent};
use crate::{AppliedMargin, Id, Meter, NanoUsd, UnixMillis, Usage};

/// Bytes of an event with one attempt and short names: spares most events a second allocation.
const USUAL_BYTES: usize = 1_536;

/// A member's key with the comma before it, as one piece.
macro_rules! key {
    ($name:literal) => {
        concat!(",\"", $name, "\":")
    };
}

impl UsageEvent {
    /// The event as JSON: what its `Serialize` writes, faster.
    #[must_use]
    pub fn to_json(&self) -> String {
        let mut out = Writer { text: Vec::with_capacity(USUAL_BYTES), needs_comma: false };
        out.open(b'{');
        out.id(key!("event"), self.event);
        out.id(key!("request"), self.request);
        out.id(key!("hold"), self.hold);
        out.id(key!("tenant"), self.tenant);
        out.id(key!("project"), self.project);
        out.id(key!("key"), self.key);
        if let Some(end_user) = &self.end_user {
            out.string(key!("end_user"), end_user);
        }
        if !self.labels.is_empty() {
            out.key(key!("labels"));
            out.open(b'{');
            self.labels.iter().for_each(|(name, value)| out.foreign_member(name, value));
            out.close(b'}');
        }
        out.word(key!("surface"), self.surface.name());
        out.string(key!("requested_model"), &self.requested_model);
        out.string(key!("provider"), &self.provider);
        out.string(key!("model"), &self.model);
        out.boolean(key!("streamed"), self.streamed);
        out.moment(key!("admitted_at"), self.admitted_at);
        out.moment(key!("finished_at"), self.finished_at);
        out.money(key!("held"), self.held);
        out.money(key!("cost"), self.cost);
        out.money(key!("provider_cost"), self.provider_cost);
        out.usage(&self.usage);
        out.charge(key!("charge"), &self.charge);
        if let Some(margin) = self.margin {
            out.margin(margin);
        }
        if let Some(lines) = &self.provider_charge {
            out.charge(key!("provider_charge"), lines);
        }
        out.word(key!("basis"), self.basis.name());
        out.outcome(self.outcome);
        out.number(key!("status"), u64::from(self.status));
        out.key(key!("attempts"));
        out.open(b'[');
        self.attempts.iter().for_each(|attempt| out.attempt(attempt));
        out.close(b']');
        out.number(key!("duration_ms"), self.duration_ms);
        if let Some(first_byte_ms) = self.first_byte_ms {
            out.number(key!("first_byte_ms"), first_byte_ms);
        }
        out.number(key!("overhead_us"), self.overhead_us);
        out.number(key!("policy_revision"), self.policy_revision);
        out.close(b'}');
        String::from_utf8(out.text).expect("it is put together from whole strings")
    }
}

struct Writer {
    text: Vec<u8>,
    needs_comma: bool,
}

impl Writer {
    #[inline(always)]
    fn push(&mut self, text: &str) {
        self.text.extend_from_slice(text.as_bytes());
    }

    #[inline(always)]
    fn comma(&mut self) {
        if self.needs_comma {
            self.text.push(b',');
        }
        self.needs_comma = true;
    }

    fn open(&mut self, bracket: u8) {
        self.text.push(bracket);
        self.needs_comma = false;
    }

    fn close(&mut self, bracket: u8) {
        self.text.push(bracket);
        self.needs_comma = true;
    }

    /// A container inside an array.
    fn open_element(&mut self) {
        self.comma();
        self.open(b'{');
    }

    /// A key as `key!` writes it.
    #[inline(always)]
    fn key(&mut self, key: &'static str) {
        if self.needs_comma {
            self.push(key);
        } else {
            self.push(&key[1..]);
        }
        self.needs_comma = true;
    }

    /// A value that needs no escapes.
    #[inline(always)]
    fn word(&mut self, key: &'static str, word: &str) {
        self.key(key);
        self.quoted(word);
    }

    #[inline(always)]
    fn quoted(&mut self, plain: &str) {
        self.text.reserve(plain.len() + 2);
        self.text.push(b'"');
        self.push(plain);
        self.text.push(b'"');
    }

    #[inline(always)]
    fn string(&mut self, key: &'static str, value: &str) {
        self.key(key);
        self.escaped(value);
    }

    fn foreign_member(&mut self, name: &str, value: &str) {
        self.comma();
        self.escaped(name);
        self.text.push(b':');
        self.escaped(value);
    }

    fn escaped(&mut self, value: &str) {
        let is_plain = |byte: u8| byte >= 0x20 && byte != b'"' && byte != b'\\';
        if value.bytes().all(is_plain) {
            return self.quoted(value);
        }
        self.text.push(b'"');
        for character in value.chars() {
            match character {
                '"' => self.push("\\\""),
                '\\' => self.push("\\\\"),
                '\n' => self.push("\\n"),
                '\r' => self.push("\\r"),
                '\t' => self.push("\\t"),
                '\u{8}' => self.push("\\b"),
                '\u{c}' => self.push("\\f"),
                control if control < ' ' => {
                    let digit = |nibble: u32| char::from_digit(nibble, 16).unwrap_or('0') as u8;
                    let control = u32::from(control);
                    self.push("\\u00");
                    self.text.extend_from_slice(&[digit(control >> 4), digit(control & 0xf)]);
                }
                other => self.push(other.encode_utf8(&mut [0; 4])),
            }
        }
        self.text.push(b'"');
    }

    #[inline(always)]
    fn boolean(&mut self, key: &'static str, value: bool) {
        self.key(key);
        self.push(if value { "true" } else { "false" });
    }

    #[inline(always)]
    fn number(&mut self, key: &'static str, value: u64) {
        self.key(key);
        self.digits(value);
    }

    fn digits(&mut self, mut value: u64) {
        let mut digits = [0_u8; 20];
        let mut start = digits.len();
        loop {
            start -= 1;
            digits[start] = b'0' + (value % 10) as u8;
            value /= 10;
            if value == 0 {
                break;
            }
        }
        self.text.extend_from_slice(&digits[start..]);
    }

    #[inline(always)]
    fn moment(&mut self, key: &'static str, moment: UnixMillis) {
        self.key(key);
        if moment.0 < 0 {
            self.text.push(b'-');
        }
        self.digits(moment.0.unsigned_abs());
    }

    #[inline(always)]
    fn money(&mut self, key: &'static str, amount: NanoUsd) {
        self.word(key, amount.text().as_str());
    }

    #[inline(always)]
    fn id<T>(&mut self, key: &'static str, id: Id<T>) {
        let mut text = [0_u8; 36];
        id.as_uuid().hyphenated().encode_lower(&mut text);
        self.key(key);
        self.text.reserve(text.len() + 2);
        self.text.push(b'"');
        self.text.extend_from_slice(&text);
        self.text.push(b'"');
    }

    fn usage(&mut self, usage: &Usage) {
        self.key(key!("usage"));
        self.open(b'{');
        for (meter, count) in usage.iter() {
            self.comma();
            self.quoted(Meter::name(meter));
            self.text.push(b':');
            self.digits(count);
        }
        self.close(b'}');
    }

    fn charge(&mut self, key: &'static str, lines: &[ChargeLine]) {
        self.key(key);
        self.open(b'[');
        lines.iter().for_each(|line| self.charge_line(line));
        self.close(b']');
    }

    fn margin(&mut self, margin: AppliedMargin) {
        self.key(key!("margin"));
        self.open(b'{');
        self.id(key!("rule"), margin.rule);
        self.key(key!("basis_points"));
        if margin.basis_points.get() < 0 {
            self.text.push(b'-');
        }
        self.digits(margin.basis_points.get().unsigned_abs().into());
        self.close(b'}');
    }

    fn charge_line(&mut self, line: &ChargeLine) {
        self.open_element();
        self.word(key!("meter"), line.meter.name());
        self.number(key!("units"), line.units);
        self.word(key!("price"), NanoUsd(line.price.0).text().as_str());
        if let Some(row) = line.price_row {
            self.id(key!("price_row"), row);
        }
        if line.tenant_price {
            self.boolean(key!("tenant_price"), true);
        }
        self.string(key!("source"), &line.source);
        self.close(b'}');
    }

    fn outcome(&mut self, outcome: RequestOutcome) {
        match outcome {
            RequestOutcome::Ok | RequestOutcome::ClientClosed | RequestOutcome::Lost => {
                self.word(key!("outcome"), outcome.name());
            }
            RequestOutcome::Error(kind) => {
                self.key(key!("outcome"));
                self.open(b'{');
                self.word(key!("error"), kind.code());
                self.close(b'}');
            }
        }
    }

    fn attempt(&mut self, attempt: &Attempt) {
        self.open_element();
        self.string(key!("provider"), &attempt.provider);
        self.string(key!("model"), &attempt.model);
        if let Some(credential) = attempt.credential {
            self.id(key!("credential"), credential);
        }
        self.word(key!("outcome"), attempt.outcome.name());
        if let Some(status) = attempt.status {
            self.number(key!("status"), u64::from(status));
        }
        self.moment(key!("started_at"), attempt.started_at);
        self.number(key!("first_byte_ms"), attempt.first_byte_ms);
        self.number(key!("duration_ms"), attempt.duration_ms);
        if let Some(bill) = &attempt.bill {
            self.bill(bill);
        }
        self.close(b'}');
    }

    fn bill(&mut self, bill: &AttemptBill) {
        self.key(key!("bill"));
        self.open(b'{');
        self.money(key!("cost"), bill.cost);
        self.money(key!("provider_cost"), bill.provider_cost);
        self.usage(&bill.usage);
        self.word(key!("basis"), bill.basis.name());
        self.charge(key!("charge"), &bill.charge);
        if let Some(margin) = bill.margin {
            self.margin(margin);
        }
        if let Some(lines) = &bill.provider_charge {
            self.charge(key!("provider_charge"), lines);
        }
        self.close(b'}');
    }
}

#[cfg(test)]
pub(super) mod tests;
