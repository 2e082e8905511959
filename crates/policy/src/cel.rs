//! Conditions in CEL. A condition is parsed together with the configuration: its size is limited
//! before it is parsed, its names are checked, and it is evaluated on samples. A typo is therefore
//! an error at startup, and not a surprise at night.

use std::fmt::Write;
use std::sync::Arc;

use cel::common::ast::{EntryExpr, Expr, IdedExpr};
use cel::{Context, Program, Value};
use serde::{Deserialize, Serialize};

use super::cel_context::{CelContext, samples};

/// Maximum length in bytes. The parser recurses once per bracket and per operator, and a thousand
/// of them crash the process.
const MAX_CONDITION_BYTES: usize = 1_000;
const DEEPEST: usize = 16;
const MAX_OPERATORS: usize = 100;
/// Maximum number of comprehensions. Each nested comprehension multiplies the cost of a condition.
const MAX_COMPREHENSIONS: usize = 2;
const COMPREHENSIONS: [&str; 5] = ["all", "exists", "exists_one", "filter", "map"];
/// Stack size of the parser's thread in bytes. An expression within the limits needs less than a
/// twentieth of it.
const STACK: usize = 16 << 20;

/// A condition over the facts that the guard knows.
#[derive(Clone, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Expression {
    text: String,
    program: Arc<Program>,
}

impl Expression {
    /// Returns true if the condition holds.
    ///
    /// # Errors
    /// Returns an error with the reason if the condition can't be evaluated.
    pub(super) fn holds(&self, seen: &CelContext) -> Result<bool, String> {
        holds(&self.program, seen)
    }
}

impl TryFrom<String> for Expression {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        bounded(&text)?;
        let program = parse(text.clone())?;
        known(program.expression(), &mut Vec::new())?;
        for (name, seen) in samples() {
            holds(&program, &seen).map_err(|error| format!("{name} it can't be told: {error}"))?;
        }
        Ok(Self {
            text,
            program: Arc::new(program),
        })
    }
}

impl From<Expression> for String {
    fn from(expression: Expression) -> Self {
        expression.text
    }
}

impl PartialEq for Expression {
    fn eq(&self, other: &Self) -> bool {
        self.text == other.text
    }
}

impl std::fmt::Debug for Expression {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(out, "{:?}", self.text)
    }
}

fn holds(program: &Program, seen: &CelContext) -> Result<bool, String> {
    let mut context = Context::default();
    for (name, value) in &seen.0 {
        context.add_variable_from_value(*name, cel_value(value));
    }
    match program.execute(&context) {
        Ok(Value::Bool(holds)) => Ok(holds),
        Ok(_) => Err("it is neither true nor false".to_owned()),
        Err(error) => Err(shortened(&error.to_string())),
    }
}

/// Converts JSON to a CEL value. Integers become signed, because CEL's literals are signed and CEL
/// does not add unsigned integers to signed ones.
fn cel_value(json: &serde_json::Value) -> Value {
    use serde_json::Value as Json;
    match json {
        Json::Null => Value::Null,
        Json::Bool(value) => Value::from(*value),
        Json::Number(number) => number.as_i64().map_or_else(
            || Value::from(number.as_f64().unwrap_or(f64::MAX)),
            Value::from,
        ),
        Json::String(text) => Value::from(text.as_str()),
        Json::Array(items) => Value::from(items.iter().map(cel_value).collect::<Vec<_>>()),
        Json::Object(fields) => {
            let fields: std::collections::HashMap<String, Value> = fields
                .iter()
                .map(|(name, value)| (name.clone(), cel_value(value)))
                .collect();
            Value::from(fields)
        }
    }
}

/// Rejects text that must never reach the parser.
fn bounded(text: &str) -> Result<(), String> {
    if text.len() > MAX_CONDITION_BYTES {
        return Err(format!(
            "it is {} bytes long: at most {MAX_CONDITION_BYTES} are read; make two rules of it",
            text.len()
        ));
    }
    let (mut depth, mut operators, mut comprehensions) = (0_usize, 0, 0);
    let mut quote = None;
    let mut identifier = String::new();
    let mut characters = text.chars();
    while let Some(character) = characters.next() {
        if let Some(open) = quote {
            match character {
                '\\' => drop(characters.next()),
                character if character == open => quote = None,
                _ => {}
            }
            continue;
        }
        if character.is_alphanumeric() || character == '_' {
            identifier.push(character);
            continue;
        }
        if character == '(' && COMPREHENSIONS.contains(&identifier.as_str()) {
            comprehensions += 1;
        }
        if !character.is_whitespace() {
            operators += usize::from(!matches!(character, '"' | '\'' | ',' | ')' | ']' | '}'));
            identifier.clear();
        }
        match character {
            '"' | '\'' => quote = Some(character),
            '(' | '[' | '{' => depth += 1,
            ')' | ']' | '}' => depth = depth.saturating_sub(1),
            _ => {}
        }
        if depth > DEEPEST {
            return Err(format!("its brackets are more than {DEEPEST} deep"));
        }
    }
    if operators > MAX_OPERATORS {
        return Err(format!(
            "it has more than {MAX_OPERATORS} operators: make two rules of it"
        ));
    }
    if comprehensions > MAX_COMPREHENSIONS {
        let names = COMPREHENSIONS.join(", ");
        return Err(format!(
            "it has more than {MAX_COMPREHENSIONS} of {names}: make two rules of it"
        ));
    }
    Ok(())
}

