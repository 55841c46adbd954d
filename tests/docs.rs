//! What the documentation says of the rest of the repository.

use std::{fs, path::Path};

const ROOT: &str = env!("CARGO_MANIFEST_DIR");

fn read(path: impl AsRef<Path>) -> String {
    let path = Path::new(ROOT).join(path);
    fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// Every file under this directory, and what is in it.
fn sources(directory: &str) -> String {
    let mut text = String::new();
    for entry in fs::read_dir(Path::new(ROOT).join(directory)).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            text += &sources(path.to_str().unwrap());
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            text += &read(path);
        }
    }
    text
}

/// What stands between backticks in the text, without the blocks of code.
fn words(markdown: &str) -> impl Iterator<Item = &str> {
    markdown.split("```").step_by(2).flat_map(|text| text.split('`').skip(1).step_by(2))
}

#[test]
fn the_readme_shows_the_quickstart_example() {
    let (readme, example) = (read("README.md"), read("examples/quickstart.rs"));
    assert!(readme.contains(&example));
    assert!(example.lines().count() <= 25, "a quickstart is short");
    assert!(readme.lines().count() <= 150, "and so is a README");
}

#[test]
fn every_test_that_the_guarantees_name_exists() {
    let (guarantees, tests) = (read("docs/guarantees.md"), sources("tests") + &sources("src"));
    let named: Vec<_> = words(&guarantees)
        .filter(|word| word.matches('_').count() > 2 && word.chars().all(|c| c == '_' || c.is_ascii_alphanumeric()))
        .collect();
    assert!(named.len() > 20, "the names are found: {named:?}");
    for name in named {
        assert!(tests.contains(&format!("fn {name}(")), "`{name}` is no test");
    }
}

#[test]
fn every_file_that_the_documentation_links_to_exists() {
    let guides = fs::read_dir(Path::new(ROOT).join("docs")).unwrap().map(|entry| entry.unwrap().path());
    let guides = guides.filter(|path| path.extension().is_some_and(|extension| extension == "md"));
    let pages = ["README.md", "CONTRIBUTING.md"].into_iter().map(|page| Path::new(ROOT).join(page));
    for page in guides.chain(pages) {
        let text = read(&page);
        let links = text.split("](").skip(1).map(|rest| rest.split([')', '#']).next().unwrap_or_default());
        for link in links.filter(|link| !link.is_empty() && !link.contains("://")) {
            let target = page.parent().unwrap().join(link);
            assert!(target.exists(), "{} links to {link}, which is not there", page.display());
        }
    }
}

#[test]
fn the_example_environment_is_the_default_configuration() {
    let example = read(".env.example");
    let set: Vec<_> =
        example.lines().filter(|line| !line.starts_with('#')).filter_map(|line| line.split_once('=')).collect();
    let default = actix_batch::CollectorConfig::default();
    let expected = [
        ("STRATEGY", default.strategy.to_string()),
        ("BATCH_CAPACITY", default.max_size.to_string()),
        ("BATCH_TIME_WINDOW", default.interval.as_millis().to_string()),
    ];
    assert_eq!(set, expected.iter().map(|(key, value)| (*key, value.as_str())).collect::<Vec<_>>());
    for strategy in actix_batch::Strategy::ALL {
        assert!(example.contains(&format!("`{strategy}`")), "{strategy} is not explained");
    }
}
