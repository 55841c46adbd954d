//! Jobs on a line, the batches that they are cut into, and the workers below.

use std::{fmt::Write, time::Duration};

use actix_batch::flush::replay::{Cut, Incoming};

use super::scene::{END, Scene};

const WIDTH: f64 = 860.0;
const LEFT: f64 = 96.0;
const RIGHT: f64 = 24.0;

/// The line on which jobs come, and the band of their batches around it.
const LINE: f64 = 84.0;
const BAND: f64 = 22.0;
const WORKERS: f64 = 136.0;
const LANE: f64 = 24.0;

/// Both for a light and for a dark page; a batch has the same colour with its jobs and with its worker.
const STYLE: &str = "\
svg { --ink: #1f2937; --faint: #6b7280; --grid: #e5e7eb; --page: #ffffff; --a: #0b5cad; --b: #c2410c; --c: #15803d; }
@media (prefers-color-scheme: dark) {
svg { --ink: #e6edf3; --faint: #9ca3af; --grid: #30363d; --page: #0d1117; --a: #6cb2f7; --b: #fb9a5b; --c: #5fd38a; } }
text { fill: var(--ink); font: 12px system-ui, sans-serif; }
.title { font-size: 16px; font-weight: 600; } .faint { fill: var(--faint); } .page { fill: var(--page); }
.grid { stroke: var(--grid); } .line { stroke: var(--faint); } .middle { text-anchor: middle; } .end { text-anchor: end; }
.a { color: var(--a); } .b { color: var(--b); } .c { color: var(--c); }
.band { fill: currentColor; fill-opacity: .14; } .solid { fill: currentColor; } .cut { stroke: currentColor; stroke-width: 2.5; }
.wait { stroke: currentColor; stroke-width: 1.5; stroke-dasharray: 2 3; fill: none; } .in { fill: var(--page); font-weight: 600; }
";

pub(crate) fn draw(scene: &Scene) -> String {
    let mut picture = Picture { svg: String::new(), height: WORKERS + LANE * scene.workers as f64 + 42.0 };
    picture.begin(scene.title);
    picture.time(scene.ticks);
    picture.lanes(scene.workers);
    let mut room = LEFT;
    for (number, cut) in scene.cuts.iter().enumerate() {
        picture.put(format_args!(r#"<g class="{}">"#, colour(number)));
        room = picture.batch(scene, cut, room);
        picture.way(cut, room);
        picture.put(format_args!("</g>"));
    }
    // Above the ways that cross them.
    for (number, cut) in scene.cuts.iter().enumerate() {
        picture.work(cut, colour(number));
    }
    picture.put(format_args!("</svg>"));
    picture.svg
}

fn colour(number: usize) -> &'static str {
    ["a", "b", "c"][number % 3]
}

struct Picture {
    svg: String,
    height: f64,
}

fn x(time: Duration) -> f64 {
    LEFT + time.as_secs_f64() / END.as_secs_f64() * (WIDTH - LEFT - RIGHT)
}

impl Picture {
    fn put(&mut self, line: std::fmt::Arguments<'_>) {
        writeln!(self.svg, "{line}").expect("a string takes everything");
    }

    fn text(&mut self, class: &str, x: f64, y: f64, text: &str) {
        self.put(format_args!(r#"<text class="{class}" x="{x:.1}" y="{y:.1}">{text}</text>"#));
    }

    fn begin(&mut self, title: &str) {
        let height = self.height;
        self.put(format_args!(r#"<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" role="img">"#));
        self.put(format_args!("<title>{title}</title>\n<style>\n{STYLE}</style>"));
        self.put(format_args!(r#"<rect class="page" width="{WIDTH}" height="{height}" rx="8"/>"#));
        self.text("title", LEFT, 30.0, title);
    }

    /// The milliseconds, and the ticks of a policy that has some.
    fn time(&mut self, ticks: Option<Duration>) {
        let bottom = self.height - 30.0;
        for millis in (0..).step_by(10).take_while(|millis| Duration::from_millis(*millis) < END) {
            let x = x(Duration::from_millis(millis));
            self.put(format_args!(r#"<path class="grid" d="M{x:.1} {:.1}V{bottom:.1}"/>"#, LINE - BAND - 14.0));
            let unit = if millis == 0 { " ms" } else { "" };
            self.text("faint middle", x, bottom + 18.0, &format!("{millis}{unit}"));
        }
        if let Some(period) = ticks {
            for at in (1..).map(|tick| period * tick).take_while(|at| *at < END) {
                let x = x(at);
                self.put(format_args!(r#"<path class="line" d="M{x:.1} {:.1}v10"/>"#, LINE - BAND - 16.0));
            }
        }
        self.text("faint end", LEFT - 12.0, LINE + 4.0, "jobs");
        self.put(format_args!(r#"<path class="line" d="M{LEFT} {LINE}H{:.1}"/>"#, WIDTH - RIGHT));
    }

    fn lanes(&mut self, workers: usize) {
        for worker in 0..workers {
            let y = lane(worker);
            let name = if workers == 1 { "worker".to_owned() } else { format!("worker {}", worker + 1) };
            self.text("faint end", LEFT - 12.0, y + 4.0, &name);
            self.put(format_args!(r#"<path class="line" d="M{LEFT} {y:.1}H{:.1}"/>"#, WIDTH - RIGHT));
        }
    }

    /// Its jobs, the band that they share, and the cut at its end, right of the last job. The band before it ends at `room`;
    /// returns where this one does.
    fn batch(&mut self, scene: &Scene, cut: &Cut, room: f64) -> f64 {
        let jobs = &scene.jobs[cut.jobs.clone()];
        let last = jobs.iter().map(|job| x(job.at) + radius(job) + 1.5).fold(0.0, f64::max);
        let (from, to) = ((x(jobs[0].at) - radius(&jobs[0]) - 1.5).max(room), x(cut.left).max(last));
        let (top, height, width) = (LINE - BAND, 2.0 * BAND, to - from);
        self.put(format_args!(
            r#"<rect class="band" x="{from:.1}" y="{top}" width="{width:.1}" height="{height}" rx="3"/>"#
        ));
        self.put(format_args!(r#"<path class="cut" d="M{to:.1} {top}v{height}"/>"#));
        for (place, job) in jobs.iter().enumerate() {
            // Jobs of one moment stand on each other.
            let same = jobs[..place].iter().filter(|other| other.at == job.at).count() as f64;
            let (x, y, radius) = (x(job.at), LINE - 8.0 * same, radius(job));
            self.put(format_args!(r#"<circle class="solid" cx="{x:.1}" cy="{y:.1}" r="{radius}"/>"#));
        }
        to
    }

    /// From the cut to the worker.
    fn way(&mut self, cut: &Cut, left: f64) {
        let (top, from, begin) = (LINE + BAND, x(cut.started).max(left), lane(cut.worker));
        self.put(format_args!(r#"<path class="wait" d="M{left:.1} {top}v6L{from:.1} {begin:.1}"/>"#));
    }

    /// As long as the worker needs.
    fn work(&mut self, cut: &Cut, colour: &str) {
        let (from, y) = (x(cut.started), lane(cut.worker));
        let (top, width) = (y - 9.0, x(cut.done) - from);
        self.put(format_args!(
            r#"<rect class="solid {colour}" x="{from:.1}" y="{top:.1}" width="{width:.1}" height="18" rx="4"/>"#
        ));
        self.text("in middle", from + width / 2.0, y + 4.0, &cut.jobs.len().to_string());
    }
}

/// Heavy jobs are larger.
fn radius(job: &Incoming) -> f64 {
    if job.weight > 1 { 6.0 } else { 3.2 }
}

fn lane(worker: usize) -> f64 {
    WORKERS + LANE * worker as f64
}
