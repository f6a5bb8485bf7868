//! Policy objects to messages and back.

mod decode;
mod encode;
mod enums;
mod fields;
mod rules;
#[cfg(test)]
mod tests;

use std::fmt;

use tollgate_policy::{ObjectRef, PolicyChange, PolicyObject};
use uuid::Uuid;

use crate::v1;

/// Why a message is no policy object.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{object}: {field} {reason}")]
pub struct ConvertError {
    object: String,
    field: &'static str,
    reason: String,
}

impl ConvertError {
    /// `object` as `provider openai`, `reason` as the rest of a sentence that begins with the field.
    #[must_use]
    pub fn new(object: impl fmt::Display, field: &'static str, reason: impl fmt::Display) -> Self {
        Self { object: object.to_string(), field, reason: reason.to_string() }
    }
}

impl From<&PolicyObject> for v1::PolicyObject {
    fn from(object: &PolicyObject) -> Self {
        use v1::policy_object::Object;
        let object = match object {
            PolicyObject::Settings(settings) => Object::Settings(encode::settings(settings)),
            PolicyObject::Provider(provider) => Object::Provider(encode::provider(provider)),
            PolicyObject::Price(row) => Object::Price(encode::price(row)),
            PolicyObject::Margin(rule) => Object::Margin(encode::margin(rule)),
            PolicyObject::Model(model) => Object::Model(encode::model(model)),
            PolicyObject::Tenant(tenant) => Object::Tenant(encode::tenant(tenant)),
            PolicyObject::Project(project) => Object::Project(encode::project(project)),
            PolicyObject::Key(key) => Object::Key(encode::key(key)),
            PolicyObject::Budget(budget) => Object::Budget(encode::budget(budget)),
        };
        Self { object: Some(object) }
    }
}

impl TryFrom<v1::PolicyObject> for PolicyObject {
    type Error = ConvertError;

    fn try_from(message: v1::PolicyObject) -> Result<Self, ConvertError> {
        use v1::policy_object::Object;
        let missing = || ConvertError::new("policy object", "object", "is missing or of an unknown kind");
        Ok(match message.object.ok_or_else(missing)? {
            Object::Settings(settings) => Self::Settings(decode::settings(settings)?),
            Object::Provider(provider) => Self::Provider(decode::provider(provider)?),
            Object::Price(row) => Self::Price(decode::price(row)?),
            Object::Margin(rule) => Self::Margin(decode::margin(rule)?),
            Object::Model(model) => Self::Model(decode::model(model)?),
            Object::Tenant(tenant) => Self::Tenant(decode::tenant(tenant)?),
            Object::Project(project) => Self::Project(decode::project(project)?),
            Object::Key(key) => Self::Key(decode::key(key)?),
            Object::Budget(budget) => Self::Budget(decode::budget(&budget)?),
        })
    }
}

impl From<ObjectRef> for v1::ObjectRef {
    fn from(reference: ObjectRef) -> Self {
        Self { kind: enums::kind_to_wire(reference.kind), id: reference.id.as_bytes().to_vec() }
    }
}

impl TryFrom<v1::ObjectRef> for ObjectRef {
    type Error = ConvertError;

    fn try_from(message: v1::ObjectRef) -> Result<Self, ConvertError> {
        let refused = |reason: &str| ConvertError::new("reference", "id", reason);
        let kind = enums::kind_from_wire(message.kind, "reference", "kind")?;
        let id = Uuid::from_slice(&message.id).map_err(|_| refused("is not 16 bytes"))?;
        let is_settings = kind == tollgate_policy::ObjectKind::Settings;
        if id.is_nil() != is_settings {
            return Err(refused("is zero exactly for the settings"));
        }
        Ok(Self { kind, id })
    }
}

impl From<&PolicyChange> for v1::PolicyChange {
    fn from(change: &PolicyChange) -> Self {
        use v1::policy_change::Change;
        let change = match change {
            PolicyChange::Put(object) => Change::Put(object.into()),
            PolicyChange::Delete(reference) => Change::Delete((*reference).into()),
        };
        Self { change: Some(change) }
    }
}

impl TryFrom<v1::PolicyChange> for PolicyChange {
    type Error = ConvertError;

    fn try_from(message: v1::PolicyChange) -> Result<Self, ConvertError> {
        use v1::policy_change::Change;
        match message.change {
            Some(Change::Put(object)) => Ok(Self::Put(object.try_into()?)),
            Some(Change::Delete(reference)) => Ok(Self::Delete(reference.try_into()?)),
            None => Err(ConvertError::new("policy change", "change", "is missing or of an unknown kind")),
        }
    }
}
