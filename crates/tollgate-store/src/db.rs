//! Running one SQL text on both databases.
//!
//! A [`Statement`] carries its text and its bound values to whichever database is behind it, a [`Row`] reads
//! columns by name. So every query is written once, in the dialect that PostgreSQL and SQLite share; where
//! only PostgreSQL needs a statement, the caller asks [`Tx::is_postgres`]. Placeholders are `$1`, `$2`, …

use std::borrow::Cow;

use serde::Serialize;
use serde::de::DeserializeOwned;
use sqlx::postgres::{PgArguments, PgConnection, PgPool, PgRow};
use sqlx::sqlite::{SqliteArguments, SqliteConnection, SqlitePool, SqliteRow};
use sqlx::types::Json;
use sqlx::{
    Arguments as _, AssertSqlSafe, Decode, Encode, Postgres, Row as _, SqlSafeStr as _, SqlStr, Sqlite, Type,
};
use tollgate_domain::{Id, NanoUsd, UnixMillis};

use crate::StoreError;

/// What can be bound in a statement of either database.
pub(crate) trait Bind<'q>:
    Encode<'q, Postgres> + Type<Postgres> + Encode<'q, Sqlite> + Type<Sqlite> + Send
{
}
impl<'q, T> Bind<'q> for T where
    T: Encode<'q, Postgres> + Type<Postgres> + Encode<'q, Sqlite> + Type<Sqlite> + Send
{
}

/// What can be read from a row of either database.
pub(crate) trait Column:
    for<'r> Decode<'r, Postgres> + Type<Postgres> + for<'r> Decode<'r, Sqlite> + Type<Sqlite>
{
}
impl<T> Column for T where
    T: for<'r> Decode<'r, Postgres> + Type<Postgres> + for<'r> Decode<'r, Sqlite> + Type<Sqlite>
{
}

/// Something that runs statements: a transaction, or the pool of readers.
pub(crate) trait Sql: Send {
    /// Begins a statement.
    fn sql(&mut self, text: impl Into<Cow<'static, str>>) -> Statement<'_>;
}

/// Where a statement runs, with the values bound so far.
enum Target<'t> {
    PostgresPool(&'t PgPool, PgArguments),
    Postgres(&'t mut PgConnection, PgArguments),
    SqlitePool(&'t SqlitePool, SqliteArguments),
    Sqlite(&'t mut SqliteConnection, SqliteArguments),
}

/// One SQL statement being put together.
pub(crate) struct Statement<'t> {
    text: Cow<'static, str>,
    target: Target<'t>,
    n_bound: usize,
    /// Whether the text has a placeholder with a number.
    is_numbered: bool,
    failure: Option<sqlx::Error>,
}

impl<'t> Statement<'t> {
    pub(crate) fn on_postgres(connection: &'t mut PgConnection, text: Cow<'static, str>) -> Self {
        Self::new(Target::Postgres(connection, PgArguments::default()), text)
    }

    pub(crate) fn on_sqlite(connection: &'t mut SqliteConnection, text: Cow<'static, str>) -> Self {
        Self::new(Target::Sqlite(connection, SqliteArguments::default()), text)
    }

    pub(crate) fn on_postgres_pool(pool: &'t PgPool, text: Cow<'static, str>) -> Self {
        Self::new(Target::PostgresPool(pool, PgArguments::default()), text)
    }

    pub(crate) fn on_sqlite_pool(pool: &'t SqlitePool, text: Cow<'static, str>) -> Self {
        Self::new(Target::SqlitePool(pool, SqliteArguments::default()), text)
    }

    fn new(target: Target<'t>, text: Cow<'static, str>) -> Self {
        let is_numbered = text.contains('$');
        Self { text, target, n_bound: 0, is_numbered, failure: None }
    }

    /// Binds the next value.
    pub(crate) fn bind<'q>(mut self, value: impl Bind<'q>) -> Self {
        self.add(value);
        self
    }

    fn add<'q>(&mut self, value: impl Bind<'q>) {
        self.n_bound += 1;
        let added = match &mut self.target {
            Target::PostgresPool(_, arguments) | Target::Postgres(_, arguments) => arguments.add(value),
            Target::SqlitePool(_, arguments) | Target::Sqlite(_, arguments) => arguments.add(value),
        };
        if let Err(error) = added {
            self.failure.get_or_insert(sqlx::Error::Encode(error));
        }
    }

    /// Binds what only PostgreSQL knows, such as an array.
    pub(crate) fn bind_postgres<'q>(
        mut self,
        value: impl Encode<'q, Postgres> + Type<Postgres> + Send,
    ) -> Self {
        self.n_bound += 1;
        let added = match &mut self.target {
            Target::PostgresPool(_, arguments) | Target::Postgres(_, arguments) => arguments.add(value),
            Target::SqlitePool(..) | Target::Sqlite(..) => Err("SQLite has no arrays".into()),
        };
        if let Err(error) = added {
            self.failure.get_or_insert(sqlx::Error::Encode(error));
        }
        self
    }

