//! Bars, as SVG: how many times the serial loop each contender does.

use std::fmt::Write as _;

const WIDTH: f64 = 860.0;
const LEFT: f64 = 250.0;
const RIGHT: f64 = 90.0;
const TOP: f64 = 76.0;
const BAR: f64 = 22.0;
const GAP: f64 = 10.0;
const COLOURS: [&str; 4] = ["#64748b", "#94a3b8", "#0b5cad", "#c2410c"];

/// One bar.
pub(crate) struct Bar {
    pub(crate) name: String,
    pub(crate) ratio: f64,
    pub(crate) note: String,
    pub(crate) colour: usize,
    /// The first one of its group.
    pub(crate) begins: bool,
}

/// The whole file.
pub(crate) fn svg(title: &str, subtitle: &str, bars: &[Bar]) -> String {
    let height = TOP + bars.iter().map(|bar| BAR + if bar.begins { GAP * 2.0 } else { GAP }).sum::<f64>() + 30.0;
    let most = bars.iter().map(|bar| bar.ratio).fold(1.0, f64::max);
    let scale = (WIDTH - LEFT - RIGHT - 110.0) / most;
    let mut svg = format!(
        r##"<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" font-family="system-ui, sans-serif" font-size="13" fill="#1f2937">
<rect width="{WIDTH}" height="{height}" fill="#ffffff"/>
<text x="24" y="30" font-size="18" font-weight="600">{title}</text>
<text x="24" y="52" fill="#6b7280">{subtitle}</text>
"##
    );
    // The serial loop's line comes first, so that it does not cross out the words.
    let (one, bottom) = (LEFT + scale, height - 30.0);
    let _ = writeln!(
        svg,
        r##"<line x1="{one:.1}" y1="{TOP}" x2="{one:.1}" y2="{bottom}" stroke="#9ca3af" stroke-dasharray="3 3"/>"##
    );
    let mut y = TOP;
    for bar in bars {
        y += if bar.begins { GAP } else { 0.0 };
        let (width, middle) = (bar.ratio * scale, y + BAR * 0.7);
        let _ = writeln!(
            svg,
            r#"<text x="{}" y="{middle}" text-anchor="end">{}</text><rect x="{LEFT}" y="{y}" width="{width:.1}" height="{BAR}" rx="2" fill="{}"/><text x="{:.1}" y="{middle}">{:.2} ×  {}</text>"#,
            LEFT - 10.0,
            bar.name,
            COLOURS[bar.colour % COLOURS.len()],
            LEFT + width + 8.0,
            bar.ratio,
            bar.note
        );
        y += BAR + GAP;
    }
    svg.push_str("</svg>\n");
    svg
}
