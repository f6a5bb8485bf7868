//! How long a piece of sound lasts, from its bytes alone: what its own headers claim is not believed.

/// Bytes of a second of sound at least, where its coding is neither WAV nor MP3: 4 kbit/s, below the rate of any speech
/// codec in use. A coding that writes silence in fewer bytes is not bounded by this.
pub const OTHER_SOUND_BYTES_PER_SECOND: u64 = 500;
/// The same in all likelihood: 32 kbit/s, a usual rate of speech.
const LIKELY_BYTES_PER_SECOND: u64 = 4_000;
/// Bytes of a second of MP3 at least, for what is no frame of a known length: a free-format frame of header and side
/// information has 13 bytes and lasts 72 ms at most.
pub(crate) const MP3_BYTES_PER_SECOND: u64 = 128;
/// The uncompressed codings of WAV: PCM, float, A-law, µ-law.
const WAV_FORMATS: [u16; 4] = [1, 3, 6, 7];
/// Bytes of a WAV that are looked at for its format.
const MAX_HEADER_BYTES: usize = 4 << 10;

/// A length in whole seconds, rounded up; at least one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SoundLength {
    /// At most.
    pub most: u64,
    /// In all likelihood.
    pub likely: u64,
}

impl SoundLength {
    const fn exact(seconds: u64) -> Self {
        let seconds = if seconds == 0 { 1 } else { seconds };
        Self { most: seconds, likely: seconds }
    }
}

/// How long the sound in `bytes` lasts.
#[must_use]
pub fn sound_length(bytes: &[u8]) -> SoundLength {
    let n_bytes = bytes.len() as u64;
    if bytes.starts_with(b"RIFF")
        && let Some(per_second) = wav_bytes_per_second(&bytes[..bytes.len().min(MAX_HEADER_BYTES)])
    {
        return SoundLength::exact(n_bytes.div_ceil(per_second));
    }
    if bytes.starts_with(b"ID3") || mp3_frame(bytes).is_some() {
        return SoundLength::exact(mp3_seconds(bytes));
    }
    SoundLength {
        most: n_bytes.div_ceil(OTHER_SOUND_BYTES_PER_SECOND).max(1),
        likely: n_bytes.div_ceil(LIKELY_BYTES_PER_SECOND).max(1),
    }
}

/// Bytes of a second of a WAV in an uncompressed coding; `None` where its head does not tell.
pub(crate) fn wav_bytes_per_second(bytes: &[u8]) -> Option<u64> {
    if bytes.get(8..12)? != b"WAVE" {
        return None;
    }
    let short = |at: usize| Some(u16::from_le_bytes(bytes.get(at..at + 2)?.try_into().ok()?));
    let long = |at: usize| Some(u32::from_le_bytes(bytes.get(at..at + 4)?.try_into().ok()?));
    let mut at = 12;
    while bytes.get(at..at + 4)? != b"fmt " {
        let n_bytes = usize::try_from(long(at + 4)?).ok()?;
        at = at.checked_add(8)?.checked_add(n_bytes)?.checked_add(n_bytes % 2)?;
    }
    let (format, channels, rate) = (short(at + 8)?, u64::from(short(at + 10)?), u64::from(long(at + 12)?));
    let bits = u64::from(short(at + 22)?);
    let per_second = rate * channels * bits.div_ceil(8);
    (WAV_FORMATS.contains(&format) && per_second > 0).then_some(per_second)
}

/// Seconds of an MP3: its frames one after the other, and what is none at the lowest rate there is.
fn mp3_seconds(bytes: &[u8]) -> u64 {
    let mut at = id3_bytes(bytes);
    let (mut microseconds, mut n_other_bytes) = (0_u64, 0_u64);
    while at < bytes.len() {
        match mp3_frame(&bytes[at..]) {
            Some(frame) => {
                microseconds = microseconds.saturating_add(frame.microseconds);
                at += frame.n_bytes;
            }
            None => {
                n_other_bytes += 1;
                at += 1;
            }
        }
    }
    microseconds.div_ceil(1_000_000).saturating_add(n_other_bytes / MP3_BYTES_PER_SECOND)
}