    /// Binds a document.
    pub(crate) fn json<T: Serialize + Sync>(self, value: &T) -> Self {
        self.bind(Json(value))
    }

    /// Binds an identity.
    pub(crate) fn id<T>(self, id: Id<T>) -> Self {
        self.bind(id.as_uuid())
    }

    /// Binds a moment that may be missing.
    pub(crate) fn moment(self, moment: Option<UnixMillis>) -> Self {
        self.bind(moment.map(|moment| moment.0))
    }

    /// Appends fixed text.
    pub(crate) fn push(mut self, text: &str) -> Self {
        self.append(text);
        self
    }

    /// The same through a reference, for statements of thousands of values.
    pub(crate) fn append(&mut self, text: &str) {
        self.is_numbered |= text.contains('$');
        self.text.to_mut().push_str(text);
    }

    /// Appends the placeholder of a value and binds it.
    ///
    /// SQLite searches a numbered placeholder's name among all the others, which makes a statement of thousands
    /// quadratic; it gets plain ones, unless the text has numbered ones already (the two do not mix).
    pub(crate) fn push_bind<'q>(mut self, value: impl Bind<'q>) -> Self {
        self.append_bind(value);
        self
    }

    /// The same through a reference.
    pub(crate) fn append_bind<'q>(&mut self, value: impl Bind<'q>) {
        let is_sqlite = matches!(self.target, Target::SqlitePool(..) | Target::Sqlite(..));
        if is_sqlite && !self.is_numbered {
            self.text.to_mut().push('?');
        } else {
            let placeholder = format!("${}", self.n_bound + 1);
            self.append(&placeholder);
        }
        self.add(value);
    }

    /// Appends the operand of `->>` that names a field. PostgreSQL takes the bare name; SQLite takes a bare
    /// name for a path where it looks like one, so it gets the whole path, quoted.
    pub(crate) fn push_field(self, name: &str) -> Self {
        let operand = match self.target {
            Target::PostgresPool(..) | Target::Postgres(..) => name.to_owned(),
            Target::SqlitePool(..) | Target::Sqlite(..) => format!("$.{}", serde_json::Value::from(name)),
        };
        self.push("CAST(").push_bind(operand).push(" AS TEXT)")
    }

    /// Appends `condition` and a value's placeholder where there is a value: `" AND name = "`.
    pub(crate) fn filter<'q, T: Bind<'q>>(self, condition: &str, value: Option<T>) -> Self {
        match value {
            Some(value) => self.push(condition).push_bind(value),
            None => self,
        }
    }

    fn parts(self) -> Result<(SqlStr, Target<'t>), StoreError> {
        if let Some(failure) = self.failure {
            return Err(StoreError::Database(failure));
        }
        let text = match self.text {
            Cow::Borrowed(text) => text.into_sql_str(),
            // Texts are put together from literals and placeholders only: see `push` and `push_bind`.
            Cow::Owned(text) => AssertSqlSafe(text).into_sql_str(),
        };
        Ok((text, self.target))
    }

    /// Runs it; answers how many rows it changed.
    pub(crate) async fn execute(self) -> Result<u64, StoreError> {
        let (text, target) = self.parts()?;
        Ok(match target {
            Target::PostgresPool(pool, arguments) => {
                sqlx::query_with(text, arguments).execute(pool).await?.rows_affected()
            }
            Target::Postgres(connection, arguments) => {
                sqlx::query_with(text, arguments).execute(connection).await?.rows_affected()
            }
            Target::SqlitePool(pool, arguments) => {
                sqlx::query_with(text, arguments).execute(pool).await?.rows_affected()
            }
            Target::Sqlite(connection, arguments) => {
                sqlx::query_with(text, arguments).execute(connection).await?.rows_affected()
            }
        })
    }

    /// Runs it and expects exactly one changed row: anything else is a defect, and is undone.
    pub(crate) async fn execute_one(self) -> Result<(), StoreError> {
        let text = self.text.clone();
        match self.execute().await? {
            1 => Ok(()),
            n => Err(StoreError::corrupt("rows changed", format!("{n} instead of 1 by `{text}`"))),
        }
    }

    /// Runs it; answers all rows.
    pub(crate) async fn fetch_all(self) -> Result<Vec<Row>, StoreError> {
        let (text, target) = self.parts()?;
        Ok(match target {
            Target::PostgresPool(pool, arguments) => {
                postgres_rows(sqlx::query_with(text, arguments).fetch_all(pool).await?)
            }
            Target::Postgres(connection, arguments) => {
                postgres_rows(sqlx::query_with(text, arguments).fetch_all(connection).await?)
            }
            Target::SqlitePool(pool, arguments) => {
                sqlite_rows(sqlx::query_with(text, arguments).fetch_all(pool).await?)
            }
            Target::Sqlite(connection, arguments) => {
                sqlite_rows(sqlx::query_with(text, arguments).fetch_all(connection).await?)
            }
        })
    }

    /// Runs it; answers the first row, where there is any.
    pub(crate) async fn fetch_optional(self) -> Result<Option<Row>, StoreError> {
        Ok(self.fetch_all().await?.into_iter().next())
    }

    /// Runs a statement that always answers a row.
    pub(crate) async fn fetch_one(self) -> Result<Row, StoreError> {
        self.fetch_optional().await?.ok_or(StoreError::SchemaMissing)
    }

    /// Runs it and reads every row.
    pub(crate) async fn read_all<T>(
        self,
        read: impl Fn(&Row) -> Result<T, StoreError>,
    ) -> Result<Vec<T>, StoreError> {
        self.fetch_all().await?.iter().map(read).collect()
    }

    /// Runs it and reads the first row, where there is any.
    pub(crate) async fn read_optional<T>(
        self,
        read: impl Fn(&Row) -> Result<T, StoreError>,
    ) -> Result<Option<T>, StoreError> {
        self.fetch_optional().await?.as_ref().map(read).transpose()
    }
}

