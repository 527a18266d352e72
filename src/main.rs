//! The one program; `cli` decides which command was meant.

use std::process::ExitCode;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    heliograph::cli::run(std::env::args_os())
}
