//! Bar charts of a comparison as handwritten SVG. Horizontal lengths are in percent of the chart's
//! width, so that in a page only the bars shrink with the window, and the letters do not.

use std::fmt::Write as _;

use crate::contenders::{Standing, Style};
use crate::question::Unit;
use crate::report::{Figures, Group, Outcome, Row, figure};
use yardstick::machine::Machine;

/// The width of a chart in a file of its own, in pixels.
const WIDTH: f64 = 860.0;
/// How much of the width the bars may take, in percent; figures take the rest.
const AREA: f64 = 82.0;
/// The height of a line of text and of a bar, in pixels.
const LINE: f64 = 17.0;
const BAR: f64 = 12.0;
/// The distance between two rows.
const GAP: f64 = 9.0;
/// How many characters fit into a line, both in a page on a telephone and in a file.
const NARROW: usize = 46;
const WIDE: usize = 110;
/// A reason is cut off after so many lines; the table has all of it.
const REASON: usize = 3;
/// If the fastest row is at least so many times as fast as the slowest, the axis is logarithmic.
const SPAN: f64 = 30.0;

/// The colours, in light and dark. They differ in lightness, too, so that they can be told apart
/// without colours, and in print.
pub const STYLE: &str = "\
.chart{font:13px system-ui,sans-serif;fill:#1b1f24}
.chart .name{font-weight:600}
.chart .quiet{fill:#59636e}
.chart .small{font-size:11.5px}
.chart .part{font-weight:600;font-size:12px;fill:#59636e}
.chart .over{paint-order:stroke;stroke:#fff;stroke-width:3px}
.chart .title{font-size:17px;font-weight:600}
.chart .limit{fill:#d3d8de;stroke:#7d8794}
.chart .fanout{fill:#0a4a8f}
.chart .rival{fill:#de8a33}
.chart .spread{stroke:#1b1f24;stroke-width:1.5}
.chart .halo{stroke:#fff;stroke-width:3.5}
.chart .grid{stroke:#e3e6ea}
.chart .bound{stroke:#59636e;stroke-width:1.5;stroke-dasharray:5 4}
.chart .paper{fill:#fff}
@media (prefers-color-scheme:dark){
.chart{fill:#e6e9ed}
.chart .quiet{fill:#9aa5b1}
.chart .part{fill:#9aa5b1}
.chart .over{stroke:#14171b}
.chart .limit{fill:#4d5764;stroke:#8b96a3}
.chart .fanout{fill:#8ccbff}
.chart .rival{fill:#bd6a1b}
.chart .spread{stroke:#e6e9ed}
.chart .halo{stroke:#14171b}
.chart .grid{stroke:#2c323a}
.chart .bound{stroke:#9aa5b1}
.chart .paper{fill:#14171b}
}
";

/// Text, escaped for use between tags and within attributes.
pub fn escape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for letter in text.chars() {
        match letter {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\'' => out.push_str("&#39;"),
            '\t' | '\n' | '\r' => out.push(' '),
            // XML has no way to write these.
            '\u{fffe}' | '\u{ffff}' => out.push('\u{fffd}'),
            _ if letter.is_control() => out.push('\u{fffd}'),
            _ => out.push(letter),
        }
    }
    out
}

/// The CSS class of a row.
pub fn class(standing: Standing) -> &'static str {
    match standing {
        Standing::Limit => "limit",
        Standing::Fanout => "fanout",
        Standing::Rival => "rival",
    }
}

/// The chart, as a part of a page that has [`STYLE`].
pub fn inline(group: &Group) -> String {
    let Sheet { marks, y, .. } = draw(group, Sheet::new(NARROW));
    let title = escape(&group.title);
    format!(
        "<svg class=\"chart\" xmlns=\"http://www.w3.org/2000/svg\" width=\"100%\" height=\"{y:.0}\" \
         role=\"img\" aria-label=\"{title}\">\n{marks}</svg>\n"
    )
}

/// The chart, as a file of its own.
pub fn file(group: &Group, machine: &Machine) -> String {
    let mut sheet = Sheet::new(WIDE);
    sheet.y = 12.0;
    sheet.write("title", &group.title);
    sheet.y += 8.0;
    let mut sheet = draw(group, sheet);
    let Machine { processor, cores, kernel, commit, date, command, .. } = machine;
    sheet.y += 4.0;
    let origin = format!("{processor}, {cores} cores, {kernel}, commit {commit}, {date}");
    sheet.write("quiet small", &origin);
    sheet.write("quiet small", command);
    let Sheet { marks, y, .. } = sheet;
    let (height, inner) = (y + 10.0, WIDTH - 40.0);
    let title = escape(&group.title);
    format!(
        "<svg class=\"chart\" xmlns=\"http://www.w3.org/2000/svg\" width=\"{WIDTH}\" \
         height=\"{height:.0}\" viewBox=\"0 0 {WIDTH} {height:.0}\">\n<title>{title}</title>\n\
         <style>\n{STYLE}</style>\n<rect class=\"paper\" width=\"100%\" height=\"100%\"/>\n\
         <svg x=\"20\" width=\"{inner}\" height=\"{height:.0}\">\n{marks}</svg>\n</svg>\n"
    )
}

/// What has been drawn so far, and how far down it reaches.
struct Sheet {
    marks: String,
    /// The rows' names and figures. They lie above the lines that cross them.
    texts: String,
    y: f64,
    /// How many characters fit into a line.
    most: usize,
}

impl Sheet {
    fn new(most: usize) -> Self {
        Self { marks: String::new(), texts: String::new(), y: 0.0, most }
    }

    /// Writes text in as many lines as it needs.
    fn write(&mut self, class: &str, text: &str) {
        for line in wrap(text, self.most) {
            self.y += LINE;
            let (y, line) = (self.y - 4.0, escape(&line));
            self.mark(format_args!("<text class=\"{class}\" y=\"{y:.1}\">{line}</text>"));
        }
    }

    fn mark(&mut self, mark: std::fmt::Arguments<'_>) {
        let _ = writeln!(self.marks, "{mark}");
    }

    fn legend(&mut self, limit: Option<&Row>) {
        self.y += LINE;
        let entries = [
            (Standing::Fanout, 0, "Fanout"),
            (Standing::Rival, 80, "rival"),
            (Standing::Limit, 144, "limit"),
        ];
        for (standing, x, what) in entries {
            let (class, y, text) = (class(standing), self.y - 14.0, x + 17);
            self.mark(format_args!(
                "<rect class=\"{class}\" x=\"{}\" y=\"{y:.1}\" width=\"11\" height=\"11\"/>\
                 <text class=\"small\" x=\"{text}\" y=\"{:.1}\">{what}</text>",
                x + 1,
                y + 10.0
            ));
        }
        let y = self.y - 8.5;
        self.mark(format_args!(
            "<path class=\"spread\" d=\"M209 {y:.1}h22m0 -4v8m-22 0v-8\"/>\
             <text class=\"small\" x=\"237\" y=\"{:.1}\">slowest to fastest</text>",
            y + 4.5
        ));
        if let Some(Row { mode, .. }) = limit {
            self.y += LINE;
            let y = self.y - 8.5;
            self.mark(format_args!(
                "<path class=\"bound\" d=\"M1 {y:.1}h22\"/><text class=\"small\" x=\"29\" y=\"{:.1}\">\
                 the limit: {}</text>",
                y + 4.5,
                escape(mode)
            ));
        }
    }

    /// The numbers of the axis.
    fn numbers(&mut self, axis: &Axis, scale: f64) {
        self.y += LINE;
        let y = self.y - 5.0;
        for tick in axis.ticks() {
            let share = axis.share(tick);
            let anchor = if share == 0.0 { "start" } else { "middle" };
            self.mark(format_args!(
                "<text class=\"quiet small\" x=\"{:.2}%\" y=\"{y:.1}\" text-anchor=\"{anchor}\">{}</text>",
                share * AREA,
                short(tick / scale)
            ));
        }
    }

    /// A line across all rows, at this share of the axis.
    fn vertical(&mut self, class: &str, share: f64, top: f64, bottom: f64) {
        let x = share * AREA;
        self.mark(format_args!(
            "<line class=\"{class}\" x1=\"{x:.2}%\" x2=\"{x:.2}%\" y1=\"{top:.1}\" \
             y2=\"{bottom:.1}\"/>"
        ));
    }

    fn label(&mut self, row: &Row) {
        for (i, line) in wrap(&label(row), self.most).iter().enumerate() {
            self.y += LINE;
            let y = self.y - 5.0;
            let named = line.strip_prefix(row.name).filter(|_| i == 0);
            let (name, rest) = named.map_or(("", line.as_str()), |rest| (row.name, rest));
            let (name, rest) = (escape(name), escape(rest));
            let _ = writeln!(
                self.texts,
                "<text class=\"over\" y=\"{y:.1}\"><tspan class=\"name\">{name}</tspan>{rest}</text>"
            );
        }
    }

    fn bar(&mut self, row: &Row, figures: &Figures, axis: &Axis, scale: f64) {
        let _ = writeln!(self.marks, "<g><title>{}</title>", escape(&told(row, figures, scale)));
        self.label(row);
        let rate = figures.rate;
        let at = |rate| axis.share(rate) * AREA;
        let [end, slow, fast] = [rate.median, rate.slowest, rate.fastest].map(at);
        let (class, top, middle) = (class(row.standing), self.y, self.y + BAR / 2.0);
        self.mark(format_args!(
            "<rect class=\"{class}\" y=\"{top:.1}\" width=\"{end:.2}%\" height=\"{BAR}\"/>"
        ));
        for class in ["halo", "spread"] {
            let mut line = |from: f64, to: f64, half: f64| {
                let (y, down) = (middle - half, middle + half);
                self.mark(format_args!(
                    "<line class=\"{class}\" x1=\"{from:.2}%\" x2=\"{to:.2}%\" y1=\"{y:.1}\" \
                     y2=\"{down:.1}\"/>"
                ));
            };
            line(slow, fast, 0.0);
            line(slow, slow, 3.0);
            line(fast, fast, 3.0);
        }
        self.mark(format_args!("</g>"));
        let _ = writeln!(
            self.texts,
            "<text class=\"over small\" x=\"{:.2}%\" dx=\"7\" y=\"{:.1}\">{}</text>",
            end.max(fast),
            middle + 4.0,
            figure(rate.median / scale)
        );
        self.y += BAR + GAP;
    }

    fn failure(&mut self, row: &Row, why: &str) {
        self.label(row);
        let mut lines = wrap(&format!("failed: {why}"), self.most);
        if lines.len() > REASON {
            lines.truncate(REASON);
            lines[REASON - 1].push('…');
        }
        lines.iter().for_each(|line| self.write("quiet small", line));
        self.y += GAP;
    }
}

/// Draws everything but the titles and where the figures come from.
fn draw(group: &Group, mut sheet: Sheet) -> Sheet {
    let scale = group.unit.scale();
    let rows: Vec<(&Row, &Figures)> = group.rows.iter().filter_map(measured).collect();
    let limit = group.rows.iter().find(|row| row.standing == Standing::Limit).and_then(measured);
    if let Some(axis) = Axis::of(&rows) {
        sheet.legend(limit.map(|(row, _)| row));
        sheet.y += 5.0;
        let unit = match group.unit {
            Unit::RoundTrips => "thousand round trips per second",
            Unit::Tasks => "thousand requests answered per second",
            Unit::Messages => "million messages per second",
        };
        let how = if axis.logarithmic {
            "; LOGARITHMIC axis: each line ten times the one before"
        } else {
            ""
        };
        sheet.write("quiet small", &format!("{unit}{how}"));
        sheet.numbers(&axis, scale);
        // The grid lies beneath the bars, but its height is known only after the bars are drawn.
        let bars = bars(&rows, &axis, scale, Sheet { y: sheet.y, ..Sheet::new(sheet.most) });
        let (top, bottom) = (sheet.y, bars.y);
        for tick in axis.ticks() {
            sheet.vertical("grid", axis.share(tick), top, bottom);
        }
        sheet.y = bars.y;
        sheet.marks.push_str(&bars.marks);
        if let Some((_, figures)) = limit {
            sheet.vertical("bound", axis.share(figures.rate.median), top, bottom);
        }
        sheet.marks.push_str(&bars.texts);
        sheet.numbers(&axis, scale);
    }
    sheet.y += 6.0;
    for row in &group.rows {
        if let Outcome::Failed { why } = &row.outcome {
            sheet.failure(row, why);
        }
    }
    let names = std::mem::take(&mut sheet.texts);
    sheet.marks.push_str(&names);
    if group.rows.iter().any(|row| row.crowded) {
        sheet.write("quiet small", "* more threads or processes than cores");
    }
    sheet
}

/// The rows with figures. Limits come first. The others are sorted by how many messages become visible
/// at once, if they differ in that, and then by speed.
fn bars(rows: &[(&Row, &Figures)], axis: &Axis, scale: f64, mut sheet: Sheet) -> Sheet {
    let part = |row: &Row| match (row.standing, row.style) {
        (Standing::Limit, _) => "",
        (_, Style::Batches) => "several messages at once",
        (_, Style::Singly) => "one message at a time",
    };
    let mut rows = rows.to_vec();
    rows.sort_by(|(one, a), (other, b)| {
        let parts = part(one).is_empty().cmp(&part(other).is_empty()).reverse();
        parts.then(part(other).cmp(part(one))).then(b.rate.median.total_cmp(&a.rate.median))
    });
    let differ = rows.iter().any(|(row, _)| row.style == Style::Batches);
    sheet.y += 4.0;
    let mut before = "";
    for (row, figures) in rows {
        if differ && part(row) != before {
            before = part(row);
            sheet.y += 3.0;
            sheet.write("part", before);
            sheet.y += 2.0;
        }
        sheet.bar(row, figures, axis, scale);
    }
    sheet
}

fn measured(row: &Row) -> Option<(&Row, &Figures)> {
    match &row.outcome {
        Outcome::Measured(figures) => Some((row, figures)),
        Outcome::Failed { .. } => None,
    }
}

/// The row's contender, its mode and its place.
fn label(row: &Row) -> String {
    // No line breaks between a number and its unit.
    let sides = row.sides().replace(' ', "\u{a0}");
    let rest = [row.mode.as_str(), &sides].map(str::trim);
    let rest: Vec<&str> = rest.into_iter().filter(|part| !part.is_empty()).collect();
    format!("{} {}", row.name, rest.join(", "))
}

/// The text that a reader sees who points at a bar.
fn told(row: &Row, figures: &Figures, scale: f64) -> String {
    let rate = figures.rate;
    let [median, slowest, fastest] =
        [rate.median, rate.slowest, rate.fastest].map(|rate| figure(rate / scale));
    format!("{}: {median}, from {slowest} to {fastest}", label(row))
}

/// The axis: where each rate lies.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Axis {
    low: f64,
    high: f64,
    logarithmic: bool,
}

impl Axis {
    /// An axis on which all `rows` have a place, if there are any.
    fn of(rows: &[(&Row, &Figures)]) -> Option<Self> {
        rows.first()?;
        let rates = || rows.iter().map(|(_, figures)| figures.rate);
        let range = |rates: &mut dyn Iterator<Item = f64>| {
            let known = rates.filter(|rate| rate.is_finite() && *rate > 0.0);
            known.fold((f64::INFINITY, 0.0), |(low, high), rate| (rate.min(low), rate.max(high)))
        };
        let (low, high) =
            range(&mut rates().flat_map(|rate| [rate.slowest, rate.median, rate.fastest]));
        if high == 0.0 {
            return Some(Self { low: 0.0, high: 1.0, logarithmic: false });
        }
        let (least, most) = range(&mut rates().map(|rate| rate.median));
        if most <= SPAN * least {
            return Some(Self { low: 0.0, high, logarithmic: false });
        }
        // A bar that began at its own rate would be invisible.
        Some(Self { low: 10f64.powf((low / 1.5).log10().floor()), high, logarithmic: true })
    }

    /// 0 at its beginning, 1 at its end.
    fn share(&self, rate: f64) -> f64 {
        let share = if self.logarithmic {
            (rate / self.low).log10() / (self.high / self.low).log10()
        } else {
            rate / self.high
        };
        if share.is_nan() { 0.0 } else { share.clamp(0.0, 1.0) }
    }

    /// The round rates that get a number and a line.
    fn ticks(&self) -> Vec<f64> {
        if self.logarithmic {
            let first = self.low.log10().round() as i32;
            let last = self.high.log10().floor() as i32;
            return (first..=last).map(|exponent| 10f64.powi(exponent)).collect();
        }
        let rough = self.high / 5.0;
        let unit = 10f64.powf(rough.log10().floor());
        let step = [1.0, 2.0, 5.0, 10.0].map(|n| n * unit).into_iter().find(|step| *step >= rough);
        let step = step.unwrap_or(rough);
        let count = (self.high / step).floor() as u32;
        (0..=count).map(|n| f64::from(n) * step).collect()
    }
}

/// A round number without trailing zeros.
fn short(number: f64) -> String {
    let text = format!("{number:.9}");
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

/// Lines of at most `most` characters, broken at spaces where there are some.
fn wrap(text: &str, most: usize) -> Vec<String> {
    let mut lines = vec![String::new()];
    let mut count = 0;
    let space = |c: char| c.is_whitespace() && c != '\u{a0}';
    for word in text.split(space).filter(|word| !word.is_empty()) {
        let letters: Vec<char> = word.chars().collect();
        for (i, piece) in letters.chunks(most).enumerate() {
            let Some(line) = lines.last_mut() else { continue };
            if count > 0 && (i > 0 || count + 1 + piece.len() > most) {
                lines.push(piece.iter().collect());
                count = piece.len();
            } else {
                let space = count > 0;
                if space {
                    line.push(' ');
                }
                line.extend(piece);
                count += piece.len() + usize::from(space);
            }
        }
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::crew::Place;
    use crate::report::Spread;

    fn row(mode: &str, rates: Option<[f64; 3]>) -> Row {
        let measured = |[median, slowest, fastest]: [f64; 3]| {
            Outcome::Measured(Figures {
                rate: Spread { median, slowest, fastest },
                megabytes: 1.0,
                p50: None,
                p99: None,
                cpu: 1.0,
                server: None,
                of_limit: None,
                to_fanout: None,
                lost: 0.0,
                messages: 1,
            })
        };
        Row {
            name: "a<b>&\"c\" 1.0",
            mode: mode.to_owned(),
            standing: Standing::Rival,
            style: Style::Singly,
            place: Place::Threads,
            sides: 3,
            crowded: true,
            outcome: rates.map_or(Outcome::Failed { why: mode.to_owned() }, measured),
        }
    }

    fn group(rows: Vec<Row>) -> Group {
        Group { chapter: "c", title: "t <&> 'q'".to_owned(), unit: Unit::Messages, rows }
    }

    fn machine() -> Machine {
        let text = || "<&\"'>".to_owned();
        Machine {
            processor: text(),
            cores: 2,
            kernel: text(),
            compiler: text(),
            commit: text(),
            date: text(),
            command: text(),
        }
    }

    fn axis(rates: &[[f64; 3]]) -> Axis {
        let rows: Vec<Row> = rates.iter().map(|rates| row("", Some(*rates))).collect();
        Axis::of(&rows.iter().filter_map(measured).collect::<Vec<_>>()).unwrap()
    }

    #[test]
    fn an_axis_begins_at_zero_unless_rates_are_far_apart() {
        let near = axis(&[[100.0, 50.0, 200.0], [4.0, 0.5, 5.0]]);
        assert_eq!(near, Axis { low: 0.0, high: 200.0, logarithmic: false });
        assert_eq!([0.0, 50.0, 200.0].map(|rate| near.share(rate)), [0.0, 0.25, 1.0]);
        assert_eq!(near.ticks(), [0.0, 50.0, 100.0, 150.0, 200.0]);

        let far = axis(&[[1000.0, 900.0, 1000.0], [20.0, 5.0, 30.0]]);
        assert_eq!(far, Axis { low: 1.0, high: 1000.0, logarithmic: true });
        assert!((far.share(10.0) - 1.0 / 3.0).abs() < 1e-9);
        assert_eq!(far.ticks(), [1.0, 10.0, 100.0, 1000.0]);
    }

    #[test]
    fn the_slowest_bar_can_be_seen() {
        for slowest in [1.0, 0.99, 1.01, 1e-3, 7e5] {
            let axis = axis(&[[slowest * 1e3; 3], [slowest; 3]]);
            assert!(axis.logarithmic && axis.share(slowest) > 0.02, "{slowest}: {axis:?}");
        }
    }

    #[test]
    fn no_rate_is_off_the_axis() {
        let near = axis(&[[1.0; 3]]);
        let far = axis(&[[1.0; 3], [100.0; 3]]);
        for rate in [f64::NAN, f64::INFINITY, f64::NEG_INFINITY, -1.0, 0.0, 1e300] {
            assert!((0.0..=1.0).contains(&near.share(rate)), "{rate}");
            assert!((0.0..=1.0).contains(&far.share(rate)), "{rate}");
        }
        assert_eq!(Axis::of(&[]), None);
        let odd = row("", Some([f64::NAN, 0.0, f64::INFINITY]));
        let axis = Axis::of(&measured(&odd).into_iter().collect::<Vec<_>>()).unwrap();
        assert_eq!(axis.share(f64::INFINITY), 1.0);
    }

    #[test]
    fn ticks_are_few_and_round() {
        for high in [0.003, 1.0, 7.7, 99.0, 123_456.0, 4.2e9] {
            let ticks = axis(&[[high; 3]]).ticks();
            assert!((3..=6).contains(&ticks.len()), "{high}: {ticks:?}");
            assert!(ticks.iter().all(|tick| short(*tick).len() <= 11), "{ticks:?}");
        }
        assert_eq!([0.0, 0.05, 2.5, 1000.0].map(short), ["0", "0.05", "2.5", "1000"]);
    }

    #[test]
    fn text_is_escaped_and_has_only_what_xml_has() {
        assert_eq!(escape("a<b> & \"c\" 'd'"), "a&lt;b&gt; &amp; &quot;c&quot; &#39;d&#39;");
        assert_eq!(escape("a\nb\0c\u{1b}[1m"), "a b\u{fffd}c\u{fffd}[1m");
        assert_eq!(escape("größer 3µs"), "größer 3µs");
    }

    #[test]
    fn lines_break_at_spaces_and_long_words_anywhere() {
        assert_eq!(wrap("one two  three", 8), ["one two", "three"]);
        assert_eq!(wrap("abcdefghij kl", 4), ["abcd", "efgh", "ij", "kl"]);
        assert_eq!(wrap("ééé é", 3), ["ééé", "é"]);
        assert_eq!(wrap("a 2\u{a0}b", 4), ["a", "2\u{a0}b"]);
        assert_eq!(wrap("", 3), [""]);
    }

    #[test]
    fn charts_are_xml_whatever_rows_are_called() {
        let long = "wörd <tag> & \u{7}".repeat(100);
        let rows =
            || vec![row("m", Some([5.0, 1.0, 9.0])), row(&long, Some([0.0; 3])), row(&long, None)];
        let empty = || vec![row("it did not run", None)];
        let still = || vec![row("nothing arrived", Some([0.0; 3]))];
        for rows in [rows(), empty(), still(), Vec::new()] {
            let group = group(rows);
            for chart in [inline(&group), file(&group, &machine())] {
                let document = roxmltree::Document::parse(&chart).unwrap();
                let text: String = document.descendants().filter_map(|node| node.text()).collect();
                let names = text.matches("a<b>&\"c\" 1.0").count();
                assert!(names >= group.rows.len(), "{chart}");
                let bars = document.descendants().filter(|node| {
                    node.attribute("class") == Some("rival")
                        && node.attribute("width").is_some_and(|width| width.ends_with('%'))
                });
                let measured = group.rows.iter().filter_map(measured).count();
                assert_eq!(bars.count(), measured);
            }
        }
    }

    #[test]
    fn limits_come_first_then_the_fastest_of_those_that_do_alike() {
        let mut rows =
            [1.0, 3.0, 2.0, 4.0, 5.0].map(|rate| row(&format!("m{rate}"), Some([rate; 3])));
        rows[0].standing = Standing::Limit;
        rows[1].style = Style::Batches;
        rows[2].style = Style::Batches;
        let chart = inline(&group(rows.to_vec()));
        let document = roxmltree::Document::parse(&chart).unwrap();
        let down = |what: &str| -> f64 {
            let is = |text: &str| text.trim_start().starts_with(what);
            let text =
                document.descendants().find(|node| node.is_text() && node.text().is_some_and(is));
            let text = text.unwrap_or_else(|| panic!("{what}: {chart}"));
            text.ancestors().find_map(|node| node.attribute("y")).unwrap().parse().unwrap()
        };
        let order = ["m1,", "several", "m3,", "m2,", "one message", "m5,", "m4,"];
        assert!(order.map(down).is_sorted(), "{chart}");
        assert!(chart.contains("class=\"bound\""), "{chart}");
    }
}
