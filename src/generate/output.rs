//! Where made data goes: a stream, files, a topic; and how quickly.

use std::fs::File;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use flate2::Compression;
use flate2::write::GzEncoder;

use super::{Format, Generator, Settings};
use crate::connectors::kafka::{Cluster, KafkaSink, NewTopic, Topics, Written};
use crate::connectors::{EpochRows, Sink, Writer};
use crate::data::EncodedRows;
use crate::report::Failure;

/// What is handed on at a time, about.
const LINES_BYTES: usize = 256 << 10;
/// The same for Kafka, where each hand-over is waited for.
const TOPIC_BYTES: usize = 8 << 20;
/// How often something is handed on that comes as its time comes.
const TICK: Duration = Duration::from_millis(10);

/// Where records go.
pub enum Destination<'a> {
    Lines(&'a mut dyn Write),
    /// Files `part-00000.json` and so on, each with its share in the order of time.
    Files {
        folder: PathBuf,
        count: u64,
        gzip: bool,
    },
    /// Keyed by user, with the record's time. It is made where there is none: then records are kept for ever, because
    /// their times may be long past.
    Topic {
        cluster: Cluster,
        topic: String,
        partitions: Option<u32>,
    },
}

/// How quickly.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Pace {
    Max,
    /// So many a second.
    PerSecond(f64),
}

/// What was made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Made {
    pub records: u64,
    /// Bytes of values, uncompressed.
    pub bytes: u64,
    /// False: it was told to stop, or nobody reads on.
    pub all: bool,
}

/// Makes all records. `going` is told now and then how many there are; its answer false ends it early, with what was
/// made so far whole.
///
/// # Errors
/// `refused.file_exists`, `generate.write`, or what Kafka says.
pub fn run(
    settings: Settings,
    to: Destination<'_>,
    pace: Pace,
    going: &mut dyn FnMut(u64) -> bool,
) -> Result<Made, Failure> {
    settings.check()?;
    let (parts, format) = (to.parts(), settings.format);
    let records = settings.records;
    let chunk_bytes = if matches!(to, Destination::Topic { .. }) { TOPIC_BYTES } else { LINES_BYTES };
    let mut generator = Generator::new(settings);
    let mut out = Out::open(to, format)?;
    let mut flow = Flow { chunk_bytes, pace, begun: Instant::now(), bytes: 0 };
    let mut all = true;
    for part in 0..parts {
        let end = (u128::from(records) * u128::from(part + 1) / u128::from(parts)) as u64;
        out.begin(part, &generator.header())?;
        all = flow.run(&mut generator, end, &mut out, going)?;
        out.end()?;
        if !all {
            break;
        }
    }
    Ok(Made { records: generator.made(), bytes: flow.bytes, all })
}

impl Destination<'_> {
    fn parts(&self) -> u64 {
        if let Destination::Files { count, .. } = self { (*count).max(1) } else { 1 }
    }
}

struct Flow {
    chunk_bytes: usize,
    pace: Pace,
    begun: Instant,
    bytes: u64,
}

impl Flow {
    /// Makes records up to the number `end`; false: it was stopped.
    fn run(
        &mut self,
        generator: &mut Generator,
        end: u64,
        out: &mut Out<'_>,
        going: &mut dyn FnMut(u64) -> bool,
    ) -> Result<bool, Failure> {
        let mut rows = EncodedRows::default();
        while generator.made() < end {
            if !going(generator.made()) {
                return Ok(false);
            }
            let due = self.due().min(end);
            if due <= generator.made() {
                std::thread::sleep(TICK);
                continue;
            }
            rows.arena.clear();
            rows.records.clear();
            while generator.made() < due && rows.arena.len() < self.chunk_bytes {
                generator.put(&mut rows);
            }
            self.bytes += (rows.arena.len() - rows.records.len()) as u64;
            if !out.take(&mut rows)? {
                return Ok(false);
            }
        }
        Ok(going(generator.made()) || generator.made() == end)
    }

