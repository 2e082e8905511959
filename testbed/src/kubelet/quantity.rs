//! Kubernetes's quantities (`64Mi`, `0.5G`, `1e9`) as bytes.

use anyhow::{Context, Result, ensure};

const SUFFIXES: [(&str, f64); 14] = [
    ("Ki", 1024.0),
    ("Mi", 1_048_576.0),
    ("Gi", 1_073_741_824.0),
    ("Ti", 1_099_511_627_776.0),
    ("Pi", 1_125_899_906_842_624.0),
    ("Ei", 1_152_921_504_606_846_976.0),
    ("n", 1e-9),
    ("u", 1e-6),
    ("m", 1e-3),
    ("k", 1e3),
    ("M", 1e6),
    ("G", 1e9),
    ("T", 1e12),
    ("P", 1e15),
];

/// Returns the number of whole bytes, rounded down.
pub(super) fn bytes(quantity: &str) -> Result<u64> {
    let (number, factor) = SUFFIXES
        .iter()
        .find_map(|(suffix, factor)| {
            quantity
                .strip_suffix(suffix)
                .map(|number| (number, *factor))
        })
        .unwrap_or((quantity, 1.0));
    let number: f64 = number
        .parse()
        .with_context(|| format!("{quantity:?} is not a quantity"))?;
    let bytes = number * factor;
    ensure!(
        (0.0..=1e19).contains(&bytes),
        "{quantity:?} is not an amount of memory"
    );
    // The check above keeps the number in range.
    Ok(bytes as u64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantities_are_read_as_kubernetes_writes_them() {
        let cases = [
            ("64Mi", 67_108_864),
            ("128M", 128_000_000),
            ("1e3", 1_000),
            ("0.5Gi", 536_870_912),
            ("7", 7),
            ("2000m", 2),
        ];
        for (quantity, expected) in cases {
            assert_eq!(bytes(quantity).unwrap(), expected, "{quantity}");
        }
    }

    #[test]
    fn what_is_not_an_amount_is_an_error() {
        for quantity in ["", "Mi", "-1Mi", "x", "NaN", "inf", "1Zi"] {
            assert!(bytes(quantity).is_err(), "{quantity}");
        }
    }
}
