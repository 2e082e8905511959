//! Reads one batch of a partition as raw bytes, and judges why a client cannot read it
//! (kafka.apache.org/protocol, Fetch version 4, and the formats of record batches).
//!
//! librdkafka drops a batch that it can't read, with its offsets, and asks for it again for ever.

use std::io;

use rdkafka::metadata::{Metadata, MetadataPartition};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// Size in bytes of the largest answer that librdkafka reads (`receive.message.max.bytes`).
pub(super) const MAX_ANSWER_BYTES: usize = 100_000_000;
/// Maximum size of the part of a batch that is read, in bytes.
const MAX_READ_BYTES: usize = 32 << 20;
const FETCH: i16 = 1;
const FETCH_VERSION: i16 = 4;
const CORRELATION: i32 = 1;
/// Bit of the attributes of a batch that is the mark of a transaction.
const CONTROL: u8 = 1 << 5;
/// Codecs of the record batches: none, gzip, snappy, lz4, zstd.
const CODECS: [&str; 5] = ["none", "gzip", "snappy", "lz4", "zstd"];

/// One batch as the broker stores it.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct RawBatch {
    /// Offset of the last message in it.
    pub(super) last: i64,
    /// The bytes, or the first [`MAX_READ_BYTES`] of them.
    pub(super) bytes: Vec<u8>,
    /// Description: format, codec and size.
    pub(super) description: String,
    /// True for the mark of a transaction, which is no message.
    pub(super) is_mark: bool,
    /// Reason why no client can read it, if there is one.
    pub(super) fault: Option<String>,
}

/// Returns host and port of the broker that leads a partition.
pub(super) fn leader_of(metadata: &Metadata, partition: i32) -> io::Result<(String, u16)> {
    let topics = metadata.topics().iter();
    let mut partitions = topics.flat_map(|topic| topic.partitions());
    let leader = partitions.find(|it| it.id() == partition);
    let leader = leader.map(MetadataPartition::leader);
    let mut brokers = metadata.brokers().iter();
    let broker = brokers
        .find(|broker| Some(broker.id()) == leader)
        .ok_or_else(|| io::Error::other("the partition has no leader"))?;
    let port = u16::try_from(broker.port()).map_err(io::Error::other)?;
    Ok((broker.host().to_owned(), port))
}

/// Reads the batch with the message at `offset` from the partition's leader. Returns None if the
/// broker has no such message.
pub(super) async fn read(
    leader: (&str, u16),
    topic: &str,
    partition: i32,
    offset: i64,
) -> io::Result<Option<RawBatch>> {
    let mut stream = TcpStream::connect(leader).await?;
    stream
        .write_all(&request(topic, partition, offset)?)
        .await?;
    let _size = stream.read_i32().await?;
    expect("correlation id", stream.read_i32().await?, CORRELATION)?;
    let _throttled = stream.read_i32().await?;
    expect("number of topics", stream.read_i32().await?, 1)?;
    let name = stream.read_i16().await?;
    skip(&mut stream, u64::try_from(name).unwrap_or(0)).await?;
    expect("number of partitions", stream.read_i32().await?, 1)?;
    expect("partition", stream.read_i32().await?, partition)?;
    let code = stream.read_i16().await?;
    let _end = stream.read_i64().await?;
    let _stable_end = stream.read_i64().await?;
    // The answer may have no list of aborted transactions. Each one has an id and an offset.
    let aborted = u64::try_from(stream.read_i32().await?).unwrap_or(0);
    skip(&mut stream, aborted * 16).await?;
    expect("error code", i32::from(code), 0)?;
    let size = usize::try_from(stream.read_i32().await?).unwrap_or(0);
    if size == 0 {
        return Ok(None);
    }
    let mut bytes = vec![0; size.min(MAX_READ_BYTES)];
    stream.read_exact(&mut bytes).await?;
    Ok(Some(RawBatch::judge(bytes, size, offset)))
}