    /// How many should have been made by now.
    fn due(&self) -> u64 {
        match self.pace {
            Pace::Max => u64::MAX,
            Pace::PerSecond(rate) => (self.begun.elapsed().as_secs_f64() * rate) as u64 + 1,
        }
    }
}

enum Out<'a> {
    Lines(&'a mut dyn Write),
    Files { folder: PathBuf, format: Format, gzip: bool, open: Option<(PathBuf, Box<dyn Finish>)> },
    Topic(Box<dyn Writer>),
}

/// A file that is written.
trait Finish: Write {
    fn finish(self: Box<Self>) -> io::Result<()>;
}

impl Finish for File {
    fn finish(self: Box<Self>) -> io::Result<()> {
        Ok(())
    }
}

impl Finish for GzEncoder<File> {
    fn finish(self: Box<Self>) -> io::Result<()> {
        GzEncoder::finish(*self).map(drop)
    }
}

impl<'a> Out<'a> {
    fn open(to: Destination<'a>, format: Format) -> Result<Out<'a>, Failure> {
        Ok(match to {
            Destination::Lines(lines) => Out::Lines(lines),
            Destination::Files { folder, gzip, .. } => {
                std::fs::create_dir_all(&folder).map_err(|error| not_written(&folder, error))?;
                Out::Files { folder, format, gzip, open: None }
            }
            Destination::Topic { cluster, topic, partitions } => {
                let topics = Topics::connect(&cluster)?;
                if topics.partitions(&topic)?.is_none() {
                    let config = [("retention.ms".to_owned(), "-1".to_owned())].into();
                    topics.create(&NewTopic { name: topic.clone(), partitions, replication: None, config })?;
                }
                let sink =
                    KafkaSink { cluster, topic, properties: Default::default(), written: Written::Alone, routes: None };
                Out::Topic(sink.open()?)
            }
        })
    }

    fn begin(&mut self, part: u64, header: &[u8]) -> Result<(), Failure> {
        match self {
            Out::Lines(lines) => match lines.write_all(header) {
                // The first chunk finds out, too.
                Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
                Err(error) => Err(not_written(Path::new("stdout"), error)),
                Ok(()) => Ok(()),
            },
            Out::Files { folder, format, gzip, open } => {
                let ending = if *format == Format::Json { "json" } else { "csv" };
                let name = format!("part-{part:05}.{ending}{}", if *gzip { ".gz" } else { "" });
                let path = folder.join(name);
                let file = File::create_new(&path).map_err(|error| match error.kind() {
                    io::ErrorKind::AlreadyExists => {
                        Failure::user("refused.file_exists", format!("there is a file `{}` already", path.display()))
                            .hint("remove it, or name another folder")
                    }
                    _ => not_written(&path, error),
                })?;
                let mut file: Box<dyn Finish> = match gzip {
                    true => Box::new(GzEncoder::new(file, Compression::fast())),
                    false => Box::new(file),
                };
                file.write_all(header).map_err(|error| not_written(&path, error))?;
                *open = Some((path, file));
                Ok(())
            }
            Out::Topic(_) => Ok(()),
        }
    }

    /// False: nobody reads on.
    fn take(&mut self, rows: &mut EncodedRows) -> Result<bool, Failure> {
        match self {
            Out::Lines(lines) => match lines.write_all(&rows.arena) {
                Ok(()) => {}
                Err(error) if error.kind() == io::ErrorKind::BrokenPipe => return Ok(false),
                Err(error) => return Err(not_written(Path::new("stdout"), error)),
            },
            Out::Files { open: Some((path, file)), .. } => {
                file.write_all(&rows.arena).map_err(|error| not_written(path, error))?;
            }
            Out::Files { open: None, .. } => return Err(Failure::bug("generate.closed", "no file is open")),
            Out::Topic(writer) => {
                let epoch = EpochRows::of_one(0, vec![std::mem::take(rows)]);
                writer.write("", std::slice::from_ref(&epoch))?;
                // Its memory serves the next chunk.
                let run = epoch.outputs.into_iter().flat_map(|output| output.rows).next();
                *rows = run.unwrap_or_default();
            }
        }
        Ok(true)
    }

    fn end(&mut self) -> Result<(), Failure> {
        match self {
            Out::Lines(lines) => match lines.flush() {
                Err(error) if error.kind() != io::ErrorKind::BrokenPipe => Err(not_written(Path::new("stdout"), error)),
                _ => Ok(()),
            },
            Out::Files { open, .. } => match open.take() {
                Some((path, file)) => file.finish().map_err(|error| not_written(&path, error)),
                None => Ok(()),
            },
            Out::Topic(_) => Ok(()),
        }
    }
}

fn not_written(path: &Path, error: io::Error) -> Failure {
    Failure::outside("generate.write", format!("cannot write `{}`", path.display())).because(error)
}

#[cfg(test)]
mod tests {
    use std::io::Read;

