//! Topics: names and patterns, subscriptions, policies, last values; between threads and processes, some of which are
//! killed.
#![cfg(not(loom))]

use std::collections::BTreeMap;
use std::process::Stdio;
use std::thread;
use std::time::Duration;

use day2::{OpenError, Segment};
use day3::Policy;
use day7::topics::{
    Departed, JoinSpaceError, KeepLast, MOST_BYTES, MOST_PATTERNS, MOST_PUBLISHERS, Pattern,
    PatternError, Published, Publisher, PublisherOptions, RecvTimeoutError, Space,
    SubscribeOptions, Subscriber, Topic, TopicError, TryPublishError,
};
use proptest::prelude::*;
use testing::{DEADLINE, Dice, Process, Unique, another, eventually, promptly};

/// What names the space for a test that runs in another process.
const SPACE: &str = "DAY7_TEST_SPACE";
/// Which topic that one uses.
const TOPIC: &str = "DAY7_TEST_TOPIC";
const SHORT: Duration = Duration::from_millis(20);
/// As small as rings go.
const SMALLEST: u64 = 1;

/// A space that no other test uses. All that its publishers have left is removed with it.
struct Place(Unique);

impl Place {
    fn new(what: &str) -> Self {
        Self(Unique::new(what))
    }

    fn open(&self) -> Space {
        Space::open(&*self.0).unwrap()
    }

    /// What lies in `/dev/shm` under the space's name, or under a name that begins with it.
    fn left(&self) -> Vec<String> {
        let all = std::fs::read_dir("/dev/shm").unwrap();
        let names = all.filter_map(|entry| entry.ok()?.file_name().into_string().ok());
        let dotted = format!("{}.", self.0.bare());
        names.filter(|name| name == self.0.bare() || name.starts_with(&dotted)).collect()
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        for name in self.left() {
            let _ = std::fs::remove_file(format!("/dev/shm/{name}"));
        }
    }
}

fn publisher(space: &Space) -> Publisher {
    Publisher::create(space, &PublisherOptions::new()).unwrap()
}

fn smallest() -> PublisherOptions {
    PublisherOptions::new().capacity(SMALLEST)
}

fn subscriber(space: &Space, pattern: &str) -> Subscriber {
    Subscriber::subscribe(space, pattern, &SubscribeOptions::new()).unwrap()
}

fn with(policy: Policy) -> SubscribeOptions {
    SubscribeOptions::new().policy(policy)
}

/// The next message.
#[track_caller]
fn next(subscriber: &mut Subscriber) -> Published {
    subscriber.recv_timeout(DEADLINE).unwrap()
}

fn text(published: &Published) -> String {
    format!("{} {}", published.topic, String::from_utf8_lossy(&published.payload))
}

/// All that comes until nothing more comes for a while.
fn rest(subscriber: &mut Subscriber) -> Vec<String> {
    std::iter::from_fn(|| subscriber.recv_timeout(SHORT).ok()).map(|one| text(&one)).collect()
}

// Names and patterns.

#[test]
fn topics_are_checked() {
    for good in ["a", "orders.eu.17", "A-b_c.0", &"x".repeat(MOST_BYTES)] {
        assert_eq!(good.parse::<Topic>().unwrap().as_str(), good);
    }
    for empty in ["", ".", "a.", ".a", "a..b"] {
        assert!(matches!(Topic::new(empty), Err(TopicError::Empty { .. })), "{empty:?}");
    }
    for (odd, found) in
        [("a b", ' '), ("a.*", '*'), (">", '>'), ("ä", 'ä'), ("a/b", '/'), ("a\0", '\0')]
    {
        let refused = Topic::new(odd);
        assert!(
            matches!(refused, Err(TopicError::Character { character, .. }) if character == found)
        );
    }
    let long = Topic::new(&"x".repeat(MOST_BYTES + 1));
    assert_eq!(long, Err(TopicError::TooLong { found: MOST_BYTES + 1 }));
}

