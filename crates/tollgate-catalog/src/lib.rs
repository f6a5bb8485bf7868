//! tollgate-catalog
