//! Texts and messages of the genuine library, and what a regex may cost.

use serde_json::Value as Json;

use super::super::random::Random;
use super::{ANY_LENGTH, Regex, Walk};

/// What the genuine library gives for these regexes, seeds and lengths (least and most), with the number
/// that its random stream gives next; or what it complains of.
fn vectors() -> Vec<Json> {
    serde_json::from_str(include_str!("../../../../tests/data/regex-vectors.json")).unwrap()
}

fn texts(regex: &Regex, random: &mut Random, lengths: (usize, usize), count: usize) -> Vec<String> {
    let mut walk = Walk::default();
    let draw = |_| {
        let mut out = Vec::new();
        regex.draw(random, lengths, &mut walk, &mut out);
        String::from_utf8(out).unwrap()
    };
    (0..count).map(draw).collect()
}

#[test]
fn texts_are_those_of_the_genuine_library_bit_for_bit() {
    let vectors = vectors();
    assert!(vectors.len() > 100);
    for vector in vectors {
        let pattern = vector["regex"].as_str().unwrap();
        let regex = Regex::new(pattern);
        if let Some(error) = vector.get("error") {
            assert_eq!(regex.err().as_deref(), error.as_str(), "{pattern}");
            continue;
        }
        let regex = regex.unwrap_or_else(|why| panic!("{pattern}: {why}"));
        let length = |index: usize| vector["length"][index].as_u64().map(|length| length as usize);
        let lengths = length(0).zip(length(1)).unwrap_or(ANY_LENGTH);
        let wanted: Vec<&str> = vector["values"].as_array().unwrap().iter().map(|v| v.as_str().unwrap()).collect();
        let mut random = Random::new(vector["seed"].as_i64().unwrap());
        let made = texts(&regex, &mut random, lengths, wanted.len());
        assert_eq!(made, wanted, "{pattern} {lengths:?}");
        assert_eq!(random.next_int(), vector["next"].as_i64().unwrap() as i32, "{pattern}: draws");
    }
}

#[test]
fn long_regexes_are_read_quickly_and_endless_ones_refused() {
    let made = texts(&Regex::new("([a-z]{1,40}[0-9]{1,40}-){20}").unwrap(), &mut Random::new(1), (60, 9_999), 3);
    assert!(made.iter().all(|text| text.len() >= 60), "{made:?}");
    assert_eq!(texts(&Regex::new("a{1,4000}b").unwrap(), &mut Random::new(1), (3_000, 3_000), 1)[0].len(), 3_000);
    for endless in ["a{1000000000}", "(a{0,9000}){9000}", "[ab]*a[ab]{20}"] {
        assert!(Regex::new(endless).unwrap_err().contains("states"), "{endless}");
    }
    assert!(Regex::new(&"(".repeat(100_000)).unwrap_err().contains("within one another"));
}

#[test]
fn a_length_that_cannot_be_met_ends_with_some_text() {
    let made = texts(&Regex::new("(a|bc|def)*").unwrap(), &mut Random::new(42), (5, 5), 3);
    assert!(made.iter().all(|text| text.chars().all(|c| "abcdef".contains(c))));
}

#[test]
fn the_longest_text_is_known_where_there_is_one() {
    let bytes = |pattern: &str| Regex::new(pattern).unwrap().bytes_max();
    assert_eq!(bytes("a|bb|ccc"), Some(9));
    assert_eq!(bytes("[a-z]{2,5}x"), Some(18));
    assert_eq!(bytes("a*b"), None);
    assert_eq!(bytes("#"), Some(0));
}
