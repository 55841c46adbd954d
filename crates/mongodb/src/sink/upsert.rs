//! Replaces documents by their key, or inserts them: the `update` command with many updates.
//!
//! Within a batch the last record of a key wins. If it is refused, the one before it is written after all: only what is stored is called
//! written.

use std::collections::BTreeMap;

use actix_batch_pipeline::sink::{SinkError, Written};
use mongodb::{
    ClientSession, Database,
    bson::{self, Bson, Document, RawArrayBuf, RawDocumentBuf, rawdoc},
    options::WriteConcern,
};

use super::documents::{canonical, check_size, key, without_null_id};
use crate::fault::{Fault, is_duplicate, is_temporary, refusal};

/// A command is a document, and must not be larger than one: 16 MiB and 16 KiB.
const LARGEST: usize = 14 * 1024 * 1024;
/// What a server takes at once is 100,000.
const MOST: usize = 10_000;

/// A record that is to be written.
#[derive(Debug)]
struct Candidate {
    /// Its position in the batch.
    at: usize,
    /// The update, as the command wants it.
    update: RawDocumentBuf,
}

/// The records of a batch by their keys, in the order of the keys, so that two writers lock documents in the same order.
#[derive(Debug, Default)]
pub(super) struct Upserts(BTreeMap<Vec<u8>, Vec<Candidate>>);

/// The error of one update.
#[derive(Debug)]
struct Refused {
    index: usize,
    code: i32,
    message: String,
}

impl Upserts {
    /// Adds the record at this position.
    pub(super) fn add(&mut self, at: usize, document: RawDocumentBuf, fields: &[String]) -> Result<(), SinkError> {
        let values = key(&document, fields)?;
        // The server would take the document for an update by operators.
        if let Some((name, _)) = document.iter().filter_map(Result::ok).find(|(name, _)| name.as_str().starts_with('$'))
        {
            return Err(SinkError::record(format!("the name of field `{}` begins with a `$`", name.as_str())));
        }
        let document = without_null_id(document);
        check_size(&document)?;
        let by = canonical(&values);
        let query: Document = fields.iter().cloned().zip(values.into_iter().map(condition)).collect();
        let update = rawdoc! {
            "q": RawDocumentBuf::try_from(&query).map_err(|error| SinkError::record("the key is no BSON").caused_by(error))?,
            "u": document,
            "upsert": true,
            "multi": false,
        };
        self.0.entry(by).or_default().push(Candidate { at, update });
        Ok(())
    }

