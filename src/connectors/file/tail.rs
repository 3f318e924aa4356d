//! What stood right before a place in a file: by it a file that only grew is told from one that was cut, or replaced.

use std::fs::File;
use std::io::ErrorKind;
use std::os::unix::fs::FileExt;

use super::source::Place;

/// So far back it is looked. Lines of a log differ within less.
const TAIL_BYTES: usize = 1 << 10;

/// The last bytes before a place.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Tail {
    bytes: Vec<u8>,
}

impl Tail {
    /// What a file has before `byte`; `None`: it is shorter.
    pub fn read(file: &File, byte: u64) -> std::io::Result<Option<Tail>> {
        let mut bytes = vec![0; usize::try_from(byte).unwrap_or(TAIL_BYTES).min(TAIL_BYTES)];
        let from = byte - bytes.len() as u64;
        match file.read_exact_at(&mut bytes, from) {
            Ok(()) => Ok(Some(Tail { bytes })),
            Err(error) if error.kind() == ErrorKind::UnexpectedEof => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// The place moves on behind these bytes.
    pub fn push(&mut self, bytes: &[u8]) {
        self.bytes.extend_from_slice(&bytes[bytes.len().saturating_sub(TAIL_BYTES)..]);
        self.bytes.drain(..self.bytes.len().saturating_sub(TAIL_BYTES));
    }

    /// What a position keeps of it; a stored format.
    pub fn sum(&self) -> Option<u32> {
        (!self.bytes.is_empty()).then(|| crc32fast::hash(&self.bytes))
    }

    /// Whether the place is behind it. One that somebody set, or an earlier version kept, says no more than that it is
    /// behind a line's end.
    pub fn fits(&self, place: &Place) -> bool {
        match place.tail {
            Some(_) => self.sum() == place.tail,
            None => self.bytes.last().is_none_or(|last| matches!(last, b'\n' | b'\r')),
        }
    }
}

/// Whether a file still has what was read of it before a place.
pub(super) fn still_has(file: &File, place: &Place) -> std::io::Result<bool> {
    Ok(Tail::read(file, place.byte)?.is_some_and(|tail| tail.fits(place)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::Position;

    /// A position of a run before must fit, whatever batches the lines came in.
    #[test]
    fn it_is_the_same_read_at_once_or_pushed_in_pieces() {
        let text: Vec<u8> = (0..5000u32).map(|at| (at * at % 251) as u8).collect();
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("f");
        std::fs::write(&path, &text).unwrap();
        let file = File::open(&path).unwrap();
        for piece in [1, 7, 1023, 1024, 1025, 4000] {
            let (mut tail, mut byte) = (Tail::default(), 0);
            for bytes in text.chunks(piece) {
                tail.push(bytes);
                byte += bytes.len() as u64;
                assert_eq!(Tail::read(&file, byte).unwrap(), Some(tail.clone()), "{piece}, {byte}");
            }
        }
        assert_eq!(Tail::read(&file, 5001).unwrap(), None);
        assert_eq!(Tail::read(&file, 0).unwrap().unwrap().sum(), None);
    }

    /// Positions in a file of two lines, by an earlier version, one that had read both, and one that had begun anew.
    #[test]
    fn positions_that_were_stored_are_read_and_written_as_they_were() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("lines.txt");
        std::fs::write(&path, "one\ntwo\nthree\n").unwrap();
        let file = File::open(&path).unwrap();
        let other = folder.path().join("other.txt");
        std::fs::write(&other, "One\nTwo\nThree\n").unwrap();
        let other = File::open(&other).unwrap();
        for line in include_str!("../../../tests/stored/followed-1.jsonl").lines() {
            let stored = Position(serde_json::from_str(line).unwrap());
            let place = Place::from_position(&stored).unwrap();
            assert_eq!(place.to_position(), stored);
            assert!(still_has(&file, &place).unwrap());
            assert_eq!(still_has(&other, &place).unwrap(), place.tail.is_none(), "{line}");
        }
    }
}