/// Parses the text on a thread with its own stack. The limits therefore hold whatever the size of
/// the caller's stack is, and a panic of the parser ends on that thread.
fn parse(text: String) -> Result<Program, String> {
    let parsed = std::thread::Builder::new()
        .stack_size(STACK)
        .spawn(move || {
            Program::compile(&text).map_err(|errors| {
                let error = errors.errors.into_iter().next();
                error.map_or_else(String::new, |error| {
                    format!("at {}: {}", error.pos.1.max(1), shortened(&error.msg))
                })
            })
        });
    match parsed.map(std::thread::JoinHandle::join) {
        Ok(Ok(Ok(program))) => Ok(program),
        Ok(Ok(Err(why))) => Err(format!("it is no CEL: {why}")),
        Ok(Err(_)) => Err("it is no CEL".to_owned()),
        Err(error) => Err(format!("it can't be read: {error}")),
    }
}

/// Shortens an error to the beginning of its first line. The parser's internal details do not help
/// the reader.
fn shortened(error: &str) -> String {
    let line = error.lines().next().unwrap_or_default();
    let mut short: String = line.chars().take(200).collect();
    if short.len() < line.len() {
        let _ = write!(short, "…");
    }
    short
}

/// Checks that all names in the expression are known, even in branches that the samples never
/// reach. `bound` holds the variables of the enclosing comprehensions.
fn known<'e>(expression: &'e IdedExpr, bound: &mut Vec<&'e str>) -> Result<(), String> {
    match &expression.expr {
        Expr::Ident(_) | Expr::Select(_) => path(&expression.expr, bound),
        Expr::Call(call) => {
            for part in call.target.iter().map(AsRef::as_ref).chain(&call.args) {
                known(part, bound)?;
            }
            Ok(())
        }
        Expr::Comprehension(comprehension) => {
            known(&comprehension.iter_range, bound)?;
            known(&comprehension.accu_init, bound)?;
            let before = bound.len();
            bound.push(&comprehension.iter_var);
            bound.extend(comprehension.iter_var2.as_deref());
            bound.push(&comprehension.accu_var);
            for part in [
                &comprehension.loop_cond,
                &comprehension.loop_step,
                &comprehension.result,
            ] {
                known(part, bound)?;
            }
            bound.truncate(before);
            Ok(())
        }
        Expr::List(list) => list
            .elements
            .iter()
            .try_for_each(|element| known(element, bound)),
        Expr::Map(map) => map.entries.iter().try_for_each(|entry| match &entry.expr {
            EntryExpr::MapEntry(entry) => {
                known(&entry.key, bound)?;
                known(&entry.value, bound)
            }
            EntryExpr::StructField(field) => known(&field.value, bound),
        }),
        Expr::Struct(_) => Err("it makes a structure: there are none here".to_owned()),
        Expr::Literal(_) | Expr::Unspecified => Ok(()),
    }
}

