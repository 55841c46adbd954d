//! CSV files: every record that is there, each as the header says, and nothing that is not there.
#![cfg(all(feature = "csv", feature = "test-util"))]

use std::{fs, path::PathBuf};

use actix_batch_pipeline::{
    Origin, Range,
    source::{Chunk, Csv, Reader, Source, SourceErrorKind},
    test_util::{check_source, read_range},
};
use proptest::prelude::*;
use serde::{Deserialize, de::DeserializeOwned};
use tempfile::TempDir;

use reference::parse;

#[path = "../../../fuzz/src/reference.rs"]
#[allow(unreachable_pub, reason = "it is a library of its own")]
mod reference;

type Texts = Vec<String>;

#[derive(Debug, Clone, PartialEq, Deserialize)]
struct City {
    name: String,
    people: Option<u64>,
}

fn city(name: &str, people: Option<u64>) -> City {
    City { name: name.to_owned(), people }
}

struct File {
    _folder: TempDir,
    path: PathBuf,
}

fn file(bytes: impl AsRef<[u8]>) -> File {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("data.csv");
    fs::write(&path, bytes).unwrap();
    File { _folder: folder, path }
}

/// Runs a test on a runtime of its own.
fn run<T>(test: impl Future<Output = T>) -> T {
    actix_rt::System::new().block_on(test)
}

/// All records of a source, checked by the kit.
fn read<T: DeserializeOwned + Clone + std::fmt::Debug + PartialEq + Send + Sync + 'static>(
    csv: Csv<T>,
) -> Vec<Result<T, String>> {
    run(async move { check_source(&csv).await })
}

fn rows(bytes: &str) -> Vec<Result<Texts, String>> {
    let file = file(bytes);
    read(Csv::<Texts>::file(&file.path))
}

fn ok(fields: &[&str]) -> Result<Texts, String> {
    Ok(fields.iter().map(|field| (*field).to_owned()).collect())
}

#[test]
fn quoted_delimiters_line_ends_and_quotes_belong_to_the_field() {
    assert_eq!(rows("a,b\n\"x,\ny\",\"say \"\"hi\"\"\"\n1,2\n"), [ok(&["x,\ny", "say \"hi\""]), ok(&["1", "2"])]);
}

#[test]
fn a_file_splits_at_record_ends_only_also_if_lines_end_inside_quotes() {
    let row = |number: usize| format!("{number},\"one\ntwo\n{}\"\n", "x".repeat(number % 17));
    let text: Vec<_> = (0..200).map(row).collect();
    assert_eq!(rows(&format!("a,b\n{}", text.concat())).len(), 200);
}

#[test]
fn a_quote_in_a_comment_opens_nothing_where_a_file_splits() {
    let row = |number: usize| format!("# said,\"so\n{number},\"one\ntwo\"\n");
    let text: Vec<_> = (0..99).map(row).collect();
    let file = file(format!("a,b\n{}", text.concat()));
    assert_eq!(read(Csv::<Texts>::file(&file.path).comment(b'#')).len(), 99);
}

#[test]
fn a_comment_may_be_longer_than_a_record() {
    let file = file(format!("a,b\n1,2\n# {}\"\n3,4\n", "long ".repeat(20_000)));
    let csv = Csv::<Texts>::file(&file.path).comment(b'#').max_record_bytes(100);
    assert_eq!(read(csv), [ok(&["1", "2"]), ok(&["3", "4"])]);
}

#[test]
fn a_number_in_quotes_may_have_doubled_ones() {
    let file = file("name|people\n'Rome'|'2''873''000'\n");
    let csv = Csv::<City>::file(&file.path).delimiter(b'|').quote(Some(b'\'')).thousands('\'');
    assert_eq!(read(csv), [Ok(city("Rome", Some(2_873_000)))]);
}

#[test]
fn lines_may_end_with_lf_crlf_or_cr_and_empty_lines_are_no_records() {
    for end in ["\n", "\r\n", "\r"] {
        let text = ["a,b", "1,2", "", "3,4", "", ""].join(end);
        assert_eq!(rows(&text), [ok(&["1", "2"]), ok(&["3", "4"])], "{end:?}");
    }
}

#[test]
fn the_cursor_stands_after_the_whole_terminator() {
    let file = file("a\r\nx\r\ny\r\n");
    let chunks = run(read_range(&Csv::<Texts>::file(&file.path), &Range::all(), 1)).unwrap();
    let bytes: Vec<_> = chunks.iter().map(|(_, cursor)| (cursor["byte"].as_u64(), cursor["line"].as_u64())).collect();
    assert_eq!(bytes, [(Some(6), Some(3)), (Some(9), Some(4))]);
}

#[test]
fn a_last_record_without_a_line_end_counts() {
    assert_eq!(rows("a,b\n1,2"), [ok(&["1", "2"])]);
}

