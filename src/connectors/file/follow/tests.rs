//! A file that is followed while it grows, is cut, replaced and written anew.

use std::io::Write;

use super::*;
use crate::data::Offset;

struct Written {
    dir: tempfile::TempDir,
}

impl Written {
    fn new() -> Written {
        Written { dir: tempfile::tempdir().unwrap() }
    }

    fn path(&self) -> PathBuf {
        self.dir.path().join("log.txt")
    }

    fn append(&self, text: &str) {
        let mut file = std::fs::OpenOptions::new().create(true).append(true).open(self.path()).unwrap();
        file.write_all(text.as_bytes()).unwrap();
    }

    /// Cut and written again in place, as logrotate's `copytruncate` has it.
    fn rewrite(&self, text: &str) {
        std::fs::write(self.path(), text).unwrap();
    }

    /// Another file in its place.
    fn replace(&self, text: &str) {
        std::fs::write(self.path().with_extension("new"), text).unwrap();
        std::fs::rename(self.path().with_extension("new"), self.path()).unwrap();
    }

    fn open(&self, known: Option<Position>) -> FollowReader {
        self.open_as(known, false)
    }

    /// For a pipeline whose records may come again.
    fn open_repeating(&self, known: Option<Position>) -> FollowReader {
        self.open_as(known, true)
    }

    fn open_as(&self, known: Option<Position>, repeats: bool) -> FollowReader {
        let source = FollowedFile::new(self.path());
        let known = known.into_iter().map(|position| (PARTITION, position)).collect();
        let start = source.discover(&known).unwrap().remove(0).start;
        FollowReader::at(0, Place::from_position(&start).unwrap(), repeats)
    }

    /// Where it goes on behind a run that was at `end`, and would read again from `replay`.
    fn gone(&self, replay: &Position, end: &Position) -> Option<Place> {
        let known = Known { replay: replay.clone(), end: end.clone(), max_timestamp: None, topic_id: None };
        let gone = FollowedFile::new(self.path()).gone(&[(PARTITION, known)].into(), true).unwrap();
        gone.get(&PARTITION).map(|gone| Place::from_position(&gone.at).unwrap())
    }
}

/// (offset, text) of all lines that are there.
fn lines(reader: &mut FollowReader) -> Vec<(Offset, String)> {
    // As if it were time to look at the path again.
    reader.looked = None;
    let mut lines = Vec::new();
    loop {
        let fetched = reader.poll(2, 0).unwrap();
        if fetched.is_empty() {
            return lines;
        }
        for fetched in fetched {
            assert_eq!(fetched.next, reader.position(PARTITION));
            let Payload::Raw(raw) = fetched.payload else { panic!("files are not typed") };
            let text = |at: usize| String::from_utf8(raw.values.value(at).to_vec()).unwrap();
            lines.extend(raw.offsets.iter().enumerate().map(|(at, offset)| (*offset, text(at))));
        }
    }
}

/// The same once it is clear that nobody is just writing the file anew.
fn settled(reader: &mut FollowReader) -> Vec<(Offset, String)> {
    assert_eq!(lines(reader), []);
    assert!(reader.other_since.is_some());
    reader.other_since = Instant::now().checked_sub(LOOK_EVERY);
    lines(reader)
}

/// The same of a file in whose place there is another one, once its writer has had its time.
fn left(reader: &mut FollowReader) -> Vec<(Offset, String)> {
    assert_eq!(lines(reader), []);
    assert!(reader.quiet_since.is_some());
    reader.quiet_since = Instant::now().checked_sub(LEFT_AFTER);
    lines(reader)
}

fn texts(reader: &mut FollowReader) -> Vec<String> {
    lines(reader).into_iter().map(|(_, text)| text).collect()
}

#[test]
fn lines_end_in_three_ways_and_the_last_one_waits_for_its_end() {
    let file = Written::new();
    let mut reader = file.open(None);
    assert_eq!(texts(&mut reader), [""; 0], "a file that is not there is waited for");
    file.append(" a \nb\r\nc\rd\n\nthr\u{e9}");
    assert_eq!(texts(&mut reader), [" a ", "b", "c", "d", ""]);
    assert!(reader.status(PARTITION).at_end && !reader.status(PARTITION).ended);
    file.append("e\r");
    assert_eq!(texts(&mut reader), [""; 0], "a `\\n` may belong to the `\\r`");
    file.append("\nf\n");
    assert_eq!(lines(&mut reader), [(5, "thr\u{e9}e".into()), (6, "f".into())]);
}

