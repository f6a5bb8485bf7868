//! How much of an answer is held for at a time, where a model does not say.

use super::apply::{Applying, ChangeAction};
use super::document::ConfigDocument;
use crate::AppError;
use crate::error::Problems;

impl Applying<'_> {
    /// A file that says nothing of it leaves it, unless it prunes.
    pub(super) async fn hold(&mut self, document: &ConfigDocument) -> Result<(), AppError> {
        if document.hold.is_empty() && !self.options.prune {
            return Ok(());
        }
        let is = self.app.default_hold(self.actor).await?.slice_tokens;
        let wanted = document.hold.check("hold", &mut Problems::default());
        let action = match (is, wanted) {
            (None, None) => return Ok(()),
            (None, Some(_)) => ChangeAction::Create,
            (Some(_), None) => ChangeAction::Delete,
            (Some(is), Some(wanted)) if is == wanted => ChangeAction::Unchanged,
            (Some(_), Some(_)) => ChangeAction::Update,
        };
        let detail = wanted.map(|tokens| format!("{tokens} tokens at a time")).unwrap_or_default();
        self.report.note(action, "hold", "slice_tokens", detail);
        if self.is_real() && action != ChangeAction::Unchanged {
            self.app.update_default_hold(self.actor, wanted).await?;
        }
        Ok(())
    }
}
