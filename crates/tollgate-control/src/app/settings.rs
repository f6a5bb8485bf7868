//! What concerns the whole installation: the models of requests that name none.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use tollgate_domain::Surface;
use utoipa::ToSchema;

use super::App;
use crate::error::Problems;
use crate::{Action, Actor, AppError, Resource, ResourceOwner, Verb, authorize};

/// Surfaces whose requests may name no model; of files the provider is what counts. A pass-through has none to name.
const SURFACES: [Surface; 13] = [
    Surface::Chat,
    Surface::Completions,
    Surface::Embeddings,
    Surface::Moderations,
    Surface::Rerank,
    Surface::Images,
    Surface::ImageEdits,
    Surface::ImageVariations,
    Surface::Speech,
    Surface::Transcriptions,
    Surface::Translations,
    Surface::Files,
    Surface::Responses,
];
/// Surfaces that a later release will know.
const LATER_SURFACES: [&str; 1] = ["messages"];

/// Default models by surface.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct DefaultModelsView {
    /// Surface (`chat`, `completions`, `embeddings`, `moderations`, `rerank`, `images`, `image_edits`,
    /// `image_variations`, `speech`, `transcriptions`, `translations`, `files`, `responses`) to model.
    pub defaults: BTreeMap<String, String>,
}

/// The default models, all of them anew.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct UpdateDefaultModels {
    /// Surface to model; an absent surface has none.
    #[serde(default)]
    pub defaults: BTreeMap<String, String>,
}

/// Notes every problem of default models; a virtual model or `provider/model` must exist.
pub(crate) fn check_defaults(
    defaults: &BTreeMap<String, String>,
    exists: impl Fn(&str) -> bool,
    path: &str,
    problems: &mut Problems,
) -> Vec<(Surface, String)> {
    let mut checked = Vec::new();
    for (surface, model) in defaults {
        let path = format!("{path}.{surface}");
        let known = SURFACES.into_iter().find(|known| known.name() == surface);
        if LATER_SURFACES.contains(&surface.as_str()) {
            problems.add(path, "not supported yet: a default for this surface");
        } else if let Some(surface) = known {
            if !exists(model) {
                let text = "there is no such virtual model; write one, or `provider/model`";
                problems.add(path, format!("`{}`: {text}", model.escape_debug()));
            }
            checked.push((surface, model.clone()));
        } else {
            let known: Vec<&str> = SURFACES.into_iter().map(Surface::name).collect();
            problems.add(path, format!("is no surface: write one of {}", known.join(", ")));
        }
    }
    checked
}

impl App {
    /// The default models.
    ///
    /// # Errors
    /// Forbidden.
    pub async fn default_models(&self, actor: &Actor) -> Result<DefaultModelsView, AppError> {
        authorize(actor, Action::new(Verb::Read, Resource::Settings), ResourceOwner::Installation)?;
        let models = self.parts.store.settings().await?.default_models.into_iter();
        Ok(DefaultModelsView {
            defaults: models.map(|(surface, model)| (surface.name().to_owned(), model)).collect(),
        })
    }

    /// Sets the default models.
    ///
    /// # Errors
    /// Forbidden; unknown surfaces or models.
    pub async fn update_default_models(
        &self,
        actor: &Actor,
        input: UpdateDefaultModels,
    ) -> Result<DefaultModelsView, AppError> {
        authorize(actor, Action::new(Verb::Update, Resource::Settings), ResourceOwner::Installation)?;
        let models: Vec<_> = self.all_models().await?.into_iter().map(|model| model.name).collect();
        let providers: Vec<_> =
            self.all_providers().await?.into_iter().map(|provider| provider.name).collect();
        let exists = |name: &str| match name.split_once('/') {
            Some((provider, model)) => !model.is_empty() && providers.iter().any(|known| known == provider),
            None => models.iter().any(|known| known == name),
        };
        let mut problems = Problems::default();
        let checked = check_defaults(&input.defaults, exists, "defaults", &mut problems);
        problems.finish()?;
        let change =
            move |record: &mut tollgate_store::SettingsRecord| record.default_models.clone_from(&checked);
        self.parts.store.update_settings(&self.context(actor), change).await?;
        self.default_models(actor).await
    }
}
