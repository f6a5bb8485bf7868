//! What an image in a prompt costs in tokens: OpenAI's published tables, for the models they name.
//!
//! A model cuts an image either into tiles of 512 pixels after scaling it down, or into patches of 32. Where
//! the size of an image is not known, its tokens are those of the largest one the model accepts.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

/// Tokens that one image can cost at most at any model: the dearest entry of OpenAI's tables (gpt-4o-mini,
/// high detail: 2,833 + 8 tiles × 5,667).
pub const IMAGE_TOKENS_BOUND: u64 = 48_169;
/// Base64 characters of an image that are looked at for its size: a JPEG may begin with 64 KiB of other data.
const MAX_HEADER_CHARS: usize = 96 << 10;
/// Pixels to which an image's longer and shorter side are scaled down before it is cut into tiles.
const MAX_LONG_SIDE: u64 = 2_048;
const MAX_SHORT_SIDE: u64 = 768;
const TILE_SIDE: u64 = 512;
/// Tiles of the largest image: 768 × 2,048 pixels.
const MAX_TILES: u64 = 8;
const PATCH_SIDE: u64 = 32;
/// Patches of the largest image; larger ones are scaled down.
const MAX_PATCHES: u64 = 1_536;

/// How closely a model is asked to look.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ImageDetail {
    /// `low`: the image as one small one.
    Low,
    /// Anything else, or nothing said.
    Full,
}

/// What a request says about one of its images.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ImagePart {
    /// How closely to look.
    pub detail: ImageDetail,
    /// Width and height in pixels, where the image is in the body and says so.
    pub size: Option<(u32, u32)>,
}

/// How a model counts images.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ImageRates {
    /// So many tokens, and so many for each tile of 512 × 512 pixels.
    Tiles {
        /// Tokens of every image; all there is in low detail.
        base: u64,
        /// Tokens of a tile.
        tile: u64,
    },
    /// So many hundredths of a token for each patch of 32 × 32 pixels.
    Patches {
        /// Hundredths of a token.
        hundredths: u64,
    },
}

/// OpenAI's tables. Only models that are named there, and their dated versions.
const TABLE: &[(&str, ImageRates)] = &[
    ("gpt-4o", ImageRates::Tiles { base: 85, tile: 170 }),
    ("gpt-4.1", ImageRates::Tiles { base: 85, tile: 170 }),
    ("gpt-4.5-preview", ImageRates::Tiles { base: 85, tile: 170 }),
    ("gpt-4-turbo", ImageRates::Tiles { base: 85, tile: 170 }),
    ("gpt-4o-mini", ImageRates::Tiles { base: 2_833, tile: 5_667 }),
    ("gpt-5", ImageRates::Tiles { base: 70, tile: 140 }),
    ("gpt-5-chat-latest", ImageRates::Tiles { base: 70, tile: 140 }),
    ("o1", ImageRates::Tiles { base: 75, tile: 150 }),
    ("o1-pro", ImageRates::Tiles { base: 75, tile: 150 }),
    ("o3", ImageRates::Tiles { base: 75, tile: 150 }),
    ("gpt-4.1-mini", ImageRates::Patches { hundredths: 162 }),
    ("gpt-4.1-nano", ImageRates::Patches { hundredths: 246 }),
    ("gpt-5-mini", ImageRates::Patches { hundredths: 162 }),
    ("gpt-5-nano", ImageRates::Patches { hundredths: 246 }),
    ("o4-mini", ImageRates::Patches { hundredths: 172 }),
];

/// How the model of that name counts images, where OpenAI's tables name it: `gpt-4o`, `openai/gpt-4o` or
/// `gpt-4o-2024-11-20`.
#[must_use]
pub fn image_rates(model: &str) -> Option<ImageRates> {
    let name = model.rsplit('/').next().unwrap_or(model);
    let is_that = |known: &str| name.strip_prefix(known).is_some_and(|rest| rest.is_empty() || is_date(rest));
    TABLE.iter().find(|(known, _)| is_that(known)).map(|(_, rates)| *rates)
}

