use serde_json::{Map, json};

use super::*;
use crate::registry::level::{Level, Mode};

const A: &str = r#"{"type":"record","name":"R","fields":[{"name":"a","type":"int"}]}"#;
const A_B: &str =
    r#"{"type":"record","name":"R","fields":[{"name":"a","type":"int"},{"name":"b","type":"int","default":0}]}"#;
const A_B_REQUIRED: &str =
    r#"{"type":"record","name":"R","fields":[{"name":"a","type":"int"},{"name":"b","type":"int"}]}"#;

fn subject(text: &str) -> Subject {
    Subject::parse(text)
}

fn register(book: &mut Book, to: &str, text: &str) -> Result<(i32, i32), u32> {
    let found = book.register(&subject(to), NewSchema::avro(text), false, 7);
    found.map(|found| (found.id, found.version)).map_err(|refusal| refusal.code)
}

fn numbers(book: &Book, of: &str, deleted: Deleted) -> Vec<i32> {
    let found = book.versions(&subject(of), deleted).unwrap_or_default();
    found.iter().map(|found| found.version).collect()
}

fn set_level(book: &mut Book, place: &str, level: Level) {
    book.set_config(place, &Map::from_iter([("compatibility".to_owned(), json!(level.word()))])).unwrap();
}

#[test]
fn a_guid_is_the_hash_of_the_canonical_text() {
    let entry = NewSchema::avro(A).into_entry(Vec::new());
    assert_eq!(entry.guid().to_string(), "e4d94c3f-c345-bad6-d759-ac6f42ea94f7");
}

#[test]
fn what_was_deleted_softly_comes_back_as_a_new_version_with_its_id() {
    let mut book = Book::default();
    assert_eq!(register(&mut book, "s", A), Ok((1, 1)));
    assert_eq!(register(&mut book, "s", A_B), Ok((2, 2)));
    assert_eq!(book.delete_version(&subject("s"), Which::Number(2), true).unwrap_err().code, 40407);
    assert_eq!(book.delete_version(&subject("s"), Which::Latest, false), Ok(2));
    assert_eq!(book.delete_version(&subject("s"), Which::Number(2), false).unwrap_err().code, 40406);
    assert_eq!(numbers(&book, "s", Deleted::Hidden), [1]);
    assert_eq!(register(&mut book, "s", A_B), Ok((2, 3)), "its number is not used again");
    assert_eq!(numbers(&book, "s", Deleted::Shown), [1, 3], "the deleted one is gone");
}

#[test]
fn a_permanent_deletion_frees_the_versions_but_never_the_ids() {
    let mut book = Book::default();
    register(&mut book, "s", A).unwrap();
    register(&mut book, "s", A_B).unwrap();
    assert_eq!(book.delete_subject(&subject("s"), true).unwrap_err().code, 40405);
    assert_eq!(book.delete_subject(&subject("s"), false), Ok(vec![1, 2]));
    assert_eq!(book.delete_subject(&subject("s"), false).unwrap_err().code, 40404);
    assert!(book.by_id(DEFAULT_CONTEXT, 2).is_some(), "a softly deleted one is read still");
    assert_eq!(book.delete_subject(&subject("s"), true), Ok(vec![1, 2]));
    assert_eq!(book.by_id(DEFAULT_CONTEXT, 2), None);
    assert_eq!(book.delete_subject(&subject("s"), true).unwrap_err().code, 40401);
    assert_eq!(register(&mut book, "s", A_B), Ok((3, 1)));
}

#[test]
fn transitive_levels_look_at_all_versions_and_none_at_nothing() {
    let verdicts = |level: Level| {
        let mut book = Book::default();
        set_level(&mut book, "s", Level::None);
        register(&mut book, "s", A).unwrap();
        register(&mut book, "s", A_B).unwrap();
        set_level(&mut book, "s", level);
        register(&mut book, "s", A_B_REQUIRED).is_ok()
    };
    let passing = Level::ALL.into_iter().filter(|(_, level)| verdicts(*level)).map(|(word, _)| word);
    // It reads the second version and is read by both, but cannot read the first.
    assert_eq!(passing.collect::<Vec<_>>(), ["NONE", "BACKWARD", "FORWARD", "FORWARD_TRANSITIVE", "FULL"]);
}

