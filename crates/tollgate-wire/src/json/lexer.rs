//! The scanner's way through strings, numbers and literals.

use memchr::memchr2;

use super::blocks::{BLOCK_BYTES, Block};
use super::{Fault, JsonProblem, Scanner};

/// Bytes below it are control characters.
pub(super) const FIRST_PLAIN_BYTE: u8 = 0x20;

/// So far a string is looked through word by word: most keys and values are shorter than what looking at blocks costs
/// to begin.
const SHORT_TEXT_WORDS: usize = 8;

impl Scanner<'_> {
    /// Passes a string, the cursor being on its opening quote; whether it has escapes.
    pub(super) fn string(&mut self) -> Result<bool, Fault> {
        self.at += 1;
        self.skip_words();
        if self.bytes.get(self.at) == Some(&b'"') {
            self.at += 1;
            return Ok(false);
        }
        let mut is_escaped = self.skip_blocks();
        loop {
            self.skip_words();
            match self.next_byte()? {
                b'"' => {
                    self.at += 1;
                    return Ok(is_escaped);
                }
                b'\\' => {
                    is_escaped = true;
                    self.escape()?;
                }
                byte if byte < FIRST_PLAIN_BYTE => return Err(self.fault(JsonProblem::ControlCharacter)),
                // the words ended before the text did
                _ => self.at += 1,
            }
        }
    }

    /// Moves to the next quote, backslash or control character, if there is one in the next words.
    #[inline]
    fn skip_words(&mut self) {
        for _ in 0..SHORT_TEXT_WORDS {
            let Some(word) = self.bytes[self.at..].first_chunk() else { break };
            let special = special_bytes(u64::from_le_bytes(*word));
            if special != 0 {
                self.at += (special.trailing_zeros() / u8::BITS) as usize;
                return;
            }
            self.at += size_of::<u64>();
        }
    }

    /// Passes the blocks of a string; whether they have escapes. Stops at the string's end, or before the block that is
    /// too short or has something wrong, which is found byte by byte then.
    fn skip_blocks(&mut self) -> bool {
        let (mut is_escaped, mut is_carried) = (false, false);
        while let Some(bytes) = self.bytes[self.at..].first_chunk() {
            let block = Block::of(bytes);
            if block.is_plain() && !is_carried {
                let n_plain = self.plain_bytes();
                self.at += n_plain;
                if n_plain < BLOCK_BYTES {
                    break;
                }
                continue;
            }
            let Some(found) = block.look(is_carried, self.has_controls) else { break };
            if !self.has_digits(found.unicode) {
                break;
            }
            is_escaped |= found.has_escapes;
            if let Some(end) = found.end {
                self.at += end;
                return is_escaped;
            }
            self.at += BLOCK_BYTES;
            is_carried = found.carries;
        }
        // back to the backslash
        self.at -= usize::from(is_carried);
        is_escaped
    }

    /// How many bytes there are before the next quote, backslash or control character.
    fn plain_bytes(&self) -> usize {
        let rest = &self.bytes[self.at..];
        let n_plain = memchr2(b'"', b'\\', rest).unwrap_or(rest.len());
        if !self.has_controls {
            return n_plain;
        }
        rest[..n_plain].iter().position(|&byte| byte < FIRST_PLAIN_BYTE).unwrap_or(n_plain)
    }

    /// Whether four digits follow each `u` of a block.
    fn has_digits(&self, mut unicode: u64) -> bool {
        while unicode != 0 {
            let first = self.at + unicode.trailing_zeros() as usize + 1;
            let digits = self.bytes.get(first..first + 4);
            if !digits.is_some_and(|digits| digits.iter().all(u8::is_ascii_hexdigit)) {
                return false;
            }
            unicode &= unicode - 1;
        }
        true
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

/// The highest bit of every byte of `word` that is a quote, a backslash or a control character; bytes above the first
/// of these may be marked, too.
#[inline]
const fn special_bytes(word: u64) -> u64 {
    const ONES: u64 = u64::MAX / 0xff;
    const HIGHEST_BITS: u64 = ONES << 7;
    let quote = word ^ (ONES * b'"' as u64);
    let backslash = word ^ (ONES * b'\\' as u64);
    let is_quote = quote.wrapping_sub(ONES) & !quote;
    let is_backslash = backslash.wrapping_sub(ONES) & !backslash;
    let is_control = word.wrapping_sub(ONES * FIRST_PLAIN_BYTE as u64) & !word;
    (is_quote | is_backslash | is_control) & HIGHEST_BITS
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_special_byte_of_a_word_is_found_wherever_it_stands() {
        let others = *b"a\x20\x21\x23\x5b\x5d\x7f\x80\xa2\xdc\xff";
        for byte in 0..=u8::MAX {
            let is_special = byte == b'"' || byte == b'\\' || byte < FIRST_PLAIN_BYTE;
            for (at, other) in (0..8).flat_map(|at| others.map(|other| (at, other))) {
                let mut word = [other; 8];
                word[at] = byte;
                let found = special_bytes(u64::from_le_bytes(word));
                let first = (found != 0).then_some((found.trailing_zeros() / 8) as usize);
                assert_eq!(first, is_special.then_some(at), "{byte:#x} among {other:#x}");
            }
        }
        let two = u64::from_le_bytes(*b"ab\\\"\n\"cd");
        assert_eq!(special_bytes(two).trailing_zeros() / 8, 2);
    }
}
