//! Names of things that a provider keeps: whose they are and where they are stands in the name itself, sealed with the
//! installation's secret. So every gateway knows without asking anybody, and a name that belongs to another project, or
//! that somebody made up, is as unknown as any other.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use tollgate_domain::{CredentialId, KeyId, NanoUsd, ProviderId, RequestId, UnixMillis};
use tollgate_policy::{KeyContext, Snapshot};
use uuid::Uuid;

/// What is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    File,
    Batch,
    Response,
}

impl Kind {
    const fn prefix(self) -> &'static str {
        match self {
            Self::File => "file-tg",
            Self::Batch => "batch_tg",
            Self::Response => "resp_tg",
        }
    }

    /// As OpenAI names it in an error.
    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::File => "file",
            Self::Batch => "batch",
            Self::Response => "response",
        }
    }
}

/// The money side of what goes on after its request, a batch or a response in the background: what was held for it, under
/// whose name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct BatchClaim {
    /// The request that made it, which is also its hold.
    pub(crate) request: RequestId,
    pub(crate) key: KeyId,
    pub(crate) held: NanoUsd,
    pub(crate) admitted_at: UnixMillis,
    pub(crate) model: String,
    /// The prompt as an estimate, of a response.
    pub(crate) input_tokens: Option<u64>,
    /// Whose budget it counts against beside its key's.
    pub(crate) end_user: Option<String>,
}

/// A sealed name, opened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ObjectId {
    pub(crate) provider: ProviderId,
    /// The account it belongs to.
    pub(crate) credential: Option<CredentialId>,
    pub(crate) batch: Option<BatchClaim>,
    /// Tokens that a response brings to what continues it, as far as they were known when it was named.
    pub(crate) context_tokens: Option<u64>,
    /// Its name there.
    pub(crate) upstream: String,
}

/// Whose things are sealed.
#[derive(Clone, Copy)]
pub(crate) struct Owner<'a> {
    snapshot: &'a Snapshot,
    context: &'a KeyContext,
}

/// How a batch's claim by itself begins, which is no name of anything.
pub(super) const CLAIM: &str = "claim_tg";
/// Bytes of a seal: nobody guesses 128 bits.
const SEAL_BYTES: usize = 16;
/// Of the byte that says which fields follow: what a response brings to the next one is among them.
const HAS_CONTEXT: u8 = 8;
/// Longest name at a provider that is taken: theirs have some fifty characters.
const MAX_UPSTREAM_BYTES: usize = 256;

impl<'a> Owner<'a> {
    pub(crate) const fn new(snapshot: &'a Snapshot, context: &'a KeyContext) -> Self {
        Self { snapshot, context }
    }

    fn mac(&self, what: &str, bytes: &[u8]) -> [u8; 32] {
        let (tenant, project) = (self.context.tenant.id.as_uuid(), self.context.project.id.as_uuid());
        self.snapshot.seal(&[what.as_bytes(), tenant.as_bytes(), project.as_bytes(), bytes])
    }

    /// A mark by which an owner's things are found among others' at a provider.
    pub(crate) fn mark(&self) -> String {
        self.mac("mark", &[])[..8].iter().map(|byte| format!("{byte:02x}")).collect()
    }

    pub(crate) fn seal(&self, kind: Kind, object: &ObjectId) -> String {
        self.seal_as(kind.prefix(), object)
    }

    pub(super) fn seal_as(&self, prefix: &str, object: &ObjectId) -> String {
        let mut bytes = object.to_bytes();
        let seal = self.mac(prefix, &bytes);
        bytes.extend_from_slice(&seal[..SEAL_BYTES]);
        format!("{prefix}{}", URL_SAFE_NO_PAD.encode(bytes))
    }

    /// `None` for whatever is not this owner's.
    pub(crate) fn open(&self, kind: Kind, text: &str) -> Option<ObjectId> {
        self.open_as(kind.prefix(), text)
    }

    pub(super) fn open_as(&self, prefix: &str, text: &str) -> Option<ObjectId> {
        let bytes = URL_SAFE_NO_PAD.decode(text.strip_prefix(prefix)?).ok()?;
        let (bytes, seal) = bytes.split_at_checked(bytes.len().checked_sub(SEAL_BYTES)?)?;
        let expected = self.mac(prefix, bytes);
        // every byte is looked at, wherever the first difference is
        let difference = expected.iter().zip(seal).fold(0, |sum, (one, other)| sum | (one ^ other));
        if difference != 0 {
            return None;
        }
        ObjectId::from_bytes(bytes)
    }
}

