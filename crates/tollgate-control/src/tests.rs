//! Use cases over SQLite in memory and the in-process ledger.
