//! Publishing under a name, subscribing with patterns.
