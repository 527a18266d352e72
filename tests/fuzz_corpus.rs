//! The fuzzers' functions over the inputs in `fuzz/corpus`: what was found once stays mended, without a fuzzer. Each input
//! comes as it is, cut short, and with single bits changed.

use std::fs;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};

#[path = "../fuzz/targets.rs"]
mod targets;

use targets::{TARGETS, Target};

/// Variants of each input.
const VARIANTS: usize = 40;

#[test]
fn no_input_of_the_corpus_is_too_much() {
    for (name, target) in TARGETS {
        let inputs = corpus(name);
        assert!(inputs.len() > 2, "fuzz/corpus/{name} is empty");
        for path in inputs {
            let input = fs::read(&path).expect("an input");
            try_input(*target, &input, &path, 0);
            for variant in 1..=VARIANTS {
                try_input(*target, &varied(&input, variant), &path, variant);
            }
        }
    }
}

fn corpus(name: &str) -> Vec<PathBuf> {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus").join(name);
    let mut paths: Vec<PathBuf> =
        fs::read_dir(dir).expect("a corpus").flatten().map(|entry| entry.path()).collect();
    paths.sort();
    paths
}

fn try_input(target: Target, input: &[u8], path: &Path, variant: usize) {
    let held = catch_unwind(AssertUnwindSafe(|| target(input)));
    assert!(held.is_ok(), "{}, variant {variant}", path.display());
}

/// Every fourth variant is cut, the others have a bit changed somewhere.
fn varied(input: &[u8], variant: usize) -> Vec<u8> {
    let mut varied = input.to_vec();
    let at = variant.wrapping_mul(0x9e37_79b9) % input.len().max(1);
    match varied.get_mut(at) {
        Some(_) if variant.is_multiple_of(4) => varied.truncate(at),
        Some(byte) => *byte ^= 1 << (variant % 8),
        None => {}
    }
    varied
}
