-- Messages of the durable topics and their dead letters, oldest first. A position is never given twice, also after
-- pruning: consumers remember positions.
CREATE TABLE messages (
    position INTEGER PRIMARY KEY AUTOINCREMENT,
    topic TEXT NOT NULL,
    published_at INTEGER NOT NULL, -- milliseconds since 1970
    key TEXT,
    headers BLOB NOT NULL,         -- protobuf, see host/src/bus/local/headers.rs
    payload BLOB NOT NULL
) STRICT;

CREATE INDEX messages_by_topic ON messages (topic, position);

-- The next position that a consumer group has not done yet.
CREATE TABLE group_offsets (
    topic TEXT NOT NULL,
    name TEXT NOT NULL,
    next INTEGER NOT NULL,
    PRIMARY KEY (topic, name)
) STRICT, WITHOUT ROWID;
