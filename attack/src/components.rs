//! Uploads of components made by hand, of mutated components, and of mutated core modules.

use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result};
use fastrand::Rng;

use crate::Arguments;
use crate::client::Client;
use crate::service::{Options, Service};
use crate::tally::Tally;

/// Number of mutated components.
const MUTANTS: usize = 600;
/// Number of mutated core modules.
const CORES: usize = 42;
/// The module whose contract names a package that depends on itself.
const CYCLE: &[u8] = include_bytes!("../corpus/two-packages-in-a-cycle.wasm");

/// Uploads components made by hand.
pub async fn made(arguments: &Arguments) -> Result<Tally> {
    let mut all = Vec::new();
    for (name, text) in texts() {
        all.push((name, wat::parse_str(&text).with_context(|| text)?));
    }
    let good = std::fs::read(arguments.plugins.join("novelty.wasm"))?;
    for name in [
        "--help-",
        "-rf-/--",
        "-------",
        "../../a",
        "a/b/c/d",
        "NOVELTY",
        "\u{202e}abcd",
        "a b c d",
        "       ",
    ] {
        all.push((format!("the name {name:?}"), renamed(&good, name)));
    }
    all.push(("sections of contracts".to_owned(), many_contracts(2_000)));
    all.push((
        "an empty component".to_owned(),
        b"\0asm\x0d\0\x01\0".to_vec(),
    ));
    all.push(("an empty module".to_owned(), b"\0asm\x01\0\0\0".to_vec()));
    all.push(("text".to_owned(), b"(component)".to_vec()));
    all.push(("zeros".to_owned(), vec![0; 1 << 20]));
    all.push(("half a plugin".to_owned(), good[..good.len() / 2].to_vec()));
    all.push(("two plugins".to_owned(), [good.clone(), good].concat()));
    upload_all(arguments, all).await
}

/// Uploads mutated components.
pub async fn mutated(arguments: &Arguments) -> Result<Tally> {
    let good = std::fs::read(arguments.plugins.join("error-rate.wasm"))?;
    let mut random = Rng::with_seed(arguments.seed);
    let all = (0..MUTANTS).map(|number| {
        let mut bytes = good.clone();
        for _ in 0..random.usize(1..4) {
            // Most of a component is code, whose compilation takes long. Its structure is at both
            // ends.
            let at = match number % 6 {
                0 => random.usize(8..bytes.len()),
                1 | 2 => random.usize(8..4096),
                _ => random.usize(bytes.len() - 4096..bytes.len()),
            };
            bytes[at] = random.u8(..);
        }
        (format!("mutant {number}"), bytes)
    });
    upload_all(arguments, all.collect()).await
}

/// Uploads core modules whose description of the contract is mutated.
pub async fn cores(arguments: &Arguments) -> Result<Tally> {
    let good = core(&arguments.cores)?;
    let text = b"component-type";
    let section = good
        .windows(text.len())
        .position(|window| window == text)
        .context("the core module has no component-type section")?;
    let end = (section + 6_000).min(good.len());
    let mut all = vec![("two packages in a cycle".to_owned(), CYCLE.to_vec())];
    for seed in 0..CORES as u64 {
        let mut random = Rng::with_seed(arguments.seed ^ seed);
        let mut bytes = good.clone();
        for _ in 0..random.usize(1..4) {
            let at = random.usize(section..end);
            bytes[at] ^= 1 << random.u8(..8);
        }
        all.push((format!("core {seed}"), bytes));
    }
    upload_all(arguments, all).await
}

/// Returns the smallest shipped core module.
fn core(folder: &Path) -> Result<Vec<u8>> {
    let path = folder.join("anomalyzer_error_rate.wasm");
    std::fs::read(&path).with_context(|| format!("{} is not built", path.display()))
}

/// Uploads all inputs on four connections, and starts the service again if it ends.
async fn upload_all(arguments: &Arguments, all: Vec<(String, Vec<u8>)>) -> Result<Tally> {
    let mut tally = Tally::default();
    let mut service = Service::start(arguments, Options::default()).await?;
    for group in all.chunks(4) {
        let client = service.client("uploader");
        let uploads = group
            .iter()
            .map(|(_, bytes)| upload(&client, bytes.clone()));
        let answers = futures::future::join_all(uploads).await;
        let trouble = service.trouble().await;
        for ((name, bytes), answer) in group.iter().zip(answers) {
            tally.attempt(answer.is_ok() && trouble.is_none(), || {
                let file = arguments
                    .out
                    .join(format!("{}.wasm", name.replace([' ', '/'], "-")));
                let _ = std::fs::write(&file, bytes);
                let trouble = trouble.clone().or(answer.err());
                format!(
                    "{name} ({}): {}",
                    file.display(),
                    trouble.unwrap_or_default()
                )
            });
        }
        service.revive().await?;
    }
    Ok(tally)
}

