-- Where the log of record is a topic: up to where this file has what is on it.
CREATE TABLE read_up_to (
    topic TEXT    NOT NULL PRIMARY KEY,
    next  INTEGER NOT NULL -- the offset of the first message that is not here
) STRICT, WITHOUT ROWID;
