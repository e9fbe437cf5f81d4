//! Where a table comes from: the lines that stand above it.

use std::process::Command;

use serde::Serialize;

/// Machine, kernel, compiler, date and command.
#[derive(Debug, Serialize)]
pub(crate) struct Origin {
    pub(crate) processor: String,
    pub(crate) cores: usize,
    pub(crate) kernel: String,
    pub(crate) compiler: String,
    pub(crate) commit: String,
    pub(crate) date: String,
    pub(crate) command: String,
}

impl Origin {
    /// Of this run.
    pub(crate) fn here() -> Self {
        let cpu = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
        let model = cpu
            .lines()
            .find_map(|line| line.strip_prefix("model name")?.split_once(": "))
            .map_or("unknown processor", |(_, model)| model);
        let arguments: Vec<String> = std::env::args().skip(1).collect();
        Self {
            processor: model.to_owned(),
            cores: yardstick::affinity::cores().len(),
            kernel: said("uname", &["-sr"]),
            compiler: said("rustc", &["--version"]),
            commit: said("git", &["describe", "--always", "--dirty"]),
            date: said("date", &["-u", "+%Y-%m-%d %H:%M UTC"]),
            command: format!("day5-benchmark {}", arguments.join(" ")).trim_end().to_owned(),
        }
    }

    /// A line each.
    pub(crate) fn lines(&self) -> [String; 6] {
        [
            format!("machine   {}, {} cores", self.processor, self.cores),
            format!("kernel    {}", self.kernel),
            format!("compiler  {}", self.compiler),
            format!("commit    {}", self.commit),
            format!("date      {}", self.date),
            format!("command   {}", self.command),
        ]
    }
}

fn said(program: &str, arguments: &[&str]) -> String {
    let output = Command::new(program).args(arguments).output();
    let text = output.map(|output| String::from_utf8_lossy(&output.stdout).trim().to_owned());
    text.ok().filter(|text| !text.is_empty()).unwrap_or_else(|| "unknown".to_owned())
}

/// What the cores did since it was made: how much of it was for others than this process and the
/// children that it has waited for.
pub(crate) struct Watch {
    busy: f64,
    idle: f64,
    ours: f64,
}

impl Watch {
    /// From now on; `None` where the kernel does not say.
    pub(crate) fn start() -> Option<Self> {
        let stat = std::fs::read_to_string("/proc/stat").ok()?;
        let ticks: Vec<f64> =
            stat.lines().next()?.split_whitespace().skip(1).flat_map(str::parse).collect();
        // user, nice, system, idle, iowait, irq, softirq, steal
        let [user, nice, system, idle, iowait, irq, softirq, steal] = *ticks.first_chunk()?;
        let own = std::fs::read_to_string("/proc/self/stat").ok()?;
        // After the name, which may contain anything: utime is the 12th, then stime, cutime, cstime.
        let (_, fields) = own.rsplit_once(") ")?;
        let times = fields.split(' ').skip(11).take(4);
        let ours = times.flat_map(str::parse::<f64>).sum();
        let busy = user + nice + system + irq + softirq + steal;
        Some(Self { busy, idle: idle + iowait, ours })
    }

    /// The share of all cores' time that others have used since, in percent.
    pub(crate) fn others(&self) -> Option<f64> {
        let now = Self::start()?;
        let busy = now.busy - self.busy;
        let theirs = (busy - (now.ours - self.ours)).max(0.0);
        Some(100.0 * theirs / (busy + now.idle - self.idle).max(1.0))
    }
}
