//! Log lines from `read_logs`, counted by level.

use std::fmt;

use serde::Deserialize;

const SHOWN: usize = 5;
const SHOWN_CHARACTERS: usize = 200;

/// Log lines, with counts of errors and warnings.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LogLines {
    /// Number of all lines.
    pub total: usize,
    /// Number of lines that report an error, a panic or another fatal fault.
    pub errors: usize,
    /// Number of lines that warn.
    pub warnings: usize,
    /// Last error lines, oldest first, cut to a maximum length.
    pub last_errors: Vec<String>,
}

impl LogLines {
    /// Reads the answer to a `read_logs` that was done: `{"lines": […]}`. Any other text counts as
    /// no lines.
    pub fn read(done: &str) -> Self {
        #[derive(Default, Deserialize)]
        struct Answer {
            lines: Vec<String>,
        }
        let lines = serde_json::from_str::<Answer>(done)
            .unwrap_or_default()
            .lines;
        let mut counted = Self {
            total: lines.len(),
            ..Self::default()
        };
        for line in &lines {
            match level(line) {
                Level::Error => {
                    counted.errors += 1;
                    if counted.last_errors.len() == SHOWN {
                        counted.last_errors.remove(0);
                    }
                    counted
                        .last_errors
                        .push(line.trim_end().chars().take(SHOWN_CHARACTERS).collect());
                }
                Level::Warning => counted.warnings += 1,
                Level::Other => {}
            }
        }
        counted
    }
}

impl fmt::Display for LogLines {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} lines: {} errors, {} warnings",
            self.total, self.errors, self.warnings
        )?;
        if !self.last_errors.is_empty() {
            f.write_str("; last errors:")?;
            for line in &self.last_errors {
                write!(f, "\n  {line}")?;
            }
        }
        Ok(())
    }
}

enum Level {
    Error,
    Warning,
    Other,
}

/// Returns the level of a line by the first word that names a level. Formats differ, but the level
/// stands before the text.
fn level(line: &str) -> Level {
    for word in line.split(|c: char| !c.is_ascii_alphanumeric()) {
        match word.to_ascii_lowercase().as_str() {
            "error" | "err" | "fatal" | "panic" | "panicked" | "critical" | "crit"
            | "exception" | "traceback" => {
                return Level::Error;
            }
            "warn" | "warning" => return Level::Warning,
            "info" | "debug" | "trace" | "notice" => return Level::Other,
            _ => {}
        }
    }
    Level::Other
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_counted_by_the_level_that_stands_first() {
        let lines = [
            "web-1 2026-01-01T00:00:00Z ERROR cannot connect",
            "web-1 level=warn msg=\"error rate high\"",
            "web-1 INFO no error today",
            "thread 'main' panicked at src/main.rs",
            "terror and errors are other words",
        ];
        let counted = LogLines::read(&serde_json::json!({ "lines": lines }).to_string());
        assert_eq!((counted.total, counted.errors, counted.warnings), (5, 2, 1));
        assert_eq!(counted.last_errors, [lines[0], lines[3]]);
        assert!(
            counted
                .to_string()
                .starts_with("5 lines: 2 errors, 1 warnings; last errors:")
        );
    }

    #[test]
    fn only_the_last_error_lines_are_kept_and_they_are_cut() {
        let lines: Vec<String> = (0..20)
            .map(|i| format!("error {i} {}", "é".repeat(1000)))
            .collect();
        let counted = LogLines::read(&serde_json::json!({ "lines": lines }).to_string());
        assert_eq!(counted.last_errors.len(), SHOWN);
        assert!(counted.last_errors[0].starts_with("error 15"));
        assert_eq!(counted.last_errors[4].chars().count(), SHOWN_CHARACTERS);
    }

    #[test]
    fn an_answer_of_another_shape_counts_as_no_lines() {
        for answer in ["null", "[]", "", r#"{"lines": 3}"#] {
            assert_eq!(LogLines::read(answer), LogLines::default());
        }
    }
}
