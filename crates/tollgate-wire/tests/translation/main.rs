//! What every client's request, every provider's answer and every vendor's stream becomes in every other dialect:
//! golden files, and the table of `docs/translation.md` that is generated from the same cases.
//!
//! The cases are data: `requests.json`, `answers.json` and `streams/`. What comes out is compared byte for byte with
//! `tests/golden` and `docs/translation.md`. After a change that is meant, write them anew and read the difference:
//! `TOLLGATE_GOLDEN=write cargo nextest run -p tollgate-wire --test translation`.
//!
//! A cell is *exact* only where what was written, read back by the other dialect's own reader, says the same
//! ([`sameness`]). What does not, and is neither refused nor told as approximated, fails.

#![expect(clippy::unwrap_used, clippy::panic, reason = "helpers of tests fail as tests do")]

mod answers;
mod document;
mod golden;
mod requests;
mod sameness;
mod streams;
mod table;
