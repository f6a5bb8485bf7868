//! Sound in a prompt: how many seconds it can last at most, from its bytes.
//!
//! Bytes alone bound nothing: a lossless codec writes hours of silence in a few bytes. Only two formats do,
//! and they are what OpenAI accepts: WAV, whose header tells how many bytes a second has, and MP3, whose
//! frames are never shorter than a few bytes.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use crate::media::{MP3_BYTES_PER_SECOND, wav_bytes_per_second};

/// Tokens of a second of sound at most: Gemini counts 32, others 10 to 25.
pub const AUDIO_TOKENS_PER_SECOND: u64 = 50;
/// Models that listen in windows pad the last one: seconds are rounded up to whole windows.
const WINDOW_SECONDS: u64 = 30;
/// Base64 characters that are looked at for a WAV's format.
const MAX_HEADER_CHARS: usize = 4 << 10;
/// Seconds that the sound can last at most, for its base64 text as it stands in the JSON text; `None` where
/// its bytes do not tell.
pub(super) fn seconds_of(data: &[u8]) -> Option<u64> {
    let n_bytes = u64::try_from(data.len()).ok()?.div_ceil(4) * 3;
    let n_chars = data.len().min(MAX_HEADER_CHARS) / 4 * 4;
    let head = &data[..n_chars];
    let head = if head.ends_with(b"=") { &head[..n_chars - 4] } else { head };
    let bytes = STANDARD.decode(head).ok()?;
    let bytes_per_second = if bytes.starts_with(b"RIFF") {
        wav_bytes_per_second(&bytes)?
    } else if bytes.starts_with(b"ID3") || is_mp3_frame(&bytes) {
        MP3_BYTES_PER_SECOND
    } else {
        return None;
    };
    Some(n_bytes.div_ceil(bytes_per_second).div_ceil(WINDOW_SECONDS).max(1) * WINDOW_SECONDS)
}

fn is_mp3_frame(bytes: &[u8]) -> bool {
    matches!(bytes, [0xff, second, ..] if second & 0xe0 == 0xe0 && second & 0x06 != 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wav(format: u16, channels: u16, rate: u32, bits: u16, n_bytes: usize) -> String {
        let mut bytes = b"RIFF\0\0\0\0WAVELIST\x03\0\0\0abc\0fmt \x10\0\0\0".to_vec();
        bytes.extend(format.to_le_bytes());
        bytes.extend(channels.to_le_bytes());
        bytes.extend(rate.to_le_bytes());
        bytes.extend([0; 6]);
        bytes.extend(bits.to_le_bytes());
        bytes.extend(b"data\0\0\0\0");
        bytes.resize(bytes.len() + n_bytes, 0);
        STANDARD.encode(bytes)
    }

    #[test]
    fn seconds_table() {
        let cases = [
            (wav(1, 1, 24_000, 16, 48_000 * 10), Some(30)),
            (wav(1, 1, 24_000, 16, 48_000 * 29), Some(30)),
            (wav(1, 1, 24_000, 16, 48_000 * 30), Some(60)),
            (wav(1, 2, 48_000, 16, 192_000 * 95), Some(120)),
            // one sample a second
            (wav(1, 1, 1, 8, 1_000), Some(1_080)),
            (wav(0x55, 1, 24_000, 16, 100), None),
            (wav(1, 0, 24_000, 16, 100), None),
            (STANDARD.encode(b"RIFF\0\0\0\0WAVEfmt "), None),
            (STANDARD.encode([b"ID3".as_slice(), &[0; 12_797]].concat()), Some(120)),
            (STANDARD.encode([[0xff, 0xfb].as_slice(), &[0; 98]].concat()), Some(30)),
            (STANDARD.encode(b"fLaC0000000000000"), None),
            (STANDARD.encode(b"OggS0000000000000"), None),
            ("not base64!".to_owned(), None),
            (String::new(), None),
        ];
        for (data, expected) in cases {
            let start = &data[..data.len().min(60)];
            assert_eq!(seconds_of(data.as_bytes()), expected, "{start}");
        }
    }
}
