//! Finds the position of a setting in the text of a file, by its path. The parsed document knows
//! the position of each key.

use std::ops::Range;

use toml::de::{DeTable, DeValue};

use anomalyzer_domain::Step;

/// Returns the bytes of the setting at `path`. If the file lacks a part of the path, returns the
/// bytes of the last part that it has.
pub(super) fn find(text: &str, path: &[Step]) -> Range<usize> {
    let Ok(document) = DeTable::parse(text) else {
        return 0..0;
    };
    let root = DeValue::Table(document.into_inner());
    let (mut at, mut span) = (&root, 0..0);
    for step in path {
        let next = match (step, at) {
            (Step::Key(key), DeValue::Table(table)) => table
                .iter()
                .find(|(name, _)| name.get_ref() == key)
                .map(|(name, value)| (value, name.span())),
            (Step::Index(index), DeValue::Array(array)) => {
                array.get(*index).map(|value| (value, value.span()))
            }
            _ => None,
        };
        let Some((value, position)) = next else { break };
        (at, span) = (value.get_ref(), position);
    }
    span
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "[local.groups.a]\nfirst_port = 1\n[local.groups.b]\nfirst_port = 2\n[[api.tokens]]\nname = \"x\"\n\
                        [[api.tokens]]\nname = \"y\"\n[http]\nallow = [\"a:1\",\n \"b\"]\n";

    #[track_caller]
    fn line(path: &[Step], expected: usize) {
        let span = find(TEXT, path);
        assert_eq!(
            TEXT[..span.start].matches('\n').count() + 1,
            expected,
            "{span:?}"
        );
    }

    #[test]
    fn a_path_leads_to_its_line_also_where_the_same_key_stands_twice() {
        line(&["local", "groups", "b", "first_port"].map(Step::from), 4);
        line(&["api".into(), "tokens".into(), 1.into(), "name".into()], 8);
        line(&["local", "groups", "b", "command"].map(Step::from), 3);
    }

    #[test]
    fn an_index_leads_to_the_entry_of_an_array() {
        line(&["api".into(), "tokens".into(), 1.into()], 7);
        line(&["http".into(), "allow".into(), 1.into()], 11);
        line(&["http".into(), "allow".into(), 2.into()], 10);
    }

    #[test]
    fn a_path_of_which_the_file_has_nothing_leads_to_the_first_line() {
        line(&[], 1);
        line(&["ollama".into()], 1);
    }
}
