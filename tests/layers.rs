//! Imports go one way: a folder uses only folders that stand above it in its crate's table of `docs/architecture.md`.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
};

/// The crates that have a table, in the order of their tables.
const CRATES: [&str; 2] = ["src", "crates/pipeline/src"];

/// The rooms of a crate and the row of its table that each stands in: lower rows may use higher ones.
fn layers(number: usize) -> BTreeMap<String, usize> {
    let page = include_str!("../docs/architecture.md");
    let table = page.split("| layer |").nth(number + 1).expect("a table for each crate");
    let rows = table.lines().skip(2).take_while(|line| line.starts_with('|'));
    let names = |row: &str| row.split('`').skip(1).step_by(2).map(str::to_owned).collect::<Vec<_>>();
    rows.enumerate()
        .flat_map(|(row, line)| {
            names(line.split('|').nth(2).unwrap_or_default()).into_iter().map(move |name| (name, row))
        })
        .map(|(name, row)| (name.trim_end_matches('/').to_owned(), row))
        .collect()
}

fn source_files(folder: &Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    for entry in fs::read_dir(folder).unwrap().map(Result::unwrap) {
        let path = entry.path();
        if path.is_dir() {
            files.extend(source_files(&path));
        } else if path.extension().is_some_and(|kind| kind == "rs") {
            files.push(path);
        }
    }
    files
}

/// The room that a file stands in: `collector/intake`, or the first folder or file below `src`.
fn room(file: &Path) -> String {
    let path = file.to_string_lossy().replace('\\', "/");
    let path = path.split_once("src/").unwrap().1.to_owned();
    if path.starts_with("collector/intake") {
        return "collector/intake".to_owned();
    }
    path.split('/').next().unwrap().trim_end_matches(".rs").to_owned()
}

/// The code without comments, strings, and `#[cfg(test)]` modules, which stand at the end of their files.
fn code(file: &Path) -> String {
    let text = fs::read_to_string(file).unwrap();
    let text = text.split("#[cfg(test)]\nmod tests {").next().unwrap();
    text.lines().map(|line| line.split("//").next().unwrap_or_default()).collect::<Vec<_>>().join("\n")
}

/// The paths behind every `crate::` in the code: `crate::{a::b, c}` gives `a::b` and `c`.
fn imports(code: &str) -> Vec<String> {
    code.match_indices("crate::").flat_map(|(at, prefix)| expand(&code[at + prefix.len()..])).collect()
}

fn expand(rest: &str) -> Vec<String> {
    let Some(list) = rest.strip_prefix('{') else {
        let end = rest.find(|c: char| !(c.is_alphanumeric() || c == '_' || c == ':')).unwrap_or(rest.len());
        return vec![rest[..end].to_owned()];
    };
    let (mut depth, mut item, mut items) = (0_usize, String::new(), Vec::new());
    for c in list.chars() {
        match c {
            '}' if depth == 0 => break,
            ',' if depth == 0 => items.push(std::mem::take(&mut item)),
            _ => {
                depth = if c == '{' {
                    depth + 1
                } else if c == '}' {
                    depth - 1
                } else {
                    depth
                };
                item.push(c);
            }
        }
    }
    items.push(item);
    items.into_iter().map(|item| item.trim().to_owned()).filter(|item| !item.is_empty()).collect()
}

/// The room that an import leads to, or the import itself if it goes through the crate's root.
fn target(import: &str) -> Result<String, String> {
    if import.chars().next().is_none_or(char::is_uppercase) {
        return Err(import.to_owned());
    }
    if import.starts_with("collector::intake") {
        return Ok("collector/intake".to_owned());
    }
    Ok(import.split("::").next().unwrap_or_default().to_owned())
}

fn violations(layers: &BTreeMap<String, usize>, room: &str, code: &str) -> Vec<String> {
    let layer = |room: &str| layers.get(room).copied();
    let check = |import: String| match target(&import) {
        Err(through_root) => Some(format!("{room} imports `{through_root}` through the crate's root")),
        Ok(other) if other == room => None,
        Ok(other) if layer(&other).is_none() => Some(format!("{room} uses {other}, which the table does not name")),
        Ok(other) if layer(&other) >= layer(room) => {
            Some(format!("{room} uses {other}, which does not stand above it"))
        }
        Ok(_) => None,
    };
    imports(code).into_iter().filter_map(check).collect()
}

#[test]
fn every_folder_uses_only_folders_above_it() {
    let mut wrong = Vec::new();
    for (number, src) in CRATES.into_iter().enumerate() {
        let (layers, src) = (layers(number), Path::new(env!("CARGO_MANIFEST_DIR")).join(src));
        // The published package holds its own crate alone.
        if src.is_dir() {
            wrong.extend(source_files(&src).iter().flat_map(|file| violations_of(file, &layers)));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

fn violations_of(file: &Path, layers: &BTreeMap<String, usize>) -> Vec<String> {
    let room = room(file);
    let is_test = file.to_string_lossy().contains("tests");
    if ["lib", "prelude"].contains(&room.as_str()) || is_test {
        return Vec::new();
    }
    let mut wrong = violations(layers, &room, &code(file));
    if !layers.contains_key(&room) {
        wrong.push(format!("stands in {room}, which the table does not name"));
    }
    wrong.into_iter().map(|what| format!("{}: {what}", file.display())).collect()
}

#[test]
fn an_arrow_that_is_turned_round_is_found() {
    let layers = layers(0);
    assert_eq!(violations(&layers, "dispatch", "use crate::{batch::{Batch, Replies}, job::Job};"), [""; 0]);
    let upward = "use crate::{\n    collector::{intake::View, Collector},\n    job::Job,\n};";
    assert_eq!(violations(&layers, "dispatch", upward).len(), 1);
    assert_eq!(violations(&layers, "batch", "fn f(_: crate::observe::Stats) {}").len(), 1);
    assert_eq!(violations(&layers, "flush", "use crate::dispatch::Retry;").len(), 1, "the same row is not above");
    assert_eq!(violations(&layers, "job", "use crate::{JobError, error::Closed};").len(), 1);
}
