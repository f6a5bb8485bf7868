//! An event as JSON, written without serde: every request's is written on its way to the journal, and going
//! through the serializer costs several times as much. The text is the same to the byte; a test compares them.

use super::{Attempt, ChargeLine, RequestOutcome, UsageEvent};
use crate::{AppliedMargin, Id, Meter, NanoUsd, UnixMillis, Usage};

/// Bytes of an event with one attempt and short names: spares most events a second allocation.
const USUAL_BYTES: usize = 1_536;

impl UsageEvent {
    /// The event as JSON: what its `Serialize` writes, faster.
    #[must_use]
    pub fn to_json(&self) -> String {
        let mut out = Writer { text: String::with_capacity(USUAL_BYTES), needs_comma: false };
        out.open('{');
        out.id("event", self.event);
        out.id("request", self.request);
        out.id("hold", self.hold);
        out.id("tenant", self.tenant);
        out.id("project", self.project);
        out.id("key", self.key);
        if let Some(end_user) = &self.end_user {
            out.string("end_user", end_user);
        }
        if !self.labels.is_empty() {
            out.key("labels");
            out.open('{');
            self.labels.iter().for_each(|(name, value)| out.foreign_member(name, value));
            out.close('}');
        }
        out.word("surface", self.surface.name());
        out.string("requested_model", &self.requested_model);
        out.string("provider", &self.provider);
        out.string("model", &self.model);
        out.boolean("streamed", self.streamed);
        out.moment("admitted_at", self.admitted_at);
        out.moment("finished_at", self.finished_at);
        out.money("held", self.held);
        out.money("cost", self.cost);
        out.money("provider_cost", self.provider_cost);
        out.usage(&self.usage);
        out.charge("charge", &self.charge);
        if let Some(margin) = self.margin {
            out.margin(margin);
        }
        if let Some(lines) = &self.provider_charge {
            out.charge("provider_charge", lines);
        }
        out.word("basis", self.basis.name());
        out.outcome(self.outcome);
        out.number("status", u64::from(self.status));
        out.key("attempts");
        out.open('[');
        self.attempts.iter().for_each(|attempt| out.attempt(attempt));
        out.close(']');
        out.number("duration_ms", self.duration_ms);
        if let Some(first_byte_ms) = self.first_byte_ms {
            out.number("first_byte_ms", first_byte_ms);
        }
        out.number("overhead_us", self.overhead_us);
        out.number("policy_revision", self.policy_revision);
        out.close('}');
        out.text
    }
}

struct Writer {
    text: String,
    needs_comma: bool,
}

impl Writer {
    #[inline(always)]
    fn comma(&mut self) {
        if self.needs_comma {
            self.text.push(',');
        }
        self.needs_comma = true;
    }

    fn open(&mut self, bracket: char) {
        self.text.push(bracket);
        self.needs_comma = false;
    }

    fn close(&mut self, bracket: char) {
        self.text.push(bracket);
        self.needs_comma = true;
    }

    /// A container inside an array.
    fn open_element(&mut self) {
        self.comma();
        self.open('{');
    }
    #[inline(always)]
    fn key(&mut self, name: &'static str) {
        self.comma();
        self.text.push('"');
        self.text.push_str(name);
        self.text.push_str("\":");
    }

    /// A value that needs no escapes.
    #[inline(always)]
    fn word(&mut self, name: &'static str, word: &str) {
        self.key(name);
        self.quoted(word);
    }
    #[inline(always)]
    fn quoted(&mut self, plain: &str) {
        self.text.push('"');
        self.text.push_str(plain);
        self.text.push('"');
    }

    fn string(&mut self, name: &'static str, value: &str) {
        self.key(name);
        self.escaped(value);
    }

    fn foreign_member(&mut self, name: &str, value: &str) {
        self.comma();
        self.escaped(name);
        self.text.push(':');
        self.escaped(value);
    }

