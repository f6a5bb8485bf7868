//! Who asks, and what they may do: one table of roles, resources and verbs; what it does not name is denied.

use tollgate_domain::{Secret, TenantId};

use crate::AppError;

/// What a caller is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// Runs the installation.
    PlatformAdmin,
    /// Runs one tenant.
    TenantAdmin(TenantId),
}

/// Who makes a call. Its name stands in the audit log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Actor {
    name: String,
    role: Role,
}

impl Actor {
    /// An actor of that name and role.
    #[must_use]
    pub fn new(name: impl Into<String>, role: Role) -> Self {
        Self { name: name.into(), role }
    }

    /// The installation itself: seeding of `tollgate dev`, start-up configuration, jobs.
    #[must_use]
    pub fn system() -> Self {
        Self::new("system", Role::PlatformAdmin)
    }

    /// The name in the audit log.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// What it is.
    #[must_use]
    pub fn role(&self) -> Role {
        self.role
    }

    /// The only tenant whose objects it may know of; `None` for all.
    #[must_use]
    pub fn own_tenant(&self) -> Option<TenantId> {
        match self.role {
            Role::PlatformAdmin => None,
            Role::TenantAdmin(tenant) => Some(tenant),
        }
    }

    /// The role's name in the audit log.
    #[must_use]
    pub fn role_name(&self) -> &'static str {
        match self.role {
            Role::PlatformAdmin => "platform_admin",
            Role::TenantAdmin(_) => "tenant_admin",
        }
    }
}

/// What is acted upon.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Resource {
    /// Tenants themselves.
    Tenant,
    /// Projects.
    Project,
    /// API keys.
    Key,
    /// Budgets.
    Budget,
    /// Credit granted to wallets.
    Credit,
    /// Wallet balances and the journal.
    Balance,
    /// Providers and their credentials.
    Provider,
    /// Virtual models.
    Model,
    /// Price rows.
    Price,
    /// Margin rules.
    Margin,
    /// Default models per surface.
    Settings,
    /// Spend reports.
    Usage,
    /// Receipts.
    Request,
    /// The audit log.
    Audit,
    /// Pods.
    Node,
    /// The configuration document.
    Config,
    /// Webhooks and their deliveries.
    Webhook,
}

impl Resource {
    /// Every resource.
    pub const ALL: [Self; 17] = [
        Self::Tenant,
        Self::Project,
        Self::Key,
        Self::Budget,
        Self::Credit,
        Self::Balance,
        Self::Provider,
        Self::Model,
        Self::Price,
        Self::Margin,
        Self::Settings,
        Self::Usage,
        Self::Request,
        Self::Audit,
        Self::Node,
        Self::Config,
        Self::Webhook,
    ];

    /// The word for it in messages and in the audit log.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Tenant => "tenant",
            Self::Project => "project",
            Self::Key => "key",
            Self::Budget => "budget",
            Self::Credit => "credit",
            Self::Balance => "balance",
            Self::Provider => "provider",
            Self::Model => "model",
            Self::Price => "price",
            Self::Margin => "margin",
            Self::Settings => "settings",
            Self::Usage => "usage",
            Self::Request => "request",
            Self::Audit => "audit",
            Self::Node => "node",
            Self::Config => "configuration",
            Self::Webhook => "webhook",
        }
    }
}

/// What is done.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Verb {
    /// Looked at.
    Read,
    /// Made.
    Create,
    /// Changed.
    Update,
    /// Removed.
    Delete,
}

impl Verb {
    /// Every verb.
    pub const ALL: [Self; 4] = [Self::Read, Self::Create, Self::Update, Self::Delete];

    const fn name(self) -> &'static str {
        match self {
            Self::Read => "read",
            Self::Create => "create",
            Self::Update => "update",
            Self::Delete => "delete",
        }
    }
}

/// What is done to what.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Action {
    /// To what.
    pub resource: Resource,
    /// What.
    pub verb: Verb,
}

impl Action {
    /// `verb` on `resource`.
    #[must_use]
    pub const fn new(verb: Verb, resource: Resource) -> Self {
        Self { resource, verb }
    }
}

/// Whose the object is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ResourceOwner {
    /// The installation's, or everybody's at once (an unfiltered list).
    Installation,
    /// A tenant's.
    Tenant(TenantId),
}

/// How far a permission reaches.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Reach {
    Nothing,
    OwnTenant,
    Everything,
}

/// The table. What no line names is denied.
const fn reach_of(role: Role, action: Action) -> Reach {
    use Resource::{Audit, Balance, Budget, Credit, Key, Model, Price, Project, Request, Tenant, Usage};
    use Verb::{Create, Delete, Read, Update};
    match (role, action.resource, action.verb) {
        (Role::PlatformAdmin, _, _) => Reach::Everything,
        (Role::TenantAdmin(_), Project | Key | Budget, Read | Create | Update | Delete)
        | (Role::TenantAdmin(_), Tenant | Credit | Balance | Usage | Request | Audit, Read) => {
            Reach::OwnTenant
        }
        (Role::TenantAdmin(_), Model | Price, Read) => Reach::Everything,
        (Role::TenantAdmin(_), _, _) => Reach::Nothing,
    }
}

