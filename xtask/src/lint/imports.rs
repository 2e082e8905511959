//! Paths in Rust code: imports, and paths that code names in full.
//!
//! The scanner knows tokens and `use` trees, and no grammar beyond that. It takes code whose
//! comments and literals are blanked; see [`SourceFile::code`](super::source::SourceFile::code).

use super::source::is_word;

/// A path that code names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PathUse {
    /// Line, counted from 0.
    pub line: usize,
    /// Names of the path. A glob import ends in `*`.
    pub segments: Vec<String>,
    /// Name that a `use` gives the path in this file; `None` for a path in other code.
    pub imported_as: Option<String>,
    /// True for `pub use`, `pub(crate) use` and so on.
    pub is_reexport: bool,
    /// Modules written inline in this file around the path.
    pub inline_modules: usize,
}

#[derive(Debug, PartialEq, Eq)]
enum Token {
    Name(String),
    /// `::`
    Separator,
    Symbol(char),
}

struct Tokens {
    tokens: Vec<(Token, usize)>,
}

impl Tokens {
    fn of(code: &str) -> Self {
        let mut tokens = Vec::new();
        for (number, line) in code.lines().enumerate() {
            let mut rest = line.trim_start();
            while let Some(first) = rest.chars().next() {
                let length = if is_word(first) {
                    let end = rest.find(|c| !is_word(c)).unwrap_or(rest.len());
                    tokens.push((Token::Name(rest[..end].to_owned()), number));
                    end
                } else if rest.starts_with("::") {
                    tokens.push((Token::Separator, number));
                    2
                } else {
                    tokens.push((Token::Symbol(first), number));
                    first.len_utf8()
                };
                rest = rest[length..].trim_start();
            }
        }
        Self { tokens }
    }

    fn get(&self, at: usize) -> Option<&Token> {
        self.tokens.get(at).map(|(token, _)| token)
    }

    fn name(&self, at: usize) -> Option<&str> {
        match self.get(at) {
            Some(Token::Name(name)) => Some(name),
            _ => None,
        }
    }

    fn is_symbol(&self, at: usize, symbol: char) -> bool {
        self.get(at) == Some(&Token::Symbol(symbol))
    }

    fn is_separator(&self, at: usize) -> bool {
        self.get(at) == Some(&Token::Separator)
    }

    fn line(&self, at: usize) -> usize {
        self.tokens.get(at).map_or(0, |(_, line)| *line)
    }
}

/// Reads all paths of `code` with at least two names, or one name that a `use` imports.
pub fn paths(code: &str) -> Vec<PathUse> {
    let mut reader = Reader {
        tokens: Tokens::of(code),
        found: Vec::new(),
        inline_modules: Vec::new(),
        depth: 0,
    };
    reader.read();
    reader.found
}

/// Returns the names that occur in `code`, with repetitions.
pub fn names(code: &str) -> Vec<String> {
    let tokens = Tokens::of(code).tokens.into_iter();
    tokens
        .filter_map(|(token, _)| match token {
            Token::Name(name) => Some(name),
            Token::Separator | Token::Symbol(_) => None,
        })
        .collect()
}

/// Returns true if `code` holds only `mod` and `use` items and attributes.
pub fn is_reexport_only(code: &str) -> bool {
    let tokens = Tokens::of(code);
    let mut at = 0;
    while at < tokens.tokens.len() {
        if tokens.is_symbol(at, '#') {
            at = skip_attribute(&tokens, at);
            continue;
        }
        if tokens.name(at) == Some("pub") {
            at += 1;
            if tokens.is_symbol(at, '(') {
                while at < tokens.tokens.len() && !tokens.is_symbol(at, ')') {
                    at += 1;
                }
                at += 1;
            }
        }
        if !matches!(tokens.name(at), Some("mod" | "use")) {
            return false;
        }
        let is_module = tokens.name(at) == Some("mod");
        while at < tokens.tokens.len() && !tokens.is_symbol(at, ';') {
            if is_module && tokens.is_symbol(at, '{') {
                return false;
            }
            at += 1;
        }
        at += 1;
    }
    true
}

fn skip_attribute(tokens: &Tokens, mut at: usize) -> usize {
    let mut depth = 0;
    while at < tokens.tokens.len() {
        if tokens.is_symbol(at, '[') {
            depth += 1;
        } else if tokens.is_symbol(at, ']') {
            depth -= 1;
            if depth == 0 {
                return at + 1;
            }
        }
        at += 1;
    }
    at
}

struct Reader {
    tokens: Tokens,
    found: Vec<PathUse>,
    /// Depth of the braces of each inline module around the position.
    inline_modules: Vec<usize>,
    depth: usize,
}

impl Reader {
    fn read(&mut self) {
        let mut at = 0;
        while at < self.tokens.tokens.len() {
            at = self.step(at);
        }
    }

    /// Reads what is at `at`, and returns the position after it.
    fn step(&mut self, at: usize) -> usize {
        match self.tokens.get(at) {
            Some(Token::Symbol('{')) => self.depth += 1,
            Some(Token::Symbol('}')) => {
                self.depth = self.depth.saturating_sub(1);
                if self.inline_modules.last() == Some(&self.depth) {
                    self.inline_modules.pop();
                }
            }
            Some(Token::Name(name)) if name == "use" && self.begins_import(at) => {
                return self.import(at);
            }
            Some(Token::Name(name)) if name == "mod" && self.tokens.is_symbol(at + 2, '{') => {
                self.inline_modules.push(self.depth);
                self.depth += 1;
                return at + 3;
            }
            Some(Token::Name(_)) if self.tokens.is_separator(at + 1) => return self.path(at),
            _ => {}
        }
        at + 1
    }