#[test]
fn patterns_are_checked() {
    for good in ["*", ">", "a.*.b", "*.*", "a.>", "*.>"] {
        assert_eq!(good.parse::<Pattern>().unwrap().as_str(), good);
    }
    for rest in [">.a", "a.>.b", ">.>"] {
        assert!(matches!(Pattern::new(rest), Err(PatternError::Rest { .. })), "{rest:?}");
    }
    for part in ["", "a*", "a.>b", "**", "a..>", "a b"] {
        let Err(error @ PatternError::Part { .. }) = Pattern::new(part) else { panic!("{part:?}") };
        assert!(error.to_string().starts_with(&format!("{part:?} is no pattern")), "{error}");
    }
    let long = Pattern::new(&format!("{}.>", "x".repeat(MOST_BYTES)));
    assert!(matches!(long, Err(PatternError::Part { why: TopicError::TooLong { .. }, .. })));
}

/// What a pattern matches, by the definition: part by part, from the front.
fn naively(pattern: &[&str], topic: &[&str]) -> bool {
    match (pattern, topic) {
        ([], []) => true,
        ([">"], [_, ..]) => true,
        (["*", pattern @ ..], [_, topic @ ..]) => naively(pattern, topic),
        ([first, pattern @ ..], [found, topic @ ..]) => first == found && naively(pattern, topic),
        _ => false,
    }
}

proptest! {
    #[test]
    fn a_pattern_matches_what_the_definition_says(
        mut pattern in prop::collection::vec(prop::sample::select(vec!["a", "b", "ab", "*"]), 1..5),
        has_rest: bool,
        topic in prop::collection::vec(prop::sample::select(vec!["a", "b", "ab"]), 1..6),
    ) {
        if has_rest {
            pattern.push(">");
        }
        let matches = Pattern::new(&pattern.join(".")).unwrap().matches(&topic.join("."));
        prop_assert_eq!(matches, naively(&pattern, &topic));
    }

    #[test]
    fn a_topic_is_a_pattern_that_matches_itself_alone(
        topic in "[a-zA-Z0-9_-]{1,8}(\\.[a-zA-Z0-9_-]{1,8}){0,4}",
        other in "[a-zA-Z0-9_-]{1,8}(\\.[a-zA-Z0-9_-]{1,8}){0,4}",
    ) {
        let pattern = Pattern::new(Topic::new(&topic).unwrap().as_str()).unwrap();
        prop_assert!(pattern.matches(&topic));
        prop_assert_eq!(pattern.matches(&other), topic == other);
    }

    #[test]
    fn whatever_is_given_is_taken_or_refused(text in ".{0,130}") {
        let _ = Topic::new(&text);
        let _ = Pattern::new(&text);
    }
}

// Subscriptions.

#[test]
fn a_subscriber_gets_what_its_patterns_match_and_nothing_else_is_copied() {
    let place = Place::new("topics-match");
    let space = place.open();
    let mut one =
        Subscriber::subscribe_all(&space, &["orders.*.17", "prices.>"], &SubscribeOptions::new());
    let one = one.as_mut().unwrap();
    let mut all = None;
    let mut publisher = publisher(&space);
    for (topic, is_wanted) in
        [("orders.eu.17", true), ("orders.17", false), ("prices.eu.a", true), ("prices", false)]
    {
        assert_eq!(publisher.is_wanted(topic), Ok(is_wanted), "{topic}");
        assert_eq!(publisher.publish(topic, topic.as_bytes()), Ok(is_wanted), "{topic}");
    }
    assert_eq!((publisher.published(), publisher.unwanted()), (4, 2));
    assert_eq!(rest(one), ["orders.eu.17 orders.eu.17", "prices.eu.a prices.eu.a"]);
    // From the moment in which it has subscribed.
    let all = all.insert(subscriber(&space, ">"));
    assert_eq!(publisher.publish("prices", b"now"), Ok(true));
    assert_eq!((rest(one), rest(all)), (vec![], vec!["prices now".to_owned()]));
    all.take_departures();
    drop(publisher);
    eventually("the end of the publisher", || {
        assert_eq!(one.try_recv().unwrap(), None);
        one.publishers() == 0
    });
    assert_eq!(one.take_departures()[0].why, Departed::Closed);
}

#[test]
fn when_the_last_subscriber_leaves_nothing_is_copied_any_more() {
    let place = Place::new("topics-leave");
    let space = place.open();
    let mut publisher = publisher(&space);
    assert_eq!(publisher.publish("a", b""), Ok(false));
    for _ in 0..3 {
        let subscriber = subscriber(&space, "a");
        assert_eq!(publisher.publish("a", b""), Ok(true));
        drop(subscriber);
        assert_eq!(publisher.publish("a", b""), Ok(false));
    }
}

