//! A checkpoint survives full disks, failing disks, power cuts and damage, or says that it does not.

use std::{
    collections::HashMap,
    io,
    path::{Path, PathBuf},
    sync::Arc,
};

use parking_lot::Mutex;
use serde_json::json;

use super::{
    Files,
    disk::Disk,
    format::{FormatError, decode, encode},
};
use crate::checkpoint::{Checkpoint, CheckpointErrorKind, RangeCheckpoint};

/// A disk in memory: it fails when it is told to, and forgets what was not synced when the power is cut.
#[derive(Debug, Default)]
struct TestDisk(Mutex<State>);

#[derive(Debug, Default, Clone)]
struct State {
    now: HashMap<PathBuf, Vec<u8>>,
    /// What the folder holds after a power cut: renames are kept once the folder is synced.
    durable: HashMap<PathBuf, Vec<u8>>,
    /// Changes of the folder that are not synced, in their order.
    pending: Vec<HashMap<PathBuf, Vec<u8>>>,
    operations: usize,
    fail_at: Option<(usize, io::ErrorKind)>,
}

impl State {
    fn step(&mut self) -> io::Result<()> {
        self.operations += 1;
        match self.fail_at {
            Some((at, kind)) if at == self.operations => Err(kind.into()),
            _ => Ok(()),
        }
    }

    fn changed(&mut self) {
        self.pending.push(self.now.clone());
    }
}

impl Disk for TestDisk {
    fn write_synced(&self, path: &Path, bytes: &[u8]) -> io::Result<()> {
        let mut state = self.0.lock();
        // A write that fails leaves half of the file.
        state.now.insert(path.to_owned(), bytes[..bytes.len() / 2].to_vec());
        state.changed();
        state.step()?;
        state.now.insert(path.to_owned(), bytes.to_vec());
        state.changed();
        state.step()
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        let mut state = self.0.lock();
        state.step()?;
        let bytes = state.now.remove(from).ok_or(io::ErrorKind::NotFound)?;
        state.now.insert(to.to_owned(), bytes);
        state.changed();
        Ok(())
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        let mut state = self.0.lock();
        state.step()?;
        state.now.remove(path).ok_or(io::ErrorKind::NotFound)?;
        state.changed();
        Ok(())
    }

    fn read(&self, path: &Path) -> io::Result<Vec<u8>> {
        self.0.lock().now.get(path).cloned().ok_or(io::ErrorKind::NotFound.into())
    }

    fn sync_folder(&self, _path: &Path) -> io::Result<()> {
        let mut state = self.0.lock();
        state.step()?;
        state.durable = state.now.clone();
        state.pending.clear();
        Ok(())
    }
}

fn checkpoint(record: u64) -> Checkpoint {
    let mut range = RangeCheckpoint::new(0, None, None);
    range.record = record;
    range.cursor = Some(json!({ "byte": record * 10 }));
    Checkpoint {
        plan: "csv → sqlite".to_owned(),
        identity: json!({ "head": 7 }),
        cursor_version: 1,
        ranges: vec![range],
        sink: serde_json::Value::Null,
    }
}

fn files(disk: &Arc<TestDisk>) -> Files {
    Files { path: PathBuf::from("run.checkpoint"), disk: Arc::clone(disk) as Arc<dyn Disk> }
}

fn save(files: &Files, record: u64) -> Result<(), CheckpointErrorKind> {
    files.save(&encode(&checkpoint(record)).unwrap()).map_err(|error| error.kind())
}

fn loaded(files: &Files) -> Option<u64> {
    files.load().unwrap().map(|checkpoint| checkpoint.ranges[0].record)
}

/// A disk on which two checkpoints have been saved.
fn saved_twice() -> (Arc<TestDisk>, Files) {
    let disk = Arc::new(TestDisk::default());
    let files = files(&disk);
    save(&files, 1).unwrap();
    save(&files, 2).unwrap();
    (disk, files)
}

#[test]
fn a_disk_that_is_full_or_fails_at_any_step_leaves_the_checkpoint_before_or_after() {
    for kind in [io::ErrorKind::StorageFull, io::ErrorKind::Other] {
        for at in 1..=5 {
            let (disk, files) = saved_twice();
            let done = disk.0.lock().operations;
            disk.0.lock().fail_at = Some((done + at, kind));
            assert_eq!(save(&files, 3), Err(CheckpointErrorKind::Io), "step {at}");
            assert!(matches!(loaded(&files), Some(2 | 3)), "step {at}: {:?}", loaded(&files));
            // The disk works again, and so does the store.
            save(&files, 4).unwrap();
            assert_eq!(loaded(&files), Some(4));
        }
    }
}

