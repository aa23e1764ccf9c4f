//! A picture of a terminal's screen as self-contained SVG: no scripts, and no external styles or fonts.

use std::fmt::Write;
use std::time::Duration;

use vt100::{Cell, Color, Screen};

/// The size of the characters, in pixels as all lengths here.
const FONT_SIZE: f64 = 14.0;
/// The width of a column, whatever font is found.
const COLUMN: f64 = 8.4;
/// The distance of two lines.
const LINE: f64 = 19.0;
/// From the top of a line to the foot of its letters.
const BASELINE: f64 = 14.0;
/// What is left free round the text.
const MARGIN: f64 = 16.0;

/// What is found first of these is used.
const FONTS: &str = "ui-monospace,SFMono-Regular,Menlo,Consolas,'DejaVu Sans Mono','Liberation Mono',monospace";

/// The colours of a terminal.
pub(crate) struct Theme {
    /// The end of the names of its pictures.
    pub(crate) name: &'static str,
    background: &'static str,
    border: &'static str,
    foreground: &'static str,
    /// The sixteen that every terminal has: as far from the background as text has to be.
    palette: [&'static str; 16],
}

pub(crate) const DARK: Theme = Theme {
    name: "dark",
    background: "#0d1117",
    border: "#30363d",
    foreground: "#c9d1d9",
    palette: [
        "#6e7681", "#ff7b72", "#56d364", "#e3b341", "#79b8ff", "#d2a8ff", "#56d4dd", "#c9d1d9", //
        "#8b949e", "#ffa198", "#7ee787", "#f2cc60", "#a5d6ff", "#e2c5ff", "#86e4ea", "#f0f6fc",
    ],
};

pub(crate) const LIGHT: Theme = Theme {
    name: "light",
    background: "#ffffff",
    border: "#d0d7de",
    foreground: "#24292f",
    palette: [
        "#24292f", "#cf222e", "#116329", "#7d4e00", "#0969da", "#8250df", "#1b7c83", "#57606a", //
        "#57606a", "#a40e26", "#1a7f37", "#633c01", "#0550ae", "#6639ba", "#0e6a70", "#24292f",
    ],
};

/// How a piece of text looks.
#[derive(Clone, Debug, PartialEq)]
struct Look {
    fill: Option<String>,
    behind: Option<String>,
    bold: bool,
    dim: bool,
    italic: bool,
    underlined: bool,
}

impl Look {
    fn of(cell: &Cell, theme: &Theme) -> Look {
        let (mut fill, mut behind) = (colour(cell.fgcolor(), theme), colour(cell.bgcolor(), theme));
        if cell.inverse() {
            let ink = behind.unwrap_or_else(|| theme.background.to_owned());
            behind = Some(fill.unwrap_or_else(|| theme.foreground.to_owned()));
            fill = Some(ink);
        }
        let (bold, dim, italic) = (cell.bold(), cell.dim(), cell.italic());
        Look { fill, behind, bold, dim, italic, underlined: cell.underline() }
    }

    /// Whether a blank of this look can be told from no text at all.
    fn shows_blanks(&self) -> bool {
        self.behind.is_some() || self.underlined
    }

