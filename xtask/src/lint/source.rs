//! Rust source text: separates code from comments, literals and tests.

use std::collections::BTreeSet;

use super::Violation;

/// Marks the next item as part of the tests.
const TEST_ATTRIBUTE: &str = "#[cfg(test)]";

/// A Rust file of the workspace.
#[derive(Debug)]
pub struct SourceFile {
    /// Path below the root of the workspace.
    pub path: String,
    pub text: String,
}

impl SourceFile {
    pub fn new(path: impl Into<String>, text: impl Into<String>) -> Self {
        Self {
            path: path.into(),
            text: text.into(),
        }
    }

    /// Returns the text with comments and the contents of literals blanked. Lines keep their
    /// numbers.
    pub fn code(&self) -> String {
        blank_comments_and_literals(&self.text)
    }

    /// Returns [`Self::code`] with items under `#[cfg(test)]` blanked too.
    pub fn production_code(&self) -> String {
        let code = self.code();
        if code.contains("#![cfg(test)]") {
            return code.lines().map(|_| "\n").collect();
        }
        blank_tests(&code)
    }

    /// Returns the place of a line, counted from 0.
    pub fn place(&self, line: usize) -> String {
        format!("{}:{}", self.path, line + 1)
    }
}

/// Returns a violation for each line of the code of `files` for which `problem` returns one. The
/// parameter `code` chooses the part of each file.
pub fn scan(
    files: &[SourceFile],
    code: fn(&SourceFile) -> String,
    problem: impl Fn(&str) -> Option<String>,
) -> Vec<Violation> {
    let mut violations = Vec::new();
    for file in files {
        for (number, line) in code(file).lines().enumerate() {
            if let Some(problem) = problem(line) {
                violations.push(Violation::new(file.place(number), problem));
            }
        }
    }
    violations
}

/// Returns the files that are not part of the tests: without `tests` and `benches` folders, files
/// named `tests.rs`, and files that a `#[cfg(test)] mod` declares.
pub fn production_files(files: Vec<SourceFile>) -> Vec<SourceFile> {
    let declared: BTreeSet<String> = files.iter().flat_map(test_modules).collect();
    let is_test = |path: &str| {
        let module = path.strip_suffix(".rs").unwrap_or(path);
        module
            .split('/')
            .any(|part| part == "tests" || part == "benches")
            || declared
                .iter()
                .any(|test| module == test || module.starts_with(&format!("{test}/")))
    };
    files
        .into_iter()
        .filter(|file| !is_test(&file.path))
        .collect()
}

/// Returns the paths, without `.rs`, of the modules that `file` declares under `#[cfg(test)]`.
fn test_modules(file: &SourceFile) -> Vec<String> {
    let folder = module_folder(&file.path);
    let code = file.code();
    let declarations = code.split(TEST_ATTRIBUTE).skip(1);
    let names = declarations.filter_map(|rest| {
        let item = rest.split([';', '{']).next()?;
        // Further attributes and the visibility come first.
        let item = item.rsplit(']').next()?;
        let (_, name) = item.rsplit_once("mod ")?;
        Some(format!("{folder}/{}", name.trim()))
    });
    names.collect()
}

/// Returns the folder that holds the submodules of the module in the file at `path`.
pub fn module_folder(path: &str) -> String {
    let module = path.strip_suffix(".rs").unwrap_or(path);
    match module.rsplit_once('/') {
        Some((folder, "mod" | "lib" | "main")) => folder.to_owned(),
        _ => module.to_owned(),
    }
}

/// Returns true if `line` contains `word` and no letter, digit or underscore on either side of it.
pub fn has_word(line: &str, word: &str) -> bool {
    line.match_indices(word).any(|(at, _)| {
        let before = line[..at].chars().next_back();
        let after = line[at + word.len()..].chars().next();
        let joins = |end: Option<char>, other: Option<char>| {
            end.is_some_and(is_word) && other.is_some_and(is_word)
        };
        !joins(word.chars().next(), before) && !joins(word.chars().next_back(), after)
    })
}

/// Returns true for a character of a name.
pub fn is_word(character: char) -> bool {
    character.is_alphanumeric() || character == '_'
}

