//! Models and prices: the built-in catalogue as data, and the arithmetic over price rows.
//!
//! Pure. A charge is `Σ price × units`, rounded once, upwards; an upper bound is the same sum over the
//! dearest reachable prices.

mod builtin;
mod price;
mod sheet;

pub use builtin::{Catalog, CatalogError, CatalogModel, CatalogVendor, PriceBand};
pub use price::{ANY_MODEL, PriceRow, ServiceTier};
pub use sheet::{Charge, Needs, PriceSheet, PriceTimeline, Reach, UnpricedReason};
