//! One line a task, in the format of Chrome's trace viewer: an array of events, one a line, whose end may be missing.
//!
//! `ts` and `dur` are microseconds: when the task was begun, and how long it took. `pid` is the client's process, `tid`
//! the shard. The arguments say when it was issued.

use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::Path;
use std::sync::{Mutex, PoisonError};

/// A file that gets one line a task.
#[derive(Debug)]
pub(super) struct Trace(Mutex<BufWriter<File>>);

/// One task.
#[derive(Clone, Copy, Debug)]
pub(super) struct Span<'a> {
    pub(super) name: &'a str,
    pub(super) client: u64,
    pub(super) pid: u32,
    pub(super) shard: usize,
    pub(super) issued: u64,
    pub(super) begun: u64,
    pub(super) done: u64,
    pub(super) status: &'a str,
}

impl Trace {
    pub(super) fn create(path: &Path) -> std::io::Result<Self> {
        let mut file = BufWriter::new(File::create(path)?);
        file.write_all(b"[\n")?;
        file.flush()?;
        Ok(Self(Mutex::new(file)))
    }

    pub(super) fn add(&self, span: Span<'_>) {
        let Span { name, client, pid, shard, issued, begun, done, status } = span;
        let micros = |nanoseconds: u64| nanoseconds as f64 / 1e3;
        let (ts, dur) = (micros(begun), micros(done.saturating_sub(begun)));
        let (issued, waited) = (micros(issued), micros(begun.saturating_sub(issued)));
        let name = quoted(name);
        let mut file = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        // A full disk costs the trace, and not the task.
        let _ = writeln!(
            file,
            "{{\"name\":{name},\"cat\":\"task\",\"ph\":\"X\",\"ts\":{ts:.3},\"dur\":{dur:.3},\"pid\":{pid},\"tid\":{shard},\
             \"args\":{{\"client\":{client},\"issued\":{issued:.3},\"waited\":{waited:.3},\"status\":\"{status}\"}}}},"
        );
    }

    pub(super) fn flush(&self) {
        let _ = self.0.lock().unwrap_or_else(PoisonError::into_inner).flush();
    }
}

/// A JSON string.
fn quoted(text: &str) -> String {
    let mut quoted = String::from("\"");
    for c in text.chars() {
        match c {
            '"' | '\\' => quoted.extend(['\\', c]),
            c if c.is_control() => quoted.push_str(&format!("\\u{:04x}", c as u32)),
            c => quoted.push(c),
        }
    }
    quoted.push('"');
    quoted
}

#[cfg(test)]
mod tests {
    use super::quoted;

    #[test]
    fn any_name_is_a_json_string() {
        assert_eq!(quoted("a\"b\\c\n\u{1}\u{e9}"), "\"a\\\"b\\\\c\\u000a\\u0001\u{e9}\"");
    }
}
