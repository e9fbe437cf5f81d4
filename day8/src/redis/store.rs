//! Keys, their values, and when they expire.
//!
//! Nothing here takes long, however many keys there are: a table is 64 small ones, which grow one after the other; what
//! has expired, and what was flushed, is freed in portions.

use core::fmt;
use core::hash::BuildHasher;
use std::collections::VecDeque;
use std::rc::Rc;
use std::time::{SystemTime, UNIX_EPOCH};

use hashbrown::DefaultHashBuilder;
use hashbrown::hash_table::{Entry as Place, HashTable, IntoIter, OccupiedEntry};

/// A value. An answer shares a long one, and so needs no copy of it.
pub(super) type Value = Rc<[u8]>;

/// A key that never expires does so then.
const NEVER: u64 = u64::MAX;
/// How many tables there are. Each doubles on its own, and moves its keys when it does.
const TABLES: usize = 64;
/// What a key needs besides its bytes and those of its value: its place in a table that is not full, and what the
/// allocator adds to two pieces of memory.
const OVERHEAD: usize = 2 * size_of::<Item>() + 2 * 16;

struct Item {
    key: Box<[u8]>,
    value: Value,
    /// In milliseconds since 1970.
    expires: u64,
}

/// What a write does to the time at which a key expires.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Expiry {
    Never,
    Keep,
    At(u64),
}

/// The time left to a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Left {
    NoKey,
    Forever,
    Milliseconds(u64),
}

/// How much of the work that can be put off was done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Swept {
    /// How many places were looked at.
    pub(super) looked: usize,
    /// How many keys had expired.
    pub(super) expired: usize,
    /// How many keys were freed that had been flushed before.
    pub(super) freed: usize,
}

/// What is counted.
#[derive(Clone, Copy, Debug, Default)]
struct Totals {
    len: usize,
    /// How many keys expire some time.
    expiring: usize,
    used: usize,
}

impl Totals {
    /// A key has been removed.
    fn forget(&mut self, item: &Item) {
        self.len -= 1;
        self.expiring -= usize::from(item.expires != NEVER);
        self.used -= cost(item.key.len(), item.value.len());
    }
}

pub(super) struct Store {
    tables: Vec<HashTable<Item>>,
    hasher: DefaultHashBuilder,
    totals: Totals,
    /// Where the next sweep goes on: which table, and which of its places.
    cursor: (usize, usize),
    /// What was flushed, and is yet to be freed.
    flushed: VecDeque<IntoIter<Item>>,
    clock: fn() -> u64,
}

/// Milliseconds since 1970.
fn wall_clock() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(NEVER - 1)
}

fn cost(key: usize, value: usize) -> usize {
    OVERHEAD + key + value
}

fn table_of(hash: u64) -> usize {
    // The tables themselves use the lowest bits, and the highest.
    (hash >> 40) as usize % TABLES
}

impl fmt::Debug for Store {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Store")
            .field("len", &self.totals.len)
            .field("used", &self.totals.used)
            .finish_non_exhaustive()
    }
}

impl Default for Store {
    fn default() -> Self {
        Self::new(wall_clock)
    }
}

impl Store {
    pub(super) fn new(clock: fn() -> u64) -> Self {
        Self {
            tables: (0..TABLES).map(|_| HashTable::new()).collect(),
            hasher: DefaultHashBuilder::default(),
            totals: Totals::default(),
            cursor: (0, 0),
            flushed: VecDeque::new(),
            clock,
        }
    }

    /// Milliseconds since 1970.
    pub(super) fn now(&self) -> u64 {
        (self.clock)()
    }

    /// How many keys there are, with those that have expired and were not found yet.
    pub(super) fn len(&self) -> usize {
        self.totals.len
    }

    /// About how many bytes keys and values need.
    pub(super) fn used(&self) -> usize {
        self.totals.used
    }

    /// The value of a key.
    #[inline]
    pub(super) fn get(&mut self, key: &[u8]) -> Option<&Value> {
        self.item(key).map(|item| &item.value)
    }

    pub(super) fn contains(&mut self, key: &[u8]) -> bool {
        self.item(key).is_some()
    }

    /// The time that is left to a key.
    pub(super) fn left(&mut self, key: &[u8]) -> Left {
        let now = self.now();
        match self.item(key) {
            None => Left::NoKey,
            Some(item) if item.expires == NEVER => Left::Forever,
            Some(item) => Left::Milliseconds(item.expires.saturating_sub(now)),
        }
    }

    /// When a key expires, if it does. The key must be there.
    pub(super) fn expires(&mut self, key: &[u8]) -> Option<u64> {
        self.item(key).map(|item| item.expires).filter(|expires| *expires != NEVER)
    }