#[test]
fn reading_goes_on_from_any_position_and_stops_at_its_limit() {
    let file = Written::new();
    file.append("one\ntw\u{f6}\r\n\nfour\nfi");
    let mut reader = file.open(None);
    let mut positions = vec![reader.position(PARTITION)];
    while !reader.poll(1, 0).unwrap().is_empty() {
        positions.push(reader.position(PARTITION));
    }
    file.append("ve\n");
    let all = ["one", "tw\u{f6}", "", "four", "five"];
    for (row, position) in positions.iter().enumerate() {
        assert_eq!(texts(&mut file.open(Some(position.clone()))), all[row..], "from row {row}");
    }
    let mut reader = file.open(None);
    reader.limit(PARTITION, Some(positions[3].clone()));
    assert_eq!(texts(&mut reader), all[..3]);
    assert!(reader.status(PARTITION).at_end);
    assert_eq!(reader.position(PARTITION), positions[3]);
    reader.limit(PARTITION, None);
    assert_eq!(texts(&mut reader), all[3..]);
}

#[test]
fn a_file_that_shrank_is_waited_for_and_another_one_is_told_apart() {
    let file = Written::new();
    file.append("first\nsecond\nthi");
    let mut reader = file.open(None);
    assert_eq!(texts(&mut reader), ["first", "second"]);
    file.rewrite("first\n");
    assert_eq!(settled(&mut reader), []);
    assert!(reader.told.as_ref().is_some_and(|told| told.contains("has 6 bytes, and 13 were read")));
    file.append("second\nthird\n");
    assert_eq!(texts(&mut reader), ["third"]);

    // Another one with the same beginning: an editor saves so.
    file.replace("first\nsecond\nthird\nfourth\n");
    assert_eq!(left(&mut reader), [(3, "fourth".into())]);
    let end = reader.position(PARTITION);

    // And others: the place is behind a line of the first, and within one of the second.
    let mut open = Some(reader);
    for text in ["the first of others\n23456\n7\n", "something else altogether, and more\n"] {
        file.replace(text);
        for mut reader in open.take().into_iter().chain([file.open(Some(end.clone()))]) {
            assert_eq!(lines(&mut reader), []);
            if reader.is_replaced {
                assert_eq!(left(&mut reader), []);
            }
            reader.other_since = Instant::now().checked_sub(LOOK_EVERY);
            let failure = reader.poll(10, 0).unwrap_err();
            assert_eq!(failure.code, "file.changed", "{failure}");
        }
    }
}

/// Every line of a log that logrotate cuts in place was lost up to the byte that was reached before, and the run ended
/// where that was within a line.
#[test]
fn a_file_that_was_cut_is_read_from_its_beginning_where_records_may_come_again() {
    let file = Written::new();
    file.append("one\ntwo\nthr");
    let mut reader = file.open_repeating(None);
    assert_eq!(texts(&mut reader), ["one", "two"]);
    file.rewrite("");
    assert_eq!(settled(&mut reader), []);
    assert!(reader.told.as_ref().is_some_and(|told| told.contains("(such changes so far: 1)")), "{:?}", reader.told);
    file.append("four\nfi");
    assert_eq!(lines(&mut reader), [(2, "four".into())]);
    // It has outgrown what was read of it before anybody looked.
    file.rewrite("six\nseven\neight\n");
    assert_eq!(settled(&mut reader), [(3, "six".into()), (4, "seven".into()), (5, "eight".into())]);
    assert_eq!(reader.place.begun, 2);
    // Another file, which is shorter: it is read once the one before is.
    file.append("nine\n");
    file.replace("ten\n");
    assert_eq!(lines(&mut reader), [(6, "nine".into())]);
    assert_eq!(left(&mut reader), []);
    reader.other_since = Instant::now().checked_sub(LOOK_EVERY);
    assert_eq!(lines(&mut reader), [(7, "ten".into())]);
    // As long as what was read, by chance.
    file.rewrite("11!\n");
    assert_eq!(settled(&mut reader), [(8, "11!".into())]);
}