    use super::*;

    fn settings(records: u64) -> Settings {
        Settings {
            users: 10,
            devices: 2,
            visits: 2,
            features: Vec::new(),
            records,
            begin: 0,
            span_ms: 1_000,
            disorder_ms: 0,
            seed: 1,
            format: Format::Csv,
        }
    }

    fn lines(records: u64) -> String {
        let mut out = Vec::new();
        let made = run(settings(records), Destination::Lines(&mut out), Pace::Max, &mut |_| true).unwrap();
        assert_eq!((made.records, made.all), (records, true));
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn files_have_together_what_a_stream_has_each_with_its_header() {
        let dir = tempfile::tempdir().unwrap();
        for gzip in [false, true] {
            let folder = dir.path().join(gzip.to_string());
            let to = || Destination::Files { folder: folder.clone(), count: 3, gzip };
            run(settings(10_000), to(), Pace::Max, &mut |_| true).unwrap();
            let mut all = String::new();
            let mut paths: Vec<_> = std::fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap().path()).collect();
            paths.sort();
            assert_eq!(paths.len(), 3);
            for path in &paths {
                let mut text = String::new();
                let file = File::open(path).unwrap();
                match gzip {
                    true => flate2::read::GzDecoder::new(file).read_to_string(&mut text).unwrap(),
                    false => {
                        let mut file = file;
                        file.read_to_string(&mut text).unwrap()
                    }
                };
                let (header, rest) = text.split_once('\n').unwrap();
                assert_eq!(header, "ts,uid,device,visit");
                assert!((3_333..=3_334).contains(&rest.lines().count()));
                all += rest;
            }
            assert_eq!(format!("ts,uid,device,visit\n{all}"), lines(10_000));
            let refused = run(settings(10), to(), Pace::Max, &mut |_| true).unwrap_err();
            assert_eq!(refused.code, "refused.file_exists");
        }
    }

    #[test]
    fn a_pace_is_kept_and_a_stop_leaves_whole_lines() {
        let (mut out, begun) = (Vec::new(), Instant::now());
        let mut going = |made| made < 50;
        let made = run(settings(100_000), Destination::Lines(&mut out), Pace::PerSecond(500.0), &mut going).unwrap();
        assert!(begun.elapsed() >= Duration::from_millis(90), "49 records are due after 98 ms");
        assert!(!made.all && made.records >= 50);
        assert!(out.ends_with(b"\n"));
        assert_eq!(String::from_utf8(out).unwrap().lines().count() as u64, made.records + 1);
    }

    /// A pipe whose reader has gone.
    struct Gone;

    impl Write for Gone {
        fn write(&mut self, _: &[u8]) -> io::Result<usize> {
            Err(io::ErrorKind::BrokenPipe.into())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn a_reader_that_has_gone_is_no_failure() {
        let made = run(settings(1_000_000), Destination::Lines(&mut Gone), Pace::Max, &mut |_| true).unwrap();
        assert!(!made.all && made.records < 1_000_000);
    }
}
