//! Blocks of whole rows from a CSV file, and the typed rows of a block.

use std::{
    fs::File,
    io::{self, Read, Seek, SeekFrom},
    path::Path,
    sync::mpsc::{Receiver, Sender, channel},
    time::Duration,
};

use csv::StringRecord;
use spate::{
    checkpoint::{AckIssuer, AckRef},
    deser::{Deserializer, EmitRecord, Owned},
    error::{DeserError, ErrorClass, SourceError},
    record::{PartitionId, RawPayload, Record},
    source::{LaneId, PayloadBatch, Source, SourceCtx, SourceEvent, SourceLane},
};

use crate::{flight::Flight, rows::Raw};

const BLOCK: u64 = 64 * 1024;
const PARTITION: PartitionId = PartitionId(0);

/// A CSV file with a header. It has one lane, and nobody asks later what was committed.
pub(crate) struct CsvSource {
    file: Option<File>,
    lane: Option<Lane>,
    /// Told by the lane.
    at_end: Option<Receiver<()>>,
    drained: bool,
}

impl CsvSource {
    /// The source, and the header of the file.
    pub(crate) fn open(path: impl AsRef<Path>) -> Result<(Self, StringRecord), csv::Error> {
        let mut reader = csv::Reader::from_path(path)?;
        let header = reader.headers()?.clone();
        let begin = reader.position().byte();
        let mut file = reader.into_inner();
        file.seek(SeekFrom::Start(begin))?;
        Ok((Self { file: Some(file), lane: None, at_end: None, drained: false }, header))
    }
}

impl Source for CsvSource {
    type Lane = Lane;

    fn open(&mut self, ctx: SourceCtx) -> Result<(), SourceError> {
        let mut file = self.file.take().expect("a source is opened once");
        let (end, at_end) = channel();
        let offset = file.stream_position().map_err(fatal)?;
        self.lane = Some(Lane { file, issuer: ctx.issuer, block: Vec::new(), given: 0, offset, end, finished: false });
        self.at_end = Some(at_end);
        Ok(())
    }

    fn poll_events(&mut self, timeout: Duration) -> Result<SourceEvent<Lane>, SourceError> {
        if let Some(lane) = self.lane.take() {
            return Ok(SourceEvent::LanesAssigned(vec![lane]));
        }
        self.drained |= self.at_end.as_ref().is_some_and(|end| end.recv_timeout(timeout).is_ok());
        Ok(if self.drained { SourceEvent::Drained } else { SourceEvent::Idle })
    }

    fn commit(&mut self, _: &[(PartitionId, i64)]) -> Result<(), SourceError> {
        Ok(())
    }
}

/// Reads the file in blocks that end with a row. A payload is a block, and its offset is its first byte. A line is
/// taken for a row: no field of the data has a line break.
pub(crate) struct Lane {
    file: File,
    issuer: AckIssuer,
    /// What is read and not yet done: the block that was given away last, and the beginning of the row after it.
    block: Vec<u8>,
    given: usize,
    /// Of the first byte of `block`.
    offset: u64,
    end: Sender<()>,
    finished: bool,
}

impl Lane {
    /// Reads the next block and says how long it is; 0 at the end of the file.
    fn read(&mut self) -> io::Result<usize> {
        self.block.drain(..self.given);
        self.offset += self.given as u64;
        self.given = 0;
        while (&mut self.file).take(BLOCK).read_to_end(&mut self.block)? > 0 {
            if let Some(last) = self.block.iter().rposition(|&byte| byte == b'\n') {
                return Ok(last + 1);
            }
        }
        Ok(self.block.len())
    }
}

impl SourceLane for Lane {
    type Batch<'a> = Block<'a>;

    fn id(&self) -> LaneId {
        LaneId(0)
    }

    fn partition(&self) -> PartitionId {
        PARTITION
    }

    fn poll(&mut self, _: usize, _: Duration) -> Result<Option<Block<'_>>, SourceError> {
        self.given = self.read().map_err(fatal)?;
        if self.given == 0 {
            self.finished = true;
            // If nobody hears it, the run is over.
            let _ = self.end.send(());
            return Ok(None);
        }
        let offset = i64::try_from(self.offset).expect("a file's offset");
        let ack = self.issuer.issue(PARTITION, offset + i64::try_from(self.given).expect("a block's size") - 1);
        let (bytes, partition) = (&self.block[..self.given], PARTITION);
        Ok(Some(Block { payload: Some(RawPayload { bytes, key: None, partition, offset, timestamp_ms: 0 }), ack }))
    }

    fn finished(&self) -> bool {
        self.finished
    }
}

fn fatal(error: io::Error) -> SourceError {
    SourceError::Client { class: ErrorClass::Fatal, reason: error.to_string() }
}

/// A batch of one payload.
pub(crate) struct Block<'a> {
    payload: Option<RawPayload<'a>>,
    ack: AckRef,
}

impl<'a> PayloadBatch<'a> for Block<'a> {
    fn next_payload(&mut self) -> Option<RawPayload<'a>> {
        self.payload.take()
    }

    fn ack(&self) -> &AckRef {
        &self.ack
    }
}

/// Makes flights of a block.
pub(crate) struct Rows {
    header: StringRecord,
    row: StringRecord,
}

impl Rows {
    pub(crate) fn new(header: StringRecord) -> Self {
        Self { header, row: StringRecord::new() }
    }
}

impl Deserializer<Owned<Flight>> for Rows {
    fn deserialize<'buf>(
        &mut self,
        raw: &RawPayload<'buf>,
        ack: &AckRef,
        out: &mut dyn EmitRecord<'buf, Flight>,
    ) -> Result<(), DeserError> {
        let malformed = |error: csv::Error| DeserError::Malformed { reason: error.to_string() };
        let mut rows = csv::ReaderBuilder::new().has_headers(false).from_reader(raw.bytes);
        while rows.read_record(&mut self.row).map_err(malformed)? {
            let row: Raw<'_> = self.row.deserialize(Some(&self.header)).map_err(malformed)?;
            // The chain takes the whole payload, and asks for no other one while its sink is full.
            let _ = out.emit(Record { payload: row.into(), meta: raw.meta(), ack: ack.clone() });
        }
        Ok(())
    }
}
