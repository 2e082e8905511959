//! Values in the answers of Prometheus.

use std::fmt;

use serde::{Deserialize, Deserializer, de::Visitor};

use anomalyzer_domain::one_line;

/// Maximum number of characters of a text from the server.
pub(super) const MAX_TEXT: usize = 400;

/// Unix time in seconds, and the value.
pub type Point = (Option<f64>, Value);

/// A value, which Prometheus writes as text.
#[derive(Clone, Debug, PartialEq)]
pub enum Value {
    Number(f64),
    Null,
    /// A text that is not a number.
    Text(String),
}

impl<'de> Deserialize<'de> for Value {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct ValueVisitor;

        impl Visitor<'_> for ValueVisitor {
            type Value = Value;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a number as text")
            }

            fn visit_str<E>(self, text: &str) -> Result<Value, E> {
                Ok(match text.parse() {
                    Ok(number) => Value::Number(number),
                    Err(_) => Value::Text(one_line(text, MAX_TEXT)),
                })
            }

            fn visit_f64<E>(self, number: f64) -> Result<Value, E> {
                Ok(Value::Number(number))
            }

            fn visit_i64<E>(self, number: i64) -> Result<Value, E> {
                Ok(Value::Number(number as f64))
            }

            fn visit_u64<E>(self, number: u64) -> Result<Value, E> {
                Ok(Value::Number(number as f64))
            }

            fn visit_unit<E>(self) -> Result<Value, E> {
                Ok(Value::Null)
            }
        }

        deserializer.deserialize_any(ValueVisitor)
    }
}
