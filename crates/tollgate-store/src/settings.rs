//! What concerns the whole installation.

use serde::Serialize;
use tollgate_domain::{Surface, UnixMillis};

use crate::{Store, StoreError, WriteContext};

/// The installation's settings as stored.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct SettingsRecord {
    /// The model of requests that name none, per surface.
    pub default_models: Vec<(Surface, String)>,
    /// When they were last changed.
    pub updated_at: UnixMillis,
}

impl Store {
    /// The settings; defaults where nothing was ever set.
    ///
    /// # Errors
    /// Only the database's own.
    pub async fn settings(&self) -> Result<SettingsRecord, StoreError> {
        todo!()
    }

    /// Changes the settings as [`Store::update_tenant`] does.
    ///
    /// # Errors
    /// Only the database's own.
    pub async fn update_settings(
        &self,
        ctx: &WriteContext,
        change: impl Fn(&mut SettingsRecord) + Send + Sync,
    ) -> Result<SettingsRecord, StoreError> {
        todo!()
    }

    /// A named value of the installation, such as the fingerprint of its master key.
    ///
    /// # Errors
    /// Only the database's own.
    pub async fn installation_value(&self, name: &str) -> Result<Option<Vec<u8>>, StoreError> {
        todo!()
    }

    /// Stores a named value unless there is one, and answers the one that is stored afterwards: of two
    /// replicas that start at once both get the first one's. Not audited: never shown, never changed.
    ///
    /// # Errors
    /// Only the database's own.
    pub async fn installation_value_or_insert(
        &self,
        name: &str,
        value: &[u8],
    ) -> Result<Vec<u8>, StoreError> {
        todo!()
    }
}
