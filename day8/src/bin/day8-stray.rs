//! One coroutine reads what another one has, with a pointer that it should not have.

use std::cell::Cell;
use std::process::ExitCode;
use std::ptr;
use std::rc::Rc;

use clap::Parser;
use day8::{Heap, Isolation, Runtime, spawn, yield_now};
use yardstick::report;

/// Read another coroutine's memory with a stray pointer
#[derive(Parser)]
struct Arguments {
    /// Whether a coroutine's memory is inaccessible while it does not run: none or mprotect
    #[arg(long, default_value_t = Isolation::None)]
    isolation: Isolation,
}

fn main() -> ExitCode {
    report::exit(stray(&Arguments::parse()))
}

fn stray(arguments: &Arguments) -> anyhow::Result<()> {
    let runtime = Runtime::new(arguments.isolation)?;
    let pointer = Rc::new(Cell::new(ptr::null()));
    let told = Rc::clone(&pointer);
    runtime.block_on(async move {
        let owner = spawn(async move {
            let heap = Heap::current().expect("a coroutine has a heap");
            let secret = heap.alloc(*b"the password")?;
            told.set(ptr::from_ref(&*secret));
            yield_now().await;
            println!("its owner reads:   {}", String::from_utf8_lossy(&*secret));
            anyhow::Ok(())
        })?;
        yield_now().await;
        // SAFETY: none. The bytes are there, but they are another coroutine's: with `mprotect` this kills the process.
        let stray = unsafe { ptr::read_volatile(pointer.get()) };
        println!("a stranger reads:  {}", String::from_utf8_lossy(&stray));
        owner.await?
    })?
}