#[test]
fn a_power_cut_at_any_step_leaves_the_checkpoint_before_or_after() {
    for at in 0..6 {
        let (disk, files) = saved_twice();
        let done = disk.0.lock().operations;
        disk.0.lock().fail_at = Some((done + at, io::ErrorKind::Other)).filter(|_| at > 0);
        let saved = save(&files, 3);
        let state = disk.0.lock().clone();
        // Any number of the changes that were not synced may have reached the disk.
        for kept in std::iter::once(&state.durable).chain(&state.pending) {
            disk.0.lock().now.clone_from(kept);
            let found = loaded(&files);
            assert!(matches!(found, Some(2 | 3)), "step {at}: {found:?}");
            assert!(saved.is_err() || found == Some(3), "a save that returned is durable");
        }
    }
}

#[test]
fn a_checkpoint_cut_at_any_byte_is_never_another_one_and_never_a_first_run() {
    let bytes = encode(&checkpoint(2)).unwrap();
    for length in 0..bytes.len() {
        assert!(decode(&bytes[..length]).is_err(), "{length} bytes");
        let (disk, files) = saved_twice();
        disk.0.lock().now.insert(files.path.clone(), bytes[..length].to_vec());
        assert_eq!(loaded(&files), Some(1), "{length} bytes: the previous generation");
        disk.0.lock().now.remove(&files.beside("1"));
        assert_eq!(files.load().unwrap_err().kind(), CheckpointErrorKind::Corrupt, "{length} bytes, alone");
    }
}

#[test]
fn a_flipped_bit_is_never_another_checkpoint() {
    let bytes = encode(&checkpoint(2)).unwrap();
    for (byte, bit) in (0..bytes.len()).flat_map(|byte| (0..8).map(move |bit| (byte, bit))) {
        let mut flipped = bytes.clone();
        flipped[byte] ^= 1 << bit;
        // The words of the header may change without harm; what is read must be what was written.
        if let Ok(found) = decode(&flipped) {
            assert_eq!(found, checkpoint(2), "byte {byte}, bit {bit}");
        }
    }
}

#[test]
fn the_previous_generation_is_used_if_the_latest_is_missing() {
    let (disk, files) = saved_twice();
    disk.0.lock().now.remove(&files.path);
    assert_eq!(loaded(&files), Some(1));
}

#[test]
fn a_damaged_checkpoint_never_replaces_the_good_one_before_it() {
    for at in 1..=5 {
        let (disk, files) = saved_twice();
        disk.0.lock().now.insert(files.path.clone(), b"actix-batch checkpoint 1".to_vec());
        let done = disk.0.lock().operations;
        disk.0.lock().fail_at = Some((done + at, io::ErrorKind::Other));
        let _ = save(&files, 3);
        assert!(matches!(loaded(&files), Some(1 | 3)), "step {at}");
    }
}

#[test]
fn a_file_of_another_kind_is_refused_and_left_as_it_is() {
    let (disk, files) = saved_twice();
    let other = br#"{"name": "package", "version": "1.0.0"}"#.to_vec();
    disk.0.lock().now.insert(files.path.clone(), other.clone());
    let error = files.load().unwrap_err();
    assert!(error.to_string().contains("is not a checkpoint"), "{error}");
    assert_eq!(disk.0.lock().now[&files.path], other);
}

#[test]
fn a_checkpoint_of_a_newer_version_is_refused_by_name() {
    let bytes = b"actix-batch checkpoint 9 whatever comes then\n{}".to_vec();
    assert_eq!(decode(&bytes), Err(FormatError::Future { version: 9 }));
    let (disk, files) = saved_twice();
    disk.0.lock().now.insert(files.path.clone(), bytes);
    assert_eq!(files.load().unwrap_err().kind(), CheckpointErrorKind::Future);
}

#[test]
fn a_checkpoint_of_the_first_format_still_loads() {
    let body = r#"{"plan":"p","identity":{},"cursor_version":1,"ranges":[{"range":0,"from":null,"to":null,"record":5,"cursor":{"byte":70},"done":false,"beyond":[{"first":[7,0],"last":[9,0]}]}]}"#;
    let bytes =
        format!("actix-batch checkpoint 1 crc32 {:08x} bytes {}\n{body}", crc32fast::hash(body.as_bytes()), body.len());
    let found = decode(bytes.as_bytes()).unwrap();
    assert_eq!((found.ranges[0].record, found.ranges[0].beyond.len()), (5, 1));
}