/// The publisher starts later, and publishes more than its ring holds before the subscriber looks.
#[test]
fn a_publisher_that_starts_later_is_heard_from_its_first_message() {
    let place = Place::new("topics-later");
    let space = place.open();
    let mut subscriber = subscriber(&space, ">");
    let mut publisher = Publisher::create(&space, &smallest()).unwrap();
    let mut sent = 0u64;
    loop {
        match publisher.try_publish("a", &sent.to_ne_bytes()) {
            Ok(wanted) => assert!(wanted),
            Err(TryPublishError::Full) => break,
            Err(error) => panic!("{error}"),
        }
        sent += 1;
    }
    let thread = thread::spawn(move || {
        for number in sent..1000 {
            publisher.publish("a", &number.to_ne_bytes()).unwrap();
        }
        publisher.finish(DEADLINE).unwrap();
    });
    for number in 0..1000u64 {
        let published = next(&mut subscriber);
        assert_eq!((&*published.payload, published.missed), (&number.to_ne_bytes()[..], 0));
    }
    thread.join().unwrap();
    assert!(sent > 10, "a ring of a page holds more than {sent} messages");
}

/// A program of one line: it publishes, and ends.
#[test]
fn a_publisher_that_ends_at_once_is_heard() {
    let place = Place::new("topics-once");
    let space = place.open();
    let mut subscriber = subscriber(&space, ">");
    let other = space.clone();
    let thread = thread::spawn(move || {
        let mut publisher = publisher(&other);
        publisher.publish("a", b"once").unwrap();
        publisher.finish(DEADLINE).unwrap();
    });
    assert_eq!(text(&next(&mut subscriber)), "a once");
    assert_eq!(subscriber.recv_timeout(SHORT).map(|one| text(&one)).ok(), None);
    thread.join().unwrap();
}

/// One publisher has much to say, and others little.
/// Rings that have ended and that the subscriber has not read yet, and those of their successors, all at once.
#[test]
fn more_rings_than_a_selector_takes_are_read() {
    let place = Place::new("topics-rings");
    let space = place.open();
    let mut subscriber = subscriber(&space, ">");
    let (mut published, mut received) = (0, 0);
    for _ in 0..3 {
        let mut publishers: Vec<_> =
            (0..MOST_PUBLISHERS).map(|_| Publisher::create(&space, &smallest()).unwrap()).collect();
        for one in &mut publishers {
            (0..3).for_each(|_| assert_eq!(one.publish("a", b""), Ok(true)));
            published += 3;
        }
        // It joins all rings, and leaves the rest in them.
        received += usize::from(subscriber.try_recv().unwrap().is_some());
    }
    received += rest(&mut subscriber).len();
    assert_eq!(received, published);
}

/// A subscriber that asks for a message gets it from behind others that it does not want.
#[test]
fn what_nobody_here_wants_hides_nothing() {
    let place = Place::new("topics-hidden");
    let space = place.open();
    let mut subscriber = subscriber(&space, "wanted");
    let _other = Subscriber::subscribe(&space, ">", &with(Policy::Lossy)).unwrap();
    let mut publisher = publisher(&space);
    assert_eq!(subscriber.try_recv().unwrap(), None);
    (0..2000).for_each(|_| assert_eq!(publisher.publish("unwanted", b""), Ok(true)));
    publisher.publish("wanted", b"").unwrap();
    assert_eq!(text(&subscriber.try_recv().unwrap().unwrap()), "wanted ");
}

#[test]
fn publishers_have_turns() {
    let place = Place::new("topics-turns");
    let space = place.open();
    let mut publishers: Vec<_> = (0..4).map(|_| publisher(&space)).collect();
    let mut subscriber = subscriber(&space, "*");
    for number in 0..500u32 {
        publishers[0].publish("hot", &number.to_ne_bytes()).unwrap();
    }
    for publisher in &mut publishers[1..] {
        for number in 0..10u32 {
            publisher.publish("cold", &number.to_ne_bytes()).unwrap();
        }
    }
    let first: Vec<_> = (0..40).map(|_| next(&mut subscriber).topic).collect();
    assert_eq!(first.iter().filter(|topic| *topic == "cold").count(), 30, "{first:?}");
}

// Policies.

