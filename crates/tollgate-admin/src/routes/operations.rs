//! Pods, the configuration document, the built-in catalogue.

use std::collections::{BTreeMap, HashMap};

use axum::Json;
use axum::extract::State;
use serde::{Deserialize, Serialize};
use tollgate_catalog::{Catalog, CatalogModel, CatalogVendor};
use tollgate_control::{AppError, ApplyOptions, ApplyReport, ConfigDocument, List, NodeView};
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::Answer;
use crate::AdminState;
use crate::receive::{Caller, JsonBody, Params};

/// The operations of this resource.
pub(super) fn operations() -> OpenApiRouter<AdminState> {
    OpenApiRouter::new()
        .routes(routes!(list_nodes))
        .routes(routes!(apply_config))
        .routes(routes!(export_config))
        .routes(routes!(list_catalog_models))
}

/// List the pods that follow this control plane: their policy revision and lag
#[utoipa::path(
    get,
    path = "/nodes",
    tag = "operations",
    responses((status = 200, description = "every pod", body = List<NodeView>)),
)]
async fn list_nodes(State(state): State<AdminState>, Caller(actor): Caller) -> Answer<List<NodeView>> {
    Ok(Json(state.app.list_nodes(&actor).await?))
}

/// How a configuration document is applied.
#[derive(Debug, Default, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
struct ApplyQuery {
    /// Only tell what would change.
    #[serde(default)]
    dry_run: bool,
    /// Delete what the document does not name.
    #[serde(default)]
    prune: bool,
}

/// Make the installation match a configuration document; tells every change
#[utoipa::path(
    post,
    path = "/config/apply",
    tag = "operations",
    params(ApplyQuery),
    request_body = ConfigDocument,
    responses((status = 200, description = "what changed, generated secrets once", body = ApplyReport)),
)]
async fn apply_config(
    State(state): State<AdminState>,
    Caller(actor): Caller,
    Params(query): Params<ApplyQuery>,
    JsonBody(document): JsonBody<ConfigDocument>,
) -> Answer<ApplyReport> {
    let options = ApplyOptions { dry_run: query.dry_run, prune: query.prune };
    Ok(Json(state.app.apply_config(&actor, document, options).await?))
}

/// Write the installation as a configuration document, secrets as references
#[utoipa::path(
    get,
    path = "/config/export",
    tag = "operations",
    responses((status = 200, description = "the document", body = ConfigDocument)),
)]
async fn export_config(State(state): State<AdminState>, Caller(actor): Caller) -> Answer<ConfigDocument> {
    Ok(Json(state.app.export_config(&actor).await?))
}

// === the catalogue ===

/// Which models of the catalogue are wanted.
#[derive(Debug, Default, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
struct CatalogQuery {
    /// Only of this vendor.
    vendor: Option<String>,
    /// Only models that serve this surface: `chat`, `completions` or `embeddings`.
    surface: Option<String>,
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
    /// Prompt and answer tokens together, at most.
    context_tokens: u64,
    /// Answer tokens, at most; 0 where it gives none.
    max_output_tokens: u64,
    /// USD per million units by class (per unit for `request` and the like), as decimal strings.
    prices: BTreeMap<String, String>,
    /// Other prices for longer prompts; empty where the length makes no difference.
    bands: Vec<PriceBandView>,
    /// The vendor's page the prices stand on.
    source: String,
    /// When they were read there, `YYYY-MM-DD`.
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
    let is_wanted = |vendor: &CatalogVendor, model: &CatalogModel| {
        query.vendor.as_ref().is_none_or(|wanted| *wanted == vendor.name)
            && query.surface.as_ref().is_none_or(|wanted| model.surfaces.contains(wanted))
    };
    let mut models: Vec<(String, &CatalogVendor, &CatalogModel)> = catalog
        .vendors()
        .iter()
        .flat_map(|vendor| vendor.models.iter().map(move |model| (vendor, model)))
        .filter(|(vendor, model)| is_wanted(vendor, model))
        .map(|(vendor, model)| (format!("{}/{}", vendor.name, model.name), vendor, model))
        .filter(|(cursor, _, _)| query.after.as_ref().is_none_or(|after| cursor > after))
        .collect();
    models.sort_by(|(a, _, _), (b, _, _)| a.cmp(b));
    let next = models.get(limit - 1).filter(|_| models.len() > limit).map(|(cursor, _, _)| cursor.clone());
    let data = models.into_iter().take(limit).map(|(_, vendor, model)| catalog_view(vendor, model)).collect();
    Ok(List { data, next })
}

fn by_class(prices: &HashMap<String, String>) -> BTreeMap<String, String> {
    prices.iter().map(|(class, price)| (class.clone(), price.clone())).collect()
}

fn catalog_view(vendor: &CatalogVendor, model: &CatalogModel) -> CatalogModelView {
    CatalogModelView {
        vendor: vendor.name.clone(),
        model: model.name.clone(),
        aliases: model.aliases.clone(),
        surfaces: model.surfaces.clone(),
        context_tokens: model.context_tokens,
        max_output_tokens: model.max_output_tokens,
        prices: by_class(&model.prices),
        bands: model
            .bands
            .iter()
            .map(|band| PriceBandView { context_from: band.context_from, prices: by_class(&band.prices) })
            .collect(),
        source: model.source.clone(),
        as_of: model.as_of.clone(),
    }
}