/// Checks a name, or a field of a name.
fn path<'e>(expression: &'e Expr, bound: &mut Vec<&'e str>) -> Result<(), String> {
    let mut fields = Vec::new();
    let mut at = expression;
    while let Expr::Select(select) = at {
        fields.push(select.field.as_str());
        at = &select.operand.expr;
    }
    let Expr::Ident(name) = at else {
        // A field of a computed value is checked by the samples.
        let Expr::Select(select) = expression else {
            return Ok(());
        };
        return known(&select.operand, bound);
    };
    if name.starts_with('@') || bound.contains(&name.as_str()) {
        return Ok(());
    }
    let CelContext(all) = CelContext::full();
    let names = || {
        all.iter()
            .map(|(name, _)| *name)
            .collect::<Vec<_>>()
            .join(", ")
    };
    let Some((_, mut value)) = all
        .iter()
        .find(|(known, _)| known == name)
        .map(|(name, value)| (name, value))
    else {
        return Err(format!("there is no `{name}`: there are {}", names()));
    };
    let mut whole = name.clone();
    for field in fields.into_iter().rev() {
        let Some(inside) = value.get(field) else {
            let has = value
                .as_object()
                .map(|fields| fields.keys().cloned().collect::<Vec<_>>().join(", "));
            let has = has.map_or_else(|| "has no fields".to_owned(), |has| format!("has {has}"));
            return Err(format!("there is no `{whole}.{field}`: `{whole}` {has}"));
        };
        let _ = write!(whole, ".{field}");
        value = inside;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn refused(text: &str) -> String {
        Expression::try_from(text.to_owned()).unwrap_err()
    }

    #[test]
    fn a_condition_is_true_or_false_of_what_is_seen() {
        for (text, expected) in [
            ("solution == 'scale_up'", true),
            ("target.namespace.startsWith('sh')", true),
            ("incident != null && incident.severity >= 3", false),
            ("incident != null && 'latency' in incident.signals", true),
            (
                "incident != null && incident.signals.exists(signal, signal.endsWith('cy'))",
                true,
            ),
            ("operation.kind == 'scale' && operation.replicas > 3", true),
            ("replicas != null && replicas.desired + 1 == 3", true),
            ("time.weekday in ['SAT', 'SUN'] || time.hour < 6", false),
            (
                "diagnosis.analyst == 'rules' && diagnosis.confidence < 0.5",
                false,
            ),
            ("open_incidents > 3", false),
        ] {
            let expression = Expression::try_from(text.to_owned())
                .unwrap_or_else(|error| panic!("{text}: {error}"));
            assert_eq!(
                expression.holds(&CelContext::full()),
                Ok(expected),
                "{text}"
            );
        }
    }

    #[test]
    fn what_is_wrong_is_said_when_it_is_read() {
        for (text, error) in [
            (
                "solutoin == 'scale_up'",
                "there is no `solutoin`: there are solution,",
            ),
            (
                "target.nmae == 'web'",
                "there is no `target.nmae`: `target` has",
            ),
            ("solution.name == 'x'", "`solution` has no fields"),
            ("false && target.nmae == 'web'", "there is no `target.nmae`"),
            (
                "incident.severity > 3",
                "without an incident it can't be told",
            ),
            ("operation.replicas > 3", "it can't be told"),
            ("target.name", "it is neither true nor false"),
            ("target.name == ", "it is no CEL: at "),
            (
                "restart(target)",
                "it can't be told: Undeclared reference to 'restart'",
            ),
            ("", "it is no CEL"),
        ] {
            let said = refused(text);
            assert!(said.contains(error), "{text}: {said}");
        }
    }

    #[test]
    fn what_could_end_the_process_is_never_parsed() {
        for (text, error) in [
            (
                format!("{}true{}", "(".repeat(400), ")".repeat(400)),
                "deep",
            ),
            (format!("{}true", "!".repeat(900)), "operators"),
            (format!("1{} > 0", "+1".repeat(480)), "operators"),
            (format!("target{} == 1", ".size()".repeat(130)), "operators"),
            ("x".repeat(5_000), "at most 1000"),
            (
                "[1].all(a, [1].all(b, [1].all(c, true)))".to_owned(),
                "more than 2 of",
            ),
        ] {
            let said = refused(&text);
            assert!(said.contains(error), "{said}");
        }
        // Operators inside a string literal do not count.
        assert!(Expression::try_from(format!("solution == '{}\\''", "(!".repeat(200))).is_ok());
    }

    #[test]
    fn what_is_within_the_bounds_fits_on_the_stack_of_a_worker() {
        let deep = [
            format!("1{} > 0", "+1".repeat(98)),
            format!("{}true", "!".repeat(100)),
            format!("[1]{} == 1", "[0]".repeat(98)),
            format!("{}true", "true ? true : ".repeat(40)),
            format!("true{}", "&&true".repeat(49)),
            format!("{}1{}", "[".repeat(16), "]".repeat(16)),
            format!("'a'{} == 1", ".size()".repeat(48)),
        ];
        // Tokio's worker threads have this stack size.
        let worker = std::thread::Builder::new()
            .stack_size(2 << 20)
            .spawn(move || {
                for text in deep {
                    let _ = Expression::try_from(text);
                }
            });
        worker.unwrap().join().unwrap();
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]
        #[test]
        fn whatever_is_written_is_a_condition_or_an_error(text in "[a-z0-9 .()\\[\\]{}?:!&|=<>+*'\"\\\\-]{0,120}") {
            let _ = Expression::try_from(text);
        }
    }
}