#[test]
fn messages_name_the_class_the_place_and_the_version() {
    let mut book = Book::default();
    register(&mut book, "s", A).unwrap();
    let new = NewSchema::avro(A_B_REQUIRED);
    let checked = book.check(&subject("s"), &new, Against::Level, false).unwrap();
    assert_eq!(
        checked.messages,
        [
            "{errorType:'READER_FIELD_MISSING_DEFAULT_VALUE', description:'The field 'b' at path '/fields/1' in the new schema has no default value and is missing in the old schema', additionalInfo:'b'}".to_owned(),
            "{oldSchemaVersion: 1}".into(),
            format!("{{oldSchema: '{A}'}}"),
            "{validateFields: 'false', compatibility: 'BACKWARD'}".into(),
        ]
    );
    let missing = book.check(&subject("s"), &new, Against::Version(Which::Number(9)), false);
    assert_eq!(missing.unwrap_err().code, 40402);
    assert!(book.check(&subject("other"), &new, Against::Version(Which::Latest), false).unwrap().compatible);
}

#[test]
fn a_schema_may_use_types_that_others_define_and_keeps_them_from_being_deleted() {
    let mut book = Book::default();
    register(&mut book, "part", A).unwrap();
    let text = r#"{"type":"record","name":"W","fields":[{"name":"r","type":"R"},{"name":"s","type":["null","R"]}]}"#;
    let refers = |version| NewSchema {
        references: vec![Reference { name: "R".into(), subject: "part".into(), version }],
        ..NewSchema::avro(text)
    };
    assert_eq!(register(&mut book, "whole", text), Err(42201), "without the reference there is no type `R`");
    assert_eq!(book.register(&subject("whole"), refers(2), false, 7).unwrap_err().code, 42201);
    let found = book.register(&subject("whole"), refers(-1), false, 7).unwrap();
    assert_eq!((found.id, found.entry.references[0].version), (2, 1));
    assert_eq!(book.referenced_by(&subject("part"), 1).into_iter().collect::<Vec<_>>(), [2]);
    assert_eq!(book.delete_subject(&subject("part"), false).unwrap_err().code, 42206);
    assert_eq!(book.delete_version(&subject("part"), Which::Latest, false).unwrap_err().code, 42206);

    let inlined = book.resolved(&found).unwrap();
    assert_eq!(
        inlined,
        format!(
            r#"{{"type":"record","name":"W","fields":[{{"name":"r","type":{A}}},{{"name":"s","type":["null","R"]}}]}}"#
        )
    );
    assert_eq!(register(&mut book, "whole", &inlined), Ok((2, 1)), "given inlined it is the same");
    // A field without a default is found through the reference.
    register(&mut book, "part", A_B).unwrap();
    assert_eq!(book.register(&subject("whole"), refers(2), false, 7).unwrap().version, 2);
    set_level(&mut book, "part", Level::None);
    register(&mut book, "part", r#"{"type":"record","name":"R","fields":[{"name":"z","type":"int"}]}"#).unwrap();
    assert_eq!(book.register(&subject("whole"), refers(3), false, 7).unwrap_err().code, 40901);
}

#[test]
fn read_only_refuses_what_is_new_and_import_takes_the_ids_that_are_given() {
    let mut book = Book::default();
    register(&mut book, "s", A).unwrap();
    book.set_mode("s", "readonly", false).unwrap();
    assert_eq!(register(&mut book, "s", A), Ok((1, 1)), "known already");
    assert_eq!(register(&mut book, "s", A_B), Err(42205));
    assert_eq!(book.delete_subject(&subject("s"), false).unwrap_err().code, 42205);
    assert_eq!(register(&mut book, "t", A_B), Ok((2, 1)), "another subject");
    assert_eq!(book.set_mode("s", "IMPORT", false).unwrap_err().code, 42205, "there is a schema in it");
    assert_eq!(book.set_mode("s", "bogus", false).unwrap_err().code, 42204);
    assert_eq!(book.delete_mode("s", false), Ok(Mode::Readonly));
    assert_eq!(book.delete_mode("s", false).unwrap_err().code, 40401);

    book.set_mode("i", "IMPORT", false).unwrap();
    assert_eq!(register(&mut book, "i", A), Err(42205), "no id was given");
    let with_id = |text: &str, id| NewSchema { id: Some(id), version: Some(5), ..NewSchema::avro(text) };
    assert_eq!(book.register(&subject("i"), with_id(A_B, 1), false, 7).unwrap_err().code, 42205, "1 is another schema");
    let found = book.register(&subject("i"), with_id(r#""string""#, 40), false, 7).unwrap();
    assert_eq!((found.id, found.version), (40, 5));
    assert_eq!(register(&mut book, "t", r#""bytes""#), Err(40901));
    assert_eq!(register(&mut book, "u", r#""bytes""#), Ok((41, 1)), "above the highest");
    assert_eq!(book.register(&subject("u"), with_id(r#""int""#, 50), false, 7).unwrap_err().code, 42205);
    // What the subject has already has its id.
    let of_id = |id| NewSchema { id: Some(id), ..NewSchema::avro(r#""string""#) };
    let refusal = book.register(&subject("i"), of_id(50), false, 7).unwrap_err();
    let message = "Schema already registered with id 40 instead of input id 50";
    assert_eq!((refusal.code, refusal.message.as_str()), (42207, message));
    assert_eq!(book.register(&subject("i"), of_id(-1), false, 7).map(|found| found.id), Ok(40));
    book.delete_mode("i", false).unwrap();
    assert_eq!(book.register(&subject("i"), of_id(50), false, 7).unwrap_err().code, 42207);
}

#[test]
fn a_registry_that_follows_another_takes_its_ids_and_gives_none() {
    let mut book = Book::default();
    register(&mut book, "s", A).unwrap();
    assert_eq!(book.set_mode("s", "FORWARD", false).unwrap_err().code, 42204, "of the whole registry only");
    assert_eq!(book.set_mode("", "forward", false), Ok(Mode::Forward), "also where there are schemas");
    assert_eq!(register(&mut book, "s", A), Ok((1, 1)), "known already");
    assert_eq!(register(&mut book, "s", A_B_REQUIRED), Err(42205));
    let given = NewSchema { id: Some(9), version: Some(4), ..NewSchema::avro(A_B_REQUIRED) };
    let found = book.register(&subject("s"), given, false, 7).unwrap();
    assert_eq!((found.id, found.version, found.entry.metadata), (9, 4, None), "compared with nothing");
    assert_eq!(book.delete_subject(&subject("s"), false), Ok(vec![1, 4]));
}

#[test]
fn modes_below_a_place_go_with_its_own_where_that_is_asked_for() {
    let mut book = Book::default();
    for place in ["", "s", ":.c:", ":.c:s"] {
        book.set_mode(place, "READONLY", false).unwrap();
    }
    assert_eq!(book.delete_mode(":.c:", true), Ok(Mode::Readonly));
    assert_eq!(book.mode_of(":.c:s", false).unwrap_err().code, 40409);
    assert_eq!(book.mode_of("s", false), Ok(Mode::Readonly));
    assert_eq!(book.delete_mode("", true), Ok(Mode::Readonly));
    assert_eq!(book.mode(&subject("s")), Mode::Readwrite);
    book.set_mode("i", "IMPORT", false).unwrap();
    book.register(&subject("i"), NewSchema { id: Some(3), ..NewSchema::avro(A) }, false, 7).unwrap();
    assert_eq!(book.set_mode("i", "IMPORT", false), Ok(Mode::Import), "as it is already");
}

#[test]
fn a_version_that_was_asked_for_makes_another_schema_and_is_found_without_it() {
    let mut book = Book::default();
    let asked = |text: &str, version| NewSchema { version: Some(version), ..NewSchema::avro(text) };
    let noted = |found: &Found| found.entry.metadata.as_ref().map(|all| all["properties"]["confluent:version"].clone());
    let first = book.register(&subject("s"), asked(A, 1), false, 7).unwrap();
    assert_eq!((first.id, first.version, noted(&first)), (1, 1, Some(json!("1"))));
    assert_eq!(register(&mut book, "s", A), Ok((1, 1)), "who asks for no version finds it");
    assert_eq!(register(&mut book, "t", A), Ok((2, 1)), "but it is another schema");
    assert_eq!(book.register(&subject("s"), asked(A_B, 3), false, 7).unwrap_err().code, 42201);
    let next = book.register(&subject("s"), NewSchema::avro(A_B), false, 7).unwrap();
    assert_eq!((next.version, noted(&next)), (2, Some(json!("2"))), "it is kept up");
    // Going back: the first one again, as the newest.
    let back = book.register(&subject("s"), asked(A, -1), false, 7).unwrap();
    assert_eq!((back.version, noted(&back), back.id != first.id), (3, Some(json!("3")), true));
}

#[test]
fn metadata_is_that_of_the_version_before_between_settings_below_and_above() {
    let mut book = Book::default();
    let with = |owner: &str| Some(json!({ "properties": { "owner": owner } }));
    let first = NewSchema { metadata: with("me"), ..NewSchema::avro(A) };
    assert_eq!(book.register(&subject("s"), first, false, 7).unwrap().entry.metadata, with("me"));
    let next = book.register(&subject("s"), NewSchema::avro(A_B), false, 7).unwrap();
    assert_eq!(next.entry.metadata, with("me"));
    let same = book.register(&subject("s"), NewSchema::avro(A_B), false, 7).unwrap();
    assert_eq!(same.version, 2, "and is found so");
    let setting = json!({ "defaultMetadata": { "properties": { "team": "x", "owner": "nobody" } } });
    book.set_config("s", setting.as_object().unwrap()).unwrap();
    let over = json!({ "overrideMetadata": { "properties": { "zone": "eu" } } });
    book.set_config("s", over.as_object().unwrap()).unwrap();
    let third = book.register(&subject("s"), NewSchema::avro(A_B), false, 7).unwrap();
    let all = json!({ "properties": { "team": "x", "owner": "me", "zone": "eu" } });
    assert_eq!((third.version, third.entry.metadata), (3, Some(all)));
}

#[test]
fn contexts_have_ids_of_their_own() {
    let mut book = Book::default();
    register(&mut book, "s", A).unwrap();
    assert_eq!(register(&mut book, ":.dev:s", A_B_REQUIRED), Ok((1, 1)));
    assert_eq!(book.by_id(".dev", 1).unwrap().schema, A_B_REQUIRED);
    assert_eq!(book.by_id(DEFAULT_CONTEXT, 1).unwrap().schema, A);
    let shown =
        |prefix: &str| -> Vec<String> { book.subjects(prefix, Deleted::Hidden).iter().map(Subject::shown).collect() };
    assert_eq!(shown(":*:"), [":.dev:s", "s"]);
    assert_eq!(shown(""), ["s"]);
    assert_eq!(shown(":.dev:"), [":.dev:s"]);
    assert_eq!(book.contexts(), [".", ".dev"]);
    let mut book = book;
    assert_eq!(book.delete_context(".dev").unwrap_err().code, 42211);
    set_level(&mut book, ":.dev:", Level::Full);
    assert_eq!((book.level(&subject(":.dev:s")), book.level(&subject("s"))), (Level::Full, Level::Backward));
}

#[test]
fn settings_are_merged_inherited_and_forgotten() {
    let mut book = Book::default();
    assert_eq!(book.config("s", false).unwrap_err().code, 40408);
    assert_eq!(book.config("s", true).unwrap()["compatibilityLevel"], "BACKWARD");
    let wrong = book.set_config("s", &Map::from_iter([("compatibility".to_owned(), json!("SIDEWARDS"))]));
    assert_eq!(wrong.unwrap_err().code, 42203);
    set_level(&mut book, "", Level::Forward);
    book.set_config("s", &Map::from_iter([("normalize".to_owned(), json!(true))])).unwrap();
    assert_eq!(book.level(&subject("s")), Level::Forward, "not set here, so from the whole registry");
    let text = r#"{"type":"int","zz":1,"aa":2}"#;
    book.register(&subject("s"), NewSchema::avro(text), false, 7).unwrap();
    assert_eq!(book.by_id(DEFAULT_CONTEXT, 1).unwrap().schema, r#"{"type":"int","aa":2,"zz":1}"#);
    book.set_config("a", &Map::from_iter([("alias".to_owned(), json!("s"))])).unwrap();
    assert_eq!(book.resolve(&subject("a")), subject("s"));
    assert_eq!(book.delete_config("").unwrap()["compatibilityLevel"], "FORWARD");
    assert_eq!(book.config("", false).unwrap()["compatibilityLevel"], "BACKWARD");
    assert_eq!(book.delete_config("none").unwrap_err().code, 40401);
}

#[test]
fn names_and_versions_are_checked() {
    assert_eq!(subject("__GLOBAL").checked().unwrap_err().code, 42208);
    assert_eq!(subject("a\tb").checked().unwrap_err().code, 42208);
    assert!(subject("a/b c").checked().is_ok());
    assert_eq!(Which::parse("LATEST"), Ok(Which::Latest));
    assert_eq!(Which::parse("-1"), Ok(Which::Latest));
    for wrong in ["0", "-2", "abc", "2147483648"] {
        assert_eq!(Which::parse(wrong).unwrap_err().code, 42202, "{wrong}");
    }
    assert_eq!(subject(":.c:s"), Subject { context: ".c".into(), name: "s".into() });
    assert_eq!(subject("a:b").shown(), "a:b");
}
