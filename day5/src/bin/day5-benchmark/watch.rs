//! What other programs did meanwhile.

/// Counts how busy the cores were since this was made, and how much of that was not for this
/// process or a child that it has waited for.
pub(crate) struct Watch {
    busy: f64,
    idle: f64,
    ours: f64,
}

impl Watch {
    /// Starts now; `None` if the kernel does not tell.
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

    /// How much of all cores' time other programs have used since, in percent.
    pub(crate) fn others(&self) -> Option<f64> {
        let now = Self::start()?;
        let busy = now.busy - self.busy;
        let theirs = (busy - (now.ours - self.ours)).max(0.0);
        Some(100.0 * theirs / (busy + now.idle - self.idle).max(1.0))
    }
}
