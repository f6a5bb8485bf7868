//! What requests of the surfaces beside conversation can cost at most.

use std::sync::Arc;

use tollgate_catalog::{Needs, PriceSheet, Reach, ServiceTier, UnitBounds};
use tollgate_domain::{ErrorKind, Meter, Surface};
use tollgate_policy::Candidate;
use tollgate_wire::media::MediaRequest;

use super::{PlanInput, PricedCandidate, PricedPlanShape, not_priced};
use crate::error::Refusal;
use crate::media;

/// How such a request is priced: its tokens are those of all answers together.
pub(super) fn shape_of(request: &MediaRequest) -> PricedPlanShape {
    let of = |meter| request.bounds.units.get(meter);
    let units = UnitBounds {
        images: of(Meter::Image),
        seconds: of(Meter::Second),
        pages: of(Meter::Page),
        searches: of(Meter::Search),
        characters: of(Meter::Character),
    };
    PricedPlanShape {
        tier: ServiceTier::Standard,
        reach: Reach::MULTIMODAL.with_units(units),
        n_choices: 1,
        prediction_tokens: 0,
    }
}

pub(super) fn price_candidate(
    candidate: &Arc<Candidate>,
    input: &PlanInput<'_>,
    request: &MediaRequest,
    shape: &PricedPlanShape,
) -> Result<PricedCandidate, Refusal> {
    let name = || format!("{}/{}", candidate.provider.name, candidate.model);
    media::check(request, candidate)?;
    let sheet = match input.is_unbilled {
        true => Some(PriceSheet::free()),
        false => input.context.price_sheet(candidate, input.now),
    };
    let sheet = sheet.ok_or_else(|| not_priced(&name(), "the model has no price"))?;
    sheet
        .check(shape.tier, needs_of(request.surface))
        .map_err(|reason| not_priced(&name(), &reason.to_string()))?;
    if !sheet.is_free() {
        refuse_what_nothing_bounds(request, &sheet, &name())?;
    }
    Ok(PricedCandidate {
        candidate: Arc::clone(candidate),
        sheet,
        input_bound: request.bounds.input_tokens,
        output_cap: request.bounds.output_tokens,
        slice_tokens: None,
        dropped: None,
    })
}

fn refuse_what_nothing_bounds(request: &MediaRequest, sheet: &PriceSheet, name: &str) -> Result<(), Refusal> {
    if let Some(member) = request.foreign_members.first() {
        let message = format!("`{member}` lets the provider choose or add what is billed: leave it out");
        return Err(Refusal::new(ErrorKind::InvalidRequest, message).with_param(*member));
    }
    let other = Meter::ALL.into_iter().find(|meter| *meter != Meter::Request && sheet.charges(*meter));
    if request.surface == Surface::Passthrough
        && let Some(meter) = other
    {
        let message = format!(
            "`{name}` has a price per {}, which nothing bounds here: ask your operator for one per request alone",
            meter.name()
        );
        return Err(Refusal::new(ErrorKind::ModelNotPriced, message).with_param("model"));
    }
    Ok(())
}

/// What must have a price for a request of the surface.
pub(super) const fn needs_of(surface: Surface) -> Needs {
    use Meter::{Character, Image, Input, Output, Search, Second};
    match surface {
        Surface::Chat | Surface::Completions => Needs::InputAndOutput,
        Surface::Embeddings | Surface::Moderations => Needs::InputOnly,
        Surface::Rerank => Needs::UnitsOr { units: &[Search], tokens: &[Input] },
        Surface::Images | Surface::ImageEdits | Surface::ImageVariations => {
            Needs::UnitsOr { units: &[Image], tokens: &[Input, Output] }
        }
        Surface::Speech => Needs::UnitsOr { units: &[Character], tokens: &[Input, Output] },
        Surface::Transcriptions | Surface::Translations => {
            Needs::UnitsOr { units: &[Second], tokens: &[Input, Output] }
        }
        Surface::Passthrough | Surface::Files | Surface::Batches | Surface::Responses => Needs::RequestOnly,
    }
}
