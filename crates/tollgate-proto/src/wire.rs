//! The code generated from `proto/tollgate/control/v1/control.proto`, as it is.

/// Version 1 of the protocol.
#[allow(
    missing_docs,
    clippy::all,
    clippy::too_many_lines,
    reason = "generated; the protocol file carries the documentation"
)]
pub mod v1 {
    tonic::include_proto!("tollgate.control.v1");
}
