//! The scanner's way through strings, numbers and literals.

use memchr::memchr2;

use super::{Fault, JsonProblem, Scanner};

/// Bytes below it are control characters.
pub(super) const FIRST_PLAIN_BYTE: u8 = 0x20;

/// So far a string is looked through byte by byte.
const SHORT_TEXT_BYTES: usize = 16;

impl Scanner<'_> {
    /// Passes a string, the cursor being on its opening quote; whether it has escapes.
    pub(super) fn string(&mut self) -> Result<bool, Fault> {
        self.at += 1;
        let mut is_escaped = false;
        self.skip_short_text();
        loop {
            self.skip_plain_text();
            match self.next_byte()? {
                b'"' => {
                    self.at += 1;
                    return Ok(is_escaped);
                }
                b'\\' => {
                    is_escaped = true;
                    self.escape()?;
                }
                _ => return Err(self.fault(JsonProblem::ControlCharacter)),
            }
        }
    }

    /// Moves to the next quote, backslash or control character, where that is near: most keys and values are
    /// shorter than what a vectorised search costs to begin.
    #[inline]
    fn skip_short_text(&mut self) {
        let is_plain = |&&byte: &&u8| byte != b'"' && byte != b'\\' && byte >= FIRST_PLAIN_BYTE;
        self.at += self.bytes[self.at..].iter().take(SHORT_TEXT_BYTES).take_while(is_plain).count();
    }

    /// Moves to the next quote, backslash or control character.
    #[inline]
    fn skip_plain_text(&mut self) {
        let rest = &self.bytes[self.at..];
        let n_plain = memchr2(b'"', b'\\', rest).unwrap_or(rest.len());
        let n_passed = if self.has_controls {
            rest[..n_plain].iter().position(|&byte| byte < FIRST_PLAIN_BYTE).unwrap_or(n_plain)
        } else {
            n_plain
        };
        self.at += n_passed;
    }

    fn escape(&mut self) -> Result<(), Fault> {
        match self.bytes.get(self.at + 1) {
            Some(b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't') => {
                self.at += 2;
                Ok(())
            }
            Some(b'u') => {
                let Some(digits) = self.bytes.get(self.at + 2..self.at + 6) else {
                    return Err(Fault::new(JsonProblem::UnexpectedEnd, self.bytes.len()));
                };
                if !digits.iter().all(u8::is_ascii_hexdigit) {
                    return Err(self.fault(JsonProblem::BadEscape));
                }
                self.at += 6;
                Ok(())
            }
            Some(_) => Err(self.fault(JsonProblem::BadEscape)),
            None => Err(Fault::new(JsonProblem::UnexpectedEnd, self.bytes.len())),
        }
    }

    pub(super) fn number(&mut self) -> Result<(), Fault> {
        if self.bytes[self.at] == b'-' {
            self.at += 1;
        }
        match self.bytes.get(self.at) {
            Some(b'0') => self.at += 1,
            Some(b'1'..=b'9') => self.skip_digits(),
            _ => return Err(self.fault(JsonProblem::BadNumber)),
        }
        if self.bytes.get(self.at) == Some(&b'.') {
            self.at += 1;
            self.digits()?;
        }
        if let Some(b'e' | b'E') = self.bytes.get(self.at) {
            self.at += 1;
            if let Some(b'+' | b'-') = self.bytes.get(self.at) {
                self.at += 1;
            }
            self.digits()?;
        }
        // `01` and `1x` are caught here rather than as an unexpected byte after the number.
        match self.bytes.get(self.at) {
            Some(byte) if byte.is_ascii_alphanumeric() => Err(self.fault(JsonProblem::BadNumber)),
            _ => Ok(()),
        }
    }

    fn digits(&mut self) -> Result<(), Fault> {
        match self.bytes.get(self.at) {
            Some(b'0'..=b'9') => {
                self.skip_digits();
                Ok(())
            }
            _ => Err(self.fault(JsonProblem::BadNumber)),
        }
    }

    fn skip_digits(&mut self) {
        while let Some(b'0'..=b'9') = self.bytes.get(self.at) {
            self.at += 1;
        }
    }

    pub(super) fn literal(&mut self, word: &'static [u8]) -> Result<(), Fault> {
        if self.bytes[self.at..].starts_with(word) {
            self.at += word.len();
            Ok(())
        } else {
            Err(self.fault(JsonProblem::UnexpectedByte))
        }
    }
}