    /// The attributes of a text that looks so.
    fn attributes(&self) -> String {
        let mut text = String::new();
        if let Some(fill) = &self.fill {
            // Writing to memory never fails; so below.
            let _ = write!(text, " fill=\"{fill}\"");
        }
        for (is_set, attribute) in [
            (self.bold, " font-weight=\"bold\""),
            (self.dim, " opacity=\"0.6\""),
            (self.italic, " font-style=\"italic\""),
            (self.underlined, " text-decoration=\"underline\""),
        ] {
            text.push_str(if is_set { attribute } else { "" });
        }
        text
    }
}

/// Neighbours on a row that look the same.
#[derive(PartialEq)]
struct Run {
    column: u16,
    columns: u16,
    text: String,
    look: Look,
}

/// The picture of all rows down to the last one with text.
pub(crate) fn picture(screen: &Screen, theme: &Theme, title: &str) -> String {
    let lines = rows(screen, theme);
    let mut svg = beginning(screen, lines.len(), theme, title);
    for (number, line) in lines.iter().enumerate() {
        draw(number, line, &mut svg);
    }
    svg + "</g>\n</svg>\n"
}

/// A film of screens, each of which is shown from its time on, and the last one for `rest` before it begins again. Where nothing moves,
/// the last one is seen.
pub(crate) fn film(frames: &[(Duration, Screen)], rest: Duration, theme: &Theme, title: &str) -> String {
    let Some((end, last)) = frames.last() else { return String::new() };
    let all: Vec<Vec<Vec<Run>>> = frames.iter().map(|(_, screen)| rows(screen, theme)).collect();
    let count = all.iter().map(Vec::len).max().unwrap_or_default();
    let whole = (*end + rest).as_secs_f64();
    let mut svg = beginning(last, count, theme, title);
    for row in 0..count {
        let line = |frame: usize| all[frame].get(row).map_or(&[][..], Vec::as_slice);
        let mut begin = 0;
        while begin < frames.len() {
            let next = (begin..frames.len()).find(|frame| line(*frame) != line(begin)).unwrap_or(frames.len());
            if !line(begin).is_empty() {
                let share = |frame: usize| frames.get(frame).map_or(1.0, |(at, _)| at.as_secs_f64() / whole);
                interval([share(begin), share(next)], whole, &mut svg);
                draw(row, line(begin), &mut svg);
                svg.push_str("</g>\n");
            }
            begin = next;
        }
    }
    svg + "</g>\n</svg>\n"
}

/// Begins a group that is seen in this part of the film only.
fn interval([begin, end]: [f64; 2], whole: f64, svg: &mut String) {
    let (values, times) = match (begin <= 0.0, end >= 1.0) {
        (true, true) => return svg.push_str("<g>\n"),
        (true, false) => ("inline;none", format!("0;{end:.4}")),
        (false, true) => ("none;inline", format!("0;{begin:.4}")),
        (false, false) => ("none;inline;none", format!("0;{begin:.4};{end:.4}")),
    };
    let still = if end >= 1.0 { "inline" } else { "none" };
    // Writing to memory never fails.
    let _ = writeln!(
        svg,
        "<g display=\"{still}\"><animate attributeName=\"display\" values=\"{values}\" keyTimes=\"{times}\" dur=\"{whole:.1}s\" \
         calcMode=\"discrete\" repeatCount=\"indefinite\"/>"
    );
}

/// The rows down to the last one with text.
fn rows(screen: &Screen, theme: &Theme) -> Vec<Vec<Run>> {
    let (rows, columns) = screen.size();
    let mut lines: Vec<Vec<Run>> = (0..rows.get()).map(|row| runs(screen, row, columns.get(), theme)).collect();
    while lines.last().is_some_and(Vec::is_empty) {
        lines.pop();
    }
    lines
}

/// The frame of a picture of so many rows.
fn beginning(screen: &Screen, rows: usize, theme: &Theme, title: &str) -> String {
    let Theme { background, border, foreground, .. } = theme;
    let (_, columns) = screen.size();
    let (width, height) = (along(columns.get()) + MARGIN, 2.0 * MARGIN + LINE * rows as f64);
    let title = escaped(title);
    format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{width}\" height=\"{height}\" viewBox=\"0 0 {width} {height}\" \
         role=\"img\" aria-labelledby=\"title\">\n\
         <title id=\"title\">{title}</title>\n\
         <rect x=\"0.5\" y=\"0.5\" width=\"{}\" height=\"{}\" rx=\"8\" fill=\"{background}\" stroke=\"{border}\"/>\n\
         <g font-family=\"{FONTS}\" font-size=\"{FONT_SIZE}\" fill=\"{foreground}\" xml:space=\"preserve\">\n",
        width - 1.0,
        height - 1.0,
    )
}

