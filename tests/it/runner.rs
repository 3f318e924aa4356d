//! The product's binary as a child process: spawned, listened to, signalled, waited for.
//!
//! Everything it prints is kept, line by line, so that a failing test can show it. No wait is without a
//! bound. A child cannot outlive its `Runner`, nor the test's thread, however that ends.

use std::fs::File;
use std::io::{BufReader, Read};
use std::os::fd::FromRawFd;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Condvar, Mutex};
use std::time::{Duration, Instant};

/// How long a line or an end is waited for unless a test says otherwise.
pub const PATIENCE: Duration = Duration::from_secs(60);

const BINARY: &str = env!("CARGO_BIN_EXE_runner");

/// One of the child's outputs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stream {
    Stdout,
    Stderr,
}

/// A running `runner`. Dropping it kills it (SIGKILL).
pub struct Runner {
    child: Child,
    output: Arc<Output>,
    arguments: String,
}

/// How a `runner` ended.
#[derive(Debug, Clone)]
pub struct Ended {
    /// Exit code; `None` if a signal ended it.
    pub code: Option<i32>,
    pub signal: Option<i32>,
    pub stdout: String,
    pub stderr: String,
}

#[derive(Default)]
struct Output {
    said: Mutex<Said>,
    changed: Condvar,
}

#[derive(Default)]
struct Said {
    stdout: Vec<String>,
    stderr: Vec<String>,
    ended: usize,
}

impl Runner {
    /// Has words of another program start it, which must become it: signals go to its process.
    pub fn spawn_by(launcher: &[String], arguments: &[&str], dir: &Path) -> Runner {
        let [program, words @ ..] = launcher else { panic!("a launcher has a name") };
        let mut command = Command::new(program);
        command.args(words).arg(BINARY);
        Runner::heard(Runner::of(command, arguments, dir, &[]))
    }

    /// Starts the binary in a working directory, which holds its state (`.runner/`).
    pub fn spawn(arguments: &[&str], dir: &Path) -> Runner {
        Runner::spawn_with(arguments, dir, &[])
    }

    /// The same with environment variables.
    pub fn spawn_with(arguments: &[&str], dir: &Path, variables: &[(&str, &str)]) -> Runner {
        Runner::heard(Runner::of(Command::new(BINARY), arguments, dir, variables))
    }

    /// The same with a terminal for its standard error. What it draws over a line is a line of its own here.
    pub fn spawn_on_terminal(arguments: &[&str], dir: &Path, variables: &[(&str, &str)]) -> Runner {
        let (ours, its) = terminal();
        let mut command = Command::new(BINARY);
        command.stderr(its).env("TERM", "xterm").env_remove("NO_COLOR");
        let child = started(&mut command, arguments, dir, variables);
        // With it goes our handle of its side: what we read ends when the child does.
        drop(command);
        let output = Arc::new(Output::default());
        listen(ours, Stream::Stderr, b"\r\n", output.clone());
        Runner::heard(Runner { child, output, arguments: arguments.join(" ") })
    }

    fn heard(mut runner: Runner) -> Runner {
        listen(runner.child.stdout.take().expect("it is a pipe"), Stream::Stdout, b"\n", runner.output.clone());
        runner
    }

    /// The same, but nobody reads its standard output: once the pipe is full, writing blocks.
    pub fn spawn_unheard(arguments: &[&str], dir: &Path) -> Runner {
        let runner = Runner::of(Command::new(BINARY), arguments, dir, &[]);
        runner.output.said.lock().unwrap().ended = 1;
        runner
    }

    fn of(mut command: Command, arguments: &[&str], dir: &Path, variables: &[(&str, &str)]) -> Runner {
        let mut child = started(command.stderr(Stdio::piped()), arguments, dir, variables);
        let output = Arc::new(Output::default());
        listen(child.stderr.take().expect("it is a pipe"), Stream::Stderr, b"\n", output.clone());
        Runner { child, output, arguments: arguments.join(" ") }
    }

    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// The first line of standard error that contains a text, once it is there.
    pub fn wait_stderr(&self, text: &str) -> String {
        self.wait_line(Stream::Stderr, |line| line.contains(text), &format!("`{text}` on stderr"))
    }

