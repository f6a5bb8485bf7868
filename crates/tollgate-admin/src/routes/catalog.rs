//! The built-in catalogue: which models there are, what they can do and what they cost.

use std::collections::BTreeMap;

use axum::Json;
use axum::extract::State;
use serde::{Deserialize, Serialize};
use tollgate_catalog::{Capability, Catalog, CatalogModel, CatalogVendor, Modality, PriceBand, Tokenizer};
use tollgate_control::{AppError, List};
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::Answer;
use crate::AdminState;
use crate::receive::{Caller, Params};

/// The operations of this resource.
pub(super) fn operations() -> OpenApiRouter<AdminState> {
    OpenApiRouter::new().routes(routes!(list_catalog_models))
}

/// Which models of the catalogue are wanted.
#[derive(Debug, Default, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
struct CatalogQuery {
    /// Only of this vendor.
    vendor: Option<String>,
    /// Only models that serve this surface: `chat`, `completions`, `embeddings`, `images`, ….
    surface: Option<String>,
    /// Only models that can do this: `tools`, `structured_output`, `reasoning`, `vision`, ….
    capability: Option<String>,
    /// Only models with this text in `vendor/model` or an alias, whatever the case.
    q: Option<String>,
    /// How many at most; 100 where absent.
    #[param(minimum = 1, maximum = 1000)]
    limit: Option<usize>,
    /// `next` of the page before.
    after: Option<String>,
}

/// How many models a page has when nobody says.
const DEFAULT_PAGE: usize = 100;
/// The most models a page may have.
const MAX_PAGE: usize = 1_000;

/// A model of the built-in catalogue.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
struct CatalogModelView {
    /// The vendor, which is also the name `tollgate dev` gives the provider.
    vendor: String,
    /// The model's name there.
    model: String,
    /// Other names that mean the same.
    aliases: Vec<String>,
    /// Surfaces it serves.
    surfaces: Vec<String>,
    /// Prompt and answer tokens together, at most; 0 where the vendor does not say.
    context_tokens: u64,
    /// Answer tokens, at most; 0 where it gives none.
    max_output_tokens: u64,
    /// What it reads: `text`, `image`, `audio`, `video`, `pdf`.
    input: Vec<String>,
    /// What it writes: `text`, `image`, `audio`, `video`, `embedding`, `score`.
    output: Vec<String>,
    /// What it can do, as far as the vendor says so.
    capabilities: Vec<String>,
    /// The tokenizer its prompts are counted with, where that one is public and known.
    tokenizer: Option<String>,
    /// When the vendor retires it, `YYYY-MM-DD`, where that is known.
    deprecated_on: Option<String>,
    /// USD per million units by class (per unit for `request` and the like), as decimal strings.
    prices: BTreeMap<String, String>,
    /// Other prices for longer prompts; empty where the length makes no difference.
    bands: Vec<PriceBandView>,
    /// Prices of the processing classes beside the standard one.
    tiers: Vec<PriceTierView>,
    /// The vendor's page where the prices should stand; they were taken from price maps that name such pages.
    source: String,
    /// The day they were taken, `YYYY-MM-DD`.
    as_of: String,
}

/// The prices of a model from some length of the prompt on; they hold for the whole request.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
struct PriceBandView {
    /// From how many prompt tokens on.
    context_from: u64,
    /// As the model's own `prices`; a class that is missing here costs what it costs there.
    prices: BTreeMap<String, String>,
}

/// The prices of a model in another processing class.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
struct PriceTierView {
    /// `batch`, `flex` or `priority`.
    tier: String,
    /// As the model's own `prices`; a class that is missing here costs what it costs there.
    prices: BTreeMap<String, String>,
    /// Other prices for longer prompts.
    bands: Vec<PriceBandView>,
}

/// List the models of the built-in catalogue
#[utoipa::path(
    get,
    path = "/catalog/models",
    tag = "operations",
    params(CatalogQuery),
    responses((status = 200, description = "a page of models", body = List<CatalogModelView>)),
)]
async fn list_catalog_models(
    State(state): State<AdminState>,
    Caller(_): Caller,
    Params(query): Params<CatalogQuery>,
) -> Answer<List<CatalogModelView>> {
    Ok(Json(catalog_page(state.app.catalog(), &query)?))
}

