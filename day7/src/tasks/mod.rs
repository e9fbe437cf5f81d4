//! Work and answers.
