//! `GET /v1/models`.

use bytes::Bytes;

/// A model as the list shows it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ModelEntry<'a> {
    /// Its name for requests.
    pub id: &'a str,
    /// Unix seconds.
    pub created: i64,
    /// Who provides it.
    pub owned_by: &'a str,
}

/// The list.
#[must_use]
pub fn encode_list<'a>(models: impl IntoIterator<Item = ModelEntry<'a>>) -> Bytes {
    let _ = models.into_iter();
    todo!()
}

/// One of them.
#[must_use]
pub fn encode_model(model: &ModelEntry<'_>) -> Bytes {
    let _ = model;
    todo!()
}