impl ObjectId {
    /// Provider, credential (zero for none), the claim's fields where there is one, and the name.
    fn to_bytes(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(160);
        out.extend_from_slice(self.provider.as_uuid().as_bytes());
        out.extend_from_slice(self.credential.map_or_else(Uuid::nil, |id| id.as_uuid()).as_bytes());
        let context = if self.context_tokens.is_some() { HAS_CONTEXT } else { 0 };
        match &self.batch {
            None => out.push(context),
            Some(claim) => {
                let (input, user) = (claim.input_tokens.is_some(), claim.end_user.is_some());
                out.push(context + 1 + u8::from(input) + 2 * u8::from(user));
                out.extend_from_slice(claim.request.as_uuid().as_bytes());
                out.extend_from_slice(claim.key.as_uuid().as_bytes());
                out.extend_from_slice(&claim.held.0.to_be_bytes());
                out.extend_from_slice(&claim.admitted_at.0.to_be_bytes());
                out.extend_from_slice(&u16::try_from(claim.model.len()).unwrap_or(0).to_be_bytes());
                out.extend_from_slice(claim.model.as_bytes());
                out.extend(claim.input_tokens.into_iter().flat_map(u64::to_be_bytes));
                if let Some(user) = &claim.end_user {
                    out.extend_from_slice(&u16::try_from(user.len()).unwrap_or(0).to_be_bytes());
                    out.extend_from_slice(user.as_bytes());
                }
            }
        }
        out.extend(self.context_tokens.into_iter().flat_map(u64::to_be_bytes));
        out.extend_from_slice(self.upstream.as_bytes());
        out
    }

    fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let mut rest = bytes;
        let provider = ProviderId::from_uuid(uuid(&mut rest)?);
        let credential = uuid(&mut rest).map(|id| (!id.is_nil()).then(|| CredentialId::from_uuid(id)))?;
        let flag = *take(&mut rest, 1)?.first()?;
        let batch = match flag & !HAS_CONTEXT {
            0 => None,
            flag if flag <= 4 => {
                let (has_input, has_user) = ((flag - 1) % 2 == 1, flag > 2);
                let (request, key) =
                    (RequestId::from_uuid(uuid(&mut rest)?), KeyId::from_uuid(uuid(&mut rest)?));
                let held = NanoUsd(i64::from_be_bytes(take(&mut rest, 8)?.try_into().ok()?));
                let admitted_at = UnixMillis(i64::from_be_bytes(take(&mut rest, 8)?.try_into().ok()?));
                let model = text(&mut rest)?;
                let input = if has_input { Some(take(&mut rest, 8)?.try_into().ok()?) } else { None };
                let input_tokens = input.map(u64::from_be_bytes);
                let end_user = if has_user { Some(text(&mut rest)?) } else { None };
                Some(BatchClaim { request, key, held, admitted_at, model, input_tokens, end_user })
            }
            _ => return None,
        };
        let has_context = flag & HAS_CONTEXT != 0;
        let context = if has_context { Some(take(&mut rest, 8)?.try_into().ok()?) } else { None };
        let (context_tokens, upstream) =
            (context.map(u64::from_be_bytes), String::from_utf8(rest.to_vec()).ok()?);
        Some(Self { provider, credential, batch, context_tokens, upstream })
    }

    /// Whether a name of a provider's can stand in a path as it is.
    pub(crate) fn is_plain(upstream: &str) -> bool {
        (1..=MAX_UPSTREAM_BYTES).contains(&upstream.len())
            && upstream.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_'))
    }
}

fn take<'a>(rest: &mut &'a [u8], n: usize) -> Option<&'a [u8]> {
    let (taken, left) = rest.split_at_checked(n)?;
    *rest = left;
    Some(taken)
}

/// A text with its length before it.
fn text(rest: &mut &[u8]) -> Option<String> {
    let n_bytes = u16::from_be_bytes(take(rest, 2)?.try_into().ok()?);
    String::from_utf8(take(rest, n_bytes.into())?.to_vec()).ok()
}

fn uuid(rest: &mut &[u8]) -> Option<Uuid> {
    Uuid::from_slice(take(rest, 16)?).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_read_back_and_cut_ones_are_not() {
        let claim = BatchClaim {
            request: RequestId::from_u128(1),
            key: KeyId::from_u128(2),
            held: NanoUsd(3),
            admitted_at: UnixMillis(4),
            model: "gpt-5-mini".to_owned(),
            input_tokens: None,
            end_user: None,
        };
        let with_input = BatchClaim { input_tokens: Some(5), ..claim.clone() };
        let with_user = BatchClaim { end_user: Some("anna".to_owned()), ..claim.clone() };
        let with_both = BatchClaim { end_user: Some("bert".to_owned()), ..with_input.clone() };
        for batch in [None, Some(claim), Some(with_input), Some(with_user), Some(with_both)] {
            for credential in [None, Some(CredentialId::from_u128(9))] {
                let upstream = "file-abc".to_owned();
                let object = ObjectId {
                    provider: ProviderId::from_u128(7),
                    credential,
                    batch: batch.clone(),
                    context_tokens: credential.map(|_| 77),
                    upstream,
                };
                let bytes = object.to_bytes();
                assert_eq!(ObjectId::from_bytes(&bytes), Some(object));
                for n in 0..bytes.len() - 8 {
                    assert_eq!(ObjectId::from_bytes(&bytes[..n]), None, "{n}");
                }
            }
        }
        assert!(ObjectId::is_plain("file-9aZ_x") && !ObjectId::is_plain("../x") && !ObjectId::is_plain(""));
    }
}
