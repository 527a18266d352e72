//! Figures of a benchmark beside those that were recorded before.

use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;
use std::process::ExitCode;

/// What a benchmark was asked for: `--check` fails when a figure has grown, `--save` records all of them anew.
#[derive(Clone, Copy)]
pub struct Asked {
    pub checks: bool,
    pub saves: bool,
}

impl Asked {
    /// `None` when nothing is to be measured: `cargo test` builds benchmarks and runs them without `--bench`.
    pub fn of(arguments: &[String]) -> Option<Asked> {
        let has = |word: &str| arguments.iter().any(|argument| argument == word);
        has("--bench").then(|| Asked { checks: has("--check"), saves: has("--save") })
    }
}

/// A table of names and figures, printed line by line.
pub struct Table {
    file: PathBuf,
    asked: Asked,
    recorded: BTreeMap<String, u64>,
    /// As the file will have it.
    lines: String,
    has_grown: bool,
}

impl Table {
    /// The table that `benches/<file>` records; `unit` is what its figures count.
    pub fn new(file: &str, unit: &str, asked: Asked) -> Table {
        let file = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("benches").join(file);
        let before = fs::read_to_string(&file).unwrap_or_default();
        let recorded = before
            .lines()
            .filter_map(|line| line.split_once('\t'))
            .filter_map(|(name, count)| Some((name.to_owned(), count.parse().ok()?)))
            .collect();
        println!("{:40} {unit:>14} {:>14}", "path", "recorded");
        Table { file, asked, recorded, lines: String::new(), has_grown: false }
    }

    /// Shows a figure. Growth by more than a tenth is taken for real.
    pub fn note(&mut self, name: &str, figure: u64) {
        self.lines += &format!("{name}\t{figure}\n");
        let before = self.recorded.get(name).copied();
        self.has_grown |= before.is_some_and(|before| figure > before + before / 10);
        let change = before.filter(|before| *before > 0).map(|before| figure as f64 / before as f64);
        let change = change.map(|change| format!("{:+.1} %", (change - 1.0) * 100.0)).unwrap_or_default();
        let before = before.map(|before| before.to_string()).unwrap_or_default();
        println!("{name:40} {figure:14} {before:>14} {change}");
    }

    /// Records what was asked for, and says how it ended.
    pub fn finish(self) -> ExitCode {
        if self.asked.saves {
            fs::write(&self.file, self.lines).expect("the table can be written");
        }
        if self.asked.checks && self.has_grown { ExitCode::FAILURE } else { ExitCode::SUCCESS }
    }
}
