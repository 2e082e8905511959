//! Configuration and the environment: `crates/service` reads both, and hands values down.

use anyhow::Result;

use super::imports::paths;
use super::source::{SourceFile, has_word, scan};
use super::tree::Tree;
use super::{CRATES, Report, Violation};

/// Name of the crate in code.
const SERVICE: &str = "anomalyzer_service";
/// Folders that may name the configuration of the service.
const CONFIG_USERS: [&str; 2] = ["crates/service/", "crates/demo/"];
/// Paths that may read environment variables. Build scripts may too: cargo speaks to them so.
const ENVIRONMENT_READERS: [&str; 2] = ["crates/service/", "crates/common/src/failpoint"];

pub fn check_config(tree: &Tree) -> Result<Report> {
    let files = tree.sources(&[CRATES])?;
    let files: Vec<SourceFile> = files
        .into_iter()
        .filter(|file| !CONFIG_USERS.iter().any(|user| file.path.starts_with(user)))
        .collect();
    let mut violations = Vec::new();
    for file in &files {
        for path in paths(&file.code()) {
            let names: Vec<&str> = path.segments.iter().map(String::as_str).collect();
            if let [SERVICE, "Config", ..] | [SERVICE, "config", "Config", ..] = names[..] {
                violations.push(Violation::new(file.place(path.line), names.join("::")));
            }
        }
    }
    Ok(Report {
        summary: format!(
            "{} files without the configuration of the service",
            files.len()
        ),
        violations,
        remedy: "take a configuration of your own crate; crates/service builds it from its Config",
    })
}

pub fn check_environment(tree: &Tree) -> Result<Report> {
    let files = tree.sources(&[CRATES])?;
    let files: Vec<SourceFile> = files
        .into_iter()
        .filter(|file| {
            let may_read = ENVIRONMENT_READERS
                .iter()
                .any(|reader| file.path.starts_with(reader));
            !may_read && !file.path.ends_with("/build.rs")
        })
        .collect();
    let violations = scan(&files, SourceFile::code, |line| {
        // `env::var` also begins `env::var_os` and `env::vars`.
        let reads = ["env::var", "env::var_os", "env::vars", "env::vars_os"];
        reads
            .iter()
            .any(|read| has_word(line, read))
            .then(|| "reads an environment variable".to_owned())
    });
    Ok(Report {
        summary: format!("{} files without `std::env::var`", files.len()),
        violations,
        remedy: "read the variable in crates/service and hand its value down",
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::lint::tree::fixture::Fixture;

    #[track_caller]
    fn places(report: Result<Report>) -> Vec<String> {
        let violations = report.unwrap().violations.into_iter();
        violations.map(|violation| violation.place).collect()
    }

    #[test]
    fn the_configuration_of_the_service_is_found_below_it() {
        let fixture = Fixture::new(&[
            (
                "crates/api/src/lib.rs",
                "// anomalyzer_service::Config\nuse anomalyzer_service::{Config, Role};\n\
                 fn f(c: anomalyzer_service::config::Config) {}\n",
            ),
            (
                "crates/demo/src/lib.rs",
                "use anomalyzer_service::Config;\n",
            ),
            (
                "crates/service/src/lib.rs",
                "use anomalyzer_service::Config;\n",
            ),
        ]);
        assert_eq!(
            places(check_config(&fixture.tree())),
            ["crates/api/src/lib.rs:2", "crates/api/src/lib.rs:3"]
        );
        fixture.write(
            "crates/api/src/lib.rs",
            "use anomalyzer_service::ConfigError;\nuse crate::Config;\n",
        );
        assert!(places(check_config(&fixture.tree())).is_empty());
    }

    #[test]
    fn reads_of_the_environment_are_found_below_the_service() {
        let fixture = Fixture::new(&[
            (
                "crates/api/src/lib.rs",
                "use std::env;\nfn f() { env::var_os(\"A\"); }\nfn g() { std::env::var(\"A\"); }\n",
            ),
            (
                "crates/api/build.rs",
                "fn main() { std::env::var(\"A\"); }\n",
            ),
            (
                "crates/service/src/lib.rs",
                "fn f() { std::env::var(\"A\"); }\n",
            ),
            (
                "crates/common/src/failpoint.rs",
                "fn f() { std::env::var(\"A\"); }\n",
            ),
        ]);
        assert_eq!(
            places(check_environment(&fixture.tree())),
            ["crates/api/src/lib.rs:2", "crates/api/src/lib.rs:3"]
        );
        fixture.write(
            "crates/api/src/lib.rs",
            "fn f() { std::env::temp_dir(); }\n",
        );
        assert!(places(check_environment(&fixture.tree())).is_empty());
    }
}
