//! Lines in a frame, as SVG: two axes with their ticks, and each line's name beside it.

use std::fmt::{self, Write as _};

use crate::axis::{self, Axis};

const WIDTH: f64 = 860.0;
const HEIGHT: f64 = 480.0;
/// Room around the frame: for the title, the lines' names, and the axes' names.
const TOP: f64 = 70.0;
const RIGHT: f64 = 230.0;
const BOTTOM: f64 = 62.0;
const LEFT: f64 = 78.0;
/// Lines of text are at least this far apart.
const LINE: f64 = 17.0;

/// Told apart also by those who see fewer colours.
const COLOURS: [&str; 10] =
    ["#0b5cad", "#c2410c", "#15803d", "#7e22ce", "#64748b", "#b45309", "#0e7490", "#be185d", "#4d7c0f", "#111827"];

/// A plot.
pub(crate) struct Plot {
    pub(crate) title: &'static str,
    /// What was run, and which command draws it again.
    pub(crate) subtitle: String,
    pub(crate) x: &'static str,
    pub(crate) y: &'static str,
    /// Whether each axis is logarithmic.
    pub(crate) log: (bool, bool),
    pub(crate) lines: Vec<Line>,
}

/// Points that belong together.
pub(crate) struct Line {
    pub(crate) name: String,
    /// Lines of one colour belong together.
    pub(crate) colour: usize,
    pub(crate) dashed: bool,
    pub(crate) points: Vec<(f64, f64)>,
}

impl Plot {
    /// The whole file.
    pub(crate) fn svg(&self) -> String {
        let mut svg = String::new();
        self.draw(&mut svg).expect("a string takes everything");
        svg
    }