/// Draws a row.
fn draw(number: usize, line: &[Run], svg: &mut String) {
    let top = MARGIN + LINE * number as f64;
    for run in line {
        let (x, length) = (along(run.column), round(COLUMN * f64::from(run.columns)));
        if let Some(behind) = &run.look.behind {
            let _ =
                writeln!(svg, "<rect x=\"{x}\" y=\"{top}\" width=\"{length}\" height=\"{LINE}\" fill=\"{behind}\"/>");
        }
        // The length keeps the columns of a font that is wider or narrower.
        let (y, look, text) = (top + BASELINE, run.look.attributes(), escaped(&run.text));
        let _ = writeln!(
            svg,
            "<text x=\"{x}\" y=\"{y}\" textLength=\"{length}\" lengthAdjust=\"spacingAndGlyphs\"{look}>{text}</text>"
        );
    }
}

/// The text of a row; a gap of two blanks or more parts it, and what only blanks follow ends it.
fn runs(screen: &Screen, row: u16, columns: u16, theme: &Theme) -> Vec<Run> {
    let mut runs: Vec<Run> = Vec::new();
    let mut blanks = 0;
    let cells = (0..columns).filter_map(|column| Some((column, screen.cell(row, column)?)));
    for (column, cell) in cells.filter(|(_, cell)| !cell.is_wide_continuation()) {
        let look = Look::of(cell, theme);
        if cell.contents().trim().is_empty() && !look.shows_blanks() {
            blanks += 1;
            continue;
        }
        let text = if cell.has_contents() { cell.contents() } else { " " };
        let width = if cell.is_wide() { 2 } else { 1 };
        match runs.last_mut() {
            Some(run) if run.look == look && blanks <= 1 && !(blanks == 1 && look.shows_blanks()) => {
                run.text.push_str(&" ".repeat(blanks.into()));
                run.text.push_str(text);
                run.columns += blanks + width;
            }
            _ => runs.push(Run { column, columns: width, text: text.to_owned(), look }),
        }
        blanks = 0;
    }
    runs
}

/// Where a column begins.
fn along(column: u16) -> f64 {
    round(MARGIN + COLUMN * f64::from(column))
}

/// Without the digits that binary fractions bring along.
fn round(length: f64) -> f64 {
    (length * 10.0).round() / 10.0
}

/// The colour in the notation of SVG; none for the terminal's own. The cube and the greys of 256 are those of xterm.
fn colour(colour: Color, theme: &Theme) -> Option<String> {
    let part = |level: u8| if level == 0 { 0 } else { 55 + 40 * level };
    let (red, green, blue) = match colour {
        Color::Default => return None,
        Color::Idx(index @ 0..16) => return Some(theme.palette[usize::from(index)].to_owned()),
        Color::Idx(index @ 16..232) => {
            let place = index - 16;
            (part(place / 36), part(place / 6 % 6), part(place % 6))
        }
        Color::Idx(index @ 232..) => [8 + 10 * (index - 232); 3].into(),
        Color::Rgb(red, green, blue) => (red, green, blue),
    };
    Some(format!("#{red:02x}{green:02x}{blue:02x}"))
}

/// Text as XML has it.
fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

#[cfg(test)]
mod tests {
    use std::num::NonZero;

    use super::*;

    /// The lines of text in the picture of a screen with these bytes.
    fn texts(bytes: &[u8]) -> Vec<String> {
        let size = |count| NonZero::new(count).expect("a size");
        let mut terminal = vt100::Parser::new(size(5), size(20), 0);
        terminal.process(bytes);
        let svg = picture(terminal.screen(), &DARK, "a <title>");
        assert!(
            svg.contains("<title id=\"title\">a &lt;title&gt;</title>") && svg.ends_with("</g>\n</svg>\n"),
            "{svg}"
        );
        let is_drawn = |line: &&str| line.starts_with("<text") || line.contains("height=\"19\"");
        svg.lines().filter(is_drawn).map(str::to_owned).collect()
    }

    /// A text of 14 pixels.
    fn text(x: &str, y: &str, length: &str, rest: &str) -> String {
        format!("<text x=\"{x}\" y=\"{y}\" textLength=\"{length}\" lengthAdjust=\"spacingAndGlyphs\"{rest}</text>")
    }

