//! The checkpoint file: what is damaged is refused, or the one before is taken; it is never a guess and never a first run.

use std::{fs, path::Path};

use actix_batch_pipeline::checkpoint::{Checkpoint, FileStore, RangeCheckpoint, Store};
use serde_json::json;

/// Saves two checkpoints, damages the file of the second as the bytes say, and loads.
pub fn check(bytes: &[u8]) {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("checkpoint");
    let (first, second) = (checkpoint(1), checkpoint(2));
    actix_rt::System::new().block_on(async {
        let mut store = FileStore::at(&path);
        store.lease().await.expect("the lease");
        store.save(&first).await.expect("saved");
        store.save(&second).await.expect("saved");
        let is_whole = !damage(&path, bytes);
        match store.load().await {
            Ok(Some(loaded)) => {
                assert!(loaded == second || (!is_whole && loaded == first), "a guess: {loaded:?}");
            }
            Ok(None) => panic!("a damaged checkpoint is taken for a first run"),
            Err(_) => assert!(!is_whole, "a whole checkpoint is refused"),
        }
    });
}

fn checkpoint(record: u64) -> Checkpoint {
    let range = RangeCheckpoint { record, cursor: Some(json!(record)), ..RangeCheckpoint::new(0, None, None) };
    let (plan, identity) = ("plan".to_owned(), json!({ "file": "a" }));
    Checkpoint { plan, identity, cursor_version: 1, ranges: vec![range], sink: json!(null) }
}

/// The first byte says how: the file is cut, changed in some places, or replaced. Returns whether that made a difference.
fn damage(path: &Path, bytes: &[u8]) -> bool {
    let whole = fs::read(path).expect("the file");
    let mut damaged = whole.clone();
    match bytes {
        [] => {}
        [how, rest @ ..] if how % 3 == 0 => damaged = rest.to_vec(),
        [how, cut, ..] if how % 3 == 1 => damaged.truncate(usize::from(*cut) * whole.len() / 255),
        [_, changes @ ..] => {
            for change in changes.chunks_exact(3) {
                let at = usize::from(u16::from_le_bytes([change[0], change[1]])) % damaged.len();
                damaged[at] ^= change[2];
            }
        }
    }
    fs::write(path, &damaged).expect("the file");
    damaged != whole
}
