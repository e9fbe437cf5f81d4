//! What a socket's bytes go through: a descriptor, a channel, or rings.

use std::io::{self, IoSlice, IoSliceMut};
use std::rc::Rc;

use crate::runtime::{Core, Side};

/// A way for bytes, in both directions, that never waits.
pub(crate) trait Transport {
    /// Reads what there is. 0: nothing more comes. `WouldBlock`: nothing is there now.
    fn read(&mut self, into: &mut [IoSliceMut<'_>]) -> io::Result<usize>;

    /// Writes what there is room for. `WouldBlock`: there is no room now.
    fn write(&mut self, from: &[IoSlice<'_>]) -> io::Result<usize>;

    /// Says that nothing more is written.
    fn finish(&mut self) -> io::Result<()>;

    /// Who can go on because of the last call. It is told when nothing is borrowed: a waker may be anybody's, and poll at
    /// once.
    fn take_notice(&mut self) -> Option<(usize, Side)> {
        None
    }

    /// After a try in vain: from now on `core.notify(slot, side)` is called when another try is worth it. Says whether
    /// one is worth it already.
    fn arm(&mut self, core: &Rc<Core>, slot: usize, side: Side) -> io::Result<bool>;

    /// Whether less than there was room for means that there is no more now.
    fn tells_when_empty(&self) -> bool;

    /// Nobody will use it any more.
    fn close(&mut self, core: &Rc<Core>);

    /// Who is at the other end, for people.
    fn peer(&self) -> String;
}