    /// The first line that is wanted, once it is there. Panics if the child ends before, or after [`PATIENCE`].
    pub fn wait_line(&self, stream: Stream, wanted: impl Fn(&str) -> bool, what: &str) -> String {
        let deadline = Instant::now() + PATIENCE;
        let mut said = self.output.said.lock().unwrap();
        let mut looked_at = 0;
        loop {
            let lines = said.lines(stream);
            if let Some(line) = lines[looked_at..].iter().find(|line| wanted(line)) {
                return line.clone();
            }
            looked_at = lines.len();
            let left = deadline.saturating_duration_since(Instant::now());
            if said.ended == 2 || left.is_zero() {
                let why = if said.ended == 2 { "it ended" } else { "nothing came" };
                panic!("waited for {what}, but {why}: `runner {}` said\n{}", self.arguments, said.text());
            }
            said = self.output.changed.wait_timeout(said, left).unwrap().0;
        }
    }

    /// What it has said on standard error so far.
    pub fn stderr(&self) -> String {
        joined(&self.output.said.lock().unwrap().stderr)
    }

    /// Waits until it has ended, or until a time has passed; true if it has ended.
    pub fn ended_within(&self, timeout: Duration) -> bool {
        let said = self.output.said.lock().unwrap();
        let (said, _) = self.output.changed.wait_timeout_while(said, timeout, |said| said.ended < 2).unwrap();
        said.ended == 2
    }

    /// Sends a signal, such as `libc::SIGINT`.
    pub fn signal(&self, signal: i32) {
        let pid = i32::try_from(self.child.id()).expect("pids are small");
        // SAFETY: the child was not waited for yet, so the pid is still its own.
        assert_eq!(unsafe { libc::kill(pid, signal) }, 0, "signal {signal} cannot be sent to {pid}");
    }

    /// kill -9, and everything it had said.
    pub fn kill(mut self) -> Ended {
        self.child.kill().expect("it is our child");
        self.collect()
    }

    /// Waits for its end. Panics after [`PATIENCE`].
    pub fn wait(self) -> Ended {
        self.wait_within(PATIENCE)
    }

    /// Waits for its end. Panics, and kills it, when the time is up.
    pub fn wait_within(mut self, timeout: Duration) -> Ended {
        if !self.ended_within(timeout) {
            let said = self.output.said.lock().unwrap().text();
            panic!("`runner {}` has not ended within {timeout:?}; it said\n{said}", self.arguments);
        }
        self.collect()
    }

    fn collect(&mut self) -> Ended {
        let status: ExitStatus = self.child.wait().expect("it is our child");
        assert!(self.ended_within(PATIENCE), "somebody else holds the output of a dead child");
        let said = self.output.said.lock().unwrap();
        let (stdout, stderr) = (joined(&said.stdout), joined(&said.stderr));
        Ended { code: status.code(), signal: status.signal(), stdout, stderr }
    }
}

