//! Repeats something for a while, and says what one time took and cost.

use std::time::{Duration, Instant};

use anyhow::Result;

use crate::row::Out;
use crate::stats::Samples;
use crate::usage::Meter;

/// How often and how long a command is repeated.
#[derive(Clone, Copy)]
pub struct Effort {
    /// At least this often,
    pub least: usize,
    /// at most this often,
    pub most: usize,
    /// and not begun again after this time.
    pub time: Duration,
}

/// Measures `each`, whose argument counts up, and prints a line: `x` (named `by`), the command's name, median and
/// 99th percentile of its time, and the server's processor time.
///
/// # Errors
/// Those of `each`.
pub fn measure(
    out: Out,
    (by, x): (&str, usize),
    name: &str,
    meter: &Meter,
    effort: Effort,
    mut each: impl FnMut(usize) -> Result<Duration>,
) -> Result<()> {
    each(0)?;
    let (mut samples, begun, before) = (Samples::default(), Instant::now(), meter.cpu());
    while samples.count() < effort.least || (samples.count() < effort.most && begun.elapsed() < effort.time) {
        samples.add(each(1 + samples.count())?);
    }
    let count = samples.count() as f64;
    let cpu = meter.cpu().zip(before).map(|(after, before)| (after - before) / count);
    let row = out.row(by).number("x", x as f64).word("command", name).number("count", count);
    row.number("p50_us", samples.percentile(0.5))
        .number("p99_us", samples.percentile(0.99))
        .maybe("cpu_us", cpu)
        .print();
    Ok(())
}

/// The time `run` takes.
///
/// # Errors
/// Those of `run`.
pub fn timed(run: impl FnOnce() -> Result<()>) -> Result<Duration> {
    let begun = Instant::now();
    run()?;
    Ok(begun.elapsed())
}
