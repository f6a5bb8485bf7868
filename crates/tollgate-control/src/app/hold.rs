//! How much of an answer is held for at a time, where a model does not say.

use super::App;
use crate::parts::HoldBody;
use crate::{Action, Actor, AppError, Resource, ResourceOwner, Verb, authorize};

impl App {
    /// What holds for models that do not say.
    pub(crate) async fn default_hold(&self, actor: &Actor) -> Result<HoldBody, AppError> {
        authorize(actor, Action::new(Verb::Read, Resource::Settings), ResourceOwner::Installation)?;
        let slice_tokens = self.parts.store.settings().await?.hold_slice_tokens;
        Ok(HoldBody { slice_tokens })
    }

    /// Sets it for requests that begin from now on.
    pub(crate) async fn update_default_hold(
        &self,
        actor: &Actor,
        slice_tokens: Option<u32>,
    ) -> Result<(), AppError> {
        authorize(actor, Action::new(Verb::Update, Resource::Settings), ResourceOwner::Installation)?;
        let change =
            move |record: &mut tollgate_store::SettingsRecord| record.hold_slice_tokens = slice_tokens;
        self.parts.store.update_settings(&self.context(actor), change).await?;
        Ok(())
    }
}
