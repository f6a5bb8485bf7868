//! What a request may count at all: the meters of its prompt and answer, and whole units.

use tollgate_domain::Meter;

/// Which meters a request can reach, and how many of those that are not tokens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reach {
    /// Prompt meters that may be counted.
    pub input: &'static [Meter],
    /// Answer meters that may be counted.
    pub output: &'static [Meter],
    /// Whole units that may be counted beside the request itself.
    pub units: UnitBounds,
}

/// How many whole units a request can count at most; the request itself is always one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct UnitBounds {
    /// Images made.
    pub images: u64,
    /// Seconds of audio or video.
    pub seconds: u64,
    /// Pages read.
    pub pages: u64,
    /// Searches or tool calls billed by the provider.
    pub searches: u64,
    /// Characters of text that is spoken.
    pub characters: u64,
}

impl UnitBounds {
    /// None at all.
    pub const NONE: Self = Self { images: 0, seconds: 0, pages: 0, searches: 0, characters: 0 };

    pub(super) const fn by_meter(self) -> [(Meter, u64); 6] {
        [
            (Meter::Request, 1),
            (Meter::Image, self.images),
            (Meter::Second, self.seconds),
            (Meter::Page, self.pages),
            (Meter::Search, self.searches),
            (Meter::Character, self.characters),
        ]
    }
}

impl Reach {
    /// Text in, text out.
    pub const TEXT: Self = Self {
        input: &[Meter::Input, Meter::CachedInput, Meter::CacheWrite5m, Meter::CacheWrite1h],
        output: &[Meter::Output, Meter::Reasoning],
        units: UnitBounds::NONE,
    };
    /// Whatever a multimodal chat may count.
    pub const MULTIMODAL: Self = Self {
        input: &[
            Meter::Input,
            Meter::CachedInput,
            Meter::CacheWrite5m,
            Meter::CacheWrite1h,
            Meter::InputAudio,
            Meter::InputImage,
        ],
        output: &[Meter::Output, Meter::Reasoning, Meter::OutputAudio, Meter::OutputImage],
        units: UnitBounds::NONE,
    };

    /// The same with so many whole units.
    #[must_use]
    pub const fn with_units(self, units: UnitBounds) -> Self {
        Self { units, ..self }
    }
}