    /// Writes them. What the server refuses goes to `written`. Returns whether it has stored what it was to store: if not, it has ended the
    /// transaction.
    pub(super) async fn write(mut self, to: &mut Target<'_>, written: &mut Written) -> Result<bool, Fault> {
        while !self.0.is_empty() {
            let refused = self.round(to).await?;
            let is_over = to.session.is_some();
            if is_over && refused.is_empty() {
                return Ok(true);
            }
            // What is left are the records before those that were refused.
            self.0.retain(|by, candidates| {
                let Some(error) = refused.get(by) else { return false };
                if let Some(Candidate { at, .. }) = candidates.pop() {
                    written.refuse(at, SinkError::record(&*error.message));
                }
                !candidates.is_empty()
            });
            if is_over {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Sends the last record of each key, and returns the keys of those that were refused.
    async fn round(&self, to: &mut Target<'_>) -> Result<BTreeMap<Vec<u8>, Refused>, Fault> {
        let all: Vec<_> = self.0.iter().filter_map(|(by, candidates)| Some((by, &candidates.last()?.update))).collect();
        let updates: Vec<_> = all.iter().map(|(_, update)| *update).collect();
        let mut refused = BTreeMap::new();
        for (first, end) in pieces(&updates) {
            for one in to.update(&updates[first..end]).await? {
                let at = first + one.index;
                if let Some(one) = to.once_more(&updates, at, one).await? {
                    refused.insert(all[at].0.clone(), one);
                }
            }
            if to.session.is_some() && !refused.is_empty() {
                break;
            }
        }
        Ok(refused)
    }
}

/// What a document must have to be the one. A regular expression or a document would be read as a condition.
fn condition(value: Bson) -> Bson {
    match value {
        Bson::Document(_) | Bson::RegularExpression(_) => Bson::Document(bson::doc! { "$eq": value }),
        other => other,
    }
}

/// Cuts updates into pieces that fit into a command: each from an index to another.
fn pieces(updates: &[&RawDocumentBuf]) -> Vec<(usize, usize)> {
    let (mut pieces, mut from, mut size) = (Vec::new(), 0, 0);
    for (at, update) in updates.iter().enumerate() {
        let more = update.as_bytes().len() + 16;
        if at > from && (size + more > LARGEST || at - from == MOST) {
            pieces.push((from, at));
            (from, size) = (at, 0);
        }
        size += more;
    }
    if from < updates.len() {
        pieces.push((from, updates.len()));
    }
    pieces
}

/// Where updates go.
pub(super) struct Target<'a> {
    pub(super) database: &'a Database,
    pub(super) collection: &'a str,
    /// Of a transaction, if there is one. Nothing more is sent in it once a document was refused.
    pub(super) session: Option<&'a mut ClientSession>,
}

impl Target<'_> {
    /// Sends updates, and returns those that were refused.
    async fn update(&mut self, updates: &[&RawDocumentBuf]) -> Result<Vec<Refused>, Fault> {
        let (count, refused) = self.send(updates).await?;
        if count + refused.len() == updates.len() || (self.session.is_some() && !refused.is_empty()) {
            return Ok(refused);
        }
        // Some servers stop at the first one that they refuse, and do not say which: only one alone is known.
        let mut alone = Vec::new();
        for (index, update) in updates.iter().enumerate() {
            let (count, refused) = self.send(&[update]).await?;
            if count == 0 && refused.is_empty() {
                return Err(Fault::temporary(format!(
                    "the server has not written a document to `{}`",
                    self.collection
                )));
            }
            alone.extend(refused.into_iter().map(|one| Refused { index, ..one }));
        }
        Ok(alone)
    }

    /// A duplicate may come of two writers that have inserted one key at once: the second attempt finds the document. It may also come of
    /// another unique index; then it stays.
    async fn once_more(
        &mut self,
        updates: &[&RawDocumentBuf],
        at: usize,
        refused: Refused,
    ) -> Result<Option<Refused>, Fault> {
        if !is_duplicate(refused.code) || self.session.is_some() {
            return Ok(Some(refused));
        }
        let (_, again) = self.send(&[updates[at]]).await?;
        Ok(again.into_iter().next().map(|again| Refused { index: refused.index, ..again }))
    }

    /// Sends one command. Returns how many documents the server has written, and the errors of others.
    async fn send(&mut self, updates: &[&RawDocumentBuf]) -> Result<(usize, Vec<Refused>), Fault> {
        let collection = self.collection;
        let doing = || format!("updating collection `{collection}` failed");
        let mut all = RawArrayBuf::new();
        for update in updates {
            all.push(update.as_ref());
        }
        let mut command = rawdoc! { "update": self.collection, "updates": all, "ordered": false };
        // In a transaction the commit has the concern.
        if let Some(concern) = self.concern()?.filter(|_| self.session.is_none()) {
            command.append(bson::cstr!("writeConcern"), concern);
        }
        let command = self.database.run_raw_command(command);
        let reply = match &mut self.session {
            Some(session) => command.session(&mut **session).await,
            None => command.await,
        };
        let reply = reply.map_err(|error| Fault::of(&error, doing()))?;
        if let Ok(concern) = reply.get_document("writeConcernError") {
            return Err(Fault::of_concern(number(concern, "code"), text(concern), doing()));
        }
        let errors = reply.get_array("writeErrors").map(Vec::as_slice).unwrap_or_default();
        let refused: Vec<_> = errors.iter().filter_map(Bson::as_document).map(Refused::of).collect();
        match refused.iter().find(|one| is_temporary(one.code)) {
            Some(Refused { message, .. }) => Err(Fault::temporary(format!("{}: {message}", doing()))),
            None => Ok((usize::try_from(number(&reply, "n")).unwrap_or(0), refused)),
        }
    }

    /// A command has no write concern but its own.
    fn concern(&self) -> Result<Option<RawDocumentBuf>, Fault> {
        let concern: Option<&WriteConcern> = self.database.write_concern();
        let concern = concern.map(bson::serialize_to_raw_document_buf).transpose();
        concern.map_err(|error| Fault::fatal(format!("the write concern cannot be sent: {error}")))
    }
}

impl Refused {
    fn of(error: &Document) -> Self {
        let index = usize::try_from(number(error, "index")).unwrap_or(0);
        let code = number(error, "code");
        Self { index, code, message: refusal(text(error), code, error.get_document("errInfo").ok()) }
    }
}

fn number(document: &Document, name: &str) -> i32 {
    match document.get(name) {
        Some(Bson::Int32(number)) => *number,
        Some(Bson::Int64(number)) => i32::try_from(*number).unwrap_or(i32::MAX),
        #[allow(clippy::cast_possible_truncation, reason = "servers count in doubles, too")]
        Some(Bson::Double(number)) => *number as i32,
        _ => 0,
    }
}

fn text(document: &Document) -> &str {
    document.get_str("errmsg").unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn updates_are_cut_into_commands_that_are_not_too_large_and_none_is_left_out() {
        let update = |size: usize| rawdoc! { "u": "x".repeat(size) };
        let (small, large) = (update(10), update(LARGEST / 2));
        assert_eq!(pieces(&[]), []);
        assert_eq!(pieces(&[&small, &large, &small]), [(0, 3)]);
        assert_eq!(pieces(&[&large, &large, &small]), [(0, 1), (1, 3)]);
        let beyond = update(LARGEST);
        assert_eq!(pieces(&[&beyond, &beyond]), [(0, 1), (1, 2)], "one alone is the server's to judge");
        assert_eq!(pieces(&vec![&small; MOST + 1]), [(0, MOST), (MOST, MOST + 1)]);
    }

    #[test]
    fn of_one_key_the_last_record_is_sent_first() {
        let mut all = Upserts::default();
        for (at, n) in [(0, 5_i64), (1, 7), (2, 5)] {
            all.add(at, rawdoc! { "_id": n, "at": i32::try_from(at).unwrap() }, &["_id".to_owned()]).unwrap();
        }
        let last: Vec<_> = all.0.values().filter_map(|candidates| Some(candidates.last()?.at)).collect();
        assert_eq!(last, [2, 1]);
    }
}
