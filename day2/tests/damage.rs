//! Whatever the header page says, an opener gets a segment that it can use, or a typed error.

use std::fs;
use std::time::Duration;

use day2::header::MOST_TYPE_NAME;
use day2::segment::page_size;
use day2::{LogReader, LogWriter, Mode, OpenError, Segment};
use proptest::prelude::*;
use proptest::sample::select;
use testing::Unique;

/// How many bytes the header's fields take.
const MEANINGFUL: usize = 128 + MOST_TYPE_NAME;

/// Some damage to the first page: where, and which bytes.
fn damage() -> impl Strategy<Value = (usize, Vec<u8>)> {
    let page = page_size();
    let byte = any::<u8>().prop_map(|byte| vec![byte]);
    let likely = vec![0, 1, page - 1, page, page + 1, 2 * page, 3 * page, 1 << 32, 1 << 63];
    let word = prop_oneof![
        select(likely.clone()),
        select(likely).prop_map(|word| word.wrapping_neg()),
        any::<u64>(),
    ]
    .prop_map(|word| word.to_le_bytes().to_vec());
    prop_oneof![
        (0..page as usize, byte.clone()),
        (0..MEANINGFUL, byte),
        ((2..16_usize).prop_map(|field| 8 * field), word),
    ]
}

/// Opens the segment in every mode, and reads the last byte of every page of each that opened.
fn open_and_read(name: &Unique) -> Result<u64, OpenError> {
    let mut sum = 0;
    for mode in [Mode::Writer, Mode::Reader, Mode::Observer] {
        let segment = Segment::open(name, mode, Duration::ZERO)?;
        let parts =
            [(segment.control(), segment.control_len()), (segment.data(), segment.data_len())];
        for (start, len) in parts {
            for last in (0..len).skip(page_size() as usize - 1).step_by(page_size() as usize) {
                // SAFETY: inside a part of the segment, which is mapped readable.
                let byte = unsafe { start.add(last) };
                // SAFETY: as above; nothing writes to it meanwhile.
                sum += u64::from(unsafe { byte.read_volatile() });
            }
        }
    }
    Ok(sum)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn damage_is_an_error_or_does_no_harm(damages in prop::collection::vec(damage(), 1..6)) {
        let name = Unique::new("damage");
        let mut writer = LogWriter::<u64>::create(&name, 10).unwrap();
        for message in 0..10 {
            writer.append(&message).unwrap();
        }
        let whole = fs::read(name.path()).unwrap();
        let mut bytes = whole.clone();
        for (at, damage) in &damages {
            let damage = &damage[..damage.len().min(page_size() as usize - at)];
            bytes[*at..at + damage.len()].copy_from_slice(damage);
        }
        name.poke(0, &bytes);

        let opened = open_and_read(&name);
        if opened.is_ok() {
            match LogReader::<u64>::open(&name, 10) {
                Ok(reader) => prop_assert!((0..10).all(|index| reader.get(index) == Some(index))),
                Err(OpenError::Kind { .. } | OpenError::ElementSize { .. } | OpenError::ElementAlign { .. }
                    | OpenError::Capacity { .. } | OpenError::MessageType { .. }) => {}
                Err(error) => prop_assert!(false, "{error:?}"),
            }
        }
        if bytes[..MEANINGFUL] == whole[..MEANINGFUL] {
            prop_assert!(opened.is_ok(), "harmless: {:?}", opened);
        }
        match opened {
            Ok(_) | Err(OpenError::NotReady { .. } | OpenError::Magic { .. } | OpenError::Version { .. }
                | OpenError::Truncated { .. } | OpenError::Damaged { .. }) => {}
            Err(error) => prop_assert!(false, "{error:?}"),
        }
    }

    #[test]
    fn what_is_no_queue_is_refused_and_left_alone(
        mut bytes in prop::collection::vec(any::<u8>(), 0..64),
        zeros in 0..3 * page_size() as usize,
    ) {
        prop_assume!(!bytes.starts_with(b"FANOUT\0\0"));
        bytes.resize(bytes.len() + zeros, 0);
        let name = Unique::new("noise");
        name.write(&bytes);
        let before = name.state();
        match open_and_read(&name) {
            Err(OpenError::Magic { .. } | OpenError::NotReady { .. }) => {}
            other => prop_assert!(false, "{other:?}"),
        }
        prop_assert_eq!(name.state(), before);
    }
}
