//! The one door to atomics.
//!
//! Everything shared between threads or processes goes through this module. An ordinary build gets
//! `core`'s atomics; a build with `--cfg loom` gets [loom]'s, which try every schedule that the
//! memory model allows. The algorithm's source is the same in both.
//!
//! Two macros mark the places where an ordering matters, and [`mutant`] marks the places where a second
//! look matters. In an ordinary build [`ordering!`](crate::ordering) gives the ordering that is written
//! in it, and [`fence!`](crate::fence) the fence. Under loom, the environment variable `FANOUT_MUTANT`
//! names one of these places. That ordering is then weakened, or that fence or look left out, and a test
//! named in the mutant table must fail. A name that is in no table is an error: a model that passes
//! would otherwise look like a proof.
//!
//! [loom]: https://docs.rs/loom

#[cfg(not(loom))]
mod door {
    #![allow(clippy::disallowed_types, reason = "this is the door")]

    /// An unsigned 32-bit integer that threads and processes may share.
    pub type AtomicU32 = core::sync::atomic::AtomicU32;
    /// An unsigned 64-bit integer that threads and processes may share.
    pub type AtomicU64 = core::sync::atomic::AtomicU64;
    /// A byte that threads and processes may share.
    pub type AtomicU8 = core::sync::atomic::AtomicU8;
    /// A flag that threads and processes may share.
    pub type AtomicBool = core::sync::atomic::AtomicBool;
    pub use core::sync::atomic::{Ordering, compiler_fence, fence};
    pub use std::sync::{Arc, Mutex};

    /// Tells the core that this is a busy wait.
    #[inline(always)]
    pub fn spin_loop() {
        core::hint::spin_loop();
    }

    /// Gives the core to another thread that is ready to run.
    #[inline]
    pub fn yield_now() {
        std::thread::yield_now();
    }

    /// Runs `f` once; under loom, under every schedule.
    pub fn model(f: impl Fn() + Sync + Send + 'static) {
        f();
    }

    /// Runs `f` once and says so; under loom, under every schedule that takes the core away from a
    /// thread at most `preemptions` times (`None`: under every schedule), and says how many there
    /// were.
    pub fn explore(preemptions: Option<usize>, f: impl Fn() + Sync + Send + 'static) -> u64 {
        let _ = preemptions;
        f();
        1
    }

    /// Whether the mutant of this name is switched on. Outside loom it never is.
    #[inline(always)]
    pub const fn mutant(name: &str) -> bool {
        let _ = name;
        false
    }

    /// Where an end can be killed in a model. Here nothing happens.
    #[inline(always)]
    pub fn may_die(step: &str) {
        let _ = step;
    }

    /// A cell for a model's payload. Under loom it is loom's cell, which reports accesses that
    /// nothing orders. Here it has the same calls and reports nothing.
    #[derive(Debug)]
    pub struct UnsafeCell<T>(core::cell::UnsafeCell<T>);

    impl<T> UnsafeCell<T> {
        /// A cell with this in it.
        pub fn new(value: T) -> Self {
            Self(core::cell::UnsafeCell::new(value))
        }

        /// Calls `f` with an address to read from.
        pub fn with<R>(&self, f: impl FnOnce(*const T) -> R) -> R {
            f(self.0.get())
        }

        /// Calls `f` with an address to write to.
        pub fn with_mut<R>(&self, f: impl FnOnce(*mut T) -> R) -> R {
            f(self.0.get())
        }
    }

    /// Runs `f`. Outside of loom nobody dies.
    pub fn dying_at<R>(step: &'static str, f: impl FnOnce() -> R) -> Option<R> {
        let _ = step;
        Some(f())
    }

    /// Threads that loom can schedule.
    pub mod thread {
        pub use std::thread::{JoinHandle, spawn};
    }
}

#[cfg(loom)]
mod door {
    #![allow(clippy::disallowed_types, reason = "this is the door")]

    use std::sync::OnceLock;

    pub use loom::cell::UnsafeCell;
    pub use loom::sync::atomic::{AtomicBool, AtomicU8, AtomicU32, AtomicU64, Ordering, fence};
    pub use loom::sync::{Arc, Mutex};
    pub use loom::thread;

    /// loom does not model a compiler that reorders. So a compiler fence that is paired with a
    /// `membarrier` has to be modelled by two full fences.
    pub fn compiler_fence(ordering: Ordering) {
        fence(ordering);
    }

    /// A busy wait makes no progress under loom until another thread runs.
    pub fn spin_loop() {
        loom::thread::yield_now();
    }

    /// Lets loom run another thread.
    pub fn yield_now() {
        loom::thread::yield_now();
    }

    /// Runs `f` under every schedule.
    ///
    /// # Panics
    ///
    /// If `f` does, or if there is no mutant of the name that was asked for.
    pub fn model(f: impl Fn() + Sync + Send + 'static) {
        switched_on();
        loom::model(f);
    }

