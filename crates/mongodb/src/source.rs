//! A collection of MongoDB as a source, read by its `_id`.

use std::{
    fmt,
    marker::PhantomData,
    time::{Duration, SystemTime},
};

use actix_batch_pipeline::{
    Origin, Range,
    source::{Chunk, Identity, More, Reader, Size, Source, SourceError, Unreadable},
};
use futures_util::TryStreamExt;
use mongodb::{
    Collection, Database,
    bson::{self, Bson, Document, RawDocumentBuf, doc, oid::ObjectId},
};
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use serde_json::json;

use crate::{
    fault::Fault,
    id::{DocumentId, between},
    server::Server,
};

/// Reads a collection in the order of `_id`; not a view, which may repeat one. A run goes on after the `_id` of the last record that has settled,
/// so documents that come later are read if theirs are larger, as those of `ObjectId`s are.
///
/// Documents are read as they are when their chunk is read, not from one snapshot. One that is stored late under a smaller `_id` – an
/// `ObjectId` gets its time on the machine that makes it – is passed by; [`lag`](Self::lag) leaves room for it.
///
/// ```no_run
/// use actix_batch_mongodb::{MongoDbCollection, bson::oid::ObjectId};
/// use actix_batch_pipeline::{prelude::*, sink::JsonLinesFile};
/// use serde::{Deserialize, Serialize};
///
/// #[derive(Serialize, Deserialize)]
/// struct Order { _id: ObjectId, total: f64 }
///
/// # actix_rt::System::new().block_on(async {
/// let orders = MongoDbCollection::<Order>::named("orders").database("shop");
/// let report = Pipeline::named("orders").read(orders).write(JsonLinesFile::create("orders.jsonl")).run().await?;
/// # Ok::<(), RunError>(())
/// # }).unwrap();
/// ```
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MongoDbCollection<T> {
    #[serde(default, rename = "uri", skip_serializing)]
    server: Server,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    database: Option<String>,
    collection: String,
    #[serde(default, rename = "lag_millis", skip_serializing_if = "Option::is_none")]
    lag: Option<u64>,
    #[serde(skip)]
    records: PhantomData<fn() -> T>,
}

impl<T> MongoDbCollection<T> {
    /// Reads this collection.
    pub fn named(collection: impl Into<String>) -> Self {
        let (server, collection) = (Server::default(), collection.into());
        Self { server, database: None, collection, lag: None, records: PhantomData }
    }

    /// Where the server is; see [`MongoDb::connect`](crate::MongoDb::connect).
    pub fn connect(mut self, uri: impl Into<String>) -> Self {
        self.server = Server::at(uri);
        self
    }

    /// The database. Default: the one at the end of the URI.
    pub fn database(mut self, name: impl Into<String>) -> Self {
        self.database = Some(name.into());
        self
    }

    /// Leaves documents for a later run whose `ObjectId` is younger than this: longer than the clocks of those who write differ, and than a write
    /// takes. Default: none.
    pub fn lag(mut self, time: Duration) -> Self {
        self.lag = Some(u64::try_from(time.as_millis()).unwrap_or(u64::MAX));
        self
    }

    async fn connected(&self) -> Result<Database, Fault> {
        self.server.connect(self.database.as_deref()).await
    }

    fn of(&self, database: &Database) -> Collection<RawDocumentBuf> {
        database.collection(&self.collection)
    }

    fn failed(&self, error: &mongodb::error::Error) -> SourceError {
        Fault::of(error, format!("reading collection `{}` failed", self.collection)).into()
    }

    /// The smallest and the largest `_id`; `None` for an empty collection.
    async fn ends(&self, all: &Collection<RawDocumentBuf>) -> Result<Option<(Bson, Bson)>, SourceError> {
        let (Some(first), Some(last)) = (self.end(all, 1).await?, self.end(all, -1).await?) else { return Ok(None) };
        let is_object_id = |id: &Bson| matches!(id, Bson::ObjectId(_));
        if self.lag.is_some() && !(is_object_id(&first) && is_object_id(&last)) {
            return Err(SourceError::config(format!(
                "`lag` reads the time of an ObjectId, and collection `{}` has others as `_id`: remove it",
                self.collection
            )));
        }
        Ok(Some((first, last)))
    }

