-- Every change to a plugin: who brought which bytes, what it was granted, when it was given up. Chained like decision_events, by
-- itself; `body` is the change as JSON.
CREATE TABLE plugin_events (
    seq       INTEGER PRIMARY KEY,
    plugin    TEXT    NOT NULL,
    at        INTEGER NOT NULL,
    kind      TEXT    NOT NULL,
    body      BLOB    NOT NULL,
    prev_hash BLOB    NOT NULL CHECK (length(prev_hash) = 32),
    hash      BLOB    NOT NULL CHECK (length(hash) = 32)
) STRICT;

CREATE INDEX plugin_events_by_plugin ON plugin_events (plugin, seq);

CREATE TRIGGER plugin_events_are_never_changed BEFORE UPDATE ON plugin_events
BEGIN
    SELECT RAISE(ABORT, 'plugin_events is append-only');
END;

CREATE TRIGGER plugin_events_are_never_deleted BEFORE DELETE ON plugin_events
BEGIN
    SELECT RAISE(ABORT, 'plugin_events is append-only');
END;
