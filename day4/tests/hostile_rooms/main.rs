//! Guests of ill will, in rings whose consumers have private rooms: whatever a guest does with what it was given,
//! the writer goes on, and the other guests get every message.
#![cfg(not(loom))]

mod guest;
mod kernel;
mod lives;
mod safe;
mod words;