/// A part of the text that the blanking treats alike.
enum Part {
    Code,
    /// A line comment, a block comment or a literal; the count is its length in characters.
    Blank(usize),
    /// A literal with the delimiters kept, so that tokens around it stay apart.
    Literal(usize),
}

fn blank_comments_and_literals(text: &str) -> String {
    let chars: Vec<char> = text.chars().collect();
    let mut code = String::with_capacity(text.len());
    let mut at = 0;
    while at < chars.len() {
        match part_at(&chars, at) {
            Part::Code => {
                code.push(chars[at]);
                at += 1;
            }
            Part::Blank(length) => {
                code.extend(chars[at..at + length].iter().map(|c| blank(*c)));
                at += length;
            }
            Part::Literal(length) => {
                code.push('"');
                code.extend(chars[at + 1..at + length].iter().map(|c| blank(*c)));
                if length > 1 {
                    code.pop();
                    code.push('"');
                }
                at += length;
            }
        }
    }
    code
}

fn blank(character: char) -> char {
    if character == '\n' { '\n' } else { ' ' }
}

fn part_at(chars: &[char], at: usize) -> Part {
    let rest = &chars[at..];
    let after_name = at > 0 && is_word(chars[at - 1]);
    match rest {
        ['/', '/', ..] => Part::Blank(rest.iter().take_while(|c| **c != '\n').count()),
        ['/', '*', ..] => Part::Blank(block_comment(rest)),
        ['"', ..] => Part::Literal(quoted(rest, '"')),
        ['\'', '\\', ..] => Part::Literal(quoted(rest, '\'')),
        // A lifetime has no second apostrophe.
        ['\'', _, '\'', ..] => Part::Literal(3),
        ['r', '"' | '#', ..] if !after_name => raw_string(rest, 1),
        ['b' | 'c', 'r', '"' | '#', ..] if !after_name => raw_string(rest, 2),
        _ => Part::Code,
    }
}

fn block_comment(rest: &[char]) -> usize {
    let (mut depth, mut at) = (0_usize, 0);
    while at < rest.len() {
        match rest[at..] {
            ['/', '*', ..] => {
                depth += 1;
                at += 2;
            }
            ['*', '/', ..] => {
                depth -= 1;
                at += 2;
                if depth == 0 {
                    return at;
                }
            }
            _ => at += 1,
        }
    }
    rest.len()
}

fn quoted(rest: &[char], quote: char) -> usize {
    let mut at = 1;
    while at < rest.len() {
        if rest[at] == '\\' {
            at += 2;
        } else if rest[at] == quote {
            return at + 1;
        } else {
            at += 1;
        }
    }
    rest.len()
}

/// Returns the raw string that begins with `prefix` letters, or code if `rest` is a raw identifier.
fn raw_string(rest: &[char], prefix: usize) -> Part {
    let hashes = rest[prefix..].iter().take_while(|c| **c == '#').count();
    let begin = prefix + hashes + 1;
    if rest.get(begin - 1) != Some(&'"') {
        return Part::Code;
    }
    let end = (begin..rest.len()).find(|at| {
        rest[*at] == '"'
            && rest.len() > at + hashes
            && rest[at + 1..=at + hashes].iter().all(|c| *c == '#')
    });
    Part::Literal(end.map_or(rest.len(), |end| end + hashes + 1))
}

/// Blanks each item that follows `#[cfg(test)]`.
fn blank_tests(code: &str) -> String {
    let mut result = String::with_capacity(code.len());
    let mut rest = code;
    while let Some(at) = rest.find(TEST_ATTRIBUTE) {
        let (before, item) = rest.split_at(at);
        result.push_str(before);
        let end = TEST_ATTRIBUTE.len() + item_length(&item[TEST_ATTRIBUTE.len()..]);
        result.extend(item[..end].chars().map(blank));
        rest = &item[end..];
    }
    result.push_str(rest);
    result
}

/// Returns the length of the item or field at the start of `text`, with the attributes before it.
fn item_length(text: &str) -> usize {
    let mut depth = 0_i32;
    let is_use = is_import(text);
    let is_field = !starts_item(text);
    for (at, character) in text.char_indices() {
        match character {
            '(' | '[' | '{' => depth += 1,
            ')' | ']' => depth -= 1,
            '}' => {
                depth -= 1;
                if depth < 0 {
                    return at;
                }
                if depth == 0 && !is_use {
                    return at + 1;
                }
            }
            ';' if depth == 0 => return at + 1,
            ',' if depth == 0 && is_field => return at + 1,
            _ => {}
        }
    }
    text.len()
}

