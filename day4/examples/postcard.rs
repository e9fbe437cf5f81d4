//! Messages of a serde type, with [postcard](https://docs.rs/postcard). They are written into the
//! ring and read out of it in place, and their text stays in the ring.
//!
//! ```text
//! cargo run -p day4 --example postcard
//! ```

use std::error::Error;
use std::thread;

use day2::Mode;
use day3::{JoinOptions, Start};
use day4::{Reader, RecvError, Writer};
use serde::{Deserialize, Serialize};

/// A measurement of any length.
#[derive(Debug, PartialEq, Serialize, Deserialize)]
struct Measurement<'a> {
    station: &'a str,
    celsius: f32,
    remarks: Vec<&'a str>,
}

/// The most bytes that a measurement may take; a grant says how much was used of them.
const MOST: usize = 1024;

fn main() -> Result<(), Box<dyn Error>> {
    let mut writer = Writer::anonymous(1 << 16)?;
    let ring = writer.descriptor(Mode::Reader)?;
    let mut reader = Reader::from_fd(ring, Start::Oldest, &JoinOptions::default())?;
    let printer = thread::spawn(move || print_all(&mut reader).map_err(|error| error.to_string()));

    let remarks = [vec![], vec!["fog"], vec!["frost", "the sensor was cleaned"]];
    for ((station, celsius), remarks) in
        [("Harbour", 11.5), ("Airport", 9.5), ("Summit", -3.0)].into_iter().zip(remarks)
    {
        let mut reservation = writer.reserve(MOST)?;
        let used =
            postcard::to_slice(&Measurement { station, celsius, remarks }, &mut reservation)?.len();
        reservation.publish(used);
    }
    writer.close();
    Ok(printer.join().expect("the printer does not panic")?)
}

fn print_all(reader: &mut Reader) -> Result<(), Box<dyn Error>> {
    loop {
        let record = match reader.recv() {
            Ok(record) => record,
            Err(RecvError::Closed) => return Ok(()),
            Err(error) => return Err(error.into()),
        };
        let measurement: Measurement = postcard::from_bytes(&record)?;
        let (station, celsius) = (measurement.station, measurement.celsius);
        let remarks = measurement.remarks.join(", ");
        println!("{} bytes: {station} {celsius:.1} °C {remarks}", record.len());
    }
}