fn catalog_page(catalog: &Catalog, query: &CatalogQuery) -> Result<List<CatalogModelView>, AppError> {
    let limit = query.limit.unwrap_or(DEFAULT_PAGE);
    if !(1..=MAX_PAGE).contains(&limit) {
        return Err(AppError::invalid("limit", format!("must be within 1 and {MAX_PAGE}")));
    }
    let capability = query.capability.as_deref().map(capability_of).transpose()?;
    let wanted_text = query.q.as_deref().map(str::to_lowercase);
    let is_wanted = |vendor: &CatalogVendor, model: &CatalogModel<'_>| {
        query.surface.as_ref().is_none_or(|wanted| model.surfaces.contains(&wanted.as_str()))
            && capability.is_none_or(|wanted| model.capabilities.contains(&wanted))
            && wanted_text.as_ref().is_none_or(|text| mentions(vendor, model, text))
    };
    let vendors = catalog.vendors().iter();
    let vendors = vendors.filter(|vendor| query.vendor.as_ref().is_none_or(|wanted| *wanted == vendor.name));
    let mut models: Vec<(String, &CatalogVendor, CatalogModel<'_>)> = vendors
        .flat_map(|vendor| vendor.models().into_iter().map(move |model| (vendor, model)))
        .filter(|(vendor, model)| is_wanted(vendor, model))
        .map(|(vendor, model)| (format!("{}/{}", vendor.name, model.name), vendor, model))
        .filter(|(cursor, _, _)| query.after.as_ref().is_none_or(|after| cursor > after))
        .collect();
    models.sort_by(|(a, _, _), (b, _, _)| a.cmp(b));
    let next = limit.checked_sub(1).and_then(|last| models.get(last)).map(|(cursor, _, _)| cursor.clone());
    let next = next.filter(|_| models.len() > limit);
    let data = models.iter().take(limit).map(|(_, vendor, model)| catalog_view(vendor, model)).collect();
    Ok(List { data, next })
}

fn capability_of(name: &str) -> Result<Capability, AppError> {
    Capability::from_name(name).ok_or_else(|| {
        let known: Vec<&str> = Capability::ALL.into_iter().map(Capability::name).collect();
        AppError::invalid("capability", format!("must be one of {}", known.join(", ")))
    })
}

/// Whether the lower-case text stands in `vendor/model` or an alias.
fn mentions(vendor: &CatalogVendor, model: &CatalogModel<'_>, text: &str) -> bool {
    let full_name = format!("{}/{}", vendor.name, model.name).to_lowercase();
    full_name.contains(text) || model.aliases.iter().any(|alias| alias.to_lowercase().contains(text))
}

fn catalog_view(vendor: &CatalogVendor, model: &CatalogModel<'_>) -> CatalogModelView {
    let owned = |texts: &[&str]| texts.iter().map(|text| (*text).to_owned()).collect();
    let modalities = |list: &[Modality]| list.iter().map(|known| known.name().to_owned()).collect();
    CatalogModelView {
        vendor: vendor.name.clone(),
        model: model.name.to_owned(),
        aliases: owned(&model.aliases),
        surfaces: owned(&model.surfaces),
        context_tokens: model.context_tokens,
        max_output_tokens: model.max_output_tokens,
        input: modalities(&model.input),
        output: modalities(&model.output),
        capabilities: model.capabilities.iter().map(|known| known.name().to_owned()).collect(),
        tokenizer: model.tokenizer.map(Tokenizer::name).map(str::to_owned),
        deprecated_on: model.deprecated_on.map(str::to_owned),
        prices: model.prices.texts(),
        bands: band_views(&model.bands),
        tiers: model
            .tiers
            .iter()
            .map(|tier| PriceTierView {
                tier: tier.tier.name().to_owned(),
                prices: tier.prices.texts(),
                bands: band_views(&tier.bands),
            })
            .collect(),
        source: model.source.to_owned(),
        as_of: model.as_of.to_owned(),
    }
}

fn band_views(bands: &[PriceBand]) -> Vec<PriceBandView> {
    let view =
        |band: &PriceBand| PriceBandView { context_from: band.context_from, prices: band.prices.texts() };
    bands.iter().map(view).collect()
}
