//! Encoding of headers as one blob. Names are text, values are arbitrary bytes.

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

/// Encodes headers as protobuf: a repeated message of name (1) and value (2).
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

/// Decodes a blob written by [`encode`].
pub(super) fn decode(blob: &[u8]) -> Result<Vec<(String, Bytes)>, prost::DecodeError> {
    Ok(Headers::decode(blob)?
        .headers
        .into_iter()
        .map(|header| (header.name, header.value))
        .collect())
}
