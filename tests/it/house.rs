//! The house keeps its floors and doors: both are read from ARCHITECTURE.md.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// Rows of the first table behind a heading, as trimmed cells.
fn table(heading: &str) -> Vec<Vec<String>> {
    let text = std::fs::read_to_string("ARCHITECTURE.md").expect("ARCHITECTURE.md is there");
    let (_, behind) = text.split_once(&format!("## {heading}\n")).expect("the heading is there");
    let rows = behind.lines().skip_while(|line| !line.starts_with('|')).take_while(|line| line.starts_with('|'));
    let cells = |line: &str| line.trim_matches('|').split('|').map(|cell| cell.trim().to_owned()).collect();
    rows.skip(2).map(cells).collect()
}

fn sources(folder: &Path, into: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(folder).expect("the folder is readable") {
        let path = entry.expect("the entry is readable").path();
        if path.is_dir() {
            sources(&path, into);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            into.push(path);
        }
    }
}

/// Every file under src/ with its path from there and its code without comment lines.
fn files() -> Vec<(String, String)> {
    let mut paths = Vec::new();
    sources(Path::new("src"), &mut paths);
    let read = |path: PathBuf| {
        let text = std::fs::read_to_string(&path).expect("the source is readable");
        let code = text.lines().filter(|line| !line.trim_start().starts_with("//")).collect::<Vec<_>>().join("\n");
        (path.strip_prefix("src").expect("it is under src").to_string_lossy().into_owned(), code)
    };
    paths.into_iter().map(read).collect()
}

fn words(code: &str) -> impl Iterator<Item = &str> {
    code.split(|c: char| !(c.is_alphanumeric() || c == '_' || c == ':'))
}

#[test]
fn rooms_use_lower_floors_only() {
    let mut floors: BTreeMap<String, u32> = BTreeMap::new();
    for row in table("Floors") {
        let floor = row[0].parse().expect("a floor is a number");
        floors.extend(row[1].split_whitespace().map(|room| (room.to_owned(), floor)));
    }
    let mut wrong = Vec::new();
    for (path, code) in files() {
        let room = path.split(['/', '.']).next().unwrap_or_default().to_owned();
        let Some(floor) = floors.get(&room) else {
            assert!(["lib", "main"].contains(&&*room), "`{room}` stands on no floor of ARCHITECTURE.md");
            continue;
        };
        for used in words(&code).filter_map(|word| word.trim_start_matches(':').strip_prefix("crate::")) {
            let used = used.split(':').next().unwrap_or_default();
            if used != room && floors.get(used).is_some_and(|other| other >= floor) {
                wrong.push(format!("src/{path} uses `{used}`"));
            }
        }
    }
    wrong.dedup();
    assert!(wrong.is_empty(), "a room uses lower floors only:\n{}", wrong.join("\n"));
}

#[test]
fn outside_crates_have_one_door() {
    let mut wrong = Vec::new();
    let doors = table("Doors");
    for (path, code) in files() {
        for row in &doors {
            for name in row[0].split_whitespace() {
                // A variable or a module of ours may be called as a crate is.
                let in_paths = words(&code).any(|word| word.starts_with(&format!("{name}::")));
                let named = in_paths || [";", " as "].iter().any(|end| code.contains(&format!("use {name}{end}")));
                let is_door = row[1].split_whitespace().any(|door| path.starts_with(door));
                if named && !is_door {
                    wrong.push(format!("src/{path} names `{name}`, whose door is src/{}", row[1]));
                }
            }
        }
    }
    assert!(wrong.is_empty(), "an outside crate is named in one room:\n{}", wrong.join("\n"));
}

#[test]
fn every_file_says_what_it_is() {
    let mut paths = Vec::new();
    sources(Path::new("src"), &mut paths);
    let silent = |path: &PathBuf| {
        let text = std::fs::read_to_string(path).expect("the source is readable");
        !text.starts_with("//!") && !path.ends_with("tests.rs")
    };
    let silent: Vec<_> = paths.iter().filter(|path| silent(path)).collect();
    assert!(silent.is_empty(), "these files do not begin with what they are: {silent:?}");
}

/// `fn i9_…`: whoever changes what keeps an invariant finds what tries to break it.
#[test]
fn every_invariant_has_a_test_that_names_it() {
    let mut paths = Vec::new();
    ["src", "tests/it"].iter().for_each(|folder| sources(Path::new(folder), &mut paths));
    let code: String =
        paths.iter().map(|path| std::fs::read_to_string(path).expect("the source is readable")).collect();
    let untested = (1..=21)
        .filter(|number| !code.contains(&format!("\nfn i{number}_")) && !code.contains(&format!("    fn i{number}_")));
    let untested: Vec<u32> = untested.collect();
    assert!(untested.is_empty(), "no test is called after these invariants: {untested:?}");
}