#[test]
fn a_subscriber_that_blocks_holds_a_publisher_back() {
    let place = Place::new("topics-block");
    let space = place.open();
    let mut publisher = Publisher::create(&space, &smallest()).unwrap();
    let mut subscriber = subscriber(&space, ">");
    let mut sent = 0u64;
    while publisher.try_publish("a", &[0; 100]).is_ok() {
        sent += 1;
    }
    let full = publisher.publish_timeout("a", &[0; 100], 0, SHORT);
    assert_eq!(full, Err(TryPublishError::Full));
    let mut published = Published::default();
    let mut got = 0;
    while subscriber.try_recv_into(&mut published).unwrap() {
        assert_eq!((published.sequence, published.missed), (got, 0));
        got += 1;
    }
    assert_eq!(got, sent);
    assert_eq!(publisher.try_publish("a", b""), Ok(true));
}

#[test]
fn a_lossy_subscriber_is_told_what_it_missed() {
    let place = Place::new("topics-lossy");
    let space = place.open();
    let mut publisher = Publisher::create(&space, &smallest()).unwrap();
    let mut subscriber = Subscriber::subscribe(&space, "a", &with(Policy::Lossy)).unwrap();
    const SENT: u64 = 10_000;
    for number in 0..SENT {
        publisher.publish("a", &number.to_ne_bytes()).unwrap();
    }
    publisher.finish(DEADLINE).unwrap();
    drop(publisher);
    let (mut got, mut missed, mut last) = (0, 0, None);
    while let Ok(published) = subscriber.recv_timeout(SHORT) {
        assert!(last < Some(published.sequence));
        last = Some(published.sequence);
        (got, missed) = (got + 1, missed + published.missed);
    }
    assert_eq!((got + missed, last), (SENT, Some(SENT - 1)));
    assert!(missed > 0, "the ring holds a page");
}

#[test]
fn a_subscriber_that_lags_for_too_long_is_evicted() {
    let place = Place::new("topics-evict");
    let space = place.open();
    let options = with(Policy::EvictAfter(SHORT));
    // One that has joined, and one that never looks.
    let mut publisher = Publisher::create(&space, &smallest()).unwrap();
    let mut lagging = Subscriber::subscribe(&space, ">", &options).unwrap();
    for _ in 0..1000 {
        publisher.publish("a", &[0; 100]).unwrap();
    }
    eventually("the eviction", || {
        while let Ok(Some(_)) = lagging.try_recv() {}
        lagging.publishers() == 0
    });
    assert_eq!(lagging.take_departures()[0].why, Departed::Evicted);
    let mut second = Publisher::create(&space, &smallest()).unwrap();
    for number in 0..1000u64 {
        second.publish("a", &number.to_ne_bytes()).unwrap();
    }
    // It comes too late, and is told so.
    let published = next(&mut lagging);
    assert_eq!(published.missed, published.sequence, "it missed what was overwritten");
    assert!(published.missed > 0);
}

// Last values.

fn keeping(space: &Space, topics: usize, bytes: usize) -> Publisher {
    let options = PublisherOptions::new().keep_last(KeepLast { topics, bytes });
    Publisher::create(space, &options).unwrap()
}

#[test]
fn a_late_subscriber_gets_the_last_values_first() {
    let place = Place::new("topics-last");
    let space = place.open();
    let mut publisher = keeping(&space, 3, 10);
    for (topic, message) in [("a.x", "1"), ("a.y", "2"), ("b", "3"), ("a.x", "4"), ("c", "no room")]
    {
        assert_eq!(publisher.publish(topic, message.as_bytes()), Ok(false));
    }
    assert_eq!((publisher.unwanted(), publisher.not_kept()), (5, 1));
    let late = SubscribeOptions::new().with_last();
    let mut with_last = Subscriber::subscribe(&space, "a.>", &late).unwrap();
    let mut without = subscriber(&space, "a.>");
    publisher.publish("a.y", b"5").unwrap();
    let got: Vec<_> = (0..3).map(|_| next(&mut with_last)).collect();
    let told: Vec<_> = got.iter().map(|one| (text(one), one.sequence, one.is_last)).collect();
    let expected = [("a.x 4", 3, true), ("a.y 2", 1, true), ("a.y 5", 5, false)];
    assert_eq!(
        told,
        expected.map(|(text, sequence, is_last)| (text.to_owned(), sequence, is_last))
    );
    assert_eq!((rest(&mut with_last), rest(&mut without)), (vec![], vec!["a.y 5".to_owned()]));
    // A message that is too long is the last even so: the one before it is not.
    publisher.publish("b", &[b'x'; 11]).unwrap();
    assert_eq!(publisher.not_kept(), 2);
    let mut b = Subscriber::subscribe(&space, "b", &late).unwrap();
    assert_eq!(rest(&mut b), [""; 0]);
    publisher.publish("b", &[b'x'; 10]).unwrap();
    assert_eq!(rest(&mut b), ["b xxxxxxxxxx"]);
}

