//! Tokenizers that are public, behind one small trait. Nothing of them is in memory before the first count.

/// Counts tokens the way one family of models does.
pub trait TokenCounter {
    /// Tokens of `text` as ordinary text: what looks like a special token is spelled out.
    fn count(&self, text: &str) -> u64;
}

/// A public tokenizer. Its table (30 to 70 MB) is loaded at the first count and stays.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Encoding {
    /// OpenAI's of the GPT-4 generation and of its embeddings.
    Cl100k,
    /// OpenAI's since GPT-4o.
    O200k,
}

impl TokenCounter for Encoding {
    fn count(&self, text: &str) -> u64 {
        let tokenizer = match self {
            Self::Cl100k => bpe_openai::cl100k_base(),
            Self::O200k => bpe_openai::o200k_base(),
        };
        tokenizer.count(text) as u64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn known_texts_have_their_published_counts() {
        let cases = [
            ("", 0, 0),
            ("hello world", 2, 2),
            ("tiktoken is great!", 6, 6),
            ("antidisestablishmentarianism", 6, 6),
            ("2 + 2 = 4", 7, 7),
            ("お誕生日おめでとう", 9, 8),
        ];
        for (text, cl100k, o200k) in cases {
            assert_eq!(Encoding::Cl100k.count(text), cl100k, "{text}");
            assert_eq!(Encoding::O200k.count(text), o200k, "{text}");
        }
    }

    proptest::proptest! {
        #![proptest_config(proptest::prelude::ProptestConfig::with_cases(64))]
        /// The cheap bound is one: no text has more tokens than bytes.
        #[test]
        fn no_text_has_more_tokens_than_bytes(text in "\\PC{0,200}") {
            for encoding in [Encoding::Cl100k, Encoding::O200k] {
                proptest::prop_assert!(encoding.count(&text) <= text.len() as u64);
            }
        }
    }
}
