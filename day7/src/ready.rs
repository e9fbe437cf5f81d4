//! The words in which producers say whose ring is worth a look.