/// `-YYYY-MM-DD`.
fn is_date(rest: &str) -> bool {
    let shape = |(index, byte): (usize, u8)| match index {
        0 | 5 | 8 => byte == b'-',
        _ => byte.is_ascii_digit(),
    };
    rest.len() == 11 && rest.bytes().enumerate().all(shape)
}

impl ImageRates {
    /// Tokens of an image at most.
    #[must_use]
    pub fn tokens(self, image: ImagePart) -> u64 {
        match self {
            Self::Tiles { base, .. } if image.detail == ImageDetail::Low => base,
            Self::Tiles { base, tile } => base + tile * image.size.map_or(MAX_TILES, n_tiles),
            Self::Patches { hundredths } => {
                (image.size.map_or(MAX_PATCHES, n_patches) * hundredths).div_ceil(100)
            }
        }
    }
}

/// Tiles of an image at most, however the provider rounds when it scales.
fn n_tiles((width, height): (u32, u32)) -> u64 {
    let (long, short) = (u64::from(width.max(height)), u64::from(width.min(height)));
    let (mut long, mut short_floor, mut short) = (long, short, short);
    if long > MAX_LONG_SIDE {
        short_floor = (short * MAX_LONG_SIDE / long).max(1);
        short = (short * MAX_LONG_SIDE).div_ceil(long);
        long = MAX_LONG_SIDE;
    }
    if short > MAX_SHORT_SIDE {
        long = (long * MAX_SHORT_SIDE).div_ceil(short_floor.max(MAX_SHORT_SIDE));
        short = MAX_SHORT_SIDE;
    }
    (long.div_ceil(TILE_SIDE) * short.div_ceil(TILE_SIDE)).clamp(1, MAX_TILES)
}

fn n_patches((width, height): (u32, u32)) -> u64 {
    let patches = |side: u32| u64::from(side).div_ceil(PATCH_SIDE);
    (patches(width) * patches(height)).clamp(1, MAX_PATCHES)
}

// === sizes of images in the body ===

/// Width and height of an image given as a `data:` URL, as it stands in the JSON text.
pub(super) fn size_of_data_url(url: &[u8]) -> Option<(u32, u32)> {
    let comma = memchr::memchr(b',', url)?;
    let (head, data) = (&url[..comma], &url[comma + 1..]);
    if !head.ends_with(b";base64") {
        return None;
    }
    let n_chars = data.len().min(MAX_HEADER_CHARS) / 4 * 4;
    let bytes = STANDARD.decode(trim_padding(&data[..n_chars])).ok()?;
    let (width, height) = png_size(&bytes).or_else(|| jpeg_size(&bytes))?;
    (width > 0 && height > 0).then_some((width, height))
}

/// Without a last group that is padded: three bytes less change no header.
fn trim_padding(data: &[u8]) -> &[u8] {
    if data.ends_with(b"=") { &data[..data.len() - 4] } else { data }
}

fn png_size(bytes: &[u8]) -> Option<(u32, u32)> {
    if !bytes.starts_with(b"\x89PNG\r\n\x1a\n") || bytes.get(12..16)? != b"IHDR" {
        return None;
    }
    let number = |at: usize| Some(u32::from_be_bytes(bytes.get(at..at + 4)?.try_into().ok()?));
    Some((number(16)?, number(20)?))
}

/// The size in the first frame header, past all segments before it (a thumbnail is inside one of them).
fn jpeg_size(bytes: &[u8]) -> Option<(u32, u32)> {
    if !bytes.starts_with(&[0xff, 0xd8]) {
        return None;
    }
    let number = |at: usize| Some(u16::from_be_bytes(bytes.get(at..at + 2)?.try_into().ok()?));
    let mut at = 2;
    loop {
        if *bytes.get(at)? != 0xff {
            return None;
        }
        let marker = *bytes.get(at + 1)?;
        match marker {
            0xff => at += 1,
            0xc0..=0xcf if !matches!(marker, 0xc4 | 0xc8 | 0xcc) => {
                return Some((u32::from(number(at + 7)?), u32::from(number(at + 5)?)));
            }
            0xd0..=0xd9 | 0x01 => return None,
            _ => at += 2 + usize::from(number(at + 2)?),
        }
    }
}

#[cfg(test)]
mod tests;
