//! The journal's proof: every column, sum and balance derived anew from the rows and compared with what is
//! stored. It reads one unchanging state of the database and changes nothing.

mod requests;
mod sums;
mod wallets;

use serde::{Deserialize, Serialize};

use crate::store::{Tx, run_snapshot};
use crate::{Store, StoreError};

/// The most differences that are told one by one: who has more has one cause to look for.
pub const MAX_FINDINGS: usize = 1_000;
/// Rows read at a time.
const READ_ROWS: i64 = 2_000;

/// A stored value that is not what it follows from.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Finding {
    /// The table.
    pub table: String,
    /// The row: its id, or for a sum what it is of.
    pub id: String,
    /// Which value.
    pub what: String,
    /// What it follows to be.
    pub expected: String,
    /// What is stored.
    pub found: String,
}

/// What a verification has looked at, and everything that is wrong.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct JournalProof {
    /// Finished requests.
    pub requests: u64,
    /// Credits.
    pub credits: u64,
    /// Double entries that are no charges.
    pub entries: u64,
    /// Tenants' totals.
    pub wallet_totals: u64,
    /// Owners' quarters of an hour.
    pub spend_quarters: u64,
    /// End users' quarters of an hour, by key.
    pub end_user_quarters: u64,
    /// What is wrong, at most [`MAX_FINDINGS`].
    pub findings: Vec<Finding>,
    /// How many more differences there are.
    pub n_more_findings: u64,
}

impl Store {
    /// Derives everything anew from the rows. It takes about as long as reading the whole journal, during which
    /// PostgreSQL keeps old versions of rows and SQLite's log grows.
    ///
    /// # Errors
    /// Only the database's own: what is wrong with the journal is no error but a [`Finding`].
    pub async fn verify_journal(&self) -> Result<JournalProof, StoreError> {
        run_snapshot!(self, |tx| { verify(tx).await })
    }
}

async fn verify(tx: &mut Tx) -> Result<JournalProof, StoreError> {
    let mut proof = JournalProof::default();
    requests::verify(tx, &mut proof).await?;
    wallets::verify_entries(tx, &mut proof).await?;
    wallets::verify_credits(tx, &mut proof).await?;
    sums::verify_totals(tx, &mut proof).await?;
    sums::verify_quarters(tx, &mut proof).await?;
    sums::verify_end_user_quarters(tx, &mut proof).await?;
    Ok(proof)
}

impl JournalProof {
    fn note(&mut self, finding: Finding) {
        if self.findings.len() < MAX_FINDINGS {
            self.findings.push(finding);
        } else {
            self.n_more_findings += 1;
        }
    }

    /// Compares one value of a row.
    fn compare<T: PartialEq + ToString>(
        &mut self,
        row: (&str, impl ToString + Copy),
        what: &str,
        expected: &T,
        found: &T,
    ) {
        if expected != found {
            self.note(Finding {
                table: row.0.to_owned(),
                id: row.1.to_string(),
                what: what.to_owned(),
                expected: expected.to_string(),
                found: found.to_string(),
            });
        }
    }
}

/// A value that may be missing, as findings show it.
fn shown<T: ToString>(value: Option<T>) -> String {
    value.map_or_else(|| "none".to_owned(), |value| value.to_string())
}