#[test]
fn columns_are_bound_by_their_names_in_any_order() {
    let file = file("people,country,name\n5,IT,Rome\n,,Atlantis\n");
    let cities = read(Csv::<City>::file(&file.path));
    assert_eq!(cities, [Ok(city("Rome", Some(5))), Ok(city("Atlantis", None))]);
}

#[test]
fn a_missing_or_doubled_column_is_refused_by_name_before_anything_is_read() {
    for (text, name) in
        [("name,persons\nRome,5\n", "`people` is missing"), ("name,people,name\n", "`name` is there twice")]
    {
        let file = file(text);
        let error = run(async { Csv::<City>::file(&file.path).identity().await }).unwrap_err();
        assert_eq!(error.kind(), SourceErrorKind::Config);
        assert!(error.to_string().contains(name), "{error}");
    }
}

#[test]
fn missing_columns_take_defaults_only_if_that_was_declared() {
    let file = file("name\nRome\n");
    assert_eq!(read(Csv::<City>::file(&file.path).missing_columns(true)), [Ok(city("Rome", None))]);
}

#[test]
fn a_wrong_record_is_refused_with_its_place_and_the_others_are_read() {
    let file = file(b"name,people\nRome,5\nParis\nOslo,many\nBo\"nn,1\n\"Bern\"x,1\nL\xffn,2\nLima,9\n");
    let cities = read(Csv::<City>::file(&file.path));
    let reasons: Vec<_> = cities.iter().filter_map(|city| city.as_ref().err().map(String::as_str)).collect();
    assert_eq!(
        reasons,
        [
            "1 fields instead of 2",
            "column `people`: \"many\" is not a whole number (u64)",
            "a quote inside a field that does not begin with one",
            "text between a closing quote and the delimiter",
            "not UTF-8 at byte 1 of the record",
        ]
    );
    assert_eq!((cities[0].clone(), cities[6].clone()), (Ok(city("Rome", Some(5))), Ok(city("Lima", Some(9)))));
}

#[test]
fn a_refused_record_is_named_by_file_line_and_byte() {
    let file = file("name,people\n\"a\nb\",1\nParis\n");
    run(async {
        let mut reader = Csv::<City>::file(&file.path).open(&Range::all()).await.unwrap();
        let mut chunk = Chunk::new(0, 0);
        reader.read(&mut chunk, 10).await.unwrap();
        let Origin::File { line, byte, file: name } = chunk.unreadable()[0].origin() else { panic!("no place") };
        assert_eq!((*line, *byte, name.to_string()), (4, 20, file.path.display().to_string()));
    });
}

#[test]
fn numbers_are_read_as_declared_and_as_a_whole() {
    #[derive(Debug, Clone, PartialEq, Deserialize)]
    struct Price {
        price: f64,
    }
    let file = file("price\n1.234,56\n12\n1,2,3\n");
    let csv = Csv::<Price>::file(&file.path).delimiter(b';');
    let german = read(csv.clone().decimal_comma(true).thousands('.'));
    assert_eq!(german[..2], [Ok(Price { price: 1234.56 }), Ok(Price { price: 12.0 })]);
    assert!(german[2].is_err());
    assert!(read(csv)[0].is_err(), "undeclared, it is no number");
}

#[test]
fn null_words_are_those_that_were_declared_and_never_in_quotes() {
    #[derive(Debug, Clone, PartialEq, Deserialize)]
    struct Note {
        id: u32,
        note: Option<String>,
    }
    let file = file("id,note\n1,NA\n2,\n3,\"NA\"\n4,\"\"\n");
    let notes: Vec<_> =
        read(Csv::<Note>::file(&file.path).null_words(["NA", ""])).into_iter().map(|note| note.unwrap().note).collect();
    assert_eq!(notes, [None, None, Some("NA".to_owned()), Some(String::new())]);
}

#[test]
fn utf_16_is_read_by_its_byte_order_mark() {
    let text = "name,people\nZürich,1\n東京,2\n";
    for big in [false, true] {
        let unit = |unit: u16| if big { unit.to_be_bytes() } else { unit.to_le_bytes() };
        let bytes: Vec<u8> = std::iter::once(0xfeff).chain(text.encode_utf16()).flat_map(unit).collect();
        let file = file(bytes);
        assert_eq!(read(Csv::<City>::file(&file.path)), [Ok(city("Zürich", Some(1))), Ok(city("東京", Some(2)))]);
    }
}

#[test]
fn a_byte_order_mark_of_utf_8_is_no_part_of_the_first_column() {
    let file = file("\u{feff}name,people\nRome,5\n");
    assert_eq!(read(Csv::<City>::file(&file.path)), [Ok(city("Rome", Some(5)))]);
}

#[test]
fn a_text_with_nul_bytes_and_no_mark_is_refused_early() {
    let file = file(b"n\0a\0m\0e\0\n\0");
    let error = run(async { Csv::<City>::file(&file.path).identity().await }).unwrap_err();
    assert_eq!(error.kind(), SourceErrorKind::Corrupt);
}