    /// Returns true unless `use` is part of `impl Trait + use<'a>`.
    fn begins_import(&self, at: usize) -> bool {
        !self.tokens.is_symbol(at + 1, '<')
    }

    fn import(&mut self, at: usize) -> usize {
        let before = at.checked_sub(1);
        let is_reexport = before.is_some_and(|before| {
            self.tokens.name(before) == Some("pub") || self.tokens.is_symbol(before, ')')
        });
        self.tree(at + 1, &mut Vec::new(), is_reexport)
    }

    /// Reads one branch of a `use` tree; returns the position after it.
    fn tree(&mut self, mut at: usize, prefix: &mut Vec<String>, is_reexport: bool) -> usize {
        let kept = prefix.len();
        let line = self.tokens.line(at);
        if self.tokens.is_separator(at) {
            at += 1;
        }
        loop {
            if self.tokens.is_symbol(at, '{') {
                at = self.group(at + 1, prefix, is_reexport);
                break;
            }
            let Some(name) = self.tokens.name(at) else {
                if self.tokens.is_symbol(at, '*') {
                    prefix.push("*".to_owned());
                    self.record(line, prefix, None, is_reexport);
                    at += 1;
                }
                break;
            };
            prefix.push(name.to_owned());
            at += 1;
            if self.tokens.is_separator(at) {
                at += 1;
                continue;
            }
            let mut alias = None;
            if self.tokens.name(at) == Some("as") {
                alias = self.tokens.name(at + 1).map(str::to_owned);
                at += 2;
            }
            self.record(line, prefix, alias, is_reexport);
            break;
        }
        prefix.truncate(kept);
        at
    }

    fn group(&mut self, mut at: usize, prefix: &mut Vec<String>, is_reexport: bool) -> usize {
        while at < self.tokens.tokens.len() && !self.tokens.is_symbol(at, '}') {
            let next = self.tree(at, prefix, is_reexport);
            // A comma, or a token that no `use` tree holds.
            at = next.max(at);
            if self.tokens.is_symbol(at, ',') || next == at {
                at += usize::from(!self.tokens.is_symbol(at, '}'));
            }
        }
        at + 1
    }

    fn record(&mut self, line: usize, path: &[String], alias: Option<String>, is_reexport: bool) {
        let mut segments = path.to_vec();
        // `a::{self}` imports `a`.
        if segments.len() > 1 && segments.last().is_some_and(|last| last == "self") {
            segments.pop();
        }
        let name = alias.or_else(|| segments.last().cloned());
        self.found.push(PathUse {
            line,
            segments,
            imported_as: name,
            is_reexport,
            inline_modules: self.inline_modules.len(),
        });
    }

    fn path(&mut self, at: usize) -> usize {
        // `<T as Trait>::Item::x` and `$crate::x` do not begin here.
        let begins = !at.checked_sub(1).is_some_and(|before| {
            self.tokens.is_separator(before) || self.tokens.is_symbol(before, '$')
        });
        let (line, mut segments, mut end) = (self.tokens.line(at), Vec::new(), at);
        while let Some(name) = self.tokens.name(end) {
            segments.push(name.to_owned());
            end += 1;
            if !self.tokens.is_separator(end) {
                break;
            }
            end += 1;
        }
        if begins {
            self.found.push(PathUse {
                line,
                segments,
                imported_as: None,
                is_reexport: false,
                inline_modules: self.inline_modules.len(),
            });
        }
        end
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(code: &str, expected: &[&str]) {
        let found: Vec<String> = paths(code)
            .iter()
            .map(|path| path.segments.join("::"))
            .collect();
        assert_eq!(found, expected);
    }

    #[test]
    fn use_trees_are_expanded() {
        check("use a::b;", &["a::b"]);
        check(
            "use a::{b, c::{self, D as E}, f::*};",
            &["a::b", "a::c", "a::c::D", "a::f::*"],
        );
        check(
            "pub(crate) use super::x::{Y,\n};\nfn f() {}",
            &["super::x::Y"],
        );
        let found = paths("\npub use a::B as C;");
        assert_eq!(found[0].imported_as.as_deref(), Some("C"));
        assert!(found[0].is_reexport);
        assert_eq!(found[0].line, 1);
    }

    #[test]
    fn paths_in_code_are_found() {
        check(
            "fn f(x: crate::a::B) { super::c::<T>(); d::e() } ",
            &["crate::a::B", "super::c", "d::e"],
        );
        check("$crate::a::b!()", &[]);
    }

    #[test]
    fn inline_modules_are_counted() {
        let found = paths("mod a { use super::B; } use super::C;");
        assert_eq!(found[0].inline_modules, 1);
        assert_eq!(found[1].inline_modules, 0);
    }

    #[test]
    fn files_of_re_exports_are_known() {
        assert!(is_reexport_only(
            "#![allow(x)]\nmod a;\npub(crate) mod b;\npub use a::{B, C};\n"
        ));
        assert!(!is_reexport_only("mod a;\nconst B: u32 = 1;\n"));
        assert!(!is_reexport_only("mod a { fn b() {} }"));
    }
}
