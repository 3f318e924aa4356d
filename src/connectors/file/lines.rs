//! How a file is cut into records.

use std::io::{BufRead, Error, ErrorKind, Read, Seek, SeekFrom};

/// What a file may begin with to say that it is UTF-8; no part of a record.
const BYTE_ORDER_MARK: &[u8] = b"\xef\xbb\xbf";

/// A quoted CSV field may hold line breaks, but a stray quote must not swallow the rest of the file.
const CSV_RECORD_MAX: usize = 1 << 20;

/// Nothing sensible is longer; without a bound a file without line breaks would fill the memory.
const RECORD_MAX: u64 = 64 << 20;

/// What a record is in a file of some format.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Framing {
    /// JSON lines: blank lines are no records.
    Json,
    /// CSV: blank lines are no records, a record goes on behind a line break within quotes. With
    /// `header` the first record of each file is not handed over.
    Csv { header: bool },
    /// Each line is a record, also an empty one.
    Text,
}

impl Framing {
    pub(super) fn has_header(self) -> bool {
        self == Framing::Csv { header: true }
    }

    fn is_record(self, line: &[u8]) -> bool {
        self == Framing::Text || !line.trim_ascii().is_empty()
    }

    fn is_open(self, record: &[u8]) -> bool {
        matches!(self, Framing::Csv { .. }) && record.iter().filter(|byte| **byte == b'"').count() % 2 == 1
    }
}

/// Reads the next record into `record`, without its line break, and gives the number of bytes
/// consumed, blank lines in front included. `None`: there is none up to the end of the file.
pub(super) fn read_record<R: BufRead + Seek>(
    file: &mut R,
    framing: Framing,
    is_start: bool,
    record: &mut Vec<u8>,
) -> std::io::Result<Option<u64>> {
    let mut consumed = 0;
    loop {
        record.clear();
        let length = read_line(file, record)?;
        if length == 0 {
            return Ok(None);
        }
        if is_start && consumed == 0 && record.starts_with(BYTE_ORDER_MARK) {
            record.drain(..BYTE_ORDER_MARK.len());
        }
        consumed += length as u64;
        if framing.is_record(record) {
            break;
        }
    }
    if framing.is_open(record) {
        consumed += read_quoted_rest(file, framing, record)?;
    }
    strip_line_break(record);
    Ok(Some(consumed))
}

/// Appends a line, with its line break, and gives its length.
fn read_line<R: BufRead>(file: &mut R, record: &mut Vec<u8>) -> std::io::Result<usize> {
    let length = file.take(RECORD_MAX).read_until(b'\n', record)?;
    if length as u64 == RECORD_MAX && record.last() != Some(&b'\n') {
        let message = format!("a record is longer than {} MiB", RECORD_MAX >> 20);
        return Err(Error::new(ErrorKind::InvalidData, message));
    }
    Ok(length)
}

/// Reads on to the line that closes the quotes. If none does, the record is its first line.
fn read_quoted_rest<R: BufRead + Seek>(file: &mut R, framing: Framing, record: &mut Vec<u8>) -> std::io::Result<u64> {
    let first_line = record.len();
    let behind = file.stream_position()?;
    while record.len() < CSV_RECORD_MAX {
        let start = record.len();
        if read_line(file, record)? == 0 {
            break;
        }
        // Quotes in this line change the parity; only then can the record have been closed.
        if framing.is_open(&record[start..]) {
            return Ok((record.len() - first_line) as u64);
        }
    }
    record.truncate(first_line);
    file.seek(SeekFrom::Start(behind))?;
    Ok(0)
}

fn strip_line_break(record: &mut Vec<u8>) {
    if record.last() == Some(&b'\n') {
        record.pop();
        if record.last() == Some(&b'\r') {
            record.pop();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::Cursor;

    use super::*;

    fn records(text: &str, framing: Framing) -> (Vec<String>, u64) {
        let mut file = Cursor::new(text.as_bytes());
        let (mut records, mut byte, mut record) = (Vec::new(), 0, Vec::new());
        while let Some(consumed) = read_record(&mut file, framing, byte == 0, &mut record).unwrap() {
            byte += consumed;
            assert_eq!(byte, file.position());
            records.push(String::from_utf8(record.clone()).unwrap());
        }
        (records, byte)
    }

    #[test]
    fn blank_lines_are_records_of_text_only() {
        let text = "\u{feff}a\r\n\n  \nb";
        assert_eq!(records(text, Framing::Json), (vec!["a".into(), "b".into()], text.len() as u64));
        assert_eq!(records(text, Framing::Text).0, ["a", "", "  ", "b"]);
    }

    #[test]
    fn a_quoted_line_break_is_part_of_a_csv_record() {
        let text = "1,\"a\nb\n\"\"c\"\n2,d\n";
        assert_eq!(records(text, Framing::Csv { header: false }).0, ["1,\"a\nb\n\"\"c\"", "2,d"]);
    }

    #[test]
    fn a_stray_quote_costs_one_line() {
        let text = "1,\"a\n2,b\n3,c\n";
        assert_eq!(records(text, Framing::Csv { header: false }).0, ["1,\"a", "2,b", "3,c"]);
    }
}
