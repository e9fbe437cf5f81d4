//! The last value only.
