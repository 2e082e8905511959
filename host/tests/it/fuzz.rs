//! Tests every entry point with its corpus and with mutations of the corpus, for seconds. `cargo
//! xtask fuzz` runs without a time limit and sees which code is reached.

use std::fs;
use std::time::{Duration, Instant};

#[path = "../../../fuzz/entry_points.rs"]
mod entry_points;

/// Time with mutated input for each entry point. All entry points run at once, so the test takes
/// little longer than this.
const TIME: Duration = Duration::from_secs(3);
/// Seed of the mutations. It is fixed, so that a failure can be reproduced.
const SEED: u64 = 9;

#[test]
fn every_entry_point_survives_its_corpus_and_mutations() {
    std::thread::scope(|scope| {
        for (name, enter) in entry_points::ENTRY_POINTS {
            scope.spawn(move || {
                let folder = format!("{}/../fuzz/corpus/{name}", env!("CARGO_MANIFEST_DIR"));
                let mut corpus: Vec<Vec<u8>> = fs::read_dir(&folder)
                    .unwrap()
                    .map(|entry| fs::read(entry.unwrap().path()).unwrap())
                    .collect();
                assert!(!corpus.is_empty(), "{folder} is empty");
                corpus.sort();
                corpus.push(Vec::new());
                corpus.iter().for_each(|input| enter(input));
                let (mut random, begun, mut entered) =
                    (fastrand::Rng::with_seed(SEED), Instant::now(), 0);
                while begun.elapsed() < TIME {
                    enter(&mutated(&corpus, &mut random));
                    entered += 1;
                }
                println!(
                    "{name}: {} from the corpus, {entered} mutated",
                    corpus.len()
                );
            });
        }
    });
}

#[test]
fn every_entry_point_has_a_corpus_and_a_fuzz_target() {
    let stems = |folder: &str| {
        let entries = fs::read_dir(format!("{}/../fuzz/{folder}", env!("CARGO_MANIFEST_DIR")));
        let mut stems: Vec<String> = entries
            .unwrap()
            .map(|entry| entry.unwrap().path())
            .map(|path| path.file_stem().unwrap().to_str().unwrap().to_owned())
            .collect();
        stems.sort();
        stems
    };
    let mut names = entry_points::ENTRY_POINTS.map(|(name, _)| name);
    names.sort_unstable();
    assert_eq!(stems("corpus"), names);
    assert_eq!(stems("fuzz_targets"), names);
}

/// Returns an input of the corpus with bytes changed, doubled, left out, or joined to another
/// input.
fn mutated(corpus: &[Vec<u8>], random: &mut fastrand::Rng) -> Vec<u8> {
    const WELL_KNOWN: [&[u8]; 8] = [
        b"\xff\xff\xff\xff",
        b"\0\0\0\0",
        b"-1",
        b"1e999",
        b"\"",
        b"[[[[[[[[",
        b"9223372036854775808",
        b"\n",
    ];
    let mut bytes = corpus[random.usize(..corpus.len())].clone();
    for _ in 0..random.usize(1..6) {
        let at = random.usize(..=bytes.len());
        let end = (at + random.usize(..32)).min(bytes.len());
        match random.u8(..6) {
            0 if at < bytes.len() => bytes[at] = random.u8(..),
            1 if at < bytes.len() => bytes[at] ^= 1 << random.u8(..8),
            2 => drop(bytes.drain(at..end)),
            3 => {
                let piece = bytes[at..end].to_vec();
                bytes.splice(at..at, piece);
            }
            4 => drop(bytes.splice(at..at, WELL_KNOWN[random.usize(..8)].iter().copied())),
            _ => {
                let other = &corpus[random.usize(..corpus.len())];
                bytes.truncate(at);
                bytes.extend_from_slice(&other[random.usize(..=other.len())..]);
            }
        }
    }
    bytes
}
