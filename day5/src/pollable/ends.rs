//! The ends that can have a descriptor.

use bytemuck::Pod;
use day3::measured::Measured;
use day3::sequencer::Cursor;
use day3::wait::Wait;

mod sealed {
    pub trait Sealed {}
}

/// An end of a ring, of messages or of records. Each way to wait makes it another type.
pub trait End: sealed::Sealed + Sized {
    /// The same end, with `V` as its way to wait.
    type With<V: Wait>;

    /// The same end, waiting another way.
    fn with<V: Wait>(self, wait: V) -> Self::With<V>;

    /// The same, for an end whose way to wait was changed before.
    fn change<V: Wait, U: Wait>(end: Self::With<V>, wait: U) -> Self::With<U>;
}

/// An end that may write to the doorbell: all but taps.
pub trait Announcing: End {}

/// A registered consumer.
pub trait Receiving: Announcing {}

macro_rules! ends {
    ($([$($parameter:ident: $bound:path),*] $end:path, $with:path;)*) => {$(
        impl<$($parameter: $bound,)* W: Wait> sealed::Sealed for $end {}
        impl<$($parameter: $bound,)* W: Wait> End for $end {
            type With<V: Wait> = $with;

            fn with<V: Wait>(self, wait: V) -> Self::With<V> {
                self.waiting(wait)
            }

            fn change<V: Wait, U: Wait>(end: Self::With<V>, wait: U) -> Self::With<U> {
                end.waiting(wait)
            }
        }
    )*};
}

ends! {
    [T: Pod, K: Cursor] day3::ring::Receiver<T, K, W>, day3::ring::Receiver<T, K, V>;
    [K: Measured] day4::reader::Receiver<K, W>, day4::reader::Receiver<K, V>;
    [T: Pod] day3::ring::Producer<T, W>, day3::ring::Producer<T, V>;
    [] day4::writer::Writer<W>, day4::writer::Writer<V>;
    [T: Pod] day3::ring::Tap<T, W>, day3::ring::Tap<T, V>;
    [] day4::tap::Tap<W>, day4::tap::Tap<V>;
}

impl<T: Pod, K: Cursor, W: Wait> Announcing for day3::ring::Receiver<T, K, W> {}
impl<T: Pod, K: Cursor, W: Wait> Receiving for day3::ring::Receiver<T, K, W> {}
impl<K: Measured, W: Wait> Announcing for day4::reader::Receiver<K, W> {}
impl<K: Measured, W: Wait> Receiving for day4::reader::Receiver<K, W> {}
impl<T: Pod, W: Wait> Announcing for day3::ring::Producer<T, W> {}
impl<W: Wait> Announcing for day4::writer::Writer<W> {}