#[test]
fn a_record_that_is_too_large_is_refused_and_the_next_one_is_read() {
    let mut text = "name,people\nRome,5\n\"".to_owned();
    text.push_str(&"x\n".repeat(200_000));
    text.push_str("\",7\nOslo,6\n");
    let file = file(text);
    let cities = run(async {
        let source = Csv::<City>::file(&file.path).max_record_bytes(1000);
        read_range(&source, &Range::all(), 10).await.unwrap().remove(0).0
    });
    assert_eq!(cities.len(), 3);
    assert!(cities[1].as_ref().unwrap_err().contains("`max_record_bytes`, which is 1000"), "{:?}", cities[1]);
    assert_eq!(cities[2], Ok(city("Oslo", Some(6))));
}

#[test]
fn an_unclosed_quote_refuses_the_rest_of_the_file_as_one_record() {
    let rows = rows("a,b\n1,2\n\"3,4\n5,6\n");
    assert_eq!(rows.len(), 2);
    assert_eq!(rows[1], Err("a quote is opened and never closed".to_owned()));
}

#[test]
fn comments_and_other_dialects_are_read_as_declared() {
    let file = file("# made by hand\nname|people\n# nothing\n'a|b'|1\n");
    let csv = Csv::<City>::file(&file.path).delimiter(b'|').quote(Some(b'\'')).comment(b'#');
    assert_eq!(read(csv), [Ok(city("a|b", Some(1)))]);
}

#[test]
fn a_file_without_a_header_has_the_declared_columns() {
    let file = file("Rome,5\n");
    assert_eq!(read(Csv::<City>::file(&file.path).columns(["name", "people"])), [Ok(city("Rome", Some(5)))]);
}

#[test]
fn resuming_never_depends_on_the_header_being_passed_again() {
    let file = file("a,b\n1,2\n3,4\n5,6\n");
    let csv = Csv::<Texts>::file(&file.path);
    run(async {
        let chunks = read_range(&csv, &Range::all(), 1).await.unwrap();
        let from = serde_json::from_value(chunks[0].1.clone()).unwrap();
        let rest = read_range(&csv, &Range { from: Some(from), to: None }, 9).await.unwrap();
        assert_eq!(rest[0].0, [ok(&["3", "4"]), ok(&["5", "6"])]);
    });
}

#[test]
fn an_unterminated_line_of_a_followed_file_waits_for_its_end() {
    let file = file("name,people\nRome,5\nOs");
    run(async {
        let source = Csv::<City>::file(&file.path).follow(true);
        let mut reader = source.open(&Range::all()).await.unwrap();
        let mut chunk = Chunk::new(0, 0);
        reader.read(&mut chunk, 10).await.unwrap();
        assert_eq!(chunk.len(), 1);
        let mut chunk = Chunk::new(0, 1);
        reader.read(&mut chunk, 10).await.unwrap();
        assert!(chunk.is_empty());
        fs::write(&file.path, "name,people\nRome,5\nOslo,6\n").unwrap();
        let mut chunk = Chunk::new(0, 1);
        reader.read(&mut chunk, 10).await.unwrap();
        assert_eq!(*chunk.records()[0], city("Oslo", Some(6)));
    });
}

#[test]
fn a_followed_file_that_becomes_shorter_is_refused() {
    let file = file("name,people\nRome,5\n");
    run(async {
        let source = Csv::<City>::file(&file.path).follow(true);
        let mut reader = source.open(&Range::all()).await.unwrap();
        reader.read(&mut Chunk::new(0, 0), 10).await.unwrap();
        fs::write(&file.path, "name\n").unwrap();
        let error = reader.read(&mut Chunk::new(0, 1), 10).await.unwrap_err();
        assert_eq!(error.kind(), SourceErrorKind::Changed);
    });
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    #[test]
    fn every_text_is_read_as_the_obvious_parser_reads_it(letters in prop::collection::vec(
        prop::sample::select(vec!["a", "b", "é", ",", "\"", "\n", "\r\n", "\r", "\"\"", "\"x,\n\"", "1"]), 0..60,
    )) {
        let text: String = letters.concat();
        let expected = parse(text.as_bytes());
        let file = file(format!("h\n{text}"));
        // Every number of fields is welcome here: what is compared is where records and fields begin and end.
        let found = run(async { check_source(&Csv::<Texts>::file(&file.path)).await });
        prop_assert_eq!(found.len(), expected.len());
        for (found, expected) in found.into_iter().zip(expected) {
            match expected.as_deref() {
                Some([field]) => prop_assert_eq!(found, Ok(vec![String::from_utf8(field.clone()).unwrap()])),
                _ => prop_assert!(found.is_err()),
            }
        }
    }
}
