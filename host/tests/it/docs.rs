//! Tests that the program accepts the configurations in the documentation.

use std::fs;
use std::path::{Path, PathBuf};

use anomalyzer_service::config;

/// Returns the TOML blocks of a page, each with the number of its first line.
fn blocks(page: &str) -> Vec<(usize, String)> {
    let mut blocks = Vec::new();
    let mut lines = page.lines().enumerate();
    while let Some((number, line)) = lines.next() {
        if line == "```toml" {
            let block: Vec<&str> = lines
                .by_ref()
                .map(|(_, line)| line)
                .take_while(|line| *line != "```")
                .collect();
            blocks.push((number + 2, block.join("\n")));
        }
    }
    blocks
}

fn pages() -> Vec<PathBuf> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let mut pages = vec![
        root.join("README.md"),
        root.join("plugins/examples/README.md"),
    ];
    for folder in ["docs", "docs/detectors"] {
        let entries = fs::read_dir(root.join(folder))
            .unwrap()
            .map(|entry| entry.unwrap().path());
        pages.extend(
            entries.filter(|path| path.extension().is_some_and(|extension| extension == "md")),
        );
    }
    pages
}

#[test]
fn every_configuration_in_the_documentation_is_one() {
    let mut tried = 0;
    for page in pages() {
        for (line, block) in blocks(&fs::read_to_string(&page).unwrap()) {
            // Skip cases for `policy test`.
            if block.contains("[[case]]") {
                continue;
            }
            tried += 1;
            // Replace a folder that only a reader has.
            let block = block.replace("\"metrics/\"", "\"history\"");
            if let Err(error) = config::parse(&page, &block) {
                panic!("{} at line {line}: {error}", page.display());
            }
        }
    }
    assert!(tried >= 5, "only {tried} were found");
}
