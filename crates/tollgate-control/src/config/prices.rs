//! Prices of a document: rows are immutable, so that a difference is a new row from now on.

use std::collections::BTreeSet;

use tollgate_catalog::PriceRow;
use tollgate_domain::UnixMillis;
use tollgate_store::{PriceFilter, PriceRecord};

use super::apply::{Applying, ChangeAction, below};
use super::document::ConfigDocument;
use super::margins::For;
use crate::AppError;
use crate::error::Problems;

impl Applying<'_> {
    /// All new rows are written together: no pod sees a model with some of its prices only. Rows that go are
    /// none in force, and go after the new ones have come.
    pub(super) async fn prices(&mut self, document: &ConfigDocument, whom: For) -> Result<(), AppError> {
        let now = self.app.now();
        let all = self.app.all_prices(&PriceFilter::default()).await?;
        let (mut named, mut new_rows) = (BTreeSet::new(), Vec::new());
        let entries = document.prices.iter().enumerate();
        for (index, price) in entries.filter(|(_, entry)| whom.is_meant(entry.tenant.as_ref())) {
            let path = format!("prices[{index}]");
            let tenant = self.tenant_of_entry(price.tenant.as_deref(), &path).await?;
            for wanted in price.rows() {
                let mut unused = Problems::default();
                let Some(row) = wanted.check("", now, &mut unused) else { continue };
                let Some(tenant) = tenant else {
                    self.report.note(ChangeAction::Create, "price", price_name(&row), "");
                    continue;
                };
                let row = PriceRow { tenant, ..row };
                let has_start = wanted.effective_from.is_some();
                if let Some(record) = standing(&all, &row, has_start, now) {
                    named.insert(record.id);
                    self.report.note(ChangeAction::Unchanged, "price", price_name(&row), "");
                    continue;
                }
                self.report.note(ChangeAction::Create, "price", price_name(&row), "");
                let row = self.app.placed_price(row, has_start, &all, now).await;
                new_rows.push(row.map_err(|error| below(error, &path))?);
            }
        }
        if self.is_real() && !new_rows.is_empty() {
            let created = self.app.create_prices(self.actor, new_rows).await;
            created.map_err(|error| below(error, "prices"))?;
        }
        if self.options.prune {
            let is_future = |record: &&PriceRecord| {
                whom.is_meant(record.row.tenant.as_ref())
                    && record.row.effective_from > now
                    && !named.contains(&record.id)
            };
            for record in all.iter().filter(is_future) {
                if self.is_real() {
                    self.app.delete_price(self.actor, &record.id.to_string()).await?;
                }
                self.report.note(ChangeAction::Delete, "price", price_name(&record.row), "");
            }
        }
        Ok(())
    }
}

fn price_name(row: &PriceRow) -> String {
    format!("{}/{} {}", row.provider, row.model, row.meter.map_or("free", |meter| meter.name()))
}

/// The stored row that already says what `wanted` says: with the same start where one is given, else the one
/// in force now.
fn standing<'a>(
    all: &'a [PriceRecord],
    wanted: &PriceRow,
    has_start: bool,
    now: UnixMillis,
) -> Option<&'a PriceRecord> {
    let of_model = |row: &PriceRow| {
        (&row.provider, &row.model, row.tenant) == (&wanted.provider, &wanted.model, wanted.tenant)
    };
    let same_thing = |row: &PriceRow| {
        (row.meter, row.service_tier, row.context_from)
            == (wanted.meter, wanted.service_tier, wanted.context_from)
    };
    let rows = || all.iter().filter(|record| of_model(&record.row));
    if has_start {
        return rows().find(|record| {
            same_thing(&record.row)
                && record.row.effective_from == wanted.effective_from
                && record.row.price == wanted.price
        });
    }
    let in_force = |record: &&PriceRecord| record.row.effective_from <= now;
    let latest = |is_wanted: &dyn Fn(&PriceRow) -> bool| {
        rows()
            .filter(in_force)
            .filter(|record| is_wanted(&record.row))
            .max_by_key(|record| record.row.effective_from)
    };
    let own = latest(&same_thing)?;
    let free_since = latest(&|row| row.meter.is_none()).map(|record| record.row.effective_from);
    let paid_since = latest(&|row| row.meter.is_some()).map(|record| record.row.effective_from);
    let is_free = free_since.is_some() && free_since >= paid_since;
    (is_free == wanted.meter.is_none() && own.row.price == wanted.price).then_some(own)
}
