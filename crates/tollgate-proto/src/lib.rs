//! tollgate-proto
