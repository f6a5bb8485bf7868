//! What is noted with a hold, so that somebody else can journal its request should the pod die.
//!
//! Written for every request before it is sent, so it is bytes laid side by side rather than JSON: a version,
//! the numbers, then texts with their lengths. Who pays, the key and the times stand in the hold itself.

use super::{Labels, Surface};
use crate::{NanoUsd, ProjectId};

/// Bytes of a memo at most: what a ledger keeps with a hold. Labels that do not fit are left out.
pub const MAX_HOLD_MEMO_BYTES: usize = 4_096;
/// The layout; a reader refuses what it does not know.
const VERSION: u8 = 2;
/// Bytes of one text at most: names of models and users are far shorter.
const MAX_TEXT_BYTES: usize = 1_024;
/// Bytes before the texts: version, flags, surface, project, four numbers.
const HEAD_BYTES: usize = 3 + 16 + 4 * 8;
const IS_STREAMED: u8 = 1;
const HAS_END_USER: u8 = 2;

/// A request as it is known before it is sent. `T` is `&str` where it is written, `String` where it is read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HoldMemo<T> {
    /// For which project.
    pub project: ProjectId,
    /// On behalf of which end user, as the client named it.
    pub end_user: Option<T>,
    /// Which surface.
    pub surface: Surface,
    /// The model as the client asked for it.
    pub requested_model: T,
    /// The provider that is tried first.
    pub provider: T,
    /// The model there.
    pub model: T,
    /// Whether the answer is streamed.
    pub streamed: bool,
    /// What the prompt costs there, as an estimate.
    pub estimate: NanoUsd,
    /// What the provider is expected to bill for the prompt, as an estimate.
    pub provider_estimate: NanoUsd,
    /// Tokens of the prompt, as an estimate.
    pub input_tokens: u64,
    /// The policy revision that decided.
    pub policy_revision: u64,
}

/// The bytes are no memo of a layout that this release knows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the hold's memo cannot be read: another release wrote it, or nobody")]
pub struct UnreadableMemo;

impl HoldMemo<&str> {
    /// The memo as bytes, at most [`MAX_HOLD_MEMO_BYTES`]; texts are cut where they are too long, labels left
    /// out where there is no room for them.
    #[must_use]
    pub fn to_bytes(&self, labels: &Labels) -> Vec<u8> {
        let texts = [Some(self.requested_model), Some(self.provider), Some(self.model), self.end_user];
        let n_bytes = texts.iter().flatten().map(|text| 2 + text.len().min(MAX_TEXT_BYTES)).sum::<usize>();
        let n_label_bytes = labels.iter().map(|(name, value)| 4 + name.len() + value.len()).sum::<usize>();
        let mut out =
            Vec::with_capacity((HEAD_BYTES + n_bytes + n_label_bytes).min(MAX_HOLD_MEMO_BYTES + HEAD_BYTES));
        let flags = if self.streamed { IS_STREAMED } else { 0 }
            | if self.end_user.is_some() { HAS_END_USER } else { 0 };
        out.extend_from_slice(&[VERSION, flags, self.surface as u8]);
        out.extend_from_slice(self.project.as_uuid().as_bytes());
        out.extend_from_slice(&self.estimate.0.to_le_bytes());
        out.extend_from_slice(&self.provider_estimate.0.to_le_bytes());
        out.extend_from_slice(&self.input_tokens.to_le_bytes());
        out.extend_from_slice(&self.policy_revision.to_le_bytes());
        texts.into_iter().flatten().for_each(|text| write_text(&mut out, text));
        for (name, value) in labels {
            let n_label = 4 + name.len().min(MAX_TEXT_BYTES) + value.len().min(MAX_TEXT_BYTES);
            if out.len() + n_label > MAX_HOLD_MEMO_BYTES {
                break;
            }
            write_text(&mut out, name);
            write_text(&mut out, value);
        }
        debug_assert!(out.len() <= MAX_HOLD_MEMO_BYTES, "the four texts alone cannot fill it");
        out
    }
}

