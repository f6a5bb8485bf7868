//! Pages of lists, by key and not by offset: complete and without repeats while rows are added.

/// The most rows a page may have; more would make answers of megabytes.
pub const MAX_PAGE: u32 = 1_000;

/// Which part of a list is wanted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PageRequest<C> {
    /// How many rows at most; held to `1..=MAX_PAGE`.
    pub limit: u32,
    /// After which row; from the start where `None`. It is [`Page::next`] of the page before.
    pub after: Option<C>,
}

impl<C> PageRequest<C> {
    /// The first `limit` rows.
    #[must_use]
    pub const fn first(limit: u32) -> Self {
        Self { limit, after: None }
    }

    /// The `limit` rows after `after`.
    #[must_use]
    pub const fn after(limit: u32, after: C) -> Self {
        Self { limit, after: Some(after) }
    }

    /// The limit inside its bounds.
    pub(crate) fn rows(&self) -> usize {
        self.limit.clamp(1, MAX_PAGE) as usize
    }

    /// How many rows to ask the database for: one more than wanted tells whether there is a next page.
    pub(crate) fn fetch(&self) -> i64 {
        i64::from(self.limit.clamp(1, MAX_PAGE)) + 1
    }
}

/// A part of a list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Page<T, C> {
    /// The rows.
    pub items: Vec<T>,
    /// Where the next page begins; `None` on the last one.
    pub next: Option<C>,
}

impl<T, C> Page<T, C> {
    /// Cuts the one row too many off; `cursor` names a row.
    pub(crate) fn cut(mut items: Vec<T>, rows: usize, cursor: impl Fn(&T) -> C) -> Self {
        let is_last = items.len() <= rows;
        items.truncate(rows);
        let next = if is_last { None } else { items.last().map(cursor) };
        Self { items, next }
    }
}