impl Drop for Runner {
    fn drop(&mut self) {
        // Both do nothing to a child that was waited for.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Runs the binary to its end.
pub fn run(arguments: &[&str], dir: &Path) -> Ended {
    Runner::spawn(arguments, dir).wait()
}

impl Ended {
    /// The same, if it ended with this exit code; otherwise the test fails with all it said.
    #[track_caller]
    pub fn with_code(self, code: i32) -> Ended {
        let Ended { stdout, stderr, signal, .. } = &self;
        assert_eq!(self.code, Some(code), "(signal {signal:?}); stdout:\n{stdout}\nstderr:\n{stderr}");
        self
    }
}

impl Said {
    fn lines(&self, stream: Stream) -> &[String] {
        match stream {
            Stream::Stdout => &self.stdout,
            Stream::Stderr => &self.stderr,
        }
    }

    fn text(&self) -> String {
        format!("stdout:\n{}stderr:\n{}", joined(&self.stdout), joined(&self.stderr))
    }
}

fn joined(lines: &[String]) -> String {
    lines.iter().flat_map(|line| [line, "\n"]).collect()
}

fn started(command: &mut Command, arguments: &[&str], dir: &Path, variables: &[(&str, &str)]) -> Child {
    command.args(arguments).current_dir(dir).envs(variables.iter().copied());
    command.stdin(Stdio::null()).stdout(Stdio::piped());
    // SAFETY: prctl is a system call; nothing is allocated between fork and exec.
    unsafe {
        command.pre_exec(|| match libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL) {
            0 => Ok(()),
            _ => Err(std::io::Error::last_os_error()),
        });
    }
    command.spawn().expect("the binary was built for this test")
}

/// Both sides of a terminal of 24 lines: ours, and that of a child.
fn terminal() -> (File, File) {
    let (mut ours, mut its) = (-1, -1);
    let size = libc::winsize { ws_row: 24, ws_col: 120, ws_xpixel: 0, ws_ypixel: 0 };
    // SAFETY: the pointers are to locals, or null, which stands for a default.
    let failed = unsafe { libc::openpty(&mut ours, &mut its, std::ptr::null_mut(), std::ptr::null(), &size) } != 0;
    assert!(!failed, "no terminal: {}", std::io::Error::last_os_error());
    // No child but by way of its own standard error: it would hold the terminal open.
    for side in [ours, its] {
        // SAFETY: the descriptor was just opened.
        unsafe { libc::fcntl(side, libc::F_SETFD, libc::FD_CLOEXEC) };
    }
    // SAFETY: nobody else has them.
    unsafe { (File::from_raw_fd(ours), File::from_raw_fd(its)) }
}

/// Keeps each line as it comes, until the pipe is closed (which a terminal says by an error). Lines end with one of these.
fn listen(pipe: impl Read + Send + 'static, stream: Stream, ends: &'static [u8], output: Arc<Output>) {
    std::thread::spawn(move || {
        let mut line = Vec::new();
        let keep = |line: &mut Vec<u8>| {
            let text = String::from_utf8_lossy(line).into_owned();
            line.clear();
            let mut said = output.said.lock().unwrap();
            match stream {
                Stream::Stdout => said.stdout.push(text),
                Stream::Stderr => said.stderr.push(text),
            }
            output.changed.notify_all();
        };
        for byte in BufReader::new(pipe).bytes().map_while(Result::ok) {
            match ends.contains(&byte) {
                true => keep(&mut line),
                false => line.push(byte),
            }
        }
        if !line.is_empty() {
            keep(&mut line);
        }
        output.said.lock().unwrap().ended += 1;
        output.changed.notify_all();
    });
}

#[test]
fn a_child_is_heard_signalled_and_collected() {
    let dir = tempfile::tempdir().unwrap();
    let ended = run(&["--version"], dir.path()).with_code(0);
    assert!(ended.stdout.starts_with("runner "), "{}", ended.stdout);

    let spec = "apiVersion: runner/v1\nkind: Pipeline\nmetadata: { name: heard }\nspec:\n  sources: { rows: { datagen: { columns: { n: long } } } }\n  sinks: { out: { from: rows, console: {} } }\n";
    std::fs::write(dir.path().join("heard.yaml"), spec).unwrap();
    let runner = Runner::spawn(&["apply", "heard.yaml"], dir.path());
    runner.wait_stderr("heard: starts");
    assert!(!runner.ended_within(Duration::from_millis(10)));
    assert_eq!(runner.kill().signal, Some(libc::SIGKILL));
}