    async fn end(&self, all: &Collection<RawDocumentBuf>, order: i32) -> Result<Option<Bson>, SourceError> {
        let found = all.find_one(doc! {}).sort(doc! { "_id": order }).projection(doc! { "_id": 1 });
        match found.await.map_err(|error| self.failed(&error))? {
            Some(document) => self.id(&document).map(Some),
            None => Ok(None),
        }
    }

    fn id(&self, document: &RawDocumentBuf) -> Result<Bson, SourceError> {
        let id = document.get("_id").ok().flatten().and_then(|id| Bson::try_from(id).ok());
        let message = || format!("a document of `{}` has no `_id`, which it is read by", self.collection);
        id.ok_or_else(|| SourceError::config(message()))
    }

    /// What to ask for, if these are the smallest and the largest `_id`.
    fn filter(&self, range: &Range<DocumentId>, (smallest, largest): &(Bson, Bson)) -> Document {
        let all = between(range, smallest, largest);
        let Some(millis) = self.lag else { return all };
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        let seconds = now.saturating_sub(Duration::from_millis(millis)).as_secs();
        let too_young = ObjectId::from_parts(u32::try_from(seconds).unwrap_or(u32::MAX), [0; 5], [0; 3]);
        doc! { "$and": [all, { "_id": { "$lt": too_young } }] }
    }

    /// The `_id` of the document after so many others.
    async fn nth(
        &self,
        all: &Collection<RawDocumentBuf>,
        filter: &Document,
        skip: u64,
    ) -> Result<Option<Bson>, SourceError> {
        let found = all.find_one(filter.clone()).sort(doc! { "_id": 1 }).projection(doc! { "_id": 1 }).skip(skip);
        let found = found.await.map_err(|error| self.failed(&error))?;
        found.map(|document| self.id(&document)).transpose()
    }
}

impl<T> Clone for MongoDbCollection<T> {
    fn clone(&self) -> Self {
        let Self { server, database, collection, lag, .. } = self;
        let (server, database, collection) = (server.clone(), database.clone(), collection.clone());
        Self { server, database, collection, lag: *lag, records: PhantomData }
    }
}

impl<T: DeserializeOwned + Send + Sync + 'static> Source for MongoDbCollection<T> {
    type Record = T;
    type Cursor = DocumentId;
    type Reader = MongoDbReader<T>;

    fn describe(&self) -> String {
        format!("mongodb:{}/{}", self.server.place(self.database.as_deref()), self.collection)
    }

    /// The collection, with the number that the server gives it: another one under the same name is another source.
    async fn identity(&self) -> Result<Identity, SourceError> {
        let database = self.connected().await?;
        let named = database.list_collections().filter(doc! { "name": &self.collection });
        let found = named.await.map_err(|error| self.failed(&error))?;
        let found: Vec<_> = found.try_collect().await.map_err(|error| self.failed(&error))?;
        let Some(found) = found.first() else {
            let message = format!("database `{}` has no collection `{}`", database.name(), self.collection);
            return Err(SourceError::config(message));
        };
        self.ends(&self.of(&database)).await?;
        let number = found.info.uuid.as_ref().map(|uuid| {
            let bytes = uuid.bytes.iter().map(|byte| format!("{byte:02x}"));
            bytes.collect::<String>()
        });
        Ok(json!({ "database": database.name(), "collection": self.collection, "uuid": number }))
    }

    async fn split(&self, from: Option<DocumentId>, at_most: usize) -> Result<Vec<Range<DocumentId>>, SourceError> {
        self.split_first(from, at_most, at_most).await
    }

    /// Each end is looked up from the one before it, so that the server passes each document once.
    async fn split_first(
        &self,
        from: Option<DocumentId>,
        ranges: usize,
        at_most: usize,
    ) -> Result<Vec<Range<DocumentId>>, SourceError> {
        let all = self.of(&self.connected().await?);
        let mut first = Vec::new();
        let mut rest = Range { from, to: None };
        if let Some(ends) = self.ends(&all).await?.filter(|_| ranges > 1) {
            let documents =
                all.count_documents(self.filter(&rest, &ends)).await.map_err(|error| self.failed(&error))?;
            let pieces = (ranges as u64).min(documents);
            for _ in 1..pieces {
                if first.len() == at_most {
                    return Ok(first);
                }
                // Documents that were deleted meanwhile make fewer ranges.
                let last = documents / pieces - 1;
                let Some(end) = self.nth(&all, &self.filter(&rest, &ends), last).await? else { break };
                let end = DocumentId::new(end);
                first.push(Range { from: rest.from.replace(end.clone()), to: Some(end) });
            }
        }
        // The last range has no end, so that it takes what is added.
        first.extend((first.len() < at_most).then_some(rest));
        Ok(first)
    }

    async fn open(&self, range: &Range<DocumentId>) -> Result<MongoDbReader<T>, SourceError> {
        let all = self.of(&self.connected().await?);
        let ends = self.ends(&all).await?;
        Ok(MongoDbReader { source: self.clone(), all, range: range.clone(), ends })
    }

    async fn size(&self) -> Option<Size> {
        let all = self.of(&self.connected().await.ok()?);
        all.estimated_document_count().await.ok().map(Size::Records)
    }
}