/// Encodes the request for the first batch at `offset`. A broker answers with a whole batch, also
/// if it is larger than the limit of one byte (KIP-74).
fn request(topic: &str, partition: i32, offset: i64) -> io::Result<Vec<u8>> {
    let name = i16::try_from(topic.len()).map_err(io::Error::other)?;
    let mut body = Vec::new();
    body.extend(FETCH.to_be_bytes());
    body.extend(FETCH_VERSION.to_be_bytes());
    body.extend(CORRELATION.to_be_bytes());
    body.extend((-1_i16).to_be_bytes()); // no client id
    body.extend((-1_i32).to_be_bytes()); // no replica
    body.extend(1000_i32.to_be_bytes()); // longest wait in milliseconds
    body.extend(1_i32.to_be_bytes()); // least bytes
    body.extend(1_i32.to_be_bytes()); // most bytes
    body.push(0); // isolation level: read uncommitted
    body.extend(1_i32.to_be_bytes()); // topics
    body.extend(name.to_be_bytes());
    body.extend(topic.as_bytes());
    body.extend(1_i32.to_be_bytes()); // partitions
    body.extend(partition.to_be_bytes());
    body.extend(offset.to_be_bytes());
    body.extend(1_i32.to_be_bytes()); // most bytes of the partition
    let size = i32::try_from(body.len()).map_err(io::Error::other)?;
    Ok([&size.to_be_bytes()[..], &body].concat())
}

fn expect(what: &str, found: i32, expected: i32) -> io::Result<()> {
    match found == expected {
        true => Ok(()),
        false => Err(io::Error::other(format!(
            "the {what} of the answer is {found} instead of {expected}"
        ))),
    }
}

async fn skip(stream: &mut TcpStream, bytes: u64) -> io::Result<()> {
    tokio::io::copy(&mut stream.take(bytes), &mut tokio::io::sink()).await?;
    Ok(())
}

/// Returns `N` bytes at a position.
fn field<const N: usize>(bytes: &[u8], at: usize) -> Option<[u8; N]> {
    bytes.get(at..at.checked_add(N)?)?.try_into().ok()
}

impl RawBatch {
    /// Judges a batch of `size` bytes that was asked for by `offset`. `bytes` may be only its
    /// beginning. No header is trusted: the bytes may be damaged.
    fn judge(bytes: Vec<u8>, size: usize, offset: i64) -> Self {
        let Header {
            last,
            codec,
            is_mark,
            fault,
        } = Header::read(&bytes, size);
        let name = CODECS.get(codec).copied().unwrap_or("unknown");
        Self {
            last: last.map_or(offset, |last| last.max(offset)),
            description: format!("{size} bytes, codec {name}"),
            is_mark,
            fault,
            bytes,
        }
    }
}

struct Header {
    last: Option<i64>,
    codec: usize,
    is_mark: bool,
    fault: Option<String>,
}

impl Header {
    fn read(bytes: &[u8], size: usize) -> Self {
        let version = field(bytes, 16).map(i8::from_be_bytes);
        let base = field(bytes, 0).map(i64::from_be_bytes);
        let length = field(bytes, 8).map(i32::from_be_bytes);
        let (last, attributes, checksum) = match version {
            Some(0 | 1) => (base, field(bytes, 17).map(|[byte]: [u8; 1]| byte), None),
            Some(2) => {
                let delta = field(bytes, 23).map(i32::from_be_bytes);
                let last = base
                    .zip(delta.filter(|delta| *delta >= 0))
                    .map(|(base, delta)| base.saturating_add(i64::from(delta)));
                let checksum = field(bytes, 17).map(u32::from_be_bytes);
                (last, field(bytes, 22).map(|[byte]: [u8; 1]| byte), checksum)
            }
            _ => (None, None, None),
        };
        // The lowest three bits are the codec.
        let codec = usize::from(attributes.unwrap_or(0) & 7);
        let most = if version == Some(2) { 5 } else { 4 };
        let is_mark = version == Some(2) && attributes.unwrap_or(0) & CONTROL != 0;
        let is_whole =
            length.and_then(|length| usize::try_from(length).ok()) == size.checked_sub(12);
        let is_damaged = bytes.len() == size
            && checksum.is_some_and(|checksum| Some(checksum) != bytes.get(21..).map(crc32c));
        let fault = if last.is_none() && version.is_some_and(|version| !(0..=2).contains(&version))
        {
            Some(format!(
                "it has the unknown format {}",
                version.unwrap_or(0)
            ))
        } else if last.is_none() || !is_whole {
            Some("its header is damaged".to_owned())
        } else if size > MAX_ANSWER_BYTES {
            Some(format!("it is larger than {MAX_ANSWER_BYTES} bytes"))
        } else if is_damaged {
            Some("its checksum is wrong".to_owned())
        } else if codec >= most {
            Some(format!("it is compressed with the unknown codec {codec}"))
        } else {
            None
        };
        Self {
            last,
            codec,
            is_mark,
            fault,
        }
    }
}