/// Returns the first words after attributes and the visibility.
fn first_word(text: &str) -> &str {
    let mut text = text.trim_start();
    while let Some(attribute) = text.strip_prefix("#[") {
        let end = attribute.find(']').map_or(attribute.len(), |end| end + 1);
        text = attribute[end..].trim_start();
    }
    if let Some(visible) = text.strip_prefix("pub") {
        text = visible.trim_start();
        if let Some(scope) = text.strip_prefix('(') {
            text = scope
                .split_once(')')
                .map_or("", |(_, text)| text.trim_start());
        }
    }
    text.split(|c: char| !is_word(c)).next().unwrap_or_default()
}

fn is_import(text: &str) -> bool {
    first_word(text) == "use"
}

fn starts_item(text: &str) -> bool {
    matches!(
        first_word(text),
        "use"
            | "mod"
            | "fn"
            | "async"
            | "impl"
            | "struct"
            | "enum"
            | "trait"
            | "type"
            | "const"
            | "static"
            | "unsafe"
            | "extern"
            | "macro_rules"
            | "let"
            | "union"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn code(text: &str, expected: &str) {
        assert_eq!(SourceFile::new("a.rs", text).code(), expected);
    }

    #[test]
    fn comments_and_literals_are_blanked_and_lines_kept() {
        code("a // b\nc", "a     \nc");
        code("a /* b /* c */ d */ e", "a                   e");
        code(
            r#"f("a \" // b", 'x', '\'')"#,
            r#"f("         ", " ", "  ")"#,
        );
        code("let x: &'a str = 'b';", "let x: &'a str = \" \";");
        code("r#\"a\"b\"# r#type", "\"      \" r#type");
        code("x = \"a\nb\";", "x = \" \n \";");
    }

    #[track_caller]
    fn production(text: &str, expected: &str) {
        let code = SourceFile::new("a.rs", text).production_code();
        let words: Vec<&str> = code.split_whitespace().collect();
        assert_eq!(words.join(" "), expected);
    }

    #[test]
    fn test_items_are_blanked() {
        production("a; #[cfg(test)] mod tests { fn f() { } } b", "a; b");
        production("#[cfg(test)] mod tests; b", "b");
        production("#[cfg(test)] pub(crate) use a::{b, c}; d", "d");
        production("#[cfg(test)] #[derive(A)] struct B { c: D } e", "e");
        production("struct A { #[cfg(test)] b: C, d: E }", "struct A { d: E }");
        production("#[cfg(test)] fn f<A, B>(a: A) -> [B; 2] { a } g", "g");
        production("#![cfg(test)] fn f() {}", "");
    }

    #[test]
    fn files_of_tests_are_left_out() {
        let paths = [
            ("crates/a/src/lib.rs", "#[cfg(test)]\npub(crate) mod fake;"),
            ("crates/a/src/fake.rs", ""),
            ("crates/a/src/fake/more.rs", ""),
            ("crates/a/src/faked.rs", "#[cfg(test)]\nmod own;"),
            ("crates/a/src/faked/own.rs", ""),
            ("crates/a/src/faked/other.rs", ""),
            ("crates/a/src/tests.rs", ""),
            ("crates/a/tests/it.rs", ""),
        ];
        let files = paths.map(|(path, text)| SourceFile::new(path, text));
        let files = production_files(files.into());
        let paths: Vec<&str> = files.iter().map(|file| file.path.as_str()).collect();
        assert_eq!(
            paths,
            [
                "crates/a/src/lib.rs",
                "crates/a/src/faked.rs",
                "crates/a/src/faked/other.rs"
            ]
        );
    }

    #[test]
    fn words_are_found_by_their_borders() {
        assert!(has_word("a.transition(b)", "transition("));
        assert!(!has_word("is_transition(b)", "transition("));
        assert!(has_word("const NEW: u32", "NEW"));
        assert!(!has_word("const NEWER: u32", "NEW"));
    }
}
