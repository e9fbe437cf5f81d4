//! The results as rows, for people and for programs.

use std::fmt::Write;

use day5::Strategy;
use serde::Serialize;
use yardstick::report::{Throughput, median};

use crate::ping::{PERCENTILES, Schedule, Way};
use crate::plan::{Broadcast, Case};
use crate::run::{Found, Runs};

/// A round trip; all times are nanoseconds, and medians over the repeats.
#[derive(Debug, Serialize)]
pub(crate) struct PingRow {
    pub(crate) way: String,
    pub(crate) schedule: String,
    /// Round trips that were timed, in all repeats.
    pub(crate) timed: u64,
    pub(crate) p50: f64,
    pub(crate) p99: f64,
    pub(crate) p99_9: f64,
    /// Mean without the clock in between.
    pub(crate) untimed: Option<f64>,
    /// The name of the way that it is compared with.
    pub(crate) to: Option<String>,
    /// How many times as long this takes as that, by `p50`.
    pub(crate) ratio: Option<f64>,
    /// The same, by `untimed`.
    pub(crate) ratio_untimed: Option<f64>,
    /// Each percentile, and its round trip.
    pub(crate) percentiles: Vec<(f64, f64)>,
}

/// The cost of waiting for a message that does not come.
#[derive(Debug, Serialize)]
pub(crate) struct IdleRow {
    strategy: &'static str,
    /// CPU time, in percent of one core.
    percent: f64,
    cpu_milliseconds: f64,
    seconds: f64,
}

/// A throughput; medians over the repeats.
#[derive(Debug, Serialize)]
pub(crate) struct BroadcastRow {
    strategy: &'static str,
    consumers: usize,
    batch: usize,
    more_processes_than_cores: bool,
    each_megabytes_per_second: f64,
    each_messages_per_second: f64,
    /// The throughput of all consumers together.
    aggregate_megabytes_per_second: f64,
    /// The ratio to the throughput of one consumer, with the same strategy and batch.
    of_one: Option<f64>,
    /// For `adaptive`: the ratio to the better of `spin` and `sleep`.
    of_better: Option<f64>,
}

/// All rows.
#[derive(Debug, Serialize)]
pub(crate) struct Tables {
    pub(crate) ping_pong: Vec<PingRow>,
    pub(crate) idle: Vec<IdleRow>,
    pub(crate) broadcast: Vec<BroadcastRow>,
}

impl Tables {
    pub(crate) fn new(runs: &Runs) -> Self {
        let mut tables = Self { ping_pong: vec![], idle: vec![], broadcast: vec![] };
        for (case, _) in runs {
            match *case {
                Case::Ping(way, schedule) => tables.ping_pong.push(ping(runs, way, schedule)),
                Case::Idle(strategy) => tables.idle.extend(idle(runs, strategy)),
                Case::Broadcast(case) => tables.broadcast.push(broadcast(runs, case)),
            }
        }
        tables
    }
}

fn of(runs: &Runs, wanted: Case) -> Option<&[Found]> {
    runs.iter().find(|(case, _)| *case == wanted).map(|(_, found)| found.as_slice())
}

/// One number per repeat of a case. It is empty if the case did not run, or has no such number.
fn series(runs: &Runs, case: Case, get: impl Fn(&Found) -> Option<f64>) -> Vec<f64> {
    of(runs, case).unwrap_or_default().iter().filter_map(get).collect()
}

/// The median of the ratios of `these` to `those`, repeat by repeat. The machine changes from minute
/// to minute, and changes both numbers of one repeat alike.
fn ratio(these: &[f64], those: &[f64]) -> Option<f64> {
    let ratios: Vec<f64> = these.iter().zip(those).map(|(this, that)| this / that).collect();
    median(&ratios)
}

fn percentile(found: &Found, at: usize) -> Option<f64> {
    let Found::Pinged(pinged) = found else { return None };
    pinged.percentiles.get(at).map(|&time| time as f64)
}

fn untimed(found: &Found) -> Option<f64> {
    let Found::Pinged(pinged) = found else { return None };
    pinged.untimed
}

