//! The page's frame: what stays as it is from the first picture on. The pieces that move are `{{id}}`s.

use crate::options::Options;

/// The script in it puts each piece of an event where the element with that id is.
const PAGE: &str = include_str!("page.html");

/// One collector's part of it. `NAME` is the collector's.
const PANEL: &str = include_str!("panel.html");

pub(crate) fn template(options: &Options, synchronous: &str) -> String {
    PAGE.replace("{{flights}}", &panel("flights", "POST /flights", "INSERT"))
        .replace("{{lookups}}", &panel("lookups", "GET /flights/{id}", "SELECT … IN"))
        .replace("{{max-size}}", &options.max_size.to_string())
        .replace("{{interval}}", &format!("{:?}", options.interval))
        .replace("{{each-workers}}", &options.workers.to_string())
        .replace("{{synchronous}}", synchronous)
}

fn panel(name: &str, route: &str, statement: &str) -> String {
    PANEL.replace("NAME", name).replace("ROUTE", route).replace("STATEMENT", statement)
}
