//! Arguments → cli → exit code.

/// Records are allocated in the Kafka client's threads and freed in ours: glibc's allocator doubles
/// the CPU time of that, so this one serves Rust and, through `override`, C.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() {
    let code = runner::cli::main();
    // What could not be printed was said, or nobody reads it.
    let _ = std::io::Write::flush(&mut std::io::stdout());
    runner::cli::leave(code)
}