/// Reads a range of a collection.
pub struct MongoDbReader<T> {
    source: MongoDbCollection<T>,
    all: Collection<RawDocumentBuf>,
    /// What is left to read.
    range: Range<DocumentId>,
    /// The smallest and the largest `_id` when the range was opened, if there were any.
    ends: Option<(Bson, Bson)>,
}

impl<T: DeserializeOwned + 'static> Reader for MongoDbReader<T> {
    type Record = T;
    type Cursor = DocumentId;

    async fn read(&mut self, chunk: &mut Chunk<T, DocumentId>, limit: usize) -> Result<More, SourceError> {
        let Self { source, all, range, ends } = self;
        let Some(ends) = ends else { return Ok(More::No) };
        let (most, batch) = (i64::try_from(limit).unwrap_or(i64::MAX), u32::try_from(limit).unwrap_or(u32::MAX));
        let found = all.find(source.filter(range, ends)).sort(doc! { "_id": 1 }).limit(most).batch_size(batch);
        let found = found.await.map_err(|error| source.failed(&error))?;
        let documents: Vec<_> = found.try_collect().await.map_err(|error| source.failed(&error))?;
        let mut after = None;
        for document in &documents {
            let id = DocumentId::new(source.id(document)?);
            let origin = Origin::Key(format!("{} {}", source.collection, id.text()).into());
            match bson::deserialize_from_slice(document.as_bytes()) {
                Ok(record) => chunk.push(record, origin),
                Err(error) => {
                    let reason = format!("the document does not fit its type: {error}");
                    chunk.refuse(Unreadable { reason, text: shown(document) }, origin);
                }
            }
            after = Some(id);
        }
        chunk.add_progress(documents.len() as u64);
        if let Some(after) = after {
            chunk.set_after(after.clone());
            range.from = Some(after);
        }
        Ok(if documents.len() < limit { More::No } else { More::Yes })
    }
}

/// A document as relaxed extended JSON, as far as it can be shown.
fn shown(document: &RawDocumentBuf) -> Option<String> {
    let document = Document::try_from(document.clone()).ok()?;
    let text = Bson::Document(document).into_relaxed_extjson().to_string();
    Some(text.chars().take(4_096).collect())
}

impl<T> fmt::Debug for MongoDbCollection<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MongoDbCollection")
            .field("server", &self.server)
            .field("database", &self.database)
            .field("collection", &self.collection)
            .finish_non_exhaustive()
    }
}

impl<T> fmt::Debug for MongoDbReader<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MongoDbReader").field("source", &self.source).finish_non_exhaustive()
    }
}
