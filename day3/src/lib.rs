//! Placeholder while the floor is being built.
