//! Where in a file something stands: looked up in the parsed document, which knows the place of
//! each key.

use std::ops::Range;

use toml::de::{DeTable, DeValue};

/// One step down into a document.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// Into a table.
    Key(String),
    /// Into an array; counted from 0.
    Entry(usize),
}

impl From<&str> for Step {
    fn from(key: &str) -> Self {
        Self::Key(key.to_owned())
    }
}

impl From<usize> for Step {
    fn from(index: usize) -> Self {
        Self::Entry(index)
    }
}

/// What something is about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Place {
    /// What is at that path.
    At(Vec<Step>),
    /// What the message names: it begins with the path, as `local.groups.web.command is empty`, and
    /// where that leads to an array it quotes the entry, as ``api.tokens `alice` has no file``.
    Named,
}

impl<const N: usize> From<[Step; N]> for Place {
    fn from(steps: [Step; N]) -> Self {
        Self::At(steps.into())
    }
}

/// The bytes of what the message is about. Where a part of the path is not in the file, of the last
/// part that is.
pub(super) fn find(text: &str, place: &Place, message: &str) -> Range<usize> {
    let Ok(document) = DeTable::parse(text) else {
        return 0..0;
    };
    let root = DeValue::Table(document.into_inner());
    match place {
        Place::At(steps) => follow(&root, steps),
        Place::Named => follow_words(&root, message),
    }
}

fn follow(root: &DeValue<'_>, steps: &[Step]) -> Range<usize> {
    let (mut at, mut span) = (root, 0..0);
    for step in steps {
        let next = match (step, at) {
            (Step::Key(key), DeValue::Table(table)) => table
                .iter()
                .find(|(name, _)| name.get_ref() == key)
                .map(|(name, value)| (value, name.span())),
            (Step::Entry(index), DeValue::Array(array)) => {
                array.get(*index).map(|value| (value, value.span()))
            }
            _ => None,
        };
        let Some((value, place)) = next else { break };
        (at, span) = (value.get_ref(), place);
    }
    span
}

fn follow_words(root: &DeValue<'_>, message: &str) -> Range<usize> {
    let (mut at, mut span, mut rest) = (root, 0..0, message);
    while let DeValue::Table(table) = at {
        let in_a_word = |c: char| c.is_alphanumeric() || matches!(c, '_' | '-');
        let next = table.iter().find_map(|(name, value)| {
            let after = rest.strip_prefix(&**name.get_ref())?;
            (!after.starts_with(in_a_word)).then(|| (value, name.span(), after))
        });
        let Some((value, place, after)) = next else {
            return span;
        };
        (at, span, rest) = (value.get_ref(), place, after);
        let Some(below) = rest.strip_prefix('.') else {
            break;
        };
        rest = below;
    }
    let (DeValue::Array(array), Some(quoted)) = (at, rest.split('`').nth(1)) else {
        return span;
    };
    // Of two with one name the second is the one too many.
    array
        .iter()
        .rfind(|entry| mentions(entry.get_ref(), quoted))
        .map_or(span, |entry| entry.span())
}

fn mentions(entry: &DeValue<'_>, text: &str) -> bool {
    match entry {
        DeValue::Table(table) => table
            .values()
            .any(|value| value.get_ref().as_str() == Some(text)),
        other => other.as_str() == Some(text),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "[local.groups.a]\nfirst_port = 1\n[local.groups.b]\nfirst_port = 2\n[[api.tokens]]\nname = \"x\"\n\
                        [[api.tokens]]\nname = \"y\"\n[http]\nallow = [\"a:1\", \"b\"]\n";

    #[track_caller]
    fn line(place: &Place, message: &str, expected: usize) {
        let span = find(TEXT, place, message);
        assert_eq!(
            TEXT[..span.start].matches('\n').count() + 1,
            expected,
            "{span:?}"
        );
    }

    #[test]
    fn a_path_leads_to_its_line_also_where_the_same_key_stands_twice() {
        line(
            &["local", "groups", "b", "first_port"]
                .map(Step::from)
                .into(),
            "",
            4,
        );
        line(
            &Place::At(vec!["api".into(), "tokens".into(), 1.into(), "name".into()]),
            "",
            8,
        );
        line(
            &["local", "groups", "b", "command"].map(Step::from).into(),
            "",
            3,
        );
    }

    #[test]
    fn a_message_leads_to_what_it_names() {
        line(&Place::Named, "local.groups.b.first_port is 2: too low", 4);
        line(&Place::Named, "local.groups.b.command is empty", 3);
        line(
            &Place::Named,
            "api.tokens `y`: set either sha256 or file",
            7,
        );
        line(&Place::Named, "http.allow: `b` is not host:port", 10);
    }
}
