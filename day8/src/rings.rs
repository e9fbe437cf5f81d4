//! Connections over shared memory.