async fn upload(client: &Client, bytes: Vec<u8>) -> Result<(), String> {
    for _ in 0..100 {
        match client.upload(bytes.clone(), "?live=false").await {
            // Too many uploads wait: it is asked again.
            Ok((status, _)) if status == 429 || status == 503 => {
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
            Ok((status, _)) if status.is_server_error() => return Err(status.to_string()),
            Ok(_) => return Ok(()),
            Err(error) => return Err(error.to_string()),
        }
    }
    Err("no place for the upload within 100 tries".to_owned())
}

/// Returns the plugin `novelty` under another name of equal length. The old name is replaced
/// everywhere, because strings of a module stand side by side.
pub fn renamed(bytes: &[u8], new: &str) -> Vec<u8> {
    let (old, new, mut bytes) = (b"novelty", new.as_bytes(), bytes.to_vec());
    if old.len() != new.len() {
        return bytes;
    }
    let mut at = 0;
    while at + old.len() <= bytes.len() {
        if &bytes[at..at + old.len()] == old {
            bytes[at..at + old.len()].copy_from_slice(new);
        }
        at += 1;
    }
    bytes
}

/// Returns a module with `count` empty contracts, for which the encoder takes quadratic time.
fn many_contracts(count: usize) -> Vec<u8> {
    let mut bytes = b"\0asm\x01\0\0\0".to_vec();
    for number in 0..count {
        let name = format!("component-type:{number:08}");
        let mut section = vec![u8::try_from(name.len()).unwrap_or(u8::MAX)];
        section.extend_from_slice(name.as_bytes());
        section.extend_from_slice(b"\0asm\x0d\0\x01\0");
        bytes.push(0);
        bytes.push(u8::try_from(section.len()).unwrap_or(u8::MAX));
        bytes.extend_from_slice(&section);
    }
    bytes
}

/// Returns components and modules in text form.
fn texts() -> Vec<(String, String)> {
    let mut texts = vec![
        ("a start function".into(), "(module (func $s (loop (br 0))) (start $s))".into()),
        ("a memory of 4 GiB".into(), "(module (memory 65536))".into()),
        ("a table of 4 G entries".into(), "(module (table 4294967295 funcref))".into()),
        ("a shared memory".into(), "(module (memory 1 2 shared))".into()),
        ("a memory of 64 bits".into(), "(module (memory i64 1))".into()),
        ("an import".into(), "(module (import \"env\" \"system\" (func)))".into()),
        ("WASI".into(), "(module (import \"wasi_snapshot_preview1\" \"fd_write\" (func)))".into()),
        ("a component with WASI".into(),
         "(component (import \"wasi:filesystem/types@0.2.0\" (instance)))".into()),
        ("an unknown export".into(),
         "(component (core module $m (func (export \"f\"))) (core instance $i (instantiate $m)) \
          (func $f (canon lift (core func $i \"f\"))) (export \"describe\" (func $f)))".into()),
    ];
    for depth in [10, 100, 1_000, 5_000] {
        let nested = format!("{}{}", "(component ".repeat(depth), ")".repeat(depth));
        if wat::parse_str(&nested).is_ok() {
            texts.push((format!("{depth} nested components"), nested));
        }
        let blocks = format!(
            "(module (func {}{}))",
            "(block ".repeat(depth),
            ")".repeat(depth)
        );
        if wat::parse_str(&blocks).is_ok() {
            texts.push((format!("{depth} nested blocks"), blocks));
        }
    }
    for count in [1_000, 20_000] {
        texts.push((
            format!("{count} functions"),
            format!("(module {})", "(func)".repeat(count)),
        ));
        texts.push((
            format!("{count} types"),
            format!("(module {})", "(type (func (param i32)))".repeat(count)),
        ));
        texts.push((
            format!("{count} locals"),
            format!("(module (func (local {})))", "i64 ".repeat(count)),
        ));
        texts.push((
            format!("{count} modules"),
            format!("(component {})", "(core module)".repeat(count.min(2_000))),
        ));
        texts.push((
            format!("{count} exports"),
            format!(
                "(module (func $f) {})",
                (0..count)
                    .map(|n| format!("(export \"{n}\" (func $f))"))
                    .collect::<String>()
            ),
        ));
    }
    texts
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_replaced_everywhere_by_one_of_equal_length() {
        assert_eq!(
            renamed(b"a novelty-novelty", "d000000"),
            b"a d000000-d000000"
        );
        assert_eq!(renamed(b"a novelty", "longer-name"), b"a novelty");
    }

    #[test]
    fn every_text_is_a_module_or_a_component() {
        for (name, text) in texts() {
            assert!(wat::parse_str(&text).is_ok(), "{name}");
        }
        assert!(many_contracts(3).len() > 100);
    }
}