/// A message that is refused was not published: it is no last value, and the next that is published is not taken for it.
#[test]
fn a_message_that_is_refused_is_not_the_last() {
    let place = Place::new("topics-refused");
    let space = place.open();
    let options = smallest().keep_last(KeepLast { topics: 1, bytes: 1 << 16 });
    let mut publisher = Publisher::create(&space, &options).unwrap();
    let mut slow = subscriber(&space, "a");
    let late = SubscribeOptions::new().with_last();
    assert_eq!(publisher.publish("a", b"good"), Ok(true));
    publisher.publish("a", &[b'x'; 1 << 15]).unwrap_err();
    let mut first = Subscriber::subscribe(&space, "a", &late).unwrap();
    assert_eq!(rest(&mut first), ["a good"]);
    drop(first);
    while publisher.try_publish("a", b"fills").is_ok() {}
    assert_eq!(publisher.try_publish("a", b"refused"), Err(TryPublishError::Full));
    let mut second = Subscriber::subscribe(&space, "a", &late).unwrap();
    rest(&mut slow);
    assert_eq!(publisher.publish("a", b"next"), Ok(true));
    assert_eq!(rest(&mut second), ["a fills", "a next"]);
}

/// Subscribers come all the time while values are published: each gets a last value, and then every later one once.
#[test]
fn between_last_values_and_the_stream_nothing_is_missing_or_twice() {
    const LAST: u64 = 20_000;
    let place = Place::new("topics-gap");
    let space = place.open();
    let mut publisher = keeping(&space, 2, 8);
    publisher.publish("a", &0u64.to_ne_bytes()).unwrap();
    let number = |one: &Published| u64::from_ne_bytes(one.payload[..].try_into().unwrap());
    thread::scope(|scope| {
        for _ in 0..3 {
            scope.spawn(|| {
                let mut rounds = 0;
                let mut expected = 0;
                while expected <= LAST {
                    let options = SubscribeOptions::new().with_last();
                    let mut subscriber = Subscriber::subscribe(&space, "a", &options).unwrap();
                    let first = next(&mut subscriber);
                    assert!(first.is_last, "{first:?}");
                    assert!(number(&first) + 1 >= expected);
                    expected = number(&first) + 1;
                    for _ in 0..50 {
                        if expected > LAST {
                            break;
                        }
                        let one = next(&mut subscriber);
                        assert_eq!((number(&one), one.is_last), (expected, false));
                        expected += 1;
                    }
                    rounds += 1;
                }
                assert!(rounds > 0);
            });
        }
        for number in 1..=LAST {
            publisher.publish("a", &number.to_ne_bytes()).unwrap();
        }
    });
}

// The space.

#[test]
fn the_last_that_leaves_removes_the_space() {
    let place = Place::new("topics-space");
    let space = place.open();
    let publisher = keeping(&space, 4, 8);
    let subscriber = subscriber(&space, ">");
    drop(space);
    let again = place.open();
    assert_eq!((again.publishers().len(), again.subscribers().len()), (1, 1));
    drop((again, publisher));
    assert!(place.0.exists(), "there is a subscriber");
    drop(subscriber);
    assert_eq!(place.left(), [""; 0]);
    let missing = Space::existing(&*place.0);
    assert!(matches!(missing, Err(JoinSpaceError::Open(OpenError::NotFound { .. }))));
}

/// Threads open and leave a space all the time: nobody is alone in a space that has lost its name.
#[test]
fn a_space_that_is_removed_while_others_come_is_one_space() {
    let place = Place::new("topics-come");
    thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                for _ in 0..50 {
                    let space = place.open();
                    let mut subscriber = subscriber(&space, ">");
                    // Found by its name: the same space as the subscriber's.
                    let mut publisher = publisher(&place.open());
                    assert_eq!(publisher.publish("a", b"1"), Ok(true));
                    assert_eq!(text(&next(&mut subscriber)), "a 1");
                }
            });
        }
    });
    assert_eq!(place.left(), [""; 0]);
}

