//! Models and prices: the built-in catalogue as data, and the arithmetic over price rows.
//!
//! Pure. A charge is `Σ price × units`, rounded once, upwards; an upper bound is the same sum over the
//! dearest reachable prices.

mod builtin;
mod drift;
mod model;
mod price;
mod quirks;
mod responses;
pub mod sanity;
mod sheet;

pub use builtin::{Catalog, CatalogError, CatalogVendor};
pub use drift::{Drift, DriftRow, PriceMap, PriceMapError, Pricing, part_by_sanity};
pub use model::{
    Capability, CatalogModel, CatalogTier, Modality, PriceBand, PriceList, PricePoint, Tokenizer,
    parse_price, price_text,
};
pub use price::{ANY_MODEL, PriceRow, ServiceTier};
pub use quirks::{ErrorShape, OutputCapName, QuirkSource, StreamUsage, VendorQuirks};
pub use responses::VendorResponses;
pub use sheet::{
    Charge, MarginTimeline, Needs, PriceSheet, PriceTimeline, Reach, UnitBounds, UnpricedReason,
};
