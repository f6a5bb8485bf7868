//! Who writes, when and why.

use serde::{Deserialize, Serialize};
use tollgate_domain::UnixMillis;

/// What kind of actor writes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ActorKind {
    /// A person with a session.
    User,
    /// The bearer of an admin token.
    Token,
    /// The program itself: seeding, a configuration file at start, jobs.
    System,
}

/// Who writes, when and why: the first argument of every write.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WriteContext {
    /// The actor's name, as the audit log shows it.
    pub actor: String,
    /// What kind of actor.
    pub actor_kind: ActorKind,
    /// The time of the write: becomes `created_at` and `updated_at`.
    pub now: UnixMillis,
    /// Why, where the actor said so.
    pub reason: Option<String>,
}

impl WriteContext {
    /// The program itself at `now`, under a name such as `apply` or `seed`.
    #[must_use]
    pub fn system(name: &str, now: UnixMillis) -> Self {
        Self { actor: name.to_owned(), actor_kind: ActorKind::System, now, reason: None }
    }
}
