//! The bare disk: what `pwrite` and `fdatasync` give, with nothing around them.

use std::fs::{self, File, OpenOptions};
use std::os::unix::fs::FileExt;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use anyhow::{Context, Result};
use clap::Args;
use nix::sys::resource::{UsageWho, getrusage};
use nix::sys::time::TimeVal;

use crate::append::race;
use crate::row::Out;

/// Bytes that a file is filled with zeros when it is to have its blocks beforehand.
const FILLED: usize = 64 << 20;

/// Where, how many threads, how long, how large.
#[derive(Args)]
pub struct Arguments {
    /// A directory on the disk; files are made there and removed.
    #[arg(long)]
    dir: PathBuf,
    #[arg(long, value_delimiter = ',', default_value = "1,2,4,8,16,32,64")]
    connections: Vec<usize>,
    /// Seconds for each number of threads.
    #[arg(long, default_value_t = 3.0)]
    secs: f64,
    /// Bytes of each write.
    #[arg(long, default_value_t = 4000)]
    size: usize,
    /// All write to one file; otherwise each to its own.
    #[arg(long)]
    one_mailbox: bool,
    /// Write into blocks that the file already has, instead of making it longer.
    #[arg(long)]
    filled: bool,
}

struct Writer {
    file: Arc<File>,
    end: Arc<AtomicU64>,
    bytes: Vec<u8>,
}

/// Measures each number of threads.
///
/// # Errors
/// When the directory cannot be written to.
pub fn run(arguments: &Arguments, out: Out) -> Result<()> {
    for &count in &arguments.connections {
        let files = if arguments.one_mailbox { 1 } else { count };
        let paths: Vec<PathBuf> = (0..files).map(|n| arguments.dir.join(format!("load-disk-{n}"))).collect();
        let result = measure(arguments, count, &paths, out);
        paths.iter().for_each(|path| drop(fs::remove_file(path)));
        result?;
    }
    Ok(())
}

fn measure(arguments: &Arguments, count: usize, paths: &[PathBuf], out: Out) -> Result<()> {
    let mut files = Vec::new();
    for path in paths {
        let file = OpenOptions::new().write(true).create(true).truncate(true).open(path);
        let file = file.with_context(|| format!("cannot write {}", path.display()))?;
        if arguments.filled {
            file.write_all_at(&vec![0; FILLED / paths.len()], 0)?;
        }
        file.sync_all()?;
        files.push((Arc::new(file), Arc::new(AtomicU64::new(0))));
    }
    let writers = (0..count).map(|n| {
        let (file, end) = files[n % files.len()].clone();
        Writer { file, end, bytes: vec![b'x'; arguments.size] }
    });
    let wrap = if arguments.filled { (FILLED / paths.len()) as u64 } else { u64::MAX };
    let before = own_cpu();
    let (mut samples, rate) = race(writers.collect(), arguments.secs, |writer| {
        let at = writer.end.fetch_add(writer.bytes.len() as u64, Ordering::Relaxed);
        writer.file.write_all_at(&writer.bytes, at % (wrap - writer.bytes.len() as u64))?;
        Ok(writer.file.sync_data()?)
    })?;
    let done = samples.count() as f64;
    let cpu = own_cpu().zip(before).map(|(after, before)| (after - before) / done);
    let row = out.row("disk").number("connections", count as f64).number("per_s", rate);
    samples.write(row.maybe("cpu_us", cpu)).print();
    Ok(())
}

/// Microseconds of processor time that this process has used.
fn own_cpu() -> Option<f64> {
    let usage = getrusage(UsageWho::RUSAGE_SELF).ok()?;
    let micros = |time: TimeVal| time.tv_sec() as f64 * 1e6 + time.tv_usec() as f64;
    Some(micros(usage.user_time()) + micros(usage.system_time()))
}
