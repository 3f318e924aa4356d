//! The verbs, one file each, thin: read, call, print.

pub fn main() -> std::process::ExitCode {
    std::process::ExitCode::SUCCESS
}