#[test]
fn a_space_that_is_full_says_so() {
    let place = Place::new("topics-full");
    let space = place.open();
    let patterns = vec!["a"; MOST_PATTERNS + 1];
    let full = Subscriber::subscribe_all(&space, &patterns, &SubscribeOptions::new());
    assert!(matches!(full, Err(JoinSpaceError::Full { most: MOST_PATTERNS, .. })), "{full:?}");
    assert_eq!(space.subscribers(), [], "what was registered before is given back");
    let publishers: Vec<_> =
        (0..MOST_PUBLISHERS).map(|_| Publisher::create(&space, &smallest()).unwrap()).collect();
    let full = Publisher::create(&space, &smallest());
    assert!(matches!(full, Err(JoinSpaceError::Full { most: MOST_PUBLISHERS, .. })), "{full:?}");
    drop(publishers);
    assert!(Publisher::create(&space, &smallest()).is_ok());
    let none = Subscriber::subscribe_all(&space, &[""; 0], &SubscribeOptions::new());
    assert!(matches!(none, Err(JoinSpaceError::NoPattern)));
}

#[test]
fn a_queue_is_no_space() {
    let name = Unique::new("topics-queue");
    let _writer = day4::Writer::create(&*name, 4096).unwrap();
    assert!(matches!(Space::open(&*name), Err(JoinSpaceError::Open(OpenError::Kind { .. }))));
    let long = "x".repeat(230);
    assert!(matches!(Space::open(long.as_str()), Err(JoinSpaceError::LongName { .. })));
}

/// Six threads on two cores, with rings as small as they go: each subscriber gets each message of each publisher once.
#[test]
fn six_threads_with_the_smallest_rings_lose_nothing() {
    const EACH: u64 = 3000;
    let place = Place::new("topics-threads");
    let space = place.open();
    let subscribers: Vec<_> = (0..3).map(|_| subscriber(&space, "t.>")).collect();
    thread::scope(|scope| {
        for mut subscriber in subscribers {
            scope.spawn(move || {
                let mut seen = BTreeMap::<u64, u64>::new();
                for _ in 0..3 * EACH {
                    let one = next(&mut subscriber);
                    let expected = seen.entry(one.publisher).or_default();
                    assert_eq!((one.sequence, one.missed), (2 * *expected + 1, 0));
                    assert_eq!(
                        one.payload,
                        expected.to_ne_bytes().repeat(1 + *expected as usize % 9)
                    );
                    *expected += 1;
                }
                assert_eq!(seen.into_values().collect::<Vec<_>>(), [EACH; 3]);
                assert!(matches!(
                    subscriber.recv_timeout(SHORT),
                    Err(RecvTimeoutError::TimedOut(_))
                ));
            });
        }
        for publisher in 0..3 {
            let space = &space;
            scope.spawn(move || {
                let mut end = Publisher::create(space, &smallest()).unwrap();
                let topic = format!("t.{publisher}");
                for number in 0..EACH {
                    assert_eq!(end.publish("unwanted", b""), Ok(false));
                    let message = number.to_ne_bytes().repeat(1 + number as usize % 9);
                    assert_eq!(end.publish(&topic, &message), Ok(true));
                }
                end.finish(DEADLINE).unwrap();
            });
        }
    });
}

// Processes.

fn process(test: &str, place: &Place, topic: &str) -> Process {
    let mut command = another(test);
    command.env(SPACE, place.0.as_str()).env(TOPIC, topic).stdout(Stdio::null());
    Process::start(&mut command)
}

fn environment() -> Option<(Space, String)> {
    let name = std::env::var(SPACE).ok()?;
    Some((Space::open(name.as_str()).unwrap(), std::env::var(TOPIC).unwrap()))
}

/// In another process: publishes numbers until it is killed.
#[test]
#[ignore = "a part of other tests"]
fn a_publisher_of_another_test() {
    let Some((space, topic)) = environment() else { return };
    let mut publisher = Publisher::create(&space, &smallest()).unwrap();
    for number in 0u64.. {
        publisher.publish(&topic, &number.to_ne_bytes()).unwrap();
    }
}

/// In another process: receives until it is killed.
#[test]
#[ignore = "a part of other tests"]
fn a_subscriber_of_another_test() {
    let Some((space, topic)) = environment() else { return };
    let mut subscriber = subscriber(&space, &topic);
    loop {
        let _ = subscriber.recv().unwrap();
    }
}

