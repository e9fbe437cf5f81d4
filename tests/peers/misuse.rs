//! What no peer asks.
