-- What detectors know of their series. A cache: without it they are shown the past again, as far as its source keeps one.
-- Times are milliseconds since 1970-01-01T00:00:00Z.
CREATE TABLE memories (
    id        INTEGER PRIMARY KEY,
    signal    TEXT    NOT NULL,
    series    TEXT    NOT NULL,                                 -- target and labels as JSON; empty for what the series share
    detector  TEXT    NOT NULL,                                 -- its name
    settings  BLOB    NOT NULL CHECK (length(settings) = 32),   -- SHA-256 of the settings it was opened with
    version   TEXT    NOT NULL,                                 -- of the plugin that saved it
    digest    TEXT    NOT NULL,
    watermark INTEGER NOT NULL,                                 -- the samples up to and with this time are in it
    onset_at  INTEGER,                                          -- of the anomaly that goes on
    finding   TEXT,                                             -- its id
    saved     BLOB,                                             -- what the detector saved
    sha256    BLOB             CHECK (length(sha256) = 32),     -- of `saved`
    saved_at  INTEGER NOT NULL,                                 -- by the clock of this machine
    UNIQUE (signal, series, detector, settings)
) STRICT;

CREATE INDEX memories_by_age ON memories (saved_at);
