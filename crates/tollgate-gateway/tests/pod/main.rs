//! One pod over real sockets: a policy made by hand, the in-process ledger, the mock provider.

mod answers;
mod endings;
mod faults;
mod harness;
mod limits;
