//! A plot of the round trips as handwritten SVG: latency over percentile, one line for each way,
//! both axes logarithmic.

use std::fmt::Write;

use anyhow::ensure;
use yardstick::machine::Machine;

use crate::ping::{PERCENTILES, Schedule};
use crate::table::PingRow;

/// The width of a panel's drawing area, in pixels.
const WIDTH: f64 = 420.0;
const HEIGHT: f64 = 420.0;
/// Where the first panel's area begins.
const LEFT: f64 = 80.0;
const TOP: f64 = 90.0;
/// The distance from one panel's area to the next. The lines' names stand in between.
const PITCH: f64 = WIDTH + 170.0;
/// The smallest distance between two names.
const LEADING: f64 = 15.0;
/// The text size of most labels.
const TEXT: u32 = 13;

/// A way's colour and dashes. This project's lines are solid.
fn look(way: &str) -> (&'static str, &'static str) {
    match way {
        "spin" => ("#c0392b", "none"),
        "yield" => ("#d68910", "none"),
        "sleep" => ("#1f618d", "none"),
        "adaptive" => ("#1e8449", "none"),
        "bare" => ("#000000", "5 3"),
        "futex" => ("#5b2c8e", "5 3"),
        "eventfd" => ("#8d6e63", "5 3"),
        "pipe" => ("#616a6b", "5 3"),
        _ => ("#c2185b", "5 3"),
    }
}

/// Where a percentile lies: each nine takes the same width, 0 is at the left, and the last kept
/// percentile at the right.
fn across(percentile: f64) -> f64 {
    let nines = |percentile: f64| -(1.0 - percentile / 100.0).log10();
    WIDTH * nines(percentile) / nines(PERCENTILES[PERCENTILES.len() - 1])
}

/// The powers of ten, in nanoseconds, between which all times lie.
struct Decades {
    first: i32,
    last: i32,
}

impl Decades {
    fn around(rows: &[PingRow]) -> Self {
        let times = || rows.iter().flat_map(|row| &row.percentiles).map(|(_, time)| time.log10());
        let first = times().fold(f64::INFINITY, f64::min).floor() as i32;
        let last = times().fold(f64::NEG_INFINITY, f64::max).ceil() as i32;
        Self { first, last: last.max(first + 1) }
    }

    /// Where a time lies, measured from the top of the area.
    fn down(&self, nanoseconds: f64) -> f64 {
        let share =
            (nanoseconds.log10() - f64::from(self.first)) / f64::from(self.last - self.first);
        HEIGHT * (1.0 - share)
    }
}

fn decade(exponent: i32) -> String {
    let number = 10u64.pow(exponent.rem_euclid(3) as u32);
    let unit = match exponent.div_euclid(3) {
        0 => "ns",
        1 => "µs",
        2 => "ms",
        _ => "s",
    };
    format!("{number} {unit}")
}

fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}

