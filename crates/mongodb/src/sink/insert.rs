//! Inserts documents, and recognises those that an earlier attempt has stored.

use std::collections::HashMap;

use actix_batch_pipeline::sink::{SinkError, Written};
use futures_util::TryStreamExt;
use mongodb::{
    ClientSession, Collection,
    bson::{Bson, RawDocumentBuf, doc},
    error::{Error, ErrorKind, IndexedWriteError, TRANSIENT_TRANSACTION_ERROR},
};

use super::documents::canonical;
use crate::fault::{Fault, is_duplicate, is_temporary, refusal};

/// How many `_id`s are asked for at once.
const ASKED: usize = 1_000;

/// Inserts documents, each with its position in the batch. What the server refuses goes to `written`. Returns whether it has stored all of them:
/// if not, it has ended the transaction.
pub(super) async fn insert(
    collection: &Collection<RawDocumentBuf>,
    documents: &[(usize, RawDocumentBuf)],
    written: &mut Written,
    session: Option<&mut ClientSession>,
) -> Result<bool, Fault> {
    if documents.is_empty() {
        return Ok(true);
    }
    let all = collection.insert_many(documents.iter().map(|(_, document)| document)).ordered(false);
    let sent = match session {
        Some(session) => all.session(session).await,
        None => all.await,
    };
    let Err(error) = sent else { return Ok(true) };
    let mut duplicates = Vec::new();
    for failed in each(&error, collection)? {
        let Some((at, document)) = documents.get(failed.index) else { continue };
        if is_duplicate(failed.code) {
            duplicates.push((*at, document, failed.message));
        } else {
            let why = refusal(&failed.message, failed.code, failed.details.as_ref());
            written.refuse(*at, SinkError::record(why));
        }
    }
    refuse_others(collection, duplicates, written).await?;
    Ok(false)
}

/// The errors of single documents. Everything else is a failure of them all.
fn each(error: &Error, collection: &Collection<RawDocumentBuf>) -> Result<Vec<IndexedWriteError>, Fault> {
    let doing = || format!("inserting into collection `{}` failed", collection.name());
    let ErrorKind::InsertMany(failed) = &*error.kind else { return Err(Fault::of(error, doing())) };
    if error.contains_label(TRANSIENT_TRANSACTION_ERROR) {
        return Err(Fault::of(error, doing()));
    }
    if let Some(concern) = &failed.write_concern_error {
        return Err(Fault::of_concern(concern.code, &concern.message, doing()));
    }
    let failed = failed.write_errors.clone().unwrap_or_default();
    match failed.iter().find(|failed| is_temporary(failed.code)) {
        Some(failed) => Err(Fault::temporary(format!("{}: {} ({})", doing(), failed.message, failed.code))),
        None if failed.is_empty() => Err(Fault::of(error, doing())),
        None => Ok(failed),
    }
}

/// Of documents that are there already: those with the same content are this pipeline's own, and the others are refused.
async fn refuse_others(
    collection: &Collection<RawDocumentBuf>,
    duplicates: Vec<(usize, &RawDocumentBuf, String)>,
    written: &mut Written,
) -> Result<(), Fault> {
    for duplicates in duplicates.chunks(ASKED) {
        let ids = duplicates.iter().filter_map(|(_, document, _)| id(document));
        let there = stored(collection, ids.collect()).await?;
        for (at, document, words) in duplicates {
            let id = [id(document).unwrap_or(Bson::Null)];
            let why = match there.get(&canonical(&id)) {
                Some(stored) if stored.as_bytes() == document.as_bytes() => continue,
                Some(_) => format!("there is another document with `_id` {}: upsert, or remove it", id[0]),
                None => format!("another document has the same unique key: {words}"),
            };
            written.refuse(*at, SinkError::record(why));
        }
    }
    Ok(())
}

/// The documents with these `_id`s.
async fn stored(
    collection: &Collection<RawDocumentBuf>,
    ids: Vec<Bson>,
) -> Result<HashMap<Vec<u8>, RawDocumentBuf>, Fault> {
    let failed = |error| Fault::of(&error, format!("looking for duplicates in `{}` failed", collection.name()));
    let found = collection.find(doc! { "_id": { "$in": ids } }).await.map_err(failed)?;
    let found: Vec<_> = found.try_collect().await.map_err(failed)?;
    let by_id = found.into_iter().filter_map(|document| Some((canonical(&[id(&document)?]), document)));
    Ok(by_id.collect())
}

fn id(document: &RawDocumentBuf) -> Option<Bson> {
    document.get("_id").ok().flatten()?.try_into().ok()
}
