//! What a request consumed, in disjoint classes, whatever the provider's own way of counting.

use serde::ser::SerializeMap;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

macro_rules! meters {
    ($($(#[$doc:meta])* $variant:ident = $name:literal, $token:ident;)*) => {
        /// Something that is counted and can have a price. Token classes are disjoint: a cached token is no
        /// `Input` token, a reasoning token no `Output` token.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(rename_all = "snake_case")]
        pub enum Meter { $($(#[$doc])* #[serde(rename = $name)] $variant,)* }

        impl Meter {
            /// Every meter, in the order of declaration.
            pub const ALL: [Self; [$(Self::$variant),*].len()] = [$(Self::$variant),*];

            /// The name in configuration, price rows and receipts.
            #[must_use]
            pub const fn name(self) -> &'static str {
                match self { $(Self::$variant => $name,)* }
            }

            /// Whether it counts tokens (priced per million) and not whole units (priced each).
            #[must_use]
            pub const fn is_token(self) -> bool {
                match self { $(Self::$variant => meters!(@$token),)* }
            }

            /// The meter of that name.
            #[must_use]
            pub fn from_name(name: &str) -> Option<Self> {
                match name { $($name => Some(Self::$variant),)* _ => None }
            }
        }
    };
    (@token) => { true };
    (@unit) => { false };
}

meters! {
    /// Prompt tokens at the full price.
    Input = "input", token;
    /// Prompt tokens read from the provider's prompt cache.
    CachedInput = "cached_input", token;
    /// Prompt tokens written to a five-minute prompt cache.
    CacheWrite5m = "cache_write_5m", token;
    /// Prompt tokens written to a one-hour prompt cache.
    CacheWrite1h = "cache_write_1h", token;
    /// Audio tokens in the prompt.
    InputAudio = "input_audio", token;
    /// Image tokens in the prompt, where the provider prices them apart.
    InputImage = "input_image", token;
    /// Answer tokens.
    Output = "output", token;
    /// Reasoning tokens that are not shown.
    Reasoning = "reasoning", token;
    /// Audio tokens in the answer.
    OutputAudio = "output_audio", token;
    /// Image tokens in the answer.
    OutputImage = "output_image", token;
    /// Whole requests.
    Request = "request", unit;
    /// Images made.
    Image = "image", unit;
    /// Seconds of audio or video.
    Second = "second", unit;
    /// Pages read.
    Page = "page", unit;
    /// Searches or tool calls billed by the provider.
    Search = "search", unit;
    /// Characters of text that is spoken.
    Character = "character", unit;
}

/// Counts per meter. Absent meters are zero.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Usage {
    counts: [u64; Meter::ALL.len()],
}

/// Why a provider's usage object could not be normalised.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum UsageError {
    /// A part is larger than the whole it is counted in.
    #[error("usage is inconsistent: {part} exceeds {whole}")]
    PartExceedsWhole {
        /// The part's name, as the provider spells it.
        part: &'static str,
        /// The whole's name.
        whole: &'static str,
    },
    /// A count that no request can reach.
    #[error("usage is absurd: {0} is beyond any model's limits")]
    Absurd(&'static str),
    /// Something else than a whole number from zero upwards.
    #[error("usage is unreadable: {0} is no count")]
    NotACount(&'static str),
}

impl Usage {
    /// No usage at all.
    pub const ZERO: Self = Self { counts: [0; Meter::ALL.len()] };

    /// The count of one meter.
    #[must_use]
    pub const fn get(&self, meter: Meter) -> u64 {
        self.counts[meter as usize]
    }

    /// Sets one meter.
    pub const fn set(&mut self, meter: Meter, count: u64) {
        self.counts[meter as usize] = count;
    }

    /// With one meter set.
    #[must_use]
    pub const fn with(mut self, meter: Meter, count: u64) -> Self {
        self.set(meter, count);
        self
    }

    /// The meters that are not zero.
    pub fn iter(&self) -> impl Iterator<Item = (Meter, u64)> + '_ {
        Meter::ALL.into_iter().map(|meter| (meter, self.get(meter))).filter(|(_, count)| *count > 0)
    }

    /// All prompt tokens, cached and written ones included.
    #[must_use]
    pub fn input_tokens(&self) -> u64 {
        use Meter::{CacheWrite1h, CacheWrite5m, CachedInput, Input, InputAudio, InputImage};
        self.sum(&[Input, CachedInput, CacheWrite5m, CacheWrite1h, InputAudio, InputImage])
    }

    /// All answer tokens, reasoning included.
    #[must_use]
    pub fn output_tokens(&self) -> u64 {
        use Meter::{Output, OutputAudio, OutputImage, Reasoning};
        self.sum(&[Output, Reasoning, OutputAudio, OutputImage])
    }

    /// All tokens of all classes.
    #[must_use]
    pub fn total_tokens(&self) -> u64 {
        self.input_tokens().saturating_add(self.output_tokens())
    }

    /// Adds another usage, meter by meter, saturating.
    #[must_use]
    pub fn plus(mut self, other: &Self) -> Self {
        for (mine, theirs) in self.counts.iter_mut().zip(other.counts) {
            *mine = mine.saturating_add(theirs);
        }
        self
    }

    /// Takes a part out of it, meter by meter, at least zero.
    #[must_use]
    pub fn minus(mut self, part: &Self) -> Self {
        for (mine, theirs) in self.counts.iter_mut().zip(part.counts) {
            *mine = mine.saturating_sub(theirs);
        }
        self
    }

    fn sum(&self, meters: &[Meter]) -> u64 {
        meters.iter().fold(0, |sum: u64, meter| sum.saturating_add(self.get(*meter)))
    }
}

impl Serialize for Usage {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        for (meter, count) in self.iter() {
            map.serialize_entry(meter.name(), &count)?;
        }
        map.end()
    }
}

impl<'de> Deserialize<'de> for Usage {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let counts = std::collections::BTreeMap::<Meter, u64>::deserialize(deserializer)?;
        let mut usage = Self::ZERO;
        for (meter, count) in counts {
            usage.set(meter, count);
        }
        Ok(usage)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn meters_index_their_own_slot_and_name() {
        for (index, meter) in Meter::ALL.into_iter().enumerate() {
            assert_eq!(meter as usize, index);
            assert_eq!(Meter::from_name(meter.name()), Some(meter));
        }
    }

    #[test]
    fn sums_and_serde() {
        let usage = Usage::ZERO.with(Meter::Input, 10).with(Meter::CachedInput, 4).with(Meter::Reasoning, 3);
        assert_eq!((usage.input_tokens(), usage.output_tokens(), usage.total_tokens()), (14, 3, 17));
        let json = serde_json::to_string(&usage).unwrap();
        assert_eq!(json, r#"{"input":10,"cached_input":4,"reasoning":3}"#);
        assert_eq!(serde_json::from_str::<Usage>(&json).unwrap(), usage);
    }
}