    #[inline]
    fn item(&mut self, key: &[u8]) -> Option<&mut Item> {
        let hash = self.hasher.hash_one(key);
        let Self { clock, tables, totals, .. } = self;
        let table = &mut tables[table_of(hash)];
        let mut found = table.find_entry(hash, |item| *item.key == *key).ok()?;
        if found.get_mut().expires != NEVER && found.get_mut().expires <= clock() {
            totals.forget(&found.remove().0);
            return None;
        }
        Some(found.into_mut())
    }

    /// Gives a key a value, which is copied.
    #[inline]
    pub(super) fn set(&mut self, key: &[u8], value: &[u8], expiry: Expiry) {
        let hash = self.hasher.hash_one(key);
        let hasher = &self.hasher;
        let table = &mut self.tables[table_of(hash)];
        let place = table.entry(hash, |item| *item.key == *key, |item| hasher.hash_one(&*item.key));
        match place {
            Place::Occupied(place) => {
                let item = place.into_mut();
                let before = (item.expires, item.value.len());
                // The time is asked only if it matters.
                item.expires = match expiry {
                    Expiry::Never => NEVER,
                    Expiry::At(time) => time,
                    Expiry::Keep if item.expires == NEVER => NEVER,
                    Expiry::Keep if item.expires <= (self.clock)() => NEVER,
                    Expiry::Keep => item.expires,
                };
                match Rc::get_mut(&mut item.value) {
                    Some(same) if same.len() == value.len() => same.copy_from_slice(value),
                    _ => item.value = value.into(),
                }
                self.totals.expiring += usize::from(item.expires != NEVER);
                self.totals.expiring -= usize::from(before.0 != NEVER);
                self.totals.used = self.totals.used + value.len() - before.1;
            }
            Place::Vacant(place) => {
                let expires = if let Expiry::At(time) = expiry { time } else { NEVER };
                place.insert(Item { key: key.into(), value: value.into(), expires });
                self.totals.len += 1;
                self.totals.expiring += usize::from(expires != NEVER);
                self.totals.used += cost(key.len(), value.len());
            }
        }
    }

    /// Lets a key expire at this time. Says whether there is such a key.
    pub(super) fn expire_at(&mut self, key: &[u8], time: u64) -> bool {
        let Some(item) = self.item(key) else { return false };
        let before = core::mem::replace(&mut item.expires, time);
        self.totals.expiring += usize::from(time != NEVER);
        self.totals.expiring -= usize::from(before != NEVER);
        true
    }

    /// Removes a key. Says whether it was there.
    pub(super) fn remove(&mut self, key: &[u8]) -> bool {
        let hash = self.hasher.hash_one(key);
        let table = &mut self.tables[table_of(hash)];
        let Ok(found) = table.find_entry(hash, |item| *item.key == *key) else { return false };
        let item = found.remove().0;
        self.totals.forget(&item);
        item.expires == NEVER || item.expires > self.now()
    }

    /// Removes all keys. Their memory is freed by [`sweep`](Self::sweep), portion by portion.
    pub(super) fn clear(&mut self) {
        for table in &mut self.tables {
            if !table.is_empty() {
                self.flushed.push_back(core::mem::take(table).into_iter());
            }
        }
        (self.totals, self.cursor) = (Totals::default(), (0, 0));
    }

    /// Whether there is anything that a sweep could find.
    pub(super) fn needs_sweep(&self) -> bool {
        self.totals.expiring > 0 || !self.flushed.is_empty()
    }

    /// Frees up to `most` keys that were flushed, and looks at so many places for keys that have expired.
    pub(super) fn sweep(&mut self, most: usize) -> Swept {
        let freed = self.free(most);
        let mut swept = Swept { looked: 0, expired: 0, freed };
        if self.totals.expiring == 0 {
            return swept;
        }
        let now = self.now();
        while swept.looked < most && self.totals.expiring > 0 {
            let (table, place) = self.cursor;
            if place >= self.tables[table].num_buckets() {
                self.cursor = ((table + 1) % TABLES, 0);
                // An empty table counts, too: the loop ends.
                swept.looked += 1;
                continue;
            }
            self.cursor.1 += 1;
            swept.looked += 1;
            let found = self.tables[table].get_bucket_entry(place).ok();
            if let Some(item) = found.and_then(|found| take_expired(found, now)) {
                self.totals.forget(&item);
                swept.expired += 1;
            }
        }
        swept
    }

    fn free(&mut self, most: usize) -> usize {
        let mut freed = 0;
        while let Some(items) = self.flushed.front_mut() {
            let portion = items.by_ref().take(most - freed).count();
            freed += portion;
            if freed == most {
                break;
            }
            self.flushed.pop_front();
        }
        freed
    }
}

fn take_expired(mut found: OccupiedEntry<'_, Item>, now: u64) -> Option<Item> {
    (found.get_mut().expires <= now).then(|| found.remove().0)
}

