//! Console sink: prints each row on one line, for first steps and `preview`.
//! Delivery: at least once; after a crash the last epoch may be printed again.
//!
//! A record's value is its line (and, from [`TableText`], the header line before it); the console
//! writes it and a line break. A reader that has gone away (`| head`) ends the printing, not the pipeline.

mod text;

use std::io::{ErrorKind, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use super::{Delivery, EpochRows, Sink, SinkProgress, Writer};
use crate::report::Failure;
pub use text::TableText;

/// The `console: {limit}` sink.
#[derive(Debug, Clone)]
pub struct Console {
    limit: Option<u64>,
    /// Over the life of the process, however often a writer is opened.
    printed: Arc<AtomicU64>,
}

impl Console {
    /// Prints only the first `limit` rows; the pipeline goes on behind them.
    pub fn new(limit: Option<u64>) -> Self {
        Console { limit, printed: Arc::default() }
    }
}

impl Sink for Console {
    fn connector(&self) -> &'static str {
        "console"
    }

    fn delivery(&self) -> Delivery {
        Delivery::AtLeastOnce
    }

    fn open(&self) -> Result<Box<dyn Writer>, Failure> {
        Ok(Box::new(ConsoleWriter { console: self.clone(), reader: Reader::Listens }))
    }
}

/// Whoever reads what is printed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Reader {
    Listens,
    HasLeft,
}

struct ConsoleWriter {
    console: Console,
    reader: Reader,
}

impl Writer for ConsoleWriter {
    fn progress(&self) -> Option<SinkProgress> {
        None
    }

    fn write(&mut self, _lineage: &str, epochs: &[EpochRows]) -> Result<(), Failure> {
        // The lock keeps the lines of two console sinks apart.
        self.print(epochs, &mut std::io::stdout().lock())
    }
}

impl ConsoleWriter {
    fn print(&mut self, epochs: &[EpochRows], out: &mut dyn Write) -> Result<(), Failure> {
        let text = self.lines(epochs);
        if text.is_empty() || self.reader == Reader::HasLeft {
            return Ok(());
        }
        match out.write_all(&text).and_then(|()| out.flush()) {
            Err(error) if error.kind() == ErrorKind::BrokenPipe => {
                self.reader = Reader::HasLeft;
                Ok(())
            }
            Err(error) => Err(Failure::outside("console.write", "cannot write to the standard output").because(error)),
            Ok(()) => Ok(()),
        }
    }

    /// The lines that may still be printed, counted as printed. A record without a value has none.
    fn lines(&self, epochs: &[EpochRows]) -> Vec<u8> {
        let mut left = match self.console.limit {
            Some(limit) => limit.saturating_sub(self.console.printed.load(Ordering::Relaxed)),
            None => u64::MAX,
        };
        let mut text = Vec::new();
        for run in epochs.iter().flat_map(EpochRows::runs) {
            for value in run.records.iter().filter_map(|record| record.value.as_ref()).take(left as usize) {
                text.extend_from_slice(run.bytes(value));
                text.push(b'\n');
                left -= 1;
                self.console.printed.fetch_add(1, Ordering::Relaxed);
            }
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::{EncodedRecord, EncodedRows};

    fn run(lines: &[&str]) -> EncodedRows {
        let mut run = EncodedRows::default();
        for line in lines {
            let value = Some(run.put(line.as_bytes()));
            run.records.push(EncodedRecord { key: None, value, timestamp: None, headers: 0..0 });
        }
        run
    }

    fn writer(console: &Console) -> ConsoleWriter {
        ConsoleWriter { console: console.clone(), reader: Reader::Listens }
    }

    #[test]
    fn the_limit_counts_over_all_writers_of_the_process() {
        let console = Console::new(Some(3));
        let mut out = Vec::new();
        writer(&console).print(&[EpochRows::of_one(1, vec![run(&["a", "b"])])], &mut out).unwrap();
        writer(&console).print(&[EpochRows::of_one(2, vec![run(&["c"]), run(&["d"])])], &mut out).unwrap();
        assert_eq!(out, b"a\nb\nc\n");
    }

    /// Fails as a pipe does when its reader has gone.
    struct Closed;

    impl Write for Closed {
        fn write(&mut self, _: &[u8]) -> std::io::Result<usize> {
            Err(ErrorKind::BrokenPipe.into())
        }
        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn a_reader_that_has_left_does_not_end_the_pipeline() {
        let mut writer = writer(&Console::new(None));
        writer.print(&[EpochRows::of_one(1, vec![run(&["a"])])], &mut Closed).unwrap();
        assert_eq!(writer.reader, Reader::HasLeft);
        writer.print(&[EpochRows::of_one(2, vec![run(&["b"])])], &mut Closed).unwrap();
    }
}