impl HoldMemo<String> {
    /// Reads what [`HoldMemo::to_bytes`] wrote: the memo and its labels.
    ///
    /// # Errors
    /// [`UnreadableMemo`] for anything else.
    pub fn from_bytes(bytes: &[u8]) -> Result<(Self, Labels), UnreadableMemo> {
        let mut reader = Reader(bytes);
        let [version, flags, surface] = reader.array()?;
        if version != VERSION {
            return Err(UnreadableMemo);
        }
        let project = ProjectId::from_u128(u128::from_be_bytes(reader.array()?));
        let estimate = NanoUsd(i64::from_le_bytes(reader.array()?));
        let provider_estimate = NanoUsd(i64::from_le_bytes(reader.array()?));
        let input_tokens = u64::from_le_bytes(reader.array()?);
        let policy_revision = u64::from_le_bytes(reader.array()?);
        let (requested_model, provider, model) = (reader.text()?, reader.text()?, reader.text()?);
        let end_user = if flags & HAS_END_USER != 0 { Some(reader.text()?) } else { None };
        let mut labels = Labels::new();
        while !reader.0.is_empty() {
            labels.insert(reader.text()?, reader.text()?);
        }
        let memo = Self {
            project,
            end_user,
            surface: *Surface::ALL.get(usize::from(surface)).ok_or(UnreadableMemo)?,
            requested_model,
            provider,
            model,
            streamed: flags & IS_STREAMED != 0,
            estimate,
            provider_estimate,
            input_tokens,
            policy_revision,
        };
        Ok((memo, labels))
    }
}

fn write_text(out: &mut Vec<u8>, text: &str) {
    let text = &text[..text.floor_char_boundary(MAX_TEXT_BYTES)];
    let n_bytes = u16::try_from(text.len()).expect("a text was cut to less than 64 KiB");
    out.extend_from_slice(&n_bytes.to_le_bytes());
    out.extend_from_slice(text.as_bytes());
}

struct Reader<'a>(&'a [u8]);

impl Reader<'_> {
    fn array<const N: usize>(&mut self) -> Result<[u8; N], UnreadableMemo> {
        let (array, rest) = self.0.split_first_chunk().ok_or(UnreadableMemo)?;
        self.0 = rest;
        Ok(*array)
    }

    fn text(&mut self) -> Result<String, UnreadableMemo> {
        let n_bytes = usize::from(u16::from_le_bytes(self.array()?));
        let (text, rest) = self.0.split_at_checked(n_bytes).ok_or(UnreadableMemo)?;
        self.0 = rest;
        String::from_utf8(text.to_vec()).map_err(|_| UnreadableMemo)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn memo<'a>(texts: &'a [String; 3], end_user: Option<&'a str>, n: u64) -> HoldMemo<&'a str> {
        HoldMemo {
            project: ProjectId::from_u128(u128::from(n) << 60),
            end_user,
            surface: Surface::ALL[n as usize % Surface::ALL.len()],
            requested_model: &texts[0],
            provider: &texts[1],
            model: &texts[2],
            streamed: n.is_multiple_of(2),
            estimate: NanoUsd(i64::MAX / 3),
            provider_estimate: NanoUsd(i64::MAX / 5),
            input_tokens: n,
            policy_revision: u64::MAX - n,
        }
    }

    proptest! {
        #[test]
        fn what_is_written_is_read(
            texts in any::<[String; 3]>(), end_user in any::<Option<String>>(), n in any::<u64>(),
            labels in proptest::collection::btree_map("[a-zä]{0,9}", ".{0,20}", 0..8),
        ) {
            let memo = memo(&texts, end_user.as_deref(), n);
            let (read, read_labels) = HoldMemo::from_bytes(&memo.to_bytes(&labels)).unwrap();
            prop_assert_eq!(read_labels, labels);
            prop_assert_eq!(read.requested_model.as_str(), memo.requested_model);
            prop_assert_eq!(read.provider.as_str(), memo.provider);
            prop_assert_eq!(read.model.as_str(), memo.model);
            prop_assert_eq!(read.end_user.as_deref(), memo.end_user);
            let head = (read.project, read.surface, read.streamed, read.estimate, read.input_tokens);
            prop_assert_eq!(head, (memo.project, memo.surface, memo.streamed, memo.estimate, memo.input_tokens));
            prop_assert_eq!(read.provider_estimate, memo.provider_estimate);
            prop_assert_eq!(read.policy_revision, memo.policy_revision);
        }

        #[test]
        fn anything_else_is_refused_without_a_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = HoldMemo::from_bytes(&bytes);
        }
    }

    #[test]
    fn the_longest_texts_fit_and_labels_give_way() {
        let long = "ü".repeat(50_000);
        let texts = [long.clone(), long.clone(), "m".to_owned()];
        let labels: Labels = (0..40).map(|n| (format!("label-{n:02}"), "x".repeat(60))).collect();
        let bytes = memo(&texts, Some(&long), 1).to_bytes(&labels);
        assert!(bytes.len() <= MAX_HOLD_MEMO_BYTES, "{}", bytes.len());
        let (read, kept) = HoldMemo::from_bytes(&bytes).unwrap();
        assert_eq!(read.requested_model.len(), MAX_TEXT_BYTES);
        assert!(!kept.is_empty() && kept.len() < labels.len(), "{}", kept.len());
        let cut = HoldMemo::from_bytes(&bytes[..bytes.len() - 1]);
        assert_eq!(cut.unwrap_err(), UnreadableMemo);
    }
}