#[cfg(test)]
mod tests {
    use core::cell::Cell;
    use std::collections::HashMap;

    use proptest::prelude::*;

    use super::*;

    thread_local! {
        static NOW: Cell<u64> = const { Cell::new(1_000) };
    }

    fn store() -> Store {
        NOW.set(1_000);
        Store::new(|| NOW.get())
    }

    fn get(store: &mut Store, key: &str) -> Option<String> {
        store.get(key.as_bytes()).map(|value| String::from_utf8_lossy(value).into_owned())
    }

    #[test]
    fn a_key_expires_when_it_is_looked_at() {
        let mut store = store();
        store.set(b"a", b"1", Expiry::At(1_010));
        assert_eq!(store.left(b"a"), Left::Milliseconds(10));
        NOW.set(1_009);
        store.set(b"a", b"2", Expiry::Keep);
        assert_eq!(get(&mut store, "a").as_deref(), Some("2"));
        NOW.set(1_010);
        assert_eq!((store.len(), store.left(b"a")), (1, Left::NoKey));
        assert_eq!((store.len(), store.used(), store.needs_sweep()), (0, 0, false));
    }

    #[test]
    fn what_has_expired_is_no_longer_there_for_a_write_either() {
        let mut store = store();
        for _ in 0..3 {
            store.set(b"a", b"1", Expiry::At(1_010));
            NOW.set(1_010);
            assert!(!store.remove(b"a"));
            store.set(b"a", b"1", Expiry::At(1_010));
            store.set(b"a", b"2", Expiry::Keep);
            assert_eq!(store.left(b"a"), Left::Forever);
            assert!(store.expire_at(b"a", 1_020));
            NOW.set(1_020);
            assert!(!store.expire_at(b"a", 1_030));
            NOW.set(1_000);
        }
    }

    #[test]
    fn a_sweep_looks_at_no_more_than_it_was_asked_to() {
        let mut store = store();
        for key in 0..10_000_u32 {
            let expiry = if key % 2 == 0 { Expiry::At(1_001) } else { Expiry::Never };
            store.set(&key.to_ne_bytes(), b"value", expiry);
        }
        NOW.set(1_001);
        let mut expired = 0;
        while store.needs_sweep() {
            let swept = store.sweep(100);
            assert!(swept.looked <= 100 && swept.expired <= swept.looked);
            expired += swept.expired;
        }
        assert_eq!((expired, store.len()), (5_000, 5_000));
        store.clear();
        assert_eq!((store.len(), store.used()), (0, 0));
        store.set(b"new", b"1", Expiry::Never);
        let mut freed = 0;
        while store.needs_sweep() {
            let portion = store.sweep(64).freed;
            assert!(portion <= 64);
            freed += portion;
        }
        assert_eq!((freed, store.len()), (5_000, 1));
    }

    #[test]
    fn a_value_that_an_answer_holds_does_not_change() {
        let mut store = store();
        store.set(b"a", b"one", Expiry::Never);
        let held = Rc::clone(store.get(b"a").unwrap());
        store.set(b"a", b"two", Expiry::Never);
        assert_eq!((&*held, &**store.get(b"a").unwrap()), (&b"one"[..], &b"two"[..]));
    }

    proptest! {
        #[test]
        fn it_does_what_a_map_does(
            steps in proptest::collection::vec((0..6_u8, 0..8_u8, 0..4_usize), 0..200)
        ) {
            let mut store = store();
            let mut map: HashMap<u8, (Vec<u8>, u64)> = HashMap::new();
            for (step, key, len) in steps {
                let (name, value) = ([key], vec![key; len]);
                let now = NOW.get();
                map.retain(|_, (_, expires)| *expires > now);
                match step {
                    0 => {
                        store.set(&name, &value, Expiry::Never);
                        map.insert(key, (value, NEVER));
                    }
                    1 => {
                        let time = now + len as u64;
                        store.set(&name, &value, Expiry::At(time));
                        map.insert(key, (value, time));
                    }
                    2 => prop_assert_eq!(store.remove(&name), map.remove(&key).is_some()),
                    3 => NOW.set(now + 1),
                    4 => {
                        store.sweep(len);
                    }
                    _ => {
                        store.set(&name, &value, Expiry::Keep);
                        map.entry(key).or_insert((Vec::new(), NEVER)).0 = value;
                    }
                }
                let now = NOW.get();
                map.retain(|_, (_, expires)| *expires > now);
                for key in 0..8 {
                    let expected = map.get(&key).map(|(value, _)| &**value);
                    prop_assert_eq!(store.get(&[key]).map(|value| &**value), expected);
                }
                let used: usize = map.values().map(|(value, _)| cost(1, value.len())).sum();
                prop_assert_eq!((store.len(), store.used()), (map.len(), used));
            }
        }
    }
}
