//! The CSV reader: equal to the obvious parser, however it is read, resumed and split.

use std::fs;

use actix_batch_pipeline::{source::Csv, test_util::check_source};

use super::reference::parse;

/// Checks the reader on these bytes, behind a header of one column.
pub fn check(bytes: &[u8]) {
    // Bytes of zero near the beginning mean that a file is no UTF-8, and it is refused as a whole.
    let bytes: Vec<u8> = bytes.iter().copied().filter(|byte| *byte != 0).collect();
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("data.csv");
    fs::write(&path, [b"h\n", &bytes[..]].concat()).expect("a file");
    let found = actix_rt::System::new().block_on(check_source(&Csv::<Vec<String>>::file(&path)));
    let expected = parse(&bytes);
    assert_eq!(found.len(), expected.len(), "{found:?}, and the obvious parser finds {expected:?}");
    for (found, expected) in found.into_iter().zip(expected) {
        let text = |field: Vec<u8>| String::from_utf8(field).ok();
        let expected = expected.and_then(|fields| fields.into_iter().map(text).collect::<Option<Vec<_>>>());
        assert_eq!(found.ok(), expected.filter(|fields| fields.len() == 1));
    }
}