    #[test]
    fn what_looks_the_same_is_one_text_in_its_place() {
        assert_eq!(texts(b""), [""; 0]);
        assert_eq!(
            texts(b"\x1b[32mok\x1b[39m a <b>  &c \r\n\r\n  x"),
            [
                text("16", "30", "16.8", " fill=\"#56d364\">ok"),
                text("41.2", "30", "42", ">a &lt;b&gt;"),
                text("100", "30", "16.8", ">&amp;c"),
                text("32.8", "68", "8.4", ">x"),
            ]
        );
    }

    #[test]
    fn a_film_shows_each_row_while_it_is_there() {
        let size = |count| NonZero::new(count).expect("a size");
        let mut terminal = vt100::Parser::new(size(5), size(20), 0);
        let mut frames = Vec::new();
        for (seconds, bytes) in [(0, &b"$ x\r\n"[..]), (2, b"1/2"), (6, b"\rok!")] {
            terminal.process(bytes);
            frames.push((Duration::from_secs(seconds), terminal.screen().clone()));
        }
        let svg = film(&frames, Duration::from_secs(2), &DARK, "title");
        let groups: Vec<&str> = svg.lines().filter(|line| line.starts_with("<g") && !line.contains("font")).collect();
        let animated = |still: &str, values: &str, times: &str| {
            format!(
                "<g display=\"{still}\"><animate attributeName=\"display\" values=\"{values}\" keyTimes=\"{times}\" dur=\"8.0s\" \
                 calcMode=\"discrete\" repeatCount=\"indefinite\"/>"
            )
        };
        let [seen, last] =
            [animated("none", "none;inline;none", "0;0.2500;0.7500"), animated("inline", "none;inline", "0;0.7500")];
        assert_eq!(groups, ["<g>", &seen, &last]);
        assert_eq!(svg.matches("<text").count(), 3);
    }

    /// The relative luminance of a colour (WCAG 2).
    fn luminance(colour: &str) -> f64 {
        let part = |at: usize| f64::from(u8::from_str_radix(&colour[at..at + 2], 16).expect("two digits")) / 255.0;
        let linear = |part: f64| if part <= 0.04045 { part / 12.92 } else { ((part + 0.055) / 1.055).powf(2.4) };
        0.2126 * linear(part(1)) + 0.7152 * linear(part(3)) + 0.0722 * linear(part(5))
    }

    #[test]
    fn every_colour_can_be_read_on_both_backgrounds() {
        for theme in [DARK, LIGHT] {
            let behind = luminance(theme.background);
            for colour in theme.palette.into_iter().chain([theme.foreground]) {
                let (bright, dark) = (luminance(colour).max(behind), luminance(colour).min(behind));
                let contrast = (bright + 0.05) / (dark + 0.05);
                assert!(contrast >= 4.0, "{colour} on {}: {contrast:.1}", theme.background);
            }
        }
    }

    #[test]
    fn attributes_and_colours_are_those_of_the_terminal() {
        assert_eq!(
            texts(b"\x1b[1;3;4;38;5;208ma b\x1b[m\x1b[7m c\x1b[m\x1b[2;38;2;1;2;255md"),
            [
                text(
                    "16",
                    "30",
                    "25.2",
                    " fill=\"#ff8700\" font-weight=\"bold\" font-style=\"italic\" text-decoration=\"underline\">a b"
                ),
                "<rect x=\"41.2\" y=\"16\" width=\"16.8\" height=\"19\" fill=\"#c9d1d9\"/>".to_owned(),
                text("41.2", "30", "16.8", " fill=\"#0d1117\"> c"),
                text("58", "30", "8.4", " fill=\"#0102ff\" opacity=\"0.6\">d"),
            ]
        );
        assert_eq!(colour(Color::Idx(255), &LIGHT).as_deref(), Some("#eeeeee"));
        assert_eq!(colour(Color::Idx(1), &LIGHT).as_deref(), Some("#cf222e"));
        assert_eq!(texts("\u{6f22}x".as_bytes()), [text("16", "30", "25.2", ">\u{6f22}x")]);
    }
}