/// Computes the CRC-32C of `bytes` (RFC 3720, appendix B.4), bit by bit.
fn crc32c(bytes: &[u8]) -> u32 {
    let step = |crc: u32| (crc >> 1) ^ if crc & 1 == 1 { 0x82f6_3b78 } else { 0 };
    !bytes.iter().fold(!0, |crc, byte| {
        (0..8).fold(crc ^ u32::from(*byte), |crc, _| step(crc))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Builds a batch of version 2 with three messages from offset 10 on.
    fn batch(codec: u8) -> Vec<u8> {
        let mut checked = vec![0, codec];
        checked.extend(2_i32.to_be_bytes()); // last offset delta
        checked.extend([7; 40]);
        let mut batch = 10_i64.to_be_bytes().to_vec();
        batch.extend((9 + checked.len() as i32).to_be_bytes());
        batch.extend((-1_i32).to_be_bytes());
        batch.push(2);
        batch.extend(crc32c(&checked).to_be_bytes());
        batch.extend(checked);
        batch
    }

    fn judge(bytes: Vec<u8>) -> RawBatch {
        let size = bytes.len();
        RawBatch::judge(bytes, size, 11)
    }

    #[test]
    fn the_checksum_is_that_of_the_standard() {
        assert_eq!(crc32c(b"123456789"), 0xe306_9283);
    }

    #[test]
    fn a_batch_tells_its_last_offset_and_why_no_client_reads_it() {
        for codec in 0..5 {
            let judged = judge(batch(codec));
            assert_eq!((judged.last, judged.fault), (12, None), "codec {codec}");
        }
        let fault = |change: fn(&mut Vec<u8>)| {
            let mut bytes = batch(0);
            change(&mut bytes);
            let judged = judge(bytes);
            (judged.last, judged.fault.unwrap())
        };
        assert_eq!(
            judge(batch(5)).fault.unwrap(),
            "it is compressed with the unknown codec 5"
        );
        assert_eq!(
            fault(|bytes| bytes[60] ^= 1),
            (12, "its checksum is wrong".into())
        );
        assert_eq!(
            fault(|bytes| bytes[16] = 9),
            (11, "it has the unknown format 9".into())
        );
        assert_eq!(
            fault(|bytes| bytes[9] = 9),
            (12, "its header is damaged".into())
        );
        assert_eq!(
            fault(|bytes| bytes.truncate(14)),
            (11, "its header is damaged".into())
        );
        let large = RawBatch::judge(batch(0), MAX_ANSWER_BYTES + 1, 11);
        assert!(large.fault.is_some(), "{large:?}");
    }

    #[test]
    fn a_message_of_an_old_format_is_judged_too() {
        let message = |version: u8, attributes: u8| {
            let mut bytes = 15_i64.to_be_bytes().to_vec();
            bytes.extend(20_i32.to_be_bytes());
            bytes.extend([1, 2, 3, 4, version, attributes]);
            bytes.extend([0; 14]);
            judge(bytes)
        };
        assert_eq!((message(1, 2).last, message(1, 2).fault), (15, None));
        assert!(message(0, 4).fault.unwrap().contains("codec 4"));
    }

    proptest! {
        #[test]
        fn no_bytes_make_it_panic_or_go_back(bytes in prop::collection::vec(any::<u8>(), 0..100), size in 0usize..200, offset in any::<i64>()) {
            prop_assert!(RawBatch::judge(bytes, size, offset).last >= offset);
        }

        #[test]
        fn any_damage_behind_the_header_is_noticed(at in 21usize..66, bit in 0u8..8) {
            let mut bytes = batch(3);
            bytes[at] ^= 1 << bit;
            prop_assert!(judge(bytes).fault.is_some());
        }
    }
}
