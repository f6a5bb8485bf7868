//! Files that a request names by their sealed ids: only their owner's are known, and the request goes where they are kept.

use std::sync::Arc;

use bytes::Bytes;
use tollgate_domain::ErrorKind;
use tollgate_wire::neutral::ChatDialect;
use tollgate_wire::openai::file_ids::{NamedFile, named_files, named_pictures, with_file_names};

use crate::auth::Authenticated;
use crate::error::Refusal;
use crate::objects::ids::{Kind, ObjectId, Owner};

/// A request whose files have the names that their provider knows.
#[derive(Debug)]
pub(crate) struct OpenedFiles {
    pub(crate) body: Bytes,
    /// One of them, which tells the provider and the account of all.
    pub(crate) kept: Arc<ObjectId>,
}

/// Opens the names of a request's files; `None` where it names none.
pub(crate) fn open(
    dialect: ChatDialect,
    body: &[u8],
    caller: &Authenticated,
) -> Result<Option<OpenedFiles>, Refusal> {
    open_all(&named_files(dialect, body)?, body, caller)
}

/// The same for pictures that are to be edited.
pub(crate) fn open_pictures(body: &[u8], caller: &Authenticated) -> Result<Option<OpenedFiles>, Refusal> {
    open_all(&named_pictures(body)?, body, caller)
}

fn open_all(
    files: &[NamedFile],
    body: &[u8],
    caller: &Authenticated,
) -> Result<Option<OpenedFiles>, Refusal> {
    let owner = Owner::new(&caller.snapshot, &caller.context);
    let mut opened: Vec<ObjectId> = Vec::with_capacity(files.len());
    for file in files {
        let kept = owner.open(Kind::File, &file.name).filter(|kept| ObjectId::is_plain(&kept.upstream));
        let kept = kept.ok_or_else(|| {
            let shown: String = file.name.chars().take(40).collect();
            let message = format!(
                "there is no file `{}`: name one that was uploaded at /v1/files, or send its data",
                shown.escape_debug()
            );
            Refusal::new(ErrorKind::NotFound, message).with_param(&file.param)
        })?;
        if opened.first().is_some_and(|first| !is_same_place(first, &kept)) {
            let message = "the files of a request must be kept by one provider, in one account: upload them there, or send their data";
            return Err(Refusal::new(ErrorKind::InvalidRequest, message).with_param(&file.param));
        }
        opened.push(kept);
    }
    let names: Vec<String> = opened.iter().map(|kept| kept.upstream.clone()).collect();
    let kept = opened.pop();
    Ok(kept.map(|kept| OpenedFiles { body: with_file_names(body, files, &names), kept: Arc::new(kept) }))
}

/// Whether two things are kept by one provider, in one account.
pub(crate) fn is_same_place(one: &ObjectId, other: &ObjectId) -> bool {
    (one.provider, one.credential) == (other.provider, other.credential)
}