#[test]
fn a_file_that_an_editor_writes_anew_is_not_read_again() {
    let file = Written::new();
    file.append("one\ntwo\n");
    let mut reader = file.open_repeating(None);
    assert_eq!(texts(&mut reader), ["one", "two"]);
    file.rewrite("one\n");
    assert_eq!(texts(&mut reader), [""; 0]);
    file.append("two\nthree\n");
    assert_eq!(texts(&mut reader), ["three"]);
    assert_eq!(reader.other_since, None);
    // What is cut off is the beginning of a line.
    file.append("fo");
    assert_eq!(texts(&mut reader), [""; 0]);
    file.rewrite("one\ntwo\nthree\nvier\n");
    assert_eq!(texts(&mut reader), ["vier"]);
    assert_eq!(reader.place.begun, 0);
}

/// Of two runs: the second begins where the first was, or reads again what may not have been delivered.
#[test]
fn i17_what_replay_would_read_of_a_file_that_was_cut_is_gone_and_the_rest_is_read() {
    let file = Written::new();
    file.append("one\ntwo\nthree\n");
    let mut reader = file.open_repeating(None);
    let mut at = vec![reader.position(PARTITION)];
    while !reader.poll(1, 0).unwrap().is_empty() {
        at.push(reader.position(PARTITION));
    }
    let (start, two, three) = (&at[0], &at[2], &at[3]);
    assert_eq!([file.gone(start, two), file.gone(two, three), file.gone(three, three)], [None, None, None]);
    file.append("four\n");
    assert_eq!([file.gone(start, two), file.gone(two, three), file.gone(three, three)], [None, None, None]);
    // Somebody set it elsewhere, as far as is known, behind the end; or an earlier version kept it.
    let set = Place { tail: None, byte: 100, ..Place::from_position(two).unwrap() }.to_position();
    assert_eq!(file.gone(&set, &set), None);

    file.rewrite("and others\nthat are longer\n");
    let anew = Place { byte: 0, begun: 1, begun_row: 3, tail: None, ..Place::from_position(three).unwrap() };
    for replay in [start, two, three] {
        assert_eq!(file.gone(replay, three).as_ref(), Some(&anew));
    }
    assert_eq!(file.gone(two, &set), Some(Place::from_position(&set).unwrap()));
    // The run before had begun it anew already.
    let mut reader = file.open_repeating(Some(anew.to_position()));
    assert_eq!(lines(&mut reader), [(3, "and others".into()), (4, "that are longer".into())]);
    let end = reader.position(PARTITION);
    assert_eq!(file.gone(&end, &end), None);
    assert_eq!(file.gone(three, &end), Some(Place { row: 5, begun_row: 5, ..anew }));
    // Two of the three records that replay would read were behind the beginning.
    let known = Known { replay: two.clone(), end: end.clone(), max_timestamp: None, topic_id: None };
    let gone = FollowedFile::new(file.path()).gone(&[(PARTITION, known)].into(), true).unwrap();
    assert_eq!(gone[&PARTITION].again, Some(2));

    // Read again, and cut meanwhile: the next start sees to it.
    let mut reader = file.open_repeating(Some(end.clone()));
    let limit = Place { row: 9, ..Place::from_position(&end).unwrap() };
    reader.limit(PARTITION, Some(limit.to_position()));
    file.rewrite("");
    let failure = reader.poll(10, 0).unwrap_err();
    assert_eq!((failure.code, failure.retry), ("file.changed", true), "{failure}");

    // It is not there: what is to be read again is waited for.
    std::fs::remove_file(file.path()).unwrap();
    assert_eq!(file.gone(&end, &end), None);
    let known = Known { replay: three.clone(), end, max_timestamp: None, topic_id: None };
    let failure = FollowedFile::new(file.path()).gone(&[(PARTITION, known)].into(), true).unwrap_err();
    assert_eq!((failure.code, failure.retry), ("file.unreadable", true), "{failure}");
}

