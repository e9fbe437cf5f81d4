//! A segment's bytes in /dev/shm lie where `header.rs` says.

use std::fs;

use day2::header::Expected;
use day2::segment::{READY_TIMEOUT, page_size};
use day2::{Geometry, Kind, LogReader, LogWriter, Mode, Segment};
use testing::Unique;

struct Bytes(Vec<u8>);

impl Bytes {
    fn of(name: &Unique) -> Self {
        Self(fs::read(name.path()).unwrap())
    }

    fn u32(&self, at: usize) -> u32 {
        u32::from_le_bytes(self.0[at..at + 4].try_into().unwrap())
    }

    fn u64(&self, at: usize) -> u64 {
        u64::from_le_bytes(self.0[at..at + 8].try_into().unwrap())
    }
}

#[test]
fn a_header_byte_for_byte() {
    let page = page_size();
    let name = Unique::new("layout");
    let expected = Expected {
        kind: Kind::Ring,
        element_size: 24,
        element_align: 8,
        capacity: None,
        message_type: "weather::Reading",
    };
    // More control than a page and more data than two, so that every figure differs.
    let geometry = Geometry::plan(&expected, 1000, 77, page + 1, page).unwrap();
    let geometry = geometry.with_identity(0x0123_4567_89ab_cdef);
    let _segment = Segment::create(&name, geometry, 0o600, |_| ()).unwrap();

    let bytes = Bytes::of(&name);
    let data_len = 24_000_u64.next_multiple_of(page);
    assert_eq!(bytes.0[0..8], *b"FANOUT\0\0");
    assert_eq!(bytes.u32(8), 5, "layout version");
    assert_eq!(bytes.0[12..16], *b"REDY");
    assert_eq!(bytes.u32(16), 2, "kind");
    assert_eq!(bytes.u32(20), 8, "alignment of a message");
    assert_eq!(bytes.u64(24), 24, "size of a message");
    assert_eq!(bytes.u64(32), 1000, "capacity");
    assert_eq!(bytes.u64(40), page, "offset of control");
    assert_eq!(bytes.u64(48), 2 * page, "length of control");
    assert_eq!(bytes.u64(56), 3 * page, "offset of data");
    assert_eq!(bytes.u64(64), data_len, "length of data");
    assert_eq!(bytes.u64(72), 77, "the first sequence");
    assert_eq!(bytes.u64(80), 0, "room for consumers");
    assert_eq!(bytes.u64(88), 16, "length of the type name");
    assert_eq!(bytes.u64(96), 0x0123_4567_89ab_cdef, "identity");
    assert_eq!(bytes.0[128..144], *b"weather::Reading");
    assert_eq!(bytes.0.len() as u64, 3 * page + data_len);
    let rest = bytes.0[104..128].iter().chain(&bytes.0[144..]);
    assert!(rest.into_iter().all(|&byte| byte == 0), "the rest is zero");
}

#[test]
fn each_segment_has_an_identity_of_its_own_unless_it_is_told_one() {
    let plan =
        || Geometry::plan(&Expected::messages::<u64>(Kind::Log, "u64"), 1, 0, 1, page_size());
    let create = |geometry: Geometry| {
        let name = Unique::new("identity");
        let segment = Segment::create(&name, geometry, 0o600, |_| ()).unwrap();
        let opened = Segment::open(&name, Mode::Observer, READY_TIMEOUT).unwrap();
        assert_eq!(opened.geometry(), segment.geometry());
        assert_eq!(Bytes::of(&name).u64(96), segment.geometry().identity());
        segment.geometry().identity()
    };
    let (one, another) = (create(plan().unwrap()), create(plan().unwrap()));
    assert!(one != 0 && another != 0 && one != another, "{one:x} and {another:x}");
    assert_eq!(plan().unwrap().identity(), 0);
    assert_eq!(create(plan().unwrap().with_identity(7)), 7);
    assert_ne!(create(plan().unwrap().with_identity(0)), 0);
}

#[test]
fn the_kinds_have_numbers() {
    for (kind, number) in [(Kind::Log, 1), (Kind::Ring, 2), (Kind::Other(9), 9)] {
        let name = Unique::new("kind");
        let expected = Expected::messages::<u64>(kind, "u64");
        let geometry = Geometry::plan(&expected, 1, 0, 1, page_size()).unwrap();
        let _segment = Segment::create(&name, geometry, 0o600, |_| ()).unwrap();
        assert_eq!(Bytes::of(&name).u32(16), number);
    }
}

#[test]
fn messages_stand_one_behind_the_other_in_data() {
    let page = page_size() as usize;
    let name = Unique::new("messages");
    let mut writer = LogWriter::<[u8; 100]>::create(&name, 10).unwrap();
    let reader = LogReader::<[u8; 100]>::open(&name, 10).unwrap();
    for message in [[b'a'; 100], [b'b'; 100]] {
        writer.append(&message).unwrap();
    }
    let bytes = Bytes::of(&name);
    assert_eq!(bytes.0[2 * page..2 * page + 100], [b'a'; 100]);
    assert_eq!(bytes.0[2 * page + 100..2 * page + 200], [b'b'; 100]);
    // The counts of messages and of readers, each on a cache line of its own.
    assert_eq!((bytes.u64(page), bytes.u64(page + 128)), (2, 1));
    drop(reader);
    let bytes = Bytes::of(&name);
    assert_eq!((bytes.u64(page), bytes.u64(page + 128)), (2, 0));
}
