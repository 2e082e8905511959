//! Headers as one blob: names are text, values are any bytes.

use bytes::Bytes;
use prost::Message;

#[derive(Clone, PartialEq, Message)]
struct Header {
    #[prost(string, tag = "1")]
    name: String,
    #[prost(bytes = "bytes", tag = "2")]
    value: Bytes,
}

#[derive(Clone, PartialEq, Message)]
struct Headers {
    #[prost(message, repeated, tag = "1")]
    headers: Vec<Header>,
}

/// Protobuf: a repeated message of name (1) and value (2).
pub(super) fn encode(headers: &[(String, Bytes)]) -> Vec<u8> {
    let headers = headers
        .iter()
        .map(|(name, value)| Header {
            name: name.clone(),
            value: value.clone(),
        })
        .collect();
    Headers { headers }.encode_to_vec()
}

/// The reverse.
pub(super) fn decode(blob: &[u8]) -> Result<Vec<(String, Bytes)>, prost::DecodeError> {
    Ok(Headers::decode(blob)?
        .headers
        .into_iter()
        .map(|header| (header.name, header.value))
        .collect())
}
