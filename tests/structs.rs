//! A struct that two programs declare, each for itself: often the first thing that a new user does.

mod support;

use fanout::error::{JoinError, OpenError};
use fanout::{Consumer, JoinOptions, Producer, QueueOptions, Start};
use testing::Unique;

mod feed {
    #[derive(Clone, Copy, bytemuck::Pod, bytemuck::Zeroable)]
    #[repr(C)]
    pub(crate) struct Tick {
        pub(crate) price: f64,
        pub(crate) volume: u64,
    }
}

mod chart {
    #[derive(Clone, Copy, bytemuck::Pod, bytemuck::Zeroable)]
    #[repr(C)]
    pub(crate) struct Tick {
        pub(crate) price: f64,
        pub(crate) volume: u64,
    }
}

#[test]
fn one_name_for_a_struct_of_two_programs() {
    let name = Unique::new("tick");
    let options = QueueOptions::new(16).message_type("tick/1");
    let mut producer = Producer::<feed::Tick>::create_with(name.bare(), &options).unwrap();
    let options = JoinOptions::new().message_type("tick/1");
    let mut consumer =
        Consumer::<chart::Tick>::join_with(name.bare(), Start::Oldest, &options).unwrap();
    producer.send(feed::Tick { price: 99.5, volume: 10 }).unwrap();
    let tick = consumer.recv().unwrap();
    assert_eq!((tick.price, tick.volume), (99.5, 10));
    let other = JoinOptions::new().message_type("tick/2");
    assert!(Consumer::<chart::Tick>::join_with(name.bare(), Start::Oldest, &other).is_err());
}

#[test]
fn without_one_the_error_says_what_to_do() {
    let name = Unique::new("tick");
    let _producer = Producer::<feed::Tick>::create(name.bare(), 16).unwrap();
    let refused = Consumer::<chart::Tick>::join(name.bare(), Start::Oldest).unwrap_err();
    assert!(matches!(refused, JoinError::Open(OpenError::MessageType { .. })), "{refused}");
    let said = refused.to_string();
    assert!(said.contains("feed::Tick") && said.contains("chart::Tick"), "{said}");
    assert!(said.contains("message_type(\"tick/1\")"), "{said}");
}
