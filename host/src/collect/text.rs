//! What the exposition format and a selector have in common: names, and quoted values with escapes.

/// Reads a line from its start.
#[derive(Clone, Debug)]
pub struct Cursor<'a> {
    rest: &'a str,
}

impl<'a> Cursor<'a> {
    /// At the start of a line.
    pub fn new(line: &'a str) -> Self {
        Self { rest: line }
    }

    /// What was not read yet.
    pub fn rest(&self) -> &'a str {
        self.rest
    }

    /// Passes blanks and tabs.
    pub fn skip_blanks(&mut self) {
        self.rest = self.rest.trim_start_matches([' ', '\t']);
    }

    /// Passes a token if it is next.
    pub fn take(&mut self, token: &str) -> bool {
        self.rest
            .strip_prefix(token)
            .inspect(|rest| self.rest = rest)
            .is_some()
    }

    /// `[a-zA-Z_:][a-zA-Z0-9_:]*`; a label's name has no colon, which nobody gains from checking.
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

    /// `"value"` with the escapes `\\`, `\"` and `\n`; a backslash before anything else is itself.
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

    /// What stands here, for a message.
    pub fn here(&self) -> String {
        match self.rest.chars().take(20).collect::<String>() {
            here if here.is_empty() => "the line ends".to_owned(),
            here => format!("`{here}`"),
        }
    }
}
