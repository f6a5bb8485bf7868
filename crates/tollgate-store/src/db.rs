//! Running one SQL text on both databases.
