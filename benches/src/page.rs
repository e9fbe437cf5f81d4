//! A comparison as one page that needs no other file, and its charts as files.

use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::Context;

use crate::chart::{self, class, escape};
use crate::report::{Group, Report, Row};

/// The name of the page's file.
pub const NAME: &str = "report.html";

const STYLE: &str = "\
:root{color-scheme:light dark;--ink:#1b1f24;--quiet:#59636e;--paper:#fff;--line:#d8dde3;--band:#f3f5f7;\
--link:#0a4a8f;--limit:#d3d8de;--edge:#7d8794;--fanout:#0a4a8f;--rival:#de8a33}
@media (prefers-color-scheme:dark){:root{--ink:#e6e9ed;--quiet:#9aa5b1;--paper:#14171b;--line:#333a43;\
--band:#1c2127;--link:#8ccbff;--limit:#4d5764;--edge:#8b96a3;--fanout:#8ccbff;--rival:#bd6a1b}}
*{box-sizing:border-box}
body{margin:0 auto;max-width:64rem;padding:1.5rem 1rem 4rem;font:16px/1.5 system-ui,sans-serif;\
color:var(--ink);background:var(--paper);overflow-wrap:break-word}
h1{line-height:1.2;font-size:1.8rem}
h2{margin:3rem 0 1rem;padding-bottom:.3rem;border-bottom:1px solid var(--line)}
h3{margin:2.5rem 0 .8rem;font-size:1.1rem}
p,ul,dl{max-width:46rem}
a{color:var(--link)}
code{font:.9em ui-monospace,monospace;overflow-wrap:anywhere}
dl{display:grid;grid-template-columns:auto 1fr;gap:.2rem 1rem;margin:1rem 0}
dt{color:var(--quiet)}
dd{margin:0;min-width:0;overflow-wrap:anywhere}
nav ul{padding-left:1.2rem;margin:.2rem 0 .8rem}
.chart{display:block;max-width:46rem;overflow:visible}
.wide{overflow-x:auto;margin-top:1.2rem}
table{border-collapse:collapse;font-size:.84rem;font-variant-numeric:tabular-nums;min-width:100%}
th,td{padding:.3rem .55rem;border-bottom:1px solid var(--line);text-align:right;vertical-align:top;\
white-space:nowrap}
thead th{color:var(--quiet);font-weight:600}
.who,.why{text-align:left;white-space:normal}
.who{width:45%;min-width:10.5rem;font-weight:400;overflow-wrap:anywhere;position:sticky;left:0;\
background:var(--paper)}
tr.fanout .who{background:var(--band)}
.who span{white-space:nowrap}
.why{min-width:14rem;overflow-wrap:anywhere}
.who b{font-weight:600}
.who i{display:inline-block;width:.7em;height:.7em;margin-right:.45em;border:1px solid transparent}
.who .limit{background:var(--limit);border-color:var(--edge)}
.who .fanout{background:var(--fanout)}
.who .rival{background:var(--rival)}
tr.fanout{background:var(--band)}
.quiet{color:var(--quiet)}
@media (max-width:40rem){body{font-size:15px;padding-top:.8rem}h1{font-size:1.5rem}\
dl{grid-template-columns:1fr;gap:0}dd{margin-bottom:.4rem}th,td{padding:.3rem .4rem}}
";

/// Makes the folder if it is missing, and makes sure that files can be written there.
///
/// # Errors
///
/// If they cannot.
pub fn prepare(folder: &Path) -> anyhow::Result<()> {
    let refused = || format!("--plot needs a folder to write to, and {} is none", folder.display());
    fs::create_dir_all(folder).with_context(refused)?;
    let trial = folder.join(format!(".fanout-compare-{}", std::process::id()));
    fs::write(&trial, "").with_context(refused)?;
    fs::remove_file(&trial).with_context(refused)
}

/// Writes a chart for each question, and the page. Returns the paths of what it wrote.
///
/// # Errors
///
/// If one of them cannot be written.
pub fn write(report: &Report, folder: &Path) -> anyhow::Result<Vec<PathBuf>> {
    let charts = report
        .groups
        .iter()
        .map(|group| (format!("{}.svg", group.slug()), chart::file(group, &report.machine)));
    let all = charts.chain([(NAME.to_owned(), page(report))]);
    all.map(|(name, text)| {
        let path = folder.join(name);
        fs::write(&path, text).with_context(|| format!("writing {}", path.display()))?;
        Ok(path)
    })
    .collect()
}

/// The page. It is also XML, so that a test can check that every tag ends.
fn page(report: &Report) -> String {
    let title = "Ways to pass messages, compared";
    let mut out = format!(
        "<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\"/>\n\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\"/>\n\
         <title>{title}</title>\n<link rel=\"icon\" href=\"data:,\"/>\n\
         <style>\n{STYLE}{}</style>\n</head>\n<body>\n<h1>{title}</h1>\n",
        chart::STYLE
    );
    out.push_str(
        "<p>Programs on one machine pass messages to each other in many ways; here they do the same \
         work in turns, and this page shows how fast each of them did it. <b>Fanout</b>, the queue in \
         shared memory of this project, stands beside other libraries, beside what the kernel offers, \
         and beside what the machine allows at most. Figures of another machine, or of another run, \
         do not compare with these: run it on yours.</p>\n",
    );
    origin(&mut out, report);
    method(&mut out, report);
    contents(&mut out, report);
    for chapter in report.groups.chunk_by(|one, next| one.chapter == next.chapter) {
        let _ = writeln!(out, "<h2>{}</h2>", escape(chapter[0].chapter));
        chapter.iter().for_each(|group| question(&mut out, group));
    }
    out.push_str("</body>\n</html>\n");
    out
}

fn origin(out: &mut String, report: &Report) {
    out.push_str("<dl>\n");
    for (name, line) in report.machine.lines() {
        let line = escape(&line);
        let line = if name == "command" { format!("<code>{line}</code>") } else { line };
        let _ = writeln!(out, "<dt>{name}</dt><dd>{line}</dd>");
    }
    let _ = writeln!(out, "<dt>method</dt><dd>{}</dd>\n</dl>", escape(&report.method()));
}

fn method(out: &mut String, report: &Report) {
    let _ = writeln!(
        out,
        "<h2>Method, in short</h2>\n<ul>\n\
         <li><b>Turns.</b> Of each question every row runs once before any runs again, so that \
         whatever disturbs the machine disturbs all. The first turn finds out how many messages fill \
         a run, and counts for nothing else. Figures are medians of the other {}; a thin line goes \
         from the slowest to the fastest.</li>\n\
         <li><b>The same work.</b> Every byte of every message is written, and every byte is read by \
         each that gets it. Counts and checksums of both sides must agree, in each run; a row where \
         they do not, or that cannot run here, has a reason in the place of figures. Where a way may \
         lose messages, these are counted as lost, and its rate counts only those that \
         arrived.</li>\n\
         <li><b>CPU time</b> is user and system time of all sides together, their background threads \
         included, for each message or round trip; <i>server us</i> is that of the side that answers.</li>\n\
         <li><b>Limits.</b> There and back: a number on one cache line, answered on another. One \
         way: as many bytes through a bare buffer in shared memory, a quarter of it at a time, without \
         messages. And for both a memcpy within one thread, where nothing goes anywhere. <i>Of limit</i> is the rate as a multiple of that \
         of the first limit, which is dashed in the chart: the median over the turns. <i>To fanout</i> \
         is the same, to the first row of Fanout that moves as many messages at once.</li>\n\
         <li><b>*</b> marks rows with more threads or processes than the {} cores of this \
         machine.</li>\n\
         <li><b>Units.</b> us is a microsecond, k is a thousand, M a million, MB 1,000,000 bytes.</li>\n</ul>",
        report.repeats, report.machine.cores
    );
}

fn contents(out: &mut String, report: &Report) {
    out.push_str("<nav>\n<h2>Contents</h2>\n<ul>\n");
    for chapter in report.groups.chunk_by(|one, next| one.chapter == next.chapter) {
        let _ = writeln!(out, "<li>{}<ul>", escape(chapter[0].chapter));
        for group in chapter {
            let (slug, title) = (group.slug(), escape(&group.title));
            let _ = writeln!(out, "<li><a href=\"#{slug}\">{title}</a></li>");
        }
        out.push_str("</ul></li>\n");
    }
    out.push_str("</ul>\n</nav>\n");
}

fn question(out: &mut String, group: &Group) {
    let (slug, title) = (group.slug(), escape(&group.title));
    let _ = writeln!(out, "<h3 id=\"{slug}\">{title}</h3>\n{}", chart::inline(group));
    out.push_str("<div class=\"wide\">\n<table>\n<thead><tr><th class=\"who\"></th>");
    for head in group.unit.heads() {
        let _ = write!(out, "<th>{head}</th>");
    }
    out.push_str("</tr></thead>\n<tbody>\n");
    group.rows.iter().for_each(|row| line(out, group, row));
    out.push_str("</tbody>\n</table>\n</div>\n");
}

fn line(out: &mut String, group: &Group, row: &Row) {
    let (class, name, mode) = (class(row.standing), escape(row.name), escape(&row.mode));
    let _ = write!(
        out,
        "<tr class=\"{class}\"><th class=\"who\" scope=\"row\"><i class=\"{class}\"></i>\
         <b>{name}</b> {mode} <span class=\"quiet\">{}</span></th>",
        row.sides()
    );
    match row.cells(group.unit) {
        Ok(cells) => {
            for cell in cells {
                let _ = write!(out, "<td>{cell}</td>");
            }
        }
        Err(why) => {
            let columns = group.unit.heads().len();
            let _ = write!(
                out,
                "<td class=\"why\" colspan=\"{columns}\">failed: {}</td>",
                escape(&why)
            );
        }
    }
    out.push_str("</tr>\n");
}
