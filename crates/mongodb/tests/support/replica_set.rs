//! Stands in for a replica set, because the test server has no transactions: it says that it is one, keeps the writes of a transaction until its
//! commit, and then sends them to the server. One transaction at a time; one whose connection ends is aborted.
//!
//! A transaction fails by a conflict if the pipeline's document was changed from outside since it began. It refuses a document, and ends its transaction, if
//! the document has a field `bad`, or, as a duplicate, a field `there`; anything else it answers before it asks the server.

use std::{
    collections::{HashMap, HashSet},
    sync::{
        Arc, Mutex,
        atomic::{AtomicU32, Ordering},
    },
};

use bson::{Bson, Document, doc};
use tokio::{
    io::AsyncWriteExt,
    net::{TcpListener, TcpStream},
    sync::OwnedMutexGuard,
};

use super::proxy::message;

/// The replica set's only member.
pub(crate) struct ReplicaSet {
    pub(crate) port: u16,
    state: Arc<State>,
}

#[derive(Default)]
struct State {
    open: Mutex<HashMap<String, Open>>,
    /// Transactions that are committed: a commit may be asked for again.
    committed: Mutex<HashSet<String>>,
    one_by_one: Arc<tokio::sync::Mutex<()>>,
    /// How often pipelines' documents were changed from outside.
    changes: tokio::sync::Mutex<u32>,
    conflicts: AtomicU32,
    /// How many replies to commits are still to be lost.
    lose: AtomicU32,
    connections: AtomicU32,
}

/// A transaction that is going on.
struct Open {
    connection: u32,
    /// The changes from outside before it.
    changes: u32,
    writes: Vec<Vec<u8>>,
    _alone: OwnedMutexGuard<()>,
}

impl ReplicaSet {
    pub(crate) async fn start(server: u16) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let (port, state) = (listener.local_addr().unwrap().port(), Arc::<State>::default());
        let shared = Arc::clone(&state);
        actix_rt::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                let (state, number) = (Arc::clone(&shared), shared.connections.fetch_add(1, Ordering::SeqCst));
                actix_rt::spawn(async move {
                    let mut link = Link { number, port, state: Arc::clone(&state) };
                    link.pass(client, server).await;
                    state.open.lock().unwrap().retain(|_, open| open.connection != number);
                });
            }
        });
        Self { port, state }
    }

    /// Loses the replies to so many commits, after they have been carried out.
    pub(crate) fn lose_commits(&self, number: u32) {
        self.state.lose.store(number, Ordering::SeqCst);
    }

    /// Waits until no transaction is going on, also none that is being committed.
    pub(crate) async fn settle(&self) {
        drop(self.state.one_by_one.lock().await);
    }

    pub(crate) fn conflicts(&self) -> u32 {
        self.state.conflicts.load(Ordering::SeqCst)
    }

    pub(crate) fn committed(&self) -> usize {
        self.state.committed.lock().unwrap().len()
    }
}

struct Link {
    number: u32,
    port: u16,
    state: Arc<State>,
}

impl Link {
    async fn pass(&mut self, mut client: TcpStream, server: u16) -> Option<()> {
        let mut server = TcpStream::connect(("127.0.0.1", server)).await.ok()?;
        loop {
            let request = message(&mut client).await?;
            let reply = self.answer(&request, &mut server).await?;
            client.write_all(&reply).await.ok()?;
        }
    }

    async fn answer(&mut self, request: &[u8], server: &mut TcpStream) -> Option<Vec<u8>> {
        let command = body(request)?;
        let name = command.keys().next()?.to_lowercase();
        if name == "hello" || name == "ismaster" {
            return self.introduced(&ask(server, request).await?);
        }
        if command.get_bool("autocommit").unwrap_or(true) {
            if command.get_str("update").is_ok_and(|collection| collection == "_pipelines") {
                let mut changes = self.state.changes.lock().await;
                *changes += 1;
                return ask(server, request).await;
            }
            return ask(server, request).await;
        }
        let id = format!("{:?} {:?}", command.get("lsid"), command.get("txnNumber"));
        if command.get_bool("startTransaction").unwrap_or(false) {
            let alone = Arc::clone(&self.state.one_by_one).lock_owned().await;
            let changes = *self.state.changes.lock().await;
            let open = Open { connection: self.number, changes, writes: Vec::new(), _alone: alone };
            self.state.open.lock().unwrap().insert(id.clone(), open);
        }
        match &*name {
            "insert" | "update" => {
                let (mut open, all) = (self.state.open.lock().unwrap(), written(request, &command));
                if let Some((index, code)) = (0..).zip(&all).find_map(|(index, one)| Some((index, refused(one)?))) {
                    open.remove(&id);
                    let error = doc! { "index": index, "code": code, "errmsg": "the stand-in refuses it" };
                    return reply(request, &doc! { "n": 0, "writeErrors": [error], "ok": 1.0 });
                }
                let Some(open) = open.get_mut(&id) else { return reply(request, &failed(251, "NoSuchTransaction")) };
                open.writes.push(plain(request, &command)?);
                reply(request, &doc! { "n": i32::try_from(all.len()).unwrap(), "nModified": 0, "ok": 1.0 })
            }
            "committransaction" => self.commit(request, &id, server).await,
            "aborttransaction" => {
                self.state.open.lock().unwrap().remove(&id);
                reply(request, &doc! { "ok": 1.0 })
            }
            _ => ask(server, &plain(request, &command)?).await,
        }
    }