/// Whether `actor` may do `action` to something of `owner`'s.
///
/// # Errors
/// [`AppError::Forbidden`] where the role does not have the permission at all; [`AppError::NotFound`] where
/// it has it, but for another tenant: what belongs to others cannot be told from what is missing.
pub fn authorize(actor: &Actor, action: Action, owner: ResourceOwner) -> Result<(), AppError> {
    let forbidden =
        || AppError::Forbidden(format!("{} a {} here", action.verb.name(), action.resource.name()));
    match (reach_of(actor.role, action), actor.role, owner) {
        (Reach::Everything, _, _) => Ok(()),
        (Reach::OwnTenant, Role::TenantAdmin(own), ResourceOwner::Tenant(tenant)) if own == tenant => Ok(()),
        (Reach::OwnTenant, _, ResourceOwner::Tenant(_)) => {
            Err(AppError::not_found(action.resource.name(), "of that name"))
        }
        (Reach::OwnTenant, _, ResourceOwner::Installation) | (Reach::Nothing, _, _) => Err(forbidden()),
    }
}

/// Whether `actor` may do `action` to anything at all: asked before an object is looked up, so that a role
/// without the permission learns nothing about what exists.
///
/// # Errors
/// [`AppError::Forbidden`].
pub fn authorize_some(actor: &Actor, action: Action) -> Result<(), AppError> {
    match reach_of(actor.role, action) {
        Reach::Nothing => {
            Err(AppError::Forbidden(format!("{} a {} here", action.verb.name(), action.resource.name())))
        }
        Reach::OwnTenant | Reach::Everything => Ok(()),
    }
}

/// The logins there are: for now the bootstrap platform-admin token alone.
#[derive(Clone, Debug, Default)]
pub struct AdminLogins {
    bootstrap: Option<Secret>,
}

impl AdminLogins {
    /// Logins with this platform-admin token; without one nobody can log in.
    #[must_use]
    pub fn new(bootstrap: Option<Secret>) -> Self {
        Self { bootstrap: bootstrap.filter(|token| !token.expose().is_empty()) }
    }

    /// The actor a bearer token stands for; compared in constant time.
    ///
    /// # Errors
    /// [`AppError::Unauthenticated`].
    pub fn authenticate(&self, bearer_token: &str) -> Result<Actor, AppError> {
        match &self.bootstrap {
            Some(token) if *token == Secret::new(bearer_token) => {
                Ok(Actor::new("bootstrap-admin", Role::PlatformAdmin))
            }
            _ => Err(AppError::Unauthenticated),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const OWN: TenantId = TenantId::from_u128(1);
    const OTHER: TenantId = TenantId::from_u128(2);

    #[test]
    fn what_a_tenant_admin_may_do_is_listed_here_and_nothing_else() {
        use Resource::{Audit, Balance, Budget, Credit, Key, Model, Price, Project, Request, Tenant, Usage};
        let admin = Actor::new("ada", Role::TenantAdmin(OWN));
        for resource in Resource::ALL {
            for verb in Verb::ALL {
                let own = authorize(&admin, Action::new(verb, resource), ResourceOwner::Tenant(OWN));
                let expected = match resource {
                    Project | Key | Budget => true,
                    Tenant | Credit | Balance | Usage | Request | Audit | Model | Price => verb == Verb::Read,
                    _ => false,
                };
                assert_eq!(own.is_ok(), expected, "{verb:?} {resource:?}");
                let other = authorize(&admin, Action::new(verb, resource), ResourceOwner::Tenant(OTHER));
                let public = matches!(resource, Model | Price) && verb == Verb::Read;
                assert_eq!(other.is_ok(), public, "{verb:?} {resource:?}");
                if expected && !public {
                    assert_eq!(other.unwrap_err().status(), 404, "{verb:?} {resource:?}");
                }
                let all = authorize(&admin, Action::new(verb, resource), ResourceOwner::Installation);
                assert_eq!(all.is_ok(), public, "{verb:?} {resource:?}");
            }
        }
    }

    #[test]
    fn only_the_exact_token_logs_in() {
        let logins = AdminLogins::new(Some(Secret::new("bootstrap-token")));
        assert_eq!(logins.authenticate("bootstrap-token").unwrap().role(), Role::PlatformAdmin);
        for wrong in ["", "bootstrap-toke", "bootstrap-tokenn", "Bootstrap-token"] {
            assert_eq!(logins.authenticate(wrong), Err(AppError::Unauthenticated), "{wrong}");
        }
        assert_eq!(AdminLogins::new(None).authenticate(""), Err(AppError::Unauthenticated));
        assert_eq!(AdminLogins::new(Some(Secret::new(""))).authenticate(""), Err(AppError::Unauthenticated));
    }
}
