//! The page, and the events that keep it up to date.

use std::{
    fs,
    io::{self, BufRead, BufReader, Write},
    net::TcpStream,
    path::Path,
    process::{Command, Stdio},
    time::{Duration, Instant},
};

use serde_json::{Value, json};

use crate::{
    flight,
    service::{Directory, Service},
};

/// Runs headless Chromium; `None` where none is installed.
fn chromium(profile: &Path, arguments: &[&str]) -> Option<Vec<u8>> {
    let browser = ["chromium", "chromium-browser", "google-chrome"].into_iter().find(|name| {
        Command::new(name).arg("--version").stdout(Stdio::null()).stderr(Stdio::null()).status().is_ok()
    })?;
    let output = Command::new("timeout")
        .args(["60", browser, "--headless=new", "--no-sandbox", "--disable-gpu", "--hide-scrollbars"])
        .arg(format!("--user-data-dir={}", profile.display()))
        .args(arguments)
        .output()
        .unwrap();
    assert!(output.status.success(), "{browser}: {}", String::from_utf8_lossy(&output.stderr));
    Some(output.stdout)
}

/// The text of the element with this id.
fn text<'a>(dom: &'a str, id: &str) -> &'a str {
    let element = dom.split(&format!("id=\"{id}\"")).nth(1).unwrap_or_else(|| panic!("no element {id}"));
    element.split(['>', '<']).nth(1).unwrap()
}

/// Forty flights and one lookup later.
fn used_service(directory: &Directory) -> Service {
    let service = Service::start(directory);
    let mut client = service.connect();
    for n in 1..=40 {
        assert_eq!(client.post("/flights", &flight(n).to_string()).unwrap().status, 201);
    }
    assert_eq!(client.get("/flights/1").unwrap().status, 200);
    service
}

#[test]
fn the_event_stream_tells_what_the_collector_counts() {
    let directory = Directory::new("events");
    let service = used_service(&directory);
    let mut stream = TcpStream::connect(service.address).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
    stream.write_all(b"GET /events HTTP/1.1\r\nhost: localhost\r\n\r\n").unwrap();
    let lines = BufReader::new(stream).lines().map(Result::unwrap);
    let mut events = lines.filter_map(|line| line.strip_prefix("data: ").map(str::to_owned));
    // The first may be as old as a second, from before the flights came.
    let told = events.by_ref().take(2).map(|event| serde_json::from_str::<Value>(&event).unwrap()).last().unwrap();
    assert_eq!((&told["flights-accepted"], &told["lookups-accepted"]), (&json!("40"), &json!("1")));
    service.signal("INT");
    assert!(service.wait().0.success(), "an open page does not hold up the end");
    assert_eq!(events.next(), None);
}

#[test]
fn the_page_is_live_in_a_browser() {
    let directory = Directory::new("page");
    let service = used_service(&directory);
    let page = format!("http://{}/", service.address);
    let until = Instant::now() + Duration::from_secs(60);
    let dom = loop {
        // It is taken when the page has loaded, which may be before its script has heard from the service.
        let Some(dom) = chromium(&directory.0, &["--dump-dom", &page]) else {
            // Written past the test's own captured output: a skip is to be seen.
            writeln!(io::stderr(), "skipped: no Chromium is installed to look at the page with").unwrap();
            return;
        };
        let dom = String::from_utf8(dom).unwrap();
        if dom.contains("<body class=\"live\">") && text(&dom, "flights-accepted") == "40" {
            break dom;
        }
        assert!(Instant::now() < until, "the page does not come alive: {dom}");
    };
    assert_eq!(text(&dom, "flights-succeeded"), "40");
    assert_eq!(text(&dom, "flights-pending"), "0");
    assert_eq!(text(&dom, "flights-able"), "2");
    assert_eq!(text(&dom, "lookups-accepted"), "1");

    // To be looked at: it stays in the target directory.
    let picture = Path::new(env!("CARGO_TARGET_TMPDIR")).join("web-page.png");
    let screenshot = format!("--screenshot={}", picture.display());
    chromium(&directory.0, &["--window-size=1280,900", &screenshot, &page]);
    assert!(fs::metadata(&picture).unwrap().len() > 20_000, "a page with charts is no small picture");
}