/// Epochs of earlier versions end at positions without what stands before them.
#[test]
fn a_position_of_an_earlier_version_is_reached_as_it_was_kept() {
    let file = Written::new();
    file.append("one\ntwo\nthree\n");
    let kept = Place { path: file.path(), size: 0, mtime: 0, byte: 8, row: 2, tail: None, begun: 0, begun_row: 0 }
        .to_position();
    assert_eq!(kept.0, serde_json::json!({"path": file.path(), "size": 0, "mtime": 0, "byte": 8, "row": 2}));
    let mut reader = file.open(None);
    reader.limit(PARTITION, Some(kept.clone()));
    assert_eq!(texts(&mut reader), ["one", "two"]);
    assert_eq!(reader.position(PARTITION), kept);
    reader.limit(PARTITION, None);
    assert_ne!(reader.position(PARTITION), kept);
    assert_eq!(texts(&mut reader), ["three"]);
}

/// One of an earlier version, or that somebody set: until the next line came, a cut was taken for nothing new.
#[test]
fn a_position_without_what_stands_before_it_is_known_once_it_was_looked_at() {
    let file = Written::new();
    file.append("one\ntwo\n");
    let kept = Place { path: file.path(), size: 0, mtime: 0, byte: 8, row: 2, tail: None, begun: 0, begun_row: 0 };
    let mut reader = file.open_repeating(Some(kept.to_position()));
    assert_eq!(lines(&mut reader), []);
    file.rewrite("drei\n");
    assert_eq!(settled(&mut reader), [(2, "drei".into())]);
    // Replay began at such a one, and the run ended at one that is known.
    let end = reader.position(PARTITION);
    file.rewrite("another\none, and a longer one\n");
    let anew = Place::from_position(&end).unwrap().begun_anew();
    assert_eq!(file.gone(&kept.to_position(), &end), Some(anew));
}

/// It was taken for its end: other records than were committed, for good.
#[test]
fn i17_what_is_read_again_is_waited_for_while_it_is_not_there() {
    let file = Written::new();
    file.append("one\ntwo\nthree\n");
    let mut reader = file.open(None);
    let start = reader.position(PARTITION);
    assert_eq!(reader.poll(2, 0).unwrap().len(), 1);
    let two = reader.position(PARTITION);
    texts(&mut reader);
    let end = reader.position(PARTITION);
    let fails = |from: &Position| {
        let mut reader = file.open(Some(from.clone()));
        reader.limit(PARTITION, Some(end.clone()));
        let failure = loop {
            match reader.poll(9, 0) {
                Err(failure) => break failure,
                Ok(_) => assert!(!reader.status(PARTITION).at_end),
            }
        };
        (failure.code, failure.retry)
    };
    for less in ["one\ntwo\n", "one\ntwo\nthr", "one\n", ""] {
        file.rewrite(less);
        assert_eq!([fails(&start), fails(&two)], [("file.changed", true); 2], "{less:?}");
    }
    std::fs::remove_file(file.path()).unwrap();
    assert_eq!(fails(&two), ("file.unreadable", true));
    std::fs::create_dir(file.path()).unwrap();
    assert_eq!(fails(&two), ("file.unreadable", true));
    std::fs::remove_dir(file.path()).unwrap();
    // Other text may be half of what an editor writes; then it is no more to be had.
    file.append("others\n, longer\n");
    assert_eq!(fails(&two), ("file.changed", false));
    file.rewrite("one\ntwo\nthree\n");
    let mut reader = file.open(Some(two));
    reader.limit(PARTITION, Some(end));
    assert_eq!(texts(&mut reader), ["three"]);
    assert!(reader.status(PARTITION).at_end);
}

