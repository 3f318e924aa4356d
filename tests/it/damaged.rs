//! Good specs with something wrong in them: whatever it is, loading, planning and preparing their tests answers,
//! and never panics.

use std::path::{Path, PathBuf};
use std::sync::LazyLock;

use proptest::prelude::*;
use runner::plan::resolve::Offline;
use runner::plan::{build, build_whole};
use runner::report::{Diagnostics, Style, render};
use runner::spec::{self, Values};
use runner::testing::case;

/// Paths and texts of all specs of the project, examples in the docs among them.
static SPECS: LazyLock<Vec<(String, String)>> = LazyLock::new(|| {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut specs = Vec::new();
    for folder in ["tests/cases", "tests/errors", "pipelines"] {
        collect(&root.join(folder), &mut specs);
    }
    for page in ["docs/language.md", "docs/operating.md", "README.md"] {
        let text = std::fs::read_to_string(root.join(page)).unwrap();
        let blocks = text.split("```yaml\n").skip(1).filter_map(|rest| rest.split("```").next());
        specs.extend(blocks.map(|block| (root.join(page).display().to_string(), block.to_owned())));
    }
    specs.sort();
    assert!(specs.len() > 60, "{} specs were found", specs.len());
    specs
});

fn collect(folder: &PathBuf, specs: &mut Vec<(String, String)>) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            collect(&path, specs);
        } else if path.extension().is_some_and(|extension| extension == "yaml") {
            specs.push((path.display().to_string(), std::fs::read_to_string(&path).unwrap()));
        }
    }
}