    fn draw(&self, svg: &mut String) -> fmt::Result {
        let frame = Frame { x: self.axis(self.log.0, |point| point.0), y: self.axis(self.log.1, |point| point.1) };
        writeln!(
            svg,
            r##"<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" font-family="system-ui, sans-serif" font-size="13" fill="#1f2937">"##
        )?;
        writeln!(svg, r##"<rect width="{WIDTH}" height="{HEIGHT}" fill="#ffffff"/>"##)?;
        self.title(svg)?;
        frame.draw(svg)?;
        self.axis_names(svg)?;
        for line in &self.lines {
            line.draw(svg, &frame)?;
        }
        self.line_names(svg, &frame)?;
        writeln!(svg, "</svg>")
    }

    fn axis(&self, log: bool, side: impl Fn(&(f64, f64)) -> f64) -> Axis {
        let values = self.lines.iter().flat_map(|line| &line.points).map(side);
        if log { Axis::log(values) } else { Axis::linear(values) }
    }

    fn title(&self, svg: &mut String) -> fmt::Result {
        writeln!(svg, r#"<text x="{LEFT}" y="28" font-size="18" font-weight="600">{}</text>"#, escape(self.title))?;
        writeln!(svg, r##"<text x="{LEFT}" y="49" fill="#6b7280">{}</text>"##, escape(&self.subtitle))
    }

    fn axis_names(&self, svg: &mut String) -> fmt::Result {
        let (middle, bottom) = (f64::midpoint(LEFT, WIDTH - RIGHT), HEIGHT - 16.0);
        writeln!(svg, r#"<text x="{middle}" y="{bottom}" text-anchor="middle">{}</text>"#, escape(self.x))?;
        let middle = f64::midpoint(TOP, HEIGHT - BOTTOM);
        let turned = format!(r#"text-anchor="middle" transform="rotate(-90 20 {middle})""#);
        writeln!(svg, r#"<text x="20" y="{middle}" {turned}>{}</text>"#, escape(self.y))
    }

    /// At the lines' ends where all of them reach the frame's edge, as a list otherwise.
    fn line_names(&self, svg: &mut String, frame: &Frame) -> fmt::Result {
        let mut ends: Vec<(&Line, Option<f64>)> =
            self.lines.iter().map(|line| (line, line.end_at_edge(frame))).collect();
        let at_ends = ends.iter().all(|(_, end)| end.is_some());
        if at_ends {
            ends.sort_by(|a, b| a.1.unwrap_or(0.0).total_cmp(&b.1.unwrap_or(0.0)));
        }
        let wanted = ends.iter().map(|(_, end)| end.filter(|_| at_ends).unwrap_or(TOP + 8.0));
        for ((line, end), height) in ends.iter().zip(apart(wanted, TOP, HEIGHT - BOTTOM)) {
            line.name_at(svg, height, end.filter(|_| at_ends).unwrap_or(height))?;
        }
        Ok(())
    }
}

/// The same heights in the same order, a line of text apart, and within the frame as far as there is room.
fn apart(heights: impl Iterator<Item = f64>, top: f64, bottom: f64) -> Vec<f64> {
    let mut placed: Vec<f64> = Vec::new();
    for height in heights {
        let free = placed.last().map_or(top, |above| above + LINE);
        placed.push(height.max(free));
    }
    let mut free = bottom;
    for height in placed.iter_mut().rev() {
        *height = height.min(free);
        free = *height - LINE;
    }
    placed
}

struct Frame {
    x: Axis,
    y: Axis,
}

impl Frame {
    fn at(&self, (x, y): (f64, f64)) -> (f64, f64) {
        let right = LEFT + self.x.place(x) * (WIDTH - LEFT - RIGHT);
        let down = HEIGHT - BOTTOM - self.y.place(y) * (HEIGHT - TOP - BOTTOM);
        (right, down)
    }

    fn draw(&self, svg: &mut String) -> fmt::Result {
        let (left, right, top, bottom) = (LEFT, WIDTH - RIGHT, TOP, HEIGHT - BOTTOM);
        for tick in self.x.ticks() {
            let x = LEFT + self.x.place(tick) * (WIDTH - LEFT - RIGHT);
            writeln!(svg, r##"<path d="M{x:.1} {top}V{bottom}" stroke="#e5e7eb"/>"##)?;
            writeln!(
                svg,
                r#"<text x="{x:.1}" y="{}" text-anchor="middle">{}</text>"#,
                bottom + 20.0,
                axis::name(tick)
            )?;
        }
        for tick in self.y.ticks() {
            let y = HEIGHT - BOTTOM - self.y.place(tick) * (HEIGHT - TOP - BOTTOM);
            writeln!(svg, r##"<path d="M{left} {y:.1}H{right}" stroke="#e5e7eb"/>"##)?;
            let (x, y) = (left - 8.0, y + 4.5);
            writeln!(svg, r#"<text x="{x}" y="{y:.1}" text-anchor="end">{}</text>"#, axis::name(tick))?;
        }
        writeln!(svg, r##"<path d="M{left} {top}V{bottom}H{right}" stroke="#6b7280" fill="none"/>"##)
    }
}

impl Line {
    fn colour(&self) -> &'static str {
        COLOURS[self.colour % COLOURS.len()]
    }

    fn dashes(&self) -> &'static str {
        if self.dashed { r#" stroke-dasharray="5 4""# } else { "" }
    }

    /// The height at which it reaches the right edge, if it does.
    fn end_at_edge(&self, frame: &Frame) -> Option<f64> {
        let (x, y) = frame.at(*self.points.last()?);
        (x > WIDTH - RIGHT - 1.0).then_some(y)
    }

    /// Its name, and a piece of it that leads there.
    fn name_at(&self, svg: &mut String, height: f64, end: f64) -> fmt::Result {
        let (edge, text, colour, dashes) = (WIDTH - RIGHT + 6.0, WIDTH - RIGHT + 40.0, self.colour(), self.dashes());
        let lead = format!("M{edge:.1} {end:.1}L{:.1} {height:.1}", text - 6.0);
        writeln!(svg, r#"<path d="{lead}" stroke="{colour}" stroke-width="1.5" fill="none"{dashes}/>"#)?;
        writeln!(svg, r#"<text x="{text:.1}" y="{:.1}" fill="{colour}">{}</text>"#, height + 4.5, escape(&self.name))
    }

    fn draw(&self, svg: &mut String, frame: &Frame) -> fmt::Result {
        let colour = self.colour();
        let mut path = String::new();
        for (at, point) in self.points.iter().enumerate() {
            let (x, y) = frame.at(*point);
            write!(path, "{}{x:.1} {y:.1}", if at == 0 { 'M' } else { 'L' })?;
            if !self.dashed {
                writeln!(svg, r#"<circle cx="{x:.1}" cy="{y:.1}" r="3" fill="{colour}"/>"#)?;
            }
        }
        let dashes = self.dashes();
        writeln!(
            svg,
            r#"<path d="{path}" stroke="{colour}" stroke-width="2" stroke-linejoin="round" fill="none"{dashes}/>"#
        )
    }
}

fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_at_the_same_height_are_moved_apart() {
        assert_eq!(apart([50.0, 50.0, 52.0].into_iter(), 0.0, 400.0), [50.0, 67.0, 84.0]);
    }

    #[test]
    fn names_at_the_bottom_are_moved_up() {
        assert_eq!(apart([395.0, 399.0].into_iter(), 0.0, 400.0), [383.0, 400.0]);
    }

    #[test]
    fn a_name_cannot_break_the_file() {
        assert_eq!(escape("a < b & c"), "a &lt; b &amp; c");
    }
}