    fn escaped(&mut self, value: &str) {
        let is_plain = |byte: u8| byte >= 0x20 && byte != b'"' && byte != b'\\';
        if value.bytes().all(is_plain) {
            return self.quoted(value);
        }
        self.text.push('"');
        for character in value.chars() {
            match character {
                '"' => self.text.push_str("\\\""),
                '\\' => self.text.push_str("\\\\"),
                '\n' => self.text.push_str("\\n"),
                '\r' => self.text.push_str("\\r"),
                '\t' => self.text.push_str("\\t"),
                '\u{8}' => self.text.push_str("\\b"),
                '\u{c}' => self.text.push_str("\\f"),
                control if control < ' ' => {
                    let digit = |nibble: u32| char::from_digit(nibble, 16).unwrap_or('0');
                    self.text.push_str("\\u00");
                    self.text.push(digit(u32::from(control) >> 4));
                    self.text.push(digit(u32::from(control) & 0xf));
                }
                other => self.text.push(other),
            }
        }
        self.text.push('"');
    }

    fn boolean(&mut self, name: &'static str, value: bool) {
        self.key(name);
        self.text.push_str(if value { "true" } else { "false" });
    }

    fn number(&mut self, name: &'static str, value: u64) {
        self.key(name);
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
        self.text.push_str(std::str::from_utf8(&digits[start..]).expect("digits are ASCII"));
    }

    fn moment(&mut self, name: &'static str, moment: UnixMillis) {
        self.key(name);
        if moment.0 < 0 {
            self.text.push('-');
        }
        self.digits(moment.0.unsigned_abs());
    }

    fn money(&mut self, name: &'static str, amount: NanoUsd) {
        self.word(name, amount.text().as_str());
    }

    fn id<T>(&mut self, name: &'static str, id: Id<T>) {
        let mut text = [0_u8; 36];
        let text = id.as_uuid().hyphenated().encode_lower(&mut text);
        self.word(name, text);
    }

    fn usage(&mut self, usage: &Usage) {
        self.key("usage");
        self.open('{');
        usage.iter().for_each(|(meter, count)| self.number(Meter::name(meter), count));
        self.close('}');
    }

    fn charge(&mut self, name: &'static str, lines: &[ChargeLine]) {
        self.key(name);
        self.open('[');
        lines.iter().for_each(|line| self.charge_line(line));
        self.close(']');
    }

    fn margin(&mut self, margin: AppliedMargin) {
        self.key("margin");
        self.open('{');
        self.id("rule", margin.rule);
        self.key("basis_points");
        if margin.basis_points.get() < 0 {
            self.text.push('-');
        }
        self.digits(margin.basis_points.get().unsigned_abs().into());
        self.close('}');
    }

    fn charge_line(&mut self, line: &ChargeLine) {
        self.open_element();
        self.word("meter", line.meter.name());
        self.number("units", line.units);
        self.word("price", NanoUsd(line.price.0).text().as_str());
        if let Some(row) = line.price_row {
            self.id("price_row", row);
        }
        if line.tenant_price {
            self.boolean("tenant_price", true);
        }
        self.string("source", &line.source);
        self.close('}');
    }

    fn outcome(&mut self, outcome: RequestOutcome) {
        match outcome {
            RequestOutcome::Ok | RequestOutcome::ClientClosed | RequestOutcome::Lost => {
                self.word("outcome", outcome.name());
            }
            RequestOutcome::Error(kind) => {
                self.key("outcome");
                self.open('{');
                self.word("error", kind.code());
                self.close('}');
            }
        }
    }

    fn attempt(&mut self, attempt: &Attempt) {
        self.open_element();
        self.string("provider", &attempt.provider);
        self.string("model", &attempt.model);
        if let Some(credential) = attempt.credential {
            self.id("credential", credential);
        }
        self.word("outcome", attempt.outcome.name());
        if let Some(status) = attempt.status {
            self.number("status", u64::from(status));
        }
        self.moment("started_at", attempt.started_at);
        self.number("first_byte_ms", attempt.first_byte_ms);
        self.number("duration_ms", attempt.duration_ms);
        self.close('}');
    }
}

#[cfg(test)]
pub(super) mod tests;
