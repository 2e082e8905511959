//! Saved state of a series: the name of the detector and the layout, then the state itself.

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::Error;

/// State that a detector saved, as the host returns it. It may be from an older version of the
/// detector, or in an older layout.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Saved<'a> {
    /// Version of the detector that saved the state.
    pub from_version: &'a str,
    /// [`LAYOUT`](crate::StatefulDetector::LAYOUT) of that version.
    pub layout: u32,
    /// State in [postcard's format](https://postcard.jamesmunns.com/wire-format). The format has no
    /// names of fields, so that only a type of the same layout can read it.
    pub bytes: &'a [u8],
}

impl Saved<'_> {
    /// Reads the state as this type, which must have the layout of `self`.
    pub fn read<T: DeserializeOwned>(&self) -> Result<T, Error> {
        match postcard::take_from_bytes(self.bytes) {
            Ok((value, [])) => Ok(value),
            Ok((_, rest)) => Err(Error::Invalid(format!(
                "{} bytes are left over: it has another layout",
                rest.len()
            ))),
            Err(error) => Err(Error::Invalid(format!("it can't be read: {error}"))),
        }
    }

    /// Reads the state if it has this layout. Returns an error if it has another layout, or if
    /// `fits` returns false.
    pub fn read_if<T: DeserializeOwned>(
        &self,
        layout: u32,
        fits: impl FnOnce(&T) -> bool,
    ) -> Result<T, Error> {
        if self.layout != layout {
            return Err(self.unknown_layout());
        }
        let value = self.read()?;
        if fits(&value) {
            Ok(value)
        } else {
            Err(Error::Invalid("it does not fit these settings".to_owned()))
        }
    }

    /// Returns the error for an unknown layout.
    pub fn unknown_layout(&self) -> Error {
        Error::Unsupported(format!(
            "layout {} of version {} is not known",
            self.layout, self.from_version
        ))
    }
}

#[derive(Serialize, Deserialize)]
struct Head<'a> {
    detector: &'a str,
    layout: u32,
}

/// Writes a value with its head.
pub(crate) fn write<T: Serialize>(
    detector: &str,
    layout: u32,
    value: &T,
) -> Result<Vec<u8>, Error> {
    postcard::to_allocvec(&(Head { detector, layout }, value))
        .map_err(|error| Error::Failed(format!("the memory of a series can't be written: {error}")))
}

/// Reads the head. Returns an error if another detector saved the state.
pub(crate) fn open<'a>(
    detector: &str,
    from_version: &'a str,
    saved: &'a [u8],
) -> Result<Saved<'a>, Error> {
    match postcard::take_from_bytes::<Head<'_>>(saved) {
        Ok((head, bytes)) if head.detector == detector => Ok(Saved {
            from_version,
            layout: head.layout,
            bytes,
        }),
        Ok(_) => Err(Error::Invalid("another detector saved it".to_owned())),
        Err(_) => Err(Error::Invalid("it is not what a detector saves".to_owned())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_written_is_read_bit_by_bit_also_when_it_is_not_finite() {
        let values = vec![0.1, f64::INFINITY, -0.0, 5e-324];
        let bytes = write("zscore", 7, &values).unwrap();
        let saved = open("zscore", "0.1.0", &bytes).unwrap();
        assert_eq!((saved.layout, saved.from_version), (7, "0.1.0"));
        let read: Vec<f64> = saved.read().unwrap();
        assert_eq!(
            read.iter().map(|v| v.to_bits()).collect::<Vec<_>>(),
            values.iter().map(|v| v.to_bits()).collect::<Vec<_>>()
        );
    }

    #[test]
    fn what_is_foreign_cut_off_or_too_long_is_refused() {
        let mut bytes = write("zscore", 1, &1.5_f64).unwrap();
        assert!(matches!(
            open("ewma", "0.1.0", &bytes),
            Err(Error::Invalid(_))
        ));
        for end in 0..bytes.len() {
            let read = open("zscore", "0.1.0", &bytes[..end]).and_then(|saved| saved.read::<f64>());
            assert!(matches!(read, Err(Error::Invalid(_))), "{end} bytes");
        }
        bytes.push(0);
        let read = open("zscore", "0.1.0", &bytes).and_then(|saved| saved.read::<f64>());
        assert!(matches!(read, Err(Error::Invalid(_))));
    }
}
