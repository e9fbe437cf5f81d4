//! Where a table comes from: the lines that stand above it.

use std::process::Command;

/// Machine, kernel, compiler, commit, date and command, a line each.
pub fn lines() -> Vec<String> {
    let cpu = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model = cpu
        .lines()
        .find_map(|line| line.strip_prefix("model name")?.split_once(": "))
        .map_or("unknown processor", |(_, model)| model)
        .to_owned();
    let cores = common::affinity::cores().len();
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    vec![
        format!("machine   {model}, {cores} cores"),
        format!("kernel    {}", said("uname", &["-sr"])),
        format!("compiler  {}, {}", said("rustc", &["--version"]), stores()),
        format!("commit    {}", said("git", &["describe", "--always", "--dirty"])),
        format!("date      {}", said("date", &["-u", "+%Y-%m-%d %H:%M UTC"])),
        format!("command   compare {}", arguments.join(" ")),
    ]
}

fn said(program: &str, arguments: &[&str]) -> String {
    let output = Command::new(program).args(arguments).output();
    let text = output.map(|output| String::from_utf8_lossy(&output.stdout).trim().to_owned());
    text.ok().filter(|text| !text.is_empty()).unwrap_or_else(|| "unknown".to_owned())
}

/// How wide the stores are that this program was compiled for. Whoever writes in place does it by
/// `common::payload`, which uses 32 bytes where the machine has them; whoever hands over a message by
/// value leaves it to the compiler.
fn stores() -> &'static str {
    if cfg!(target_feature = "avx2") {
        "for AVX2"
    } else {
        "not for AVX2 (RUSTFLAGS=-Ctarget-cpu=native)"
    }
}
