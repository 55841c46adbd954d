//! The inputs that the fuzz targets have found interesting, checked without a fuzzer: see `fuzz/`.
#![cfg(all(feature = "csv", feature = "test-util"))]

use std::{fs, path::Path};

#[path = "../../../fuzz/src/checkpoint.rs"]
#[allow(unreachable_pub, reason = "it is a library of its own")]
mod checkpoint;
#[path = "../../../fuzz/src/csv.rs"]
#[allow(unreachable_pub, reason = "it is a library of its own")]
mod csv;
#[path = "../../../fuzz/src/reference.rs"]
#[allow(unreachable_pub, reason = "it is a library of its own")]
mod reference;

fn each(target: &str, check: fn(&[u8])) {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fuzz/corpus").join(target);
    let mut checked = 0;
    for entry in fs::read_dir(&folder).unwrap() {
        check(&fs::read(entry.unwrap().path()).unwrap());
        checked += 1;
    }
    assert!(checked > 0, "{} is empty", folder.display());
}

#[test]
fn each_csv_of_the_corpus_is_read_as_the_obvious_parser_reads_it() {
    each("csv", csv::check);
}

#[test]
fn no_damage_of_the_corpus_makes_a_checkpoint_a_guess_or_a_first_run() {
    each("checkpoint", checkpoint::check);
}