/// Bytes of the tag in front of the frames.
fn id3_bytes(bytes: &[u8]) -> usize {
    let Some(&[b'I', b'D', b'3', major, minor, flags, a, b, c, d]) = bytes.get(..10) else { return 0 };
    // what breaks these rules is no tag for a decoder, but sound
    if major == 0xff || minor == 0xff || [a, b, c, d].iter().any(|byte| *byte >= 0x80) {
        return 0;
    }
    // seven bits in each byte
    let size = [a, b, c, d].iter().fold(0_usize, |size, byte| size << 7 | usize::from(*byte));
    let footer = if flags & 0x10 == 0 { 0 } else { 10 };
    (10 + size + footer).min(bytes.len())
}

struct Mp3Frame {
    n_bytes: usize,
    microseconds: u64,
}

/// The frame that begins here; `None` where none does, or its length is not told.
fn mp3_frame(bytes: &[u8]) -> Option<Mp3Frame> {
    /// Kilobits a second of MPEG-1, layers I to III, and of MPEG-2, layer I and layers II and III.
    const RATES: [[u16; 15]; 5] = [
        [0, 32, 64, 96, 128, 160, 192, 224, 256, 288, 320, 352, 384, 416, 448],
        [0, 32, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320, 384],
        [0, 32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320],
        [0, 32, 48, 56, 64, 80, 96, 112, 128, 144, 160, 176, 192, 224, 256],
        [0, 8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160],
    ];
    let &[0xff, second, third, _] = bytes.get(..4)? else { return None };
    let (version, layer) = (second >> 3 & 3, second >> 1 & 3);
    if second & 0xe0 != 0xe0 || version == 1 || layer == 0 {
        return None;
    }
    let is_first = version == 3;
    let table = match (is_first, layer) {
        (true, 3) => 0,
        (true, 2) => 1,
        (true, _) => 2,
        (false, 3) => 3,
        (false, _) => 4,
    };
    let kilobits = u64::from(*RATES[table].get(usize::from(third >> 4)).filter(|rate| **rate > 0)?);
    let sample_rate = [44_100_u64, 48_000, 32_000].get(usize::from(third >> 2 & 3))?;
    let sample_rate = match version {
        3 => *sample_rate,
        2 => sample_rate / 2,
        _ => sample_rate / 4,
    };
    let padding = u64::from(third >> 1 & 1);
    let (samples, n_bytes) = match (layer, is_first) {
        (3, _) => (384, (12 * kilobits * 1_000 / sample_rate + padding) * 4),
        (1, false) => (576, 72 * kilobits * 1_000 / sample_rate + padding),
        _ => (1_152, 144 * kilobits * 1_000 / sample_rate + padding),
    };
    let n_bytes = usize::try_from(n_bytes).ok().filter(|n_bytes| *n_bytes >= 4)?;
    Some(Mp3Frame { n_bytes, microseconds: (samples * 1_000_000_u64).div_ceil(sample_rate) })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A header and `n` bytes of PCM: 48,000 of them last a second.
    fn wav(n: usize) -> Vec<u8> {
        let mut bytes = b"RIFF\0\0\0\0WAVEfmt \x10\0\0\0\x01\0\x01\0".to_vec();
        bytes.extend(24_000_u32.to_le_bytes());
        bytes.extend(48_000_u32.to_le_bytes());
        bytes.extend(b"\x02\0\x10\0data\0\0\0\0");
        bytes.resize(n, 0);
        bytes
    }

    /// Frames of MPEG-1 layer III at 128 kbit/s and 44.1 kHz: 417 bytes and 26.1 ms each.
    fn mp3(n: usize) -> Vec<u8> {
        let mut frame = vec![0xff, 0xfb, 0x90, 0x00];
        frame.resize(417, 0);
        frame.repeat(n)
    }

    #[test]
    fn lengths() {
        let tagged = [b"ID3\x04\0\0\0\0\x08\0".as_slice(), &[0xff; 1_024], &mp3(1_000)].concat();
        // no decoder takes this for a tag
        let mistagged = [b"ID3\x04\0\0\0\x8c\0\0".as_slice(), &mp3(1_000)].concat();
        let cases = [
            (mistagged, 27, 27),
            (wav(480_000), 10, 10),
            (wav(480_001), 11, 11),
            (wav(100), 1, 1),
            (mp3(1_000), 27, 27),
            (tagged, 27, 27),
            (b"ID3".to_vec(), 1, 1),
            ([mp3(1), vec![0; 12_800]].concat(), 101, 101),
            (vec![b'O'; 40_000], 80, 10),
            (Vec::new(), 1, 1),
        ];
        for (bytes, most, likely) in cases {
            let start = &bytes[..bytes.len().min(4)];
            assert_eq!(sound_length(&bytes), SoundLength { most, likely }, "{start:?}");
        }
    }
}
