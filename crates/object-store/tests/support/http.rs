//! A small HTTP server for one object, on a free loopback port. It knows ranges or not, looks at no `If-Match`, and does what a test says
//! at the byte that a test says.

use std::sync::{Arc, Mutex};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    task::JoinHandle,
};

/// What a request asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Request {
    pub(crate) method: String,
    pub(crate) range: Option<(u64, u64)>,
    pub(crate) authorization: Option<String>,
    pub(crate) status: u16,
}

/// What the server holds, and how it behaves.
#[derive(Debug, Clone, Default)]
pub(crate) struct Object {
    pub(crate) bytes: Vec<u8>,
    pub(crate) etag: Option<&'static str>,
    pub(crate) knows_ranges: bool,
    /// After so many answers with a body, the object is another one.
    pub(crate) then: Option<(usize, Box<Object>)>,
    /// The first so many answers break off in the middle.
    pub(crate) break_off: usize,
    /// Whoever asks without this header is refused.
    pub(crate) password: Option<&'static str>,
}

#[derive(Debug, Default)]
struct State {
    object: Object,
    requests: Vec<Request>,
    bodies: usize,
}

/// The server. It ends with the test.
pub(crate) struct Server {
    port: u16,
    state: Arc<Mutex<State>>,
    task: JoinHandle<()>,
}

impl Server {
    pub(crate) async fn start(object: Object) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let state = Arc::new(Mutex::new(State { object, ..State::default() }));
        let shared = Arc::clone(&state);
        let task = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(serve(stream, Arc::clone(&shared)));
            }
        });
        Self { port, state, task }
    }

    pub(crate) fn url(&self, path: &str) -> String {
        format!("http://127.0.0.1:{}/{path}", self.port)
    }

    pub(crate) fn port(&self) -> u16 {
        self.port
    }

    pub(crate) fn set(&self, object: Object) {
        self.state.lock().unwrap().object = object;
    }

    /// The requests since the last call.
    pub(crate) fn requests(&self) -> Vec<Request> {
        std::mem::take(&mut self.state.lock().unwrap().requests)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn serve(mut stream: TcpStream, state: Arc<Mutex<State>>) {
    let mut head = Vec::new();
    loop {
        while !head.ends_with(b"\r\n\r\n") {
            match stream.read_u8().await {
                Ok(byte) => head.push(byte),
                Err(_) => return,
            }
        }
        let request = parse(&String::from_utf8(std::mem::take(&mut head)).unwrap());
        let (answer, breaks_off) = state.lock().unwrap().answer(request);
        if stream.write_all(&answer).await.is_err() || breaks_off {
            return;
        }
    }
}

fn parse(head: &str) -> Request {
    let header = |name: &str| {
        let lines = head.lines().filter_map(|line| line.split_once(": "));
        lines.filter(|(found, _)| found.eq_ignore_ascii_case(name)).map(|(_, value)| value.to_owned()).next()
    };
    let range = header("range").map(|range| {
        let (first, last) = range.strip_prefix("bytes=").unwrap().split_once('-').unwrap();
        (first.parse().unwrap(), last.parse().unwrap())
    });
    let method = head.split(' ').next().unwrap().to_owned();
    Request { method, range, authorization: header("authorization"), status: 0 }
}

impl State {
    /// The answer, and whether the connection ends with it.
    fn answer(&mut self, mut request: Request) -> (Vec<u8>, bool) {
        let has_body = request.method == "GET";
        if let Some((_, then)) = self.object.then.take_if(|(after, _)| has_body && self.bodies >= *after) {
            self.object = *then;
        }
        self.bodies += usize::from(has_body);
        let object = &mut self.object;
        let length = object.bytes.len() as u64;
        let is_welcome = object.password.is_none_or(|password| request.authorization.as_deref() == Some(password));
        let (status, range) = match request.range {
            _ if !is_welcome => (401, 0..0),
            Some((first, _)) if object.knows_ranges && first >= length => (416, 0..0),
            Some((first, last)) if object.knows_ranges => (206, first..(last + 1).min(length)),
            _ => (200, 0..length),
        };
        request.status = status;
        let body = &object.bytes[usize::try_from(range.start).unwrap()..usize::try_from(range.end).unwrap()];
        let part =
            (status == 206).then(|| format!("Content-Range: bytes {}-{}/{length}\r\n", range.start, range.end - 1));
        let etag = object.etag.map(|etag| format!("ETag: {etag}\r\n"));
        let (part, etag, sends) = (part.unwrap_or_default(), etag.unwrap_or_default(), body.len());
        let head = format!("HTTP/1.1 {status} Status\r\nContent-Length: {sends}\r\n{part}{etag}\r\n");
        let mut answer = head.into_bytes();
        let breaks_off = has_body && object.break_off > 0;
        if has_body {
            let sent = if breaks_off { body.len() / 2 } else { body.len() };
            answer.extend_from_slice(&body[..sent]);
            object.break_off = object.break_off.saturating_sub(1);
        }
        self.requests.push(request);
        (answer, breaks_off)
    }
}
