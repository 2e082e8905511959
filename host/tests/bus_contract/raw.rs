//! Hand-written produce request, for messages that no client library writes
//! (kafka.apache.org/protocol, record batch version 2).

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::rig::TEST_TIMEOUT;

const NOT_LEADER: i16 = 6;

/// Writes one message with one header into partition 0 and waits for the acknowledgement.
pub async fn produce(broker: &str, topic: &str, header_name: &[u8], payload: &[u8]) {
    let deadline = tokio::time::Instant::now() + TEST_TIMEOUT;
    // A broker needs a moment to become the leader of a new topic.
    let mut code = NOT_LEADER;
    while code == NOT_LEADER && tokio::time::Instant::now() < deadline {
        code = ask(broker, topic, header_name, payload).await;
    }
    assert_eq!(code, 0, "the broker refused");
}

/// Sends the request and returns the broker's error code.
async fn ask(broker: &str, topic: &str, header_name: &[u8], payload: &[u8]) -> i16 {
    let batch = batch(header_name, payload);
    let mut request = Vec::new();
    request.extend(0_i16.to_be_bytes()); // API key: produce
    request.extend(3_i16.to_be_bytes()); // API version
    request.extend(1_i32.to_be_bytes()); // correlation id
    request.extend((-1_i16).to_be_bytes()); // no client id
    request.extend((-1_i16).to_be_bytes()); // no transaction
    request.extend((-1_i16).to_be_bytes()); // all replicas
    request.extend(10_000_i32.to_be_bytes()); // timeout in milliseconds
    request.extend(1_i32.to_be_bytes()); // topics
    request.extend(i16::try_from(topic.len()).unwrap().to_be_bytes());
    request.extend(topic.as_bytes());
    request.extend(1_i32.to_be_bytes()); // partitions
    request.extend(0_i32.to_be_bytes());
    request.extend(i32::try_from(batch.len()).unwrap().to_be_bytes());
    request.extend(batch);

    let mut stream = TcpStream::connect(broker).await.unwrap();
    stream
        .write_i32(request.len().try_into().unwrap())
        .await
        .unwrap();
    stream.write_all(&request).await.unwrap();
    let length = stream.read_i32().await.unwrap();
    let mut answer = vec![0; length.try_into().unwrap()];
    stream.read_exact(&mut answer).await.unwrap();
    // The error code follows the correlation id, the number of topics, the topic's name, the number
    // of partitions and the partition.
    let at = 4 + 4 + 2 + topic.len() + 4 + 4;
    i16::from_be_bytes([answer[at], answer[at + 1]])
}

fn batch(header_name: &[u8], payload: &[u8]) -> Vec<u8> {
    let mut record = vec![0, 0, 0, 1]; // attributes, timestamp delta, offset delta, no key
    record.extend(varint(payload.len()));
    record.extend(payload);
    record.extend(varint(1)); // headers
    record.extend(varint(header_name.len()));
    record.extend(header_name);
    record.push(1); // no value

    let mut checked = Vec::new();
    checked.extend(0_i16.to_be_bytes()); // attributes
    checked.extend(0_i32.to_be_bytes()); // last offset delta
    checked.extend(1_700_000_000_000_i64.to_be_bytes()); // first timestamp
    checked.extend(1_700_000_000_000_i64.to_be_bytes()); // last timestamp
    checked.extend((-1_i64).to_be_bytes()); // no producer id
    checked.extend((-1_i16).to_be_bytes());
    checked.extend((-1_i32).to_be_bytes());
    checked.extend(1_i32.to_be_bytes()); // records
    checked.extend(varint(record.len()));
    checked.extend(record);

    let mut batch = Vec::new();
    batch.extend(0_i64.to_be_bytes()); // base offset
    batch.extend(
        i32::try_from(4 + 1 + 4 + checked.len())
            .unwrap()
            .to_be_bytes(),
    );
    batch.extend((-1_i32).to_be_bytes()); // leader epoch
    batch.push(2); // version
    batch.extend(crc32c(&checked).to_be_bytes());
    batch.extend(checked);
    batch
}

/// Encodes a length as protobuf encodes a signed number.
fn varint(length: usize) -> Vec<u8> {
    let mut rest = length << 1;
    let mut bytes = Vec::new();
    while rest >= 0x80 {
        bytes.push((rest & 0x7f) as u8 | 0x80);
        rest >>= 7;
    }
    bytes.push(rest as u8);
    bytes
}

/// Computes the CRC-32C of `bytes` (RFC 3720, appendix B.4), bit by bit.
fn crc32c(bytes: &[u8]) -> u32 {
    let step = |crc: u32| (crc >> 1) ^ if crc & 1 == 1 { 0x82f6_3b78 } else { 0 };
    !bytes.iter().fold(!0, |crc, byte| {
        (0..8).fold(crc ^ u32::from(*byte), |crc, _| step(crc))
    })
}
