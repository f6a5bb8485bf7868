//! Sixty-four bytes of a string at once: where its quotes, backslashes and escaped bytes are, without a branch for
//! each. Prompts are full of `\n` and `\"`, and a branch for each of them is guessed wrong more often than not.

use wide::u8x16;

use super::lexer::FIRST_PLAIN_BYTE;

/// Bytes looked at together: a bit for each in a word.
pub(super) const BLOCK_BYTES: usize = 64;
/// What may follow a backslash, but for `u`.
const SIMPLE_ESCAPES: [u8; 8] = *b"\"\\/bfnrt";
/// Every second bit, the second first.
const ODD_BITS: u64 = 0xaaaa_aaaa_aaaa_aaaa;

/// A block within a string; bit `n` of a mask stands for byte `n`.
#[derive(Clone, Copy, Debug)]
pub(super) struct Block<'b> {
    bytes: &'b [u8; BLOCK_BYTES],
    quotes: u64,
    backslashes: u64,
}

/// What a block says of the string that it is in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Found {
    /// Where the closing quote is.
    pub(super) end: Option<usize>,
    /// Whether the last byte escapes the next block's first.
    pub(super) carries: bool,
    /// Whether there is an escape, or the first byte is escaped by the block before.
    pub(super) has_escapes: bool,
    /// Where `u` is escaped: its digits are for the caller to look at.
    pub(super) unicode: u64,
}

impl<'b> Block<'b> {
    pub(super) fn of(bytes: &'b [u8; BLOCK_BYTES]) -> Self {
        let [quote, backslash] = [b'"', b'\\'].map(u8x16::splat);
        let quotes = mask(bytes, |part| part.simd_eq(quote));
        let backslashes = mask(bytes, |part| part.simd_eq(backslash));
        Self { bytes, quotes, backslashes }
    }

    /// Whether there is neither a quote nor a backslash.
    pub(super) const fn is_plain(&self) -> bool {
        self.quotes | self.backslashes == 0
    }

    /// What is found up to the string's end; `None` where something is wrong before it. `is_carried` says that the
    /// first byte is escaped; `may_have_controls` that control characters are to be looked for.
    pub(super) fn look(&self, is_carried: bool, may_have_controls: bool) -> Option<Found> {
        let (escaped, carries) = escaped(self.backslashes, is_carried);
        let ends = self.quotes & !escaped;
        // below the lowest end, or all
        let within = ends ^ ends.wrapping_sub(1);
        let within = if ends == 0 { u64::MAX } else { within >> 1 };
        let escaped = escaped & within;
        let mut unicode = 0;
        if escaped != 0 {
            unicode = escaped & mask(self.bytes, |part| part.simd_eq(u8x16::splat(b'u')));
            let simple = mask(self.bytes, |part| {
                let of = |byte: u8| part.simd_eq(u8x16::splat(byte));
                SIMPLE_ESCAPES.into_iter().fold(u8x16::ZERO, |found, byte| found | of(byte))
            });
            if escaped & !(simple | unicode) != 0 {
                return None;
            }
        }
        if may_have_controls && self.controls() & within != 0 {
            return None;
        }
        Some(Found {
            end: (ends != 0).then_some(ends.trailing_zeros() as usize),
            carries,
            has_escapes: escaped != 0 || self.backslashes & within != 0,
            unicode,
        })
    }

    fn controls(&self) -> u64 {
        let highest = u8x16::splat(FIRST_PLAIN_BYTE - 1);
        mask(self.bytes, |part| part.min(highest).simd_eq(part))
    }
}

fn mask(bytes: &[u8; BLOCK_BYTES], is_it: impl Fn(u8x16) -> u8x16) -> u64 {
    let (parts, _) = bytes.as_chunks::<16>();
    let bits = |part: &[u8; 16]| u64::from(is_it(u8x16::new(*part)).to_bitmask());
    parts.iter().rev().fold(0, |mask, part| mask << 16 | bits(part))
}

/// The bytes that are escaped by the backslash before them, which is not escaped itself; and whether the byte after
/// the block is.
///
/// A run of backslashes escapes the byte after it where the run is of odd length. Subtracting a run's bits from the
/// odd places beside its end carries through the run: what comes out differs by where the run began.
const fn escaped(backslashes: u64, is_carried: bool) -> (u64, bool) {
    let carried = is_carried as u64;
    let begins = backslashes & !carried;
    let codes = ((begins << 1) | ODD_BITS).wrapping_sub(begins) ^ ODD_BITS;
    let escaped = codes ^ (backslashes | carried);
    let escaping = codes & backslashes;
    (escaped, escaping >> (BLOCK_BYTES - 1) == 1)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn escaped_one_by_one(backslashes: u64, is_carried: bool) -> (u64, bool) {
        let (mut escaped, mut is_escaped) = (0, is_carried);
        for at in 0..BLOCK_BYTES {
            let bit = 1 << at;
            escaped |= if is_escaped { bit } else { 0 };
            is_escaped = !is_escaped && backslashes & bit != 0;
        }
        (escaped, is_escaped)
    }

    proptest! {
        #[test]
        fn escapes_are_those_that_are_found_one_by_one(words: [u64; 3], is_carried: bool) {
            // as drawn, mostly set, mostly clear
            let [a, b, c] = words;
            for backslashes in [a, a | b | c, a & b & c, !(a & b & c & 0x1111_1111), 0, u64::MAX] {
                prop_assert_eq!(escaped(backslashes, is_carried), escaped_one_by_one(backslashes, is_carried));
            }
        }
    }

    #[test]
    fn a_bit_stands_for_its_byte() {
        let mut bytes = [b'a'; BLOCK_BYTES];
        bytes[0] = b'"';
        bytes[17] = b'"';
        bytes[63] = b'\\';
        let block = Block::of(&bytes);
        assert_eq!((block.quotes, block.backslashes), (1 | 1 << 17, 1 << 63));
        bytes[40] = 0x1f;
        assert_eq!(Block::of(&bytes).controls(), 1 << 40);
    }
}