/// A picture of these rows: a panel for each schedule that ran.
///
/// # Errors
///
/// If no ping-pong ran.
pub(crate) fn svg(rows: &[PingRow], origin: &Machine, rate: f64) -> anyhow::Result<String> {
    let titles = [
        (Schedule::Fast, "as fast as it goes".to_owned()),
        (Schedule::Rate, format!("{rate} calls a second, timed from the schedule")),
    ];
    let panels: Vec<(Vec<&PingRow>, &String)> = titles
        .iter()
        .map(|(schedule, title)| (schedule.to_string(), title))
        .map(|(name, title)| (rows.iter().filter(|row| row.schedule == name).collect(), title))
        .filter(|(rows, _): &(Vec<_>, _)| !rows.is_empty())
        .collect();
    ensure!(
        !panels.is_empty(),
        "no ping-pong ran that could be plotted: leave out --plot or --only"
    );
    let decades = Decades::around(rows);
    let (width, height) = (LEFT + PITCH * panels.len() as f64, TOP + HEIGHT + 120.0);
    let mut out = String::new();
    writeln!(
        out,
        r#"<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}" viewBox="0 0 {width} {height}" font-family="sans-serif" font-size="{TEXT}" fill="black">"#
    )?;
    writeln!(out, "<title>Round trip between two processes, by way to wait</title>")?;
    writeln!(out, r#"<rect width="{width}" height="{height}" fill="white"/>"#)?;
    writeln!(
        out,
        r#"<text x="{LEFT}" y="32" font-size="18">Round trip between two processes, by way to wait</text>"#
    )?;
    for (i, (rows, title)) in panels.iter().enumerate() {
        let left = LEFT + PITCH * i as f64;
        writeln!(out, r#"<g transform="translate({left} {TOP})">"#)?;
        axes(&mut out, &decades, title)?;
        lines(&mut out, &decades, rows)?;
        writeln!(out, "</g>")?;
    }
    let Machine { processor, cores, kernel, date, command, .. } = origin;
    for (line, text) in [
        format!(
            "{processor}, {cores} cores, {kernel}, {date}; full lines: this queue, dashed: floors"
        ),
        command.clone(),
    ]
    .iter()
    .enumerate()
    {
        let y = height - 38.0 + 18.0 * line as f64;
        let text = escape(text);
        writeln!(out, r##"<text x="{LEFT}" y="{y}" font-size="12" fill="#333333">{text}</text>"##)?;
    }
    writeln!(out, "</svg>")?;
    Ok(out)
}

fn axes(out: &mut String, decades: &Decades, title: &str) -> std::fmt::Result {
    writeln!(out, r#"<text x="0" y="-14">{}</text>"#, escape(title))?;
    for exponent in decades.first..=decades.last {
        let y = decades.down(10f64.powi(exponent));
        writeln!(out, r##"<path d="M0 {y:.1}H{WIDTH}" stroke="#cccccc"/>"##)?;
        let label = decade(exponent);
        writeln!(out, r#"<text x="-8" y="{:.1}" text-anchor="end">{label}</text>"#, y + 4.0)?;
    }
    for percentile in [0.0, 50.0, 90.0, 99.0, 99.9, 99.99] {
        let x = across(percentile);
        writeln!(out, r##"<path d="M{x:.1} 0V{HEIGHT}" stroke="#e5e5e5"/>"##)?;
        let y = HEIGHT + 20.0;
        writeln!(out, r#"<text x="{x:.1}" y="{y}" text-anchor="middle">{percentile}</text>"#)?;
    }
    writeln!(out, r#"<rect width="{WIDTH}" height="{HEIGHT}" fill="none" stroke="black"/>"#)?;
    let (x, y) = (WIDTH / 2.0, HEIGHT + 42.0);
    writeln!(
        out,
        r#"<text x="{x}" y="{y}" text-anchor="middle">percentile of round trips, %</text>"#
    )?;
    let y = HEIGHT / 2.0;
    writeln!(
        out,
        r#"<text transform="translate(-62 {y}) rotate(-90)" text-anchor="middle">round trip</text>"#
    )
}

fn lines(out: &mut String, decades: &Decades, rows: &[&PingRow]) -> std::fmt::Result {
    let mut names: Vec<(f64, &str)> = Vec::new();
    for row in rows {
        let (colour, dashes) = look(&row.way);
        let points: Vec<String> = row
            .percentiles
            .iter()
            .map(|(percentile, time)| {
                format!("{:.1},{:.1}", across(*percentile), decades.down(*time))
            })
            .collect();
        writeln!(
            out,
            r#"<polyline points="{}" fill="none" stroke="{colour}" stroke-width="2" stroke-dasharray="{dashes}"/>"#,
            points.join(" ")
        )?;
        let last = row.percentiles.last().map_or(0.0, |(_, time)| decades.down(*time));
        names.push((last, &row.way));
    }
    // Names stand at the ends of their lines, and are moved apart where they would overlap.
    names.sort_by(|one, other| one.0.total_cmp(&other.0));
    let mut lowest = f64::NEG_INFINITY;
    for (i, (end, way)) in names.iter().enumerate() {
        let room_below = LEADING * (names.len() - 1 - i) as f64;
        let y = end.min(HEIGHT - room_below).max(lowest + LEADING);
        lowest = y;
        let (colour, dashes) = look(way);
        let (x, middle) = (WIDTH + 8.0, y - 4.0);
        writeln!(
            out,
            r#"<path d="M{x} {middle:.1}h22" stroke="{colour}" stroke-width="2" stroke-dasharray="{dashes}"/>"#
        )?;
        writeln!(out, r#"<text x="{}" y="{y:.1}" fill="{colour}">{way}</text>"#, x + 28.0)?;
    }
    Ok(())
}
