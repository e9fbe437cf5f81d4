//! One thread, thousands of rings.