/// The ways that a way is compared with. If there are several, the better one of each repeat
/// counts.
fn compared(way: Way) -> (&'static str, &'static [Way]) {
    match way {
        Way::Rings(Strategy::Spin | Strategy::Yield) => ("bare", &[Way::Bare]),
        Way::Rings(Strategy::Sleep) => ("futex", &[Way::Futex]),
        Way::Rings(Strategy::Adaptive) => {
            ("better of spin, sleep", &[Way::Rings(Strategy::Spin), Way::Rings(Strategy::Sleep)])
        }
        _ => ("", &[]),
    }
}

/// The best of several series in each repeat, as `better` says. It is empty if one of them did not
/// run.
fn best(all: &[Vec<f64>], better: fn(f64, f64) -> f64) -> Vec<f64> {
    let Some((first, rest)) = all.split_first() else { return vec![] };
    let fold = |best: Vec<f64>, next: &Vec<f64>| {
        best.iter().zip(next).map(|(one, other)| better(*one, *other)).collect()
    };
    rest.iter().fold(first.clone(), fold)
}

fn ping(runs: &Runs, way: Way, schedule: Schedule) -> PingRow {
    let case = Case::Ping(way, schedule);
    let (name, others) = compared(way);
    let against = |get: &dyn Fn(&Found) -> Option<f64>| {
        let series = |way: &Way| series(runs, Case::Ping(*way, schedule), get);
        let those = best(&others.iter().map(series).collect::<Vec<_>>(), f64::min);
        ratio(&series(&way), &those)
    };
    let at = |at: usize| median(&series(runs, case, |found| percentile(found, at)));
    let percentiles: Vec<(f64, f64)> =
        PERCENTILES.into_iter().enumerate().filter_map(|(i, p)| Some((p, at(i)?))).collect();
    let named = |wanted: f64| {
        percentiles.iter().find(|(p, _)| *p == wanted).map_or(f64::NAN, |(_, time)| *time)
    };
    let timed = |found: &Found| match found {
        Found::Pinged(pinged) => pinged.timed,
        _ => 0,
    };
    let middle = PERCENTILES.iter().position(|p| *p == 50.0).unwrap_or_default();
    let ratio = against(&|found| percentile(found, middle));
    PingRow {
        way: way.to_string(),
        schedule: schedule.to_string(),
        timed: of(runs, case).unwrap_or_default().iter().map(timed).sum(),
        p50: named(50.0),
        p99: named(99.0),
        p99_9: named(99.9),
        untimed: median(&series(runs, case, untimed)),
        to: ratio.map(|_| name.to_owned()),
        ratio,
        ratio_untimed: against(&untimed),
        percentiles,
    }
}

fn idle(runs: &Runs, strategy: Strategy) -> Option<IdleRow> {
    let [Found::Idled(idled)] = of(runs, Case::Idle(strategy))? else { return None };
    Some(IdleRow {
        strategy: strategy.name(),
        percent: idled.percent(),
        cpu_milliseconds: idled.used as f64 / 1e6,
        seconds: idled.elapsed as f64 / 1e9,
    })
}

fn broadcast(runs: &Runs, case: Broadcast) -> BroadcastRow {
    let rates = |case, get: fn(&Throughput) -> f64| {
        series(runs, Case::Broadcast(case), |found| match found {
            Found::Moved(throughput) => Some(get(throughput)),
            _ => None,
        })
    };
    let megabytes = |case| rates(case, Throughput::megabytes_per_second);
    let each = megabytes(case);
    let (consumers, one) = (case.consumers as f64, Broadcast { consumers: 1, ..case });
    let other = |strategy| megabytes(Broadcast { strategy, ..case });
    let adaptive = case.strategy == Strategy::Adaptive;
    let better = best(&[other(Strategy::Spin), other(Strategy::Sleep)], f64::max);
    let middle = median(&each).unwrap_or(f64::NAN);
    let messages = median(&rates(case, Throughput::million_messages_per_second));
    BroadcastRow {
        strategy: case.strategy.name(),
        consumers: case.consumers,
        batch: case.batch,
        more_processes_than_cores: case.is_crowded(),
        each_megabytes_per_second: middle,
        each_messages_per_second: 1e6 * messages.unwrap_or(f64::NAN),
        aggregate_megabytes_per_second: consumers * middle,
        of_one: ratio(&each, &megabytes(one)).map(|ratio| consumers * ratio),
        of_better: ratio(&each, &better).filter(|_| adaptive),
    }
}

