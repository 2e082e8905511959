//! Reads names and quoted values with escapes, which the exposition format and selectors share.

/// Reader of a line, from its start.
#[derive(Clone, Debug)]
pub struct Cursor<'a> {
    rest: &'a str,
}

impl<'a> Cursor<'a> {
    /// Creates a cursor at the start of a line.
    pub fn new(line: &'a str) -> Self {
        Self { rest: line }
    }

    /// Returns the text that was not read yet.
    pub fn rest(&self) -> &'a str {
        self.rest
    }

    /// Skips blanks and tabs.
    pub fn skip_blanks(&mut self) {
        self.rest = self.rest.trim_start_matches([' ', '\t']);
    }

    /// Skips `token` if it is next. Returns true if it was.
    pub fn take(&mut self, token: &str) -> bool {
        self.rest
            .strip_prefix(token)
            .inspect(|rest| self.rest = rest)
            .is_some()
    }

    /// Reads a name that matches `[a-zA-Z_:][a-zA-Z0-9_:]*`. A label's name must not hold a colon,
    /// but a check for that has no benefit.
    pub fn name(&mut self) -> Result<&'a str, String> {
        let end = self
            .rest
            .find(|c: char| !(c.is_ascii_alphanumeric() || c == '_' || c == ':'));
        let (name, rest) = self.rest.split_at(end.unwrap_or(self.rest.len()));
        if name.is_empty() || name.starts_with(|c: char| c.is_ascii_digit()) {
            return Err(format!("a name is expected where {} stands", self.here()));
        }
        self.rest = rest;
        Ok(name)
    }

    /// Reads `"value"` with the escapes `\\`, `\"` and `\n`. A backslash before any other character
    /// stands for itself.
    pub fn quoted(&mut self) -> Result<String, String> {
        if !self.take("\"") {
            return Err(format!(
                "a value in quotes is expected where {} stands",
                self.here()
            ));
        }
        let mut value = String::new();
        let mut characters = self.rest.char_indices();
        while let Some((at, character)) = characters.next() {
            match character {
                '"' => {
                    self.rest = &self.rest[at + 1..];
                    return Ok(value);
                }
                '\\' => match characters.next() {
                    Some((_, 'n')) => value.push('\n'),
                    Some((_, same @ ('\\' | '"'))) => value.push(same),
                    Some((_, other)) => value.extend(['\\', other]),
                    None => break,
                },
                character => value.push(character),
            }
        }
        Err("a value in quotes has no end".to_owned())
    }

    /// Returns the next few characters, for a message.
    pub fn here(&self) -> String {
        match self.rest.chars().take(20).collect::<String>() {
            here if here.is_empty() => "the line ends".to_owned(),
            here => format!("`{here}`"),
        }
    }
}