    async fn commit(&self, request: &[u8], id: &str, server: &mut TcpStream) -> Option<Vec<u8>> {
        let open = self.state.open.lock().unwrap().remove(id);
        if let Some(open) = open {
            let changes = self.state.changes.lock().await;
            if *changes != open.changes {
                self.state.conflicts.fetch_add(1, Ordering::SeqCst);
                return reply(request, &failed(112, "WriteConflict"));
            }
            for write in &open.writes {
                let answer = body(&ask(server, write).await?)?;
                assert!(
                    answer.get("writeErrors").is_none() && answer.get_f64("ok").is_ok_and(|ok| ok > 0.0),
                    "{answer}"
                );
            }
            self.state.committed.lock().unwrap().insert(id.to_owned());
        } else if !self.state.committed.lock().unwrap().contains(id) {
            return reply(request, &failed(251, "NoSuchTransaction"));
        }
        let lose = |left: u32| left.checked_sub(1);
        if self.state.lose.fetch_update(Ordering::SeqCst, Ordering::SeqCst, lose).is_ok() {
            return None;
        }
        reply(request, &doc! { "ok": 1.0 })
    }

    /// The server's reply to `hello`, as a member of a replica set says it.
    fn introduced(&self, answer: &[u8]) -> Option<Vec<u8>> {
        let mut hello = body(answer)?;
        let own = format!("127.0.0.1:{}", self.port);
        hello.insert("setName", "stand-in");
        hello.insert("hosts", vec![own.clone()]);
        hello.insert("primary", own.clone());
        hello.insert("me", own);
        with_body(answer, &hello)
    }
}

fn failed(code: i32, name: &str) -> Document {
    doc! { "ok": 0.0, "code": code, "codeName": name, "errmsg": name, "errorLabels": ["TransientTransactionError"] }
}

/// The command without what makes it a part of a transaction.
fn plain(request: &[u8], command: &Document) -> Option<Vec<u8>> {
    let mut command = command.clone();
    for name in ["autocommit", "startTransaction", "txnNumber", "readConcern"] {
        command.remove(name);
    }
    with_body(request, &command)
}

/// The message with another document in the place of its first.
fn with_body(message: &[u8], document: &Document) -> Option<Vec<u8>> {
    let begin = start(message);
    let length = u32::from_le_bytes(message.get(begin..begin + 4)?.try_into().ok()?);
    let mut patched = message[..begin].to_vec();
    patched.extend(bson::serialize_to_vec(document).ok()?);
    patched.extend(&message[begin + usize::try_from(length).ok()?..]);
    let length = u32::try_from(patched.len()).ok()?;
    patched[..4].copy_from_slice(&length.to_le_bytes());
    Some(patched)
}

async fn ask(server: &mut TcpStream, request: &[u8]) -> Option<Vec<u8>> {
    server.write_all(request).await.ok()?;
    message(server).await
}

/// Where the document of a message begins: after the header, and what each kind of message has before it.
fn start(message: &[u8]) -> usize {
    match i32::from_le_bytes(message[12..16].try_into().unwrap()) {
        // A reply of the old kind: flags, cursor, first document, number of documents.
        1 => 16 + 4 + 8 + 4 + 4,
        // A query of the old kind: flags, the name of the collection, two numbers.
        2004 => 16 + 4 + message[20..].iter().position(|byte| *byte == 0).unwrap() + 1 + 8,
        // The usual message: flags, and the kind of its first section.
        _ => 16 + 4 + 1,
    }
}

fn body(message: &[u8]) -> Option<Document> {
    Document::from_reader(message.get(start(message)..)?).ok()
}

/// What a command writes: in its document, or in a section after it.
fn written(request: &[u8], command: &Document) -> Vec<Document> {
    let listed = command.values().find_map(Bson::as_array).into_iter().flatten();
    let mut all: Vec<_> = listed.filter_map(Bson::as_document).cloned().collect();
    let first = start(request);
    let length = |at: usize| u32::from_le_bytes(request[at..at + 4].try_into().unwrap()) as usize;
    let section = first + length(first);
    if request.get(section) == Some(&1) {
        let end = section + 1 + length(section + 1);
        let mut at = section + 5 + request[section + 5..].iter().position(|byte| *byte == 0).unwrap() + 1;
        while at < end {
            all.push(Document::from_reader(&request[at..]).unwrap());
            at += length(at);
        }
    }
    all
}

/// The code by which a document, or the update of one, is refused.
fn refused(written: &Document) -> Option<i32> {
    let document = written.get_document("u").unwrap_or(written);
    let codes = [("bad", 121), ("there", 11000)].into_iter();
    codes.filter(|(name, _)| document.contains_key(name)).map(|(_, code)| code).next()
}

fn reply(request: &[u8], document: &Document) -> Option<Vec<u8>> {
    let document = bson::serialize_to_vec(document).ok()?;
    let length = u32::try_from(16 + 4 + 1 + document.len()).ok()?;
    let mut reply = length.to_le_bytes().to_vec();
    reply.extend(0_u32.to_le_bytes());
    reply.extend(&request[4..8]);
    reply.extend(2013_u32.to_le_bytes());
    reply.extend([0; 5]);
    reply.extend(document);
    Some(reply)
}
