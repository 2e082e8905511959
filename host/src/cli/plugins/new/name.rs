//! Checks the name of a new plugin.

use super::Language;

const LONGEST: usize = 63;

/// Names that a Rust plugin can't have, because the plugin's name is also the name of its crate:
/// keywords, crates that come with the compiler, and dependencies of the project. Lists only names
/// that are well-formed otherwise.
const TAKEN_IN_RUST: [&str; 62] = [
    "abstract",
    "alloc",
    "anomalyzer-plugin-sdk",
    "as",
    "async",
    "await",
    "become",
    "box",
    "break",
    "const",
    "continue",
    "core",
    "crate",
    "do",
    "dyn",
    "else",
    "enum",
    "extern",
    "false",
    "final",
    "fn",
    "for",
    "gen",
    "if",
    "impl",
    "in",
    "let",
    "loop",
    "macro",
    "match",
    "mod",
    "move",
    "mut",
    "override",
    "priv",
    "proc-macro",
    "pub",
    "ref",
    "return",
    "schemars",
    "self",
    "serde",
    "serde-json",
    "static",
    "std",
    "struct",
    "super",
    "test",
    "trait",
    "true",
    "try",
    "type",
    "typeof",
    "unsafe",
    "unsized",
    "use",
    "virtual",
    "wasm",
    "where",
    "while",
    "wit-bindgen",
    "yield",
];

/// Returns an error if a plugin in `language` can't have this name.
pub(super) fn check(name: &str, language: Language) -> Result<(), String> {
    let proper = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
    if name.is_empty() || name.len() > LONGEST || !name.chars().all(proper) {
        return Err(format!(
            "`{}` can't be the name of a plugin: give lower-case letters, digits and hyphens, at most {LONGEST}",
            name.escape_debug()
        ));
    }
    if language == Language::Rust {
        if !name.starts_with(|c: char| c.is_ascii_lowercase()) {
            return Err(format!(
                "`{name}` can't be the name of a crate: begin with a letter"
            ));
        }
        if TAKEN_IN_RUST.contains(&name) {
            return Err(format!(
                "`{name}` can't be the name of a crate, as Rust has it already: give another"
            ));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_those_that_the_host_and_the_language_take() {
        let longest = "a".repeat(63);
        for good in ["jump", "my-detector-2", "a", &longest] {
            assert_eq!(check(good, Language::Rust), Ok(()), "{good}");
        }
        let too_long = "a".repeat(64);
        for bad in [
            "",
            "Jump",
            "my_detector",
            "a b",
            "../x",
            "ä",
            "a\n",
            &too_long,
            "7up",
            "-x",
            "match",
            "serde",
        ] {
            let error = check(bad, Language::Rust).unwrap_err();
            assert!(
                error.contains("can't be the name") && !error.contains('\n'),
                "{error}"
            );
        }
        assert_eq!(check("7up", Language::Python), Ok(()));
    }
}