/// What is done to a text. Places are taken modulo what there is.
#[derive(Debug, Clone)]
enum Edit {
    /// A word or number becomes another one of the same spec.
    Exchange(usize, usize),
    /// A word or number becomes something else.
    Replace(usize, &'static str),
    Delete(usize),
    DeleteLine(usize),
    DoubleLine(usize),
    SwapLines(usize, usize),
    Indent(usize),
    Byte(usize, char),
    Cut(usize, usize),
}

const OTHERS: &[&str] = &[
    "0",
    "-1",
    "1",
    "1.5",
    "1e400",
    "-0.0",
    "9223372036854775807",
    "9223372036854775808",
    "-9223372036854775808",
    "99999999999999999999999",
    "4294967296",
    "null",
    "~",
    "true",
    "\"\"",
    "''",
    "[]",
    "{}",
    "[1, a]",
    "{ a: 1 }",
    "a.b",
    "0s",
    "-5s",
    "1ms",
    "100000000d",
    "9999999999999999h",
    "5x",
    "1GiB",
    "99999999TiB",
    "0B",
    "never",
    "rate: max",
    "\"count(*)\"",
    "\"1/0\"",
    "\"a and\"",
    "\"cast(null as int)\"",
    "\"_key\"",
    "\"_headers['x']\"",
    "\"now()\"",
    "\"((((((((\"",
    "\"'\"",
    "\"{{ values.x }}\"",
    "\"{{\"",
    "\"${x}\"",
    "\"${secret:env:NO_SUCH}\"",
    "\"${\"",
    "avro",
    "json",
    "csv",
    "bytes",
    "string",
    "original",
    "kafka",
    "file",
    "console",
    "datagen",
    "memory",
    "decimal(39,40)",
    "\"decimal(0,-1)\"",
    "{ struct: {} }",
    "{ map: [long?] }",
    "{ enum: [] }",
    "{ fixed: -1 }",
    "{ fixed: 99999999999 }",
    "9999-12-31T23:59:59Z",
    "-9999-01-01T00:00:00Z",
    "é😀",
    "\"\\0\"",
    "a\u{0}b",
    "*x",
    "&x 1",
    "!t 1",
    "|",
    ">",
    "nowhere.late",
    "upsert",
    "complete",
    "update",
    "earliest",
    "{ offsets: {} }",
    "{ timestamp: -1h }",
];

fn edit() -> impl Strategy<Value = Edit> {
    let any = any::<usize>;
    prop_oneof![
        4 => (any(), any()).prop_map(|(at, other)| Edit::Exchange(at, other)),
        6 => (any(), prop::sample::select(OTHERS)).prop_map(|(at, other)| Edit::Replace(at, other)),
        2 => any().prop_map(Edit::Delete),
        2 => any().prop_map(Edit::DeleteLine),
        1 => any().prop_map(Edit::DoubleLine),
        1 => (any(), any()).prop_map(|(one, other)| Edit::SwapLines(one, other)),
        1 => any().prop_map(Edit::Indent),
        2 => (any(), proptest::char::any()).prop_map(|(at, letter)| Edit::Byte(at, letter)),
        1 => (any(), 1..60_usize).prop_map(|(at, count)| Edit::Cut(at, count)),
    ]
}

/// Places of words and numbers.
fn words(text: &str) -> Vec<std::ops::Range<usize>> {
    let is_part = |letter: char| letter.is_alphanumeric() || "_.-/*".contains(letter);
    let mut words: Vec<std::ops::Range<usize>> = Vec::new();
    for (at, letter) in text.char_indices().filter(|(_, letter)| is_part(*letter)) {
        match words.last_mut() {
            Some(word) if word.end == at => word.end += letter.len_utf8(),
            _ => words.push(at..at + letter.len_utf8()),
        }
    }
    words
}

fn edited(text: &str, edit: &Edit) -> String {
    let words = words(text);
    let mut lines: Vec<&str> = text.split_inclusive('\n').collect();
    let mut letters: Vec<char> = text.chars().collect();
    if words.is_empty() {
        return text.to_owned();
    }
    let replaced = |at: usize, other: &str| {
        let word = words[at % words.len()].clone();
        format!("{}{other}{}", &text[..word.start], &text[word.end..])
    };
    match *edit {
        Edit::Exchange(at, other) => replaced(at, &text[words[other % words.len()].clone()]),
        Edit::Replace(at, other) => replaced(at, other),
        Edit::Delete(at) => replaced(at, ""),
        Edit::DeleteLine(at) => {
            lines.remove(at % lines.len());
            lines.concat()
        }
        Edit::DoubleLine(at) => {
            let at = at % lines.len();
            lines.insert(at, lines[at]);
            lines.concat()
        }
        Edit::SwapLines(one, other) => {
            let count = lines.len();
            lines.swap(one % count, other % count);
            lines.concat()
        }
        Edit::Indent(at) => {
            let at = at % lines.len();
            lines.insert(at, "  ");
            lines.concat()
        }
        Edit::Byte(at, letter) => {
            let at = at % letters.len();
            letters[at] = letter;
            letters.into_iter().collect()
        }
        Edit::Cut(at, count) => {
            let at = at % letters.len();
            letters.drain(at..(at + count).min(letters.len()));
            letters.into_iter().collect()
        }
    }
}

/// Everything that is done with a spec before a server is asked; gives the number of plans.
fn looked_at(name: &str, text: &str) -> usize {
    let mut values = Values { env: [("HOME_TOPIC".to_owned(), "ratings".to_owned())].into(), ..Values::default() };
    values.set("topic=ratings").unwrap();
    let (documents, found) = spec::load_text(name, text, &values);
    let shown = |diagnostics: &Diagnostics| drop(render(diagnostics, Style::Plain));
    shown(&found);
    if documents.lost {
        return 0;
    }
    let folder = Path::new("/nowhere");
    let (plans, said) = build(&documents, folder, &Offline);
    shown(&said);
    let described: usize = plans.iter().map(|plan| runner::plan::describe::text(plan).len().min(1)).sum();
    shown(&build_whole(&documents, folder, &Offline).1);
    for test in &documents.tests {
        if let Err(said) = case::prepare(test) {
            shown(&said);
        }
    }
    described
}

#[test]
fn specs_without_damage_are_planned() {
    let plans: usize = SPECS.iter().map(|(name, text)| looked_at(name, text)).sum();
    assert!(plans > 20, "only {plans} plans were made: damage would be looked for where nothing is");
}

proptest! {
    #![proptest_config(ProptestConfig { cases: cases(150), failure_persistence: None, max_shrink_iters: 300, ..ProptestConfig::default() })]

    #[test]
    fn any_damaged_spec_is_planned_or_refused(which in any::<usize>(), edits in prop::collection::vec(edit(), 1..4)) {
        let (name, text) = &SPECS[which % SPECS.len()];
        let text = edits.iter().fold(text.clone(), |text, edit| edited(&text, edit));
        looked_at(name, &text);
    }
}

/// `PROPTEST_CASES=5000` tries more.
pub(super) fn cases(default: u32) -> u32 {
    std::env::var("PROPTEST_CASES").ok().map_or(default, |text| text.parse().expect("a number"))
}