/// Publishers and subscribers are killed at random. A subscriber that lives loses nothing, sees each publisher's numbers
/// from the first to the last without a gap, and nothing of the dead is left.
#[test]
fn the_living_lose_nothing_while_others_are_killed() {
    let place = Place::new("topics-killed");
    let mut dice = Dice::seeded();
    {
        let space = place.open();
        let mut subscriber = subscriber(&space, "k.>");
        let start = |dice: &mut Dice| {
            let (test, topic) = match dice.below(3) {
                0 => ("a_subscriber_of_another_test", "k.*"),
                _ => ("a_publisher_of_another_test", "k.x"),
            };
            process(test, &place, topic)
        };
        let mut processes: Vec<_> = (0..4).map(|_| start(&mut dice)).collect();
        let mut expected = BTreeMap::<u64, u64>::new();
        for _ in 0..25 {
            for _ in 0..dice.below(3000) {
                let Ok(one) = subscriber.recv_timeout(SHORT) else { break };
                let next = expected.entry(one.publisher).or_default();
                assert_eq!(
                    (one.sequence, one.missed, &*one.payload),
                    (*next, 0, &next.to_ne_bytes()[..])
                );
                *next += 1;
            }
            let victim = dice.below(processes.len() as u64) as usize;
            processes[victim].kill();
            processes[victim] = start(&mut dice);
        }
        for mut process in processes {
            process.kill();
        }
        eventually("the end of all publishers", || {
            while let Some(one) = subscriber.try_recv().unwrap() {
                let next = expected.entry(one.publisher).or_default();
                assert_eq!((one.sequence, one.missed), (*next, 0));
                *next += 1;
            }
            subscriber.publishers() == 0
        });
        let died = subscriber.take_departures();
        assert!(died.iter().all(|one| one.why == Departed::Died), "{died:?}");
        assert!(expected.values().sum::<u64>() > 0, "somebody was heard");
    }
    let queue = |name: &String| name != place.0.bare();
    let left: Vec<_> = place.left().into_iter().filter(queue).collect();
    // A process that was killed between creating its ring and registering it has left the ring: `fanout clean` finds it.
    for name in &left {
        Segment::remove_unused(&name.parse().unwrap()).unwrap();
    }
    assert_eq!(place.left(), [""; 0]);
}

/// A subscriber that is stopped, and was there before, still gets all that a publisher had published that died.
#[test]
fn a_dead_publishers_ring_stays_until_all_have_joined_it() {
    let place = Place::new("topics-reap");
    let space = place.open();
    let mut first = subscriber(&space, ">");
    let mut second = subscriber(&space, ">");
    let mut dead = process("a_publisher_of_another_test", &place, "x");
    eventually("messages", || matches!(first.try_recv(), Ok(Some(_))));
    dead.kill();
    let mut got = 1;
    eventually("the end of the publisher", || {
        while let Ok(Some(_)) = first.try_recv() {
            got += 1;
        }
        first.publishers() == 0
    });
    assert_eq!(space.publishers().len(), 1, "the second has not joined its ring");
    let mut sequences = 0;
    eventually("the same for the second", || {
        while let Ok(Some(one)) = second.try_recv() {
            assert_eq!(one.sequence, sequences);
            sequences += 1;
        }
        second.take_departures().iter().any(|one| one.why == Departed::Died)
    });
    assert_eq!(sequences, got);
    assert_eq!(space.publishers(), [], "the last that has read it removes it");
}

/// The places of dead subscribers are used again, and publishers stop copying for them.
#[test]
fn the_place_of_a_dead_subscriber_is_used_again() {
    let place = Place::new("topics-dead");
    let space = place.open();
    let mut publisher = Publisher::create(&space, &smallest()).unwrap();
    let mut dead = process("a_subscriber_of_another_test", &place, "a");
    eventually("a subscriber", || publisher.joined() == 1);
    assert_eq!(publisher.publish("a", b""), Ok(true));
    dead.kill();
    assert!(space.subscribers().iter().all(|one| !one.lives));
    let other = subscriber(&space, "b");
    assert_eq!(space.subscribers().len(), 1, "the newcomer has swept");
    assert_eq!(publisher.publish("a", b""), Ok(false));
    drop(other);
    let _ = promptly("a publish", move || publisher.publish("b", b""));
}