fn postgres_rows(rows: Vec<PgRow>) -> Vec<Row> {
    rows.into_iter().map(Row::Postgres).collect()
}

fn sqlite_rows(rows: Vec<SqliteRow>) -> Vec<Row> {
    rows.into_iter().map(Row::Sqlite).collect()
}

/// A row of either database.
pub(crate) enum Row {
    Postgres(PgRow),
    Sqlite(SqliteRow),
}

impl Row {
    /// The value of a column.
    pub(crate) fn get<T: Column>(&self, column: &str) -> Result<T, StoreError> {
        let value = match self {
            Self::Postgres(row) => row.try_get(column),
            Self::Sqlite(row) => row.try_get(column),
        };
        value.map_err(|error| StoreError::corrupt(column, error))
    }

    /// An identity.
    pub(crate) fn id<T>(&self, column: &str) -> Result<Id<T>, StoreError> {
        self.get(column).map(Id::from_uuid)
    }

    /// A moment.
    pub(crate) fn moment(&self, column: &str) -> Result<UnixMillis, StoreError> {
        self.get(column).map(UnixMillis)
    }

    /// A moment that may be missing.
    pub(crate) fn optional_moment(&self, column: &str) -> Result<Option<UnixMillis>, StoreError> {
        Ok(self.get::<Option<i64>>(column)?.map(UnixMillis))
    }

    /// An amount.
    pub(crate) fn money(&self, column: &str) -> Result<NanoUsd, StoreError> {
        self.get(column).map(NanoUsd)
    }

    /// A count: never negative.
    pub(crate) fn count(&self, column: &str) -> Result<u64, StoreError> {
        let count: i64 = self.get(column)?;
        u64::try_from(count).map_err(|error| StoreError::corrupt(column, error))
    }

    /// A small number that may be missing.
    pub(crate) fn optional_u32(&self, column: &str) -> Result<Option<u32>, StoreError> {
        let number: Option<i64> = self.get(column)?;
        number.map(u32::try_from).transpose().map_err(|error| StoreError::corrupt(column, error))
    }

    /// A document.
    pub(crate) fn json<T: DeserializeOwned>(&self, column: &str) -> Result<T, StoreError> {
        let value: Json<serde_json::Value> = self.get(column)?;
        serde_json::from_value(value.0).map_err(|error| StoreError::corrupt(column, error))
    }

    /// A unit variant of an enum, stored under its name.
    pub(crate) fn named<T: DeserializeOwned>(&self, column: &str) -> Result<T, StoreError> {
        from_name(column, &self.get::<String>(column)?)
    }

    pub(crate) fn optional_named<T: DeserializeOwned>(&self, column: &str) -> Result<Option<T>, StoreError> {
        self.get::<Option<String>>(column)?.map(|name| from_name(column, &name)).transpose()
    }
}

/// The enum's variant of that name.
pub(crate) fn from_name<T: DeserializeOwned>(column: &str, name: &str) -> Result<T, StoreError> {
    let value = serde_json::Value::String(name.to_owned());
    serde_json::from_value(value).map_err(|error| StoreError::corrupt(column, error))
}

/// The name under which serde writes a unit variant.
pub(crate) fn name_of<T: Serialize>(variant: &T) -> String {
    match serde_json::to_value(variant) {
        Ok(serde_json::Value::String(name)) => name,
        // Only unit variants are stored by name; a check constraint refuses the empty text.
        _ => String::new(),
    }
}

/// An `i64` for a count that a database can hold; larger ones are held at its end.
pub(crate) fn to_i64(count: u64) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}
