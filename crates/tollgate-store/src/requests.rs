//! Finished requests: lists of receipts.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use tollgate_domain::{EventId, KeyId, ProjectId, RequestId, TenantId, UnixMillis, UsageEvent};

use crate::{Page, PageRequest, Store, StoreError};

/// A finished request as journaled: its receipt.
pub type RequestRecord = UsageEvent;

/// A place in the list of requests. As text: `<finished_at in milliseconds>.<event id>`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RequestCursor {
    /// When the request ended.
    pub finished_at: UnixMillis,
    /// Its event.
    pub event: EventId,
}

impl fmt::Display for RequestCursor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.finished_at.0, self.event)
    }
}

impl FromStr for RequestCursor {
    type Err = StoreError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let parse = || {
            let (finished_at, event) = text.split_once('.')?;
            Some(Self { finished_at: UnixMillis(finished_at.parse().ok()?), event: event.parse().ok()? })
        };
        parse().ok_or_else(|| {
            StoreError::invalid(
                "request",
                "after",
                format!("`{text}` is no cursor: pass `next` of the page before"),
            )
        })
    }
}

/// Which requests; an empty filter means all.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RequestFilter {
    /// Of this tenant.
    pub tenant: Option<TenantId>,
    /// Of this project.
    pub project: Option<ProjectId>,
    /// With this key.
    pub key: Option<KeyId>,
    /// Answered by this provider's name.
    pub provider: Option<String>,
    /// Answered by this model, or asked for under this name.
    pub model: Option<String>,
    /// Ended like this: `ok`, `client_closed` or an error's code.
    pub outcome: Option<String>,
    /// Ended at or after this.
    pub from: Option<UnixMillis>,
    /// Ended before this.
    pub to: Option<UnixMillis>,
}

impl Store {
    /// Finished requests, newest end first.
    ///
    /// # Errors
    /// Only the database's own.
    pub async fn list_requests(
        &self,
        filter: &RequestFilter,
        page: PageRequest<RequestCursor>,
    ) -> Result<Page<RequestRecord, RequestCursor>, StoreError> {
        todo!()
    }

    /// The receipt of a request.
    ///
    /// # Errors
    /// `NotFound`, also while it is still in flight or on its way to the journal.
    pub async fn request(&self, id: RequestId) -> Result<RequestRecord, StoreError> {
        todo!()
    }
}