/// Until logrotate tells it, a writer goes on with the file that was renamed: such lines were lost.
#[test]
fn a_file_that_was_replaced_is_read_while_its_writer_goes_on_with_it() {
    let file = Written::new();
    file.append("a\n");
    let mut writer = std::fs::OpenOptions::new().append(true).open(file.path()).unwrap();
    let mut reader = file.open_repeating(None);
    assert_eq!(texts(&mut reader), ["a"]);
    std::fs::rename(file.path(), file.path().with_extension("1")).unwrap();
    file.append("new\n");
    assert_eq!(texts(&mut reader), [""; 0]);
    writer.write_all(b"b\n").unwrap();
    assert_eq!(texts(&mut reader), ["b"]);
    // Its time begins again with each line; and what comes right before it is left is read too.
    assert!(reader.quiet_since.is_some_and(|since| since.elapsed() < LEFT_AFTER));
    reader.quiet_since = Instant::now().checked_sub(LEFT_AFTER);
    writer.write_all(b"c\n").unwrap();
    assert_eq!(texts(&mut reader), ["c"]);
    assert_eq!(left(&mut reader), []);
    assert_eq!(settled(&mut reader), [(3, "new".into())]);
}

/// `app > log`: all that it wrote before the cut is a hole now, and was one line with what it wrote next.
#[test]
fn the_hole_of_a_writer_that_does_not_append_is_skipped() {
    let file = Written::new();
    let mut writer = File::create(file.path()).unwrap();
    let long = "x".repeat(3 * BATCH_BYTES / 2);
    writer.write_all(format!("one\n{long}\n").as_bytes()).unwrap();
    let mut reader = file.open_repeating(None);
    assert_eq!(texts(&mut reader).len(), 2);
    File::options().write(true).open(file.path()).unwrap().set_len(0).unwrap();
    writer.write_all(b"two\n\0three\n").unwrap();
    let all = [(2, "two".to_owned()), (3, "\0three".to_owned())];
    let before = reader.position(PARTITION);
    assert_eq!(settled(&mut reader), all);
    assert!(reader.place.byte > long.len() as u64);
    // The same when it is begun anew at a start, or read again.
    let anew = file.gone(&before, &before).unwrap().to_position();
    let mut again = file.open_repeating(Some(anew));
    assert_eq!(lines(&mut again), all);
    assert_eq!(again.place, reader.place);
    writer.write_all(b"four\n").unwrap();
    assert_eq!(lines(&mut file.open_repeating(Some(again.position(PARTITION)))), [(4, "four".into())]);
}

/// Lines that were written between the last poll and the renaming were never read.
#[test]
fn a_file_that_is_renamed_away_is_read_to_its_end_first() {
    let file = Written::new();
    let rotated = file.path().with_extension("1");
    file.append("a\n");
    let mut reader = file.open(None);
    assert_eq!(texts(&mut reader), ["a"]);
    file.append("b\nc\ntorn");
    std::fs::rename(file.path(), &rotated).unwrap();
    std::fs::write(file.path(), "a\nb\n").unwrap();
    assert_eq!(lines(&mut reader), [(1, "b".into()), (2, "c".into())]);
    assert_eq!(left(&mut reader), []);
    assert!(reader.told.as_ref().is_some_and(|told| told.contains("its last line has no end")));
    assert_eq!(settled(&mut reader), []);
    assert!(reader.told.as_ref().is_some_and(|told| told.contains("has 4 bytes, and 6 were read")));
    // The new one is read from the byte at which the old one was left.
    file.append("c\nz\n");
    assert_eq!(lines(&mut reader), [(3, "z".into())]);

    // What is in its place is no file at all.
    file.append("last\n");
    std::fs::remove_file(file.path()).unwrap();
    std::fs::create_dir(file.path()).unwrap();
    assert_eq!(lines(&mut reader), [(4, "last".into())]);
    assert_eq!(left(&mut reader), []);
    assert!(reader.open.is_none());
}

#[test]
fn a_folder_is_no_file_and_a_file_that_was_removed_is_read_while_it_is_open() {
    let file = Written::new();
    std::fs::create_dir(file.path()).unwrap();
    let mut reader = file.open(None);
    assert_eq!(texts(&mut reader), [""; 0]);
    std::fs::remove_dir(file.path()).unwrap();
    file.append("a\n");
    let mut writer = std::fs::OpenOptions::new().append(true).open(file.path()).unwrap();
    assert_eq!(texts(&mut reader), ["a"]);
    std::fs::remove_file(file.path()).unwrap();
    writer.write_all(b"b\n").unwrap();
    assert_eq!(texts(&mut reader), ["b"]);
}