    /// Runs `f` under every schedule that takes the core away from a thread at most `preemptions`
    /// times (`None`: under every schedule); says how many there were.
    ///
    /// # Panics
    ///
    /// If `f` does, or if there is no mutant of the name that was asked for.
    pub fn explore(preemptions: Option<usize>, f: impl Fn() + Sync + Send + 'static) -> u64 {
        switched_on();
        // Not loom's atomic: this counts what loom does.
        let executions = std::sync::Arc::new(core::sync::atomic::AtomicU64::new(0));
        let counter = executions.clone();
        let mut builder = loom::model::Builder::new();
        builder.preemption_bound = preemptions;
        // Of one execution: some models do much before they begin to run in parallel.
        builder.max_branches = 20_000;
        builder.check(move || {
            counter.fetch_add(1, Ordering::Relaxed);
            f();
        });
        executions.load(Ordering::Relaxed)
    }

    /// Whether the mutant of this name is switched on.
    pub fn mutant(name: &str) -> bool {
        switched_on() == Some(name)
    }

    loom::thread_local! {
        static DIES_AT: core::cell::Cell<Option<&'static str>> = core::cell::Cell::new(None);
    }

    /// What a thread dies of that has come to the step that it was to die at.
    #[derive(Debug)]
    pub struct Died;

    /// Runs `f` in this thread, and ends it at once where it comes to this step, as `kill` does; `None` then.
    pub fn dying_at<R>(step: &'static str, f: impl FnOnce() -> R) -> Option<R> {
        DIES_AT.with(|cell| cell.set(Some(step)));
        let outcome = std::panic::catch_unwind(std::panic::AssertUnwindSafe(f));
        DIES_AT.with(|cell| cell.set(None));
        match outcome {
            Ok(done) => Some(done),
            Err(payload) if payload.is::<Died>() => None,
            Err(payload) => std::panic::resume_unwind(payload),
        }
    }

    /// Where an end can be killed in a model.
    pub fn may_die(step: &'static str) {
        if DIES_AT.with(|cell| cell.get()) == Some(step) {
            std::panic::resume_unwind(Box::new(Died));
        }
    }

    /// The mutant that `FANOUT_MUTANT` names. It must be in one of the tables.
    fn switched_on() -> Option<&'static str> {
        static ON: OnceLock<Option<String>> = OnceLock::new();
        let named = || std::env::var("FANOUT_MUTANT").ok().inspect(|name| expect_known(name));
        ON.get_or_init(named).as_deref()
    }

    fn expect_known(name: &str) {
        let mut known = Vec::new();
        for day in std::fs::read_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/..")).unwrap() {
            let table = std::fs::read_to_string(day.unwrap().path().join("tests/mutants.txt"));
            let table = table.unwrap_or_default();
            let rows = table.lines().filter(|row| !row.starts_with('#'));
            known.extend(
                rows.filter_map(|row| row.split_once('|')).map(|row| row.0.trim().to_owned()),
            );
        }
        known.sort();
        known.dedup();
        assert!(
            known.iter().any(|one| one == name),
            "FANOUT_MUTANT is {name:?}, expected a name from a table dayN/tests/mutants.txt: {}",
            known.join(", ")
        );
    }
}

pub use door::*;

/// Runs the model `name` under every schedule, bounded if the model or the environment variable
/// `FANOUT_PREEMPTIONS` says so (`none`: not at all), and prints how many schedules there were.
///
/// # Panics
///
/// If the model does, or if the variable is neither a number nor `none`.
pub fn explore_model(name: &str, bound: Option<usize>, f: impl Fn() + Sync + Send + 'static) {
    let bound = match std::env::var("FANOUT_PREEMPTIONS").as_deref() {
        Err(_) => bound,
        Ok("none") => None,
        Ok(number) => Some(number.parse().expect("FANOUT_PREEMPTIONS is a number, or none")),
    };
    let started = std::time::Instant::now();
    let executions = explore(bound, f);
    let bound = bound.map_or("exhaustive".to_owned(), |n| format!("preemption bound {n}"));
    println!("model {name}: {executions} executions, {bound}, {:.1?}", started.elapsed());
}

/// The ordering named second, or `Relaxed` when the mutant named first is switched on.
///
/// ```
/// use common::sync::{AtomicU64, Ordering};
///
/// let published = AtomicU64::new(0);
/// published.store(1, common::ordering!("an-example", Release));
/// # let _: Ordering = common::ordering!("an-example", Acquire);
/// assert_eq!(published.load(common::ordering!("an-example", Acquire)), 1);
/// ```
#[macro_export]
macro_rules! ordering {
    ($mutant:tt, $ordering:ident) => {
        if $crate::sync::mutant($mutant) {
            $crate::sync::Ordering::Relaxed
        } else {
            $crate::sync::Ordering::$ordering
        }
    };
}

/// A fence with the ordering named second, or none when the mutant named first is switched on.
#[macro_export]
macro_rules! fence {
    ($mutant:tt, $ordering:ident) => {
        if !$crate::sync::mutant($mutant) {
            $crate::sync::fence($crate::sync::Ordering::$ordering)
        }
    };
}