fn or_dash(number: Option<f64>, decimals: usize) -> String {
    number.map_or("-".to_owned(), |number| format!("{number:.decimals$}"))
}

fn microseconds(nanoseconds: f64) -> String {
    format!("{:.3}", nanoseconds / 1e3)
}

impl Tables {
    /// The tables, for people.
    pub(crate) fn text(&self, rate: f64) -> Result<String, std::fmt::Error> {
        let mut text = String::new();
        self.write_ping(&mut text, rate)?;
        self.write_idle(&mut text)?;
        self.write_broadcast(&mut text)?;
        Ok(text)
    }

    fn write_ping(&self, out: &mut String, rate: f64) -> std::fmt::Result {
        for (schedule, title) in [
            (Schedule::Fast, "as fast as it goes".to_owned()),
            (Schedule::Rate, format!("{rate} calls a second, each timed from its schedule")),
        ] {
            let name = schedule.to_string();
            let rows: Vec<_> = self.ping_pong.iter().filter(|row| row.schedule == name).collect();
            if rows.is_empty() {
                continue;
            }
            writeln!(out, "\nping-pong, round trip in us: {title}")?;
            writeln!(
                out,
                "{:<10}{:>11}{:>11}{:>11}{:>11}{:>11}{:>10}  of",
                "", "p50", "p99", "p99.9", "untimed", "ratio p50", "untimed"
            )?;
            for row in rows {
                let untimed = row.untimed.map_or("-".to_owned(), microseconds);
                let line = format!(
                    "{:<10}{:>11}{:>11}{:>11}{:>11}{:>11}{:>10}  {}",
                    row.way,
                    microseconds(row.p50),
                    microseconds(row.p99),
                    microseconds(row.p99_9),
                    untimed,
                    or_dash(row.ratio, 2),
                    or_dash(row.ratio_untimed, 2),
                    row.to.as_deref().unwrap_or(""),
                );
                writeln!(out, "{}", line.trim_end())?;
            }
        }
        Ok(())
    }

    fn write_idle(&self, out: &mut String) -> std::fmt::Result {
        if self.idle.is_empty() {
            return Ok(());
        }
        writeln!(out, "\nidle: CPU time of a consumer that waits in vain, one run")?;
        writeln!(out, "{:<10}{:>12}{:>12}{:>12}", "", "% of a core", "CPU ms", "waited s")?;
        for row in &self.idle {
            writeln!(
                out,
                "{:<10}{:>12.3}{:>12.3}{:>12.3}",
                row.strategy, row.percent, row.cpu_milliseconds, row.seconds
            )?;
        }
        Ok(())
    }

    fn write_broadcast(&self, out: &mut String) -> std::fmt::Result {
        for batch in [1, 64] {
            let rows: Vec<_> = self.broadcast.iter().filter(|row| row.batch == batch).collect();
            if rows.is_empty() {
                continue;
            }
            let how =
                if batch == 1 { "one at a time".to_owned() } else { format!("{batch} at a time") };
            writeln!(
                out,
                "\nbroadcast, messages of 64 bytes, {how} (* more processes than cores)"
            )?;
            writeln!(
                out,
                "{:<13}{:<10}{:>11}{:>11}{:>10}{:>9}{:>11}",
                "consumers", "", "all MB/s", "each MB/s", "each M/s", "of one", "of better"
            )?;
            for row in rows {
                let mark = if row.more_processes_than_cores { "*" } else { "" };
                writeln!(
                    out,
                    "{:<13}{:<10}{:>11.0}{:>11.0}{:>10.3}{:>9}{:>11}",
                    format!("{}{mark}", row.consumers),
                    row.strategy,
                    row.aggregate_megabytes_per_second,
                    row.each_megabytes_per_second,
                    row.each_messages_per_second / 1e6,
                    or_dash(row.of_one, 2),
                    or_dash(row.of_better, 2),
                )?;
            }
        }
        Ok(())
    }
}
