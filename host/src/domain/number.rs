//! Serde support for floating-point numbers in JSON, which has no NaN and no infinity.

use serde::{Deserialize, Deserializer, Serializer, de::Error};

/// Serde adapter: writes finite values as numbers and all others as text, like Prometheus's API:
/// `NaN`, `+Inf`, `-Inf`.
pub mod as_number {
    use super::{Deserialize, Deserializer, Error, Serializer};

    /// Writes a number or text.
    pub fn serialize<S: Serializer>(value: &f64, serializer: S) -> Result<S::Ok, S::Error> {
        match *value {
            value if value.is_finite() => serializer.serialize_f64(value),
            value if value.is_nan() => serializer.serialize_str("NaN"),
            value if value > 0.0 => serializer.serialize_str("+Inf"),
            _ => serializer.serialize_str("-Inf"),
        }
    }

    #[derive(Deserialize)]
    #[serde(untagged)]
    enum Written {
        Number(f64),
        Text(String),
    }

    /// Reads a number or its text.
    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<f64, D::Error> {
        match Written::deserialize(deserializer)? {
            Written::Number(value) => Ok(value),
            Written::Text(text) => text.parse().map_err(D::Error::custom),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(serde::Serialize, Deserialize)]
    struct Value(#[serde(with = "as_number")] f64);

    #[test]
    fn every_number_survives_json() {
        for (value, text) in [
            (1.5, "1.5"),
            (f64::NAN, "\"NaN\""),
            (f64::INFINITY, "\"+Inf\""),
            (-0.0, "-0.0"),
        ] {
            let json = serde_json::to_string(&Value(value)).unwrap();
            assert_eq!(json, text);
            let read: Value = serde_json::from_str(&json).unwrap();
            assert!(read.0.to_bits() == value.to_bits() || (read.0.is_nan() && value.is_nan()));
        }
        assert!(serde_json::from_str::<Value>("\"high\"").is_err());
    }
}
