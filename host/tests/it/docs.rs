//! Tests of the documentation: its configurations, its links and the files that it names.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use anomalyzer_service::config;

/// Returns the blocks of a page that are TOML, each with the number of its first line.
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

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

/// Lists the pages of a folder and of the folders in it.
fn pages_in(folder: &Path, pages: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            pages_in(&path, pages);
        } else if path.extension().is_some_and(|extension| extension == "md") {
            pages.push(path);
        }
    }
}

fn pages() -> Vec<PathBuf> {
    let root = root();
    let mut pages: Vec<PathBuf> = [
        "README.md",
        "ARCHITECTURE.md",
        "CONTRIBUTING.md",
        "plugins/examples/README.md",
    ]
    .iter()
    .map(|page| root.join(page))
    .collect();
    pages_in(&root.join("docs"), &mut pages);
    pages
}

/// Returns the text between backticks, outside of code blocks.
fn quoted(page: &str) -> Vec<&str> {
    let mut in_block = false;
    let mut quoted = Vec::new();
    for line in page.lines() {
        if line.starts_with("```") {
            in_block = !in_block;
        } else if !in_block {
            quoted.extend(line.split('`').skip(1).step_by(2));
        }
    }
    quoted
}

#[test]
fn every_configuration_in_the_documentation_is_one() {
    let mut tried = 0;
    for page in pages() {
        for (line, block) in blocks(&fs::read_to_string(&page).unwrap()) {
            // Cases for `policy test`.
            if block.contains("[[case]]") {
                continue;
            }
            tried += 1;
            // A folder that only a reader has.
            let block = block.replace("\"metrics/\"", "\"history\"");
            if let Err(error) = config::parse(&page, &block) {
                panic!("{} at line {line}: {error}", page.display());
            }
        }
    }
    assert!(tried >= 5, "only {tried} were found");
}

#[test]
fn every_link_in_the_documentation_leads_to_a_file() {
    let mut broken = Vec::new();
    for page in pages() {
        let text = fs::read_to_string(&page).unwrap();
        for link in text
            .split("](")
            .skip(1)
            .filter_map(|rest| rest.split(')').next())
        {
            let file = link.split('#').next().unwrap_or_default();
            let here = file.is_empty() || file.contains("://");
            if !here && !page.with_file_name(file).exists() {
                broken.push(format!("{}: {link}", page.display()));
            }
        }
    }
    assert!(broken.is_empty(), "{}", broken.join("\n"));
}

#[test]
fn every_file_that_the_documentation_names_exists() {
    const FOLDERS: [&str; 8] = [
        "crates/", "host/", "plugins/", "fuzz/", "testbed/", "xtask/", "deploy/", "wit/",
    ];
    let root = root();
    let mut missing = BTreeSet::new();
    for page in pages() {
        let text = fs::read_to_string(&page).unwrap();
        for name in quoted(&text) {
            let is_path = FOLDERS.iter().any(|folder| name.starts_with(folder))
                && !name.contains(['*', ' ', '<', '{', 'N']);
            if is_path && !root.join(name).exists() {
                missing.insert(format!("{}: {name}", page.display()));
            }
        }
    }
    let missing: Vec<String> = missing.into_iter().collect();
    assert!(missing.is_empty(), "{}", missing.join("\n"));
}

#[test]
fn the_reference_has_every_key_of_the_example() {
    let root = root();
    let reference = fs::read_to_string(root.join("docs/reference/configuration.md")).unwrap();
    let explained: BTreeSet<&str> = reference
        .split('`')
        .flat_map(|text| text.split(|c: char| !(c.is_ascii_alphanumeric() || c == '_')))
        .collect();
    let example = fs::read_to_string(root.join("anomalyzer.example.toml")).unwrap();
    let missing: BTreeSet<&str> = example
        .split("[signal.detectors.settings]")
        .enumerate()
        // The keys of detectors are on the pages of the detectors.
        .flat_map(|(part, text)| {
            let settings = if part == 0 { 0 } else { 1 };
            text.split("\n\n").skip(settings).flat_map(str::lines)
        })
        .filter_map(|line| line.trim_start_matches("# ").split_once(" = "))
        .map(|(key, _)| key)
        .filter(|key| key.chars().all(|c| c.is_ascii_lowercase() || c == '_'))
        .filter(|key| !explained.contains(key))
        .collect();
    assert!(missing.is_empty(), "{missing:?}");
}
