//! One run of a program: its CPU time, memory and wall time as the kernel has them at its end.

use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use crate::Result;

/// What a process used.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Used {
    pub wall: Duration,
    /// User and system, of all threads.
    pub cpu: Duration,
    /// Highest resident set.
    pub rss_bytes: u64,
}

/// A process that is being measured. Dropping it kills it.
pub struct Running {
    child: Child,
    started: Instant,
    name: String,
    log: std::path::PathBuf,
    ended: bool,
}

impl Running {
    /// Starts a program in `folder`; what it says goes to a file there.
    pub fn start(program: &Path, arguments: &[&str], folder: &Path) -> Result<Running> {
        let log = folder.join("said.log");
        let name = format!("{} {}", program.display(), arguments.join(" "));
        let mut command = Command::new(program);
        command.args(arguments).current_dir(folder).stdin(Stdio::null()).stdout(Stdio::null());
        command.stderr(std::fs::File::create(&log)?);
        let started = Instant::now();
        let child = command.spawn().map_err(|error| format!("{name}: {error}"))?;
        Ok(Running { child, started, name, log, ended: false })
    }

    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    pub fn started(&self) -> Instant {
        self.started
    }

    /// What it has said so far.
    pub fn said(&self) -> Result<String> {
        Ok(std::fs::read_to_string(&self.log)?)
    }

    /// True if it has ended by itself; who waits for its end still can.
    pub fn has_ended(&self) -> bool {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", self.child.id())).unwrap_or_default();
        stat.rsplit_once(')').is_none_or(|(_, behind_name)| behind_name.trim_start().starts_with('Z'))
    }

    /// Asks it to stop, as Ctrl-C does.
    pub fn interrupt(&self) {
        // SAFETY: a system call; the process is our child and not waited for yet.
        unsafe { libc::kill(self.child.id() as i32, libc::SIGINT) };
    }

    /// Waits for its end.
    ///
    /// # Errors
    /// It did not end with 0; with the last of what it said.
    pub fn end(mut self) -> Result<Used> {
        let (mut status, mut usage) = (0, std::mem::MaybeUninit::<libc::rusage>::zeroed());
        // SAFETY: our own child; both places live.
        let waited = unsafe { libc::wait4(self.child.id() as i32, &mut status, 0, usage.as_mut_ptr()) };
        let wall = self.started.elapsed();
        self.ended = true;
        if waited < 0 {
            return Err(format!("{}: {}", self.name, std::io::Error::last_os_error()).into());
        }
        // SAFETY: filled in by the kernel.
        let usage = unsafe { usage.assume_init() };
        if status != 0 {
            let said = std::fs::read_to_string(&self.log).unwrap_or_default();
            let lines: Vec<&str> = said.lines().collect();
            let last = lines[lines.len().saturating_sub(15)..].join("\n");
            return Err(format!("{} ended with status {status}:\n{last}", self.name).into());
        }
        let time = |t: libc::timeval| Duration::new(t.tv_sec as u64, t.tv_usec as u32 * 1_000);
        let cpu = time(usage.ru_utime) + time(usage.ru_stime);
        // Kilobytes on Linux.
        Ok(Used { wall, cpu, rss_bytes: usage.ru_maxrss as u64 * 1024 })
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if !self.ended {
            let _ = self.child.kill();
            let _ = self.child.wait();
        }
    }
}

/// Runs a program to its end.
pub fn run(program: &Path, arguments: &[&str], folder: &Path) -> Result<Used> {
    Running::start(program, arguments, folder)?.end()
}

/// Runs a part of this program to its end and gives what it printed.
pub fn ask_self(arguments: &[&str]) -> Result<String> {
    let output = Command::new(std::env::current_exe()?).args(arguments).stderr(Stdio::inherit()).output()?;
    match output.status.success() {
        true => Ok(String::from_utf8(output.stdout)?),
        false => Err(format!("`{}` failed", arguments.join(" ")).into()),
    }
}

/// CPU time that a living process has used so far.
pub fn cpu_of(pid: u32) -> Result<Duration> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat"))?;
    let behind_name = stat.rsplit_once(')').ok_or("the kernel tells nothing of a process")?.1;
    let fields: Vec<&str> = behind_name.split_whitespace().collect();
    let ticks: u64 = fields[11].parse::<u64>()? + fields[12].parse::<u64>()?;
    // SAFETY: no preconditions.
    let per_second = unsafe { libc::sysconf(libc::_SC_CLK_TCK) } as f64;
    Ok(Duration::from_secs_f64(ticks as f64 / per_second))
}
