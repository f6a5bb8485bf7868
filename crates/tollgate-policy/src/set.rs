//! The raw objects, by kind and id, and the changes to them.

use std::collections::BTreeMap;

use uuid::Uuid;

use crate::{ObjectKind, PolicyObject};

/// Names one object.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ObjectRef {
    /// Its collection.
    pub kind: ObjectKind,
    /// Its identity there.
    pub id: Uuid,
}

/// One change of policy.
#[expect(clippy::large_enum_variant, reason = "changes are few and short-lived; a box would be noise")]
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PolicyChange {
    /// The object is now this.
    Put(PolicyObject),
    /// The object is gone.
    Delete(ObjectRef),
}

/// All policy objects at one revision.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PolicySet {
    objects: BTreeMap<ObjectRef, PolicyObject>,
}

impl PolicySet {
    /// Applies one change; deleting what is not there changes nothing.
    pub fn apply(&mut self, change: PolicyChange) {
        match change {
            PolicyChange::Put(object) => {
                self.objects.insert(object.reference(), object);
            }
            PolicyChange::Delete(reference) => {
                self.objects.remove(&reference);
            }
        }
    }

    /// All objects, parents before children.
    pub fn iter(&self) -> impl Iterator<Item = &PolicyObject> {
        self.objects.values()
    }

    /// How many objects there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.objects.len()
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.objects.is_empty()
    }
}

impl FromIterator<PolicyObject> for PolicySet {
    fn from_iter<I: IntoIterator<Item = PolicyObject>>(objects: I) -> Self {
        Self { objects: objects.into_iter().map(|object| (object.reference(), object)).collect() }
    }
}
