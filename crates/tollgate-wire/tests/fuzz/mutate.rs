//! Mutations.

/// Numbers that repeat with their seed (xorshift64*).
pub(crate) struct Random(u64);

impl Random {
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1)
    }

    fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_F491_4F6C_DD1D)
    }

    /// A number below `bound`, which is not 0.
    fn below(&mut self, bound: usize) -> usize {
        usize::try_from(self.next() >> 33).unwrap() % bound
    }
}

/// Pieces that matter to one parser or the other.
const PIECES: &[&[u8]] = &[
    b"\"",
    b"\\",
    b"{",
    b"}",
    b"[",
    b"]",
    b":",
    b",",
    b"null",
    b"true",
    b"0",
    b"-1",
    b"1e999",
    b"1.50",
    b"18446744073709551616",
    b"\\u0000",
    b"\\ud800",
    b"\\ud83d\\ude00",
    b"\xff",
    b"\xc3",
    b"\xe2\x80\xa8",
    b"\xef\xbb\xbf",
    b"\0",
    b"\r",
    b"\n",
    b"\r\n",
    b"\n\n",
    b"\r\r",
    b"data:",
    b"data: ",
    b"event: error\n",
    b"id: 1\n",
    b": comment\n",
    b"[DONE]",
    b"{}",
    b"[]",
    b"\"\"",
    b"--x",
    b"\r\n--x\r\n",
    b"--x--",
    b"\"type\":",
    b"\"index\":",
    b"\"usage\":null",
    b"\"error\":{}",
    b"\"content\":[]",
    b"\"stream\":true",
    b"[[[[[[[[[[[[[[[[",
    b"{\"a\":{\"a\":{\"a\":",
    b"                ",
];
/// Inputs grow no further.
const BYTES_MAX: usize = 16 << 10;
/// Changes of one input at most.
const CHANGES_MAX: usize = 4;

/// Draws inputs from a corpus.
pub(crate) struct Mutator {
    random: Random,
}

impl Mutator {
    pub(crate) const fn new(random: Random) -> Self {
        Self { random }
    }

    /// One of `seeds`, changed a few times.
    pub(crate) fn input(&mut self, seeds: &[Vec<u8>]) -> Vec<u8> {
        let mut input = seeds[self.random.below(seeds.len())].clone();
        for _ in 0..=self.random.below(CHANGES_MAX) {
            self.change(&mut input, seeds);
        }
        input.truncate(BYTES_MAX);
        input
    }

    fn change(&mut self, input: &mut Vec<u8>, seeds: &[Vec<u8>]) {
        let at = self.random.below(input.len() + 1);
        let length = self.random.below(32) + 1;
        let end = (at + length).min(input.len());
        match self.random.below(9) {
            0 if at < input.len() => input[at] ^= 1 << self.random.below(8),
            1 if at < input.len() => input[at] = u8::try_from(self.random.below(256)).unwrap(),
            2 => drop(input.drain(at..end)),
            3 => {
                let copy = input[at..end].to_vec();
                let to = self.random.below(input.len() + 1);
                input.splice(to..to, copy);
            }
            4 => input.truncate(at),
            5 => {
                // the rest of another input
                let other = &seeds[self.random.below(seeds.len())];
                let from = self.random.below(other.len() + 1);
                input.truncate(at);
                input.extend_from_slice(&other[from..]);
            }
            6 => {
                let piece = PIECES[self.random.below(PIECES.len())];
                input.splice(at..end, piece.iter().copied());
            }
            _ => {
                let piece = PIECES[self.random.below(PIECES.len())];
                input.splice(at..at, piece.iter().copied());
            }
        }
    }
}
