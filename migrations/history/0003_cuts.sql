-- Where decision_events begins: what came up to `seq` was old and was let go of. `hash` is that event's, on which the next one follows.
CREATE TABLE cuts (
    seq    INTEGER PRIMARY KEY,
    hash   BLOB    NOT NULL CHECK (length(hash) = 32),
    at     INTEGER NOT NULL,
    cut_at INTEGER NOT NULL
) STRICT;

CREATE TRIGGER cuts_are_never_changed BEFORE UPDATE ON cuts
BEGIN
    SELECT RAISE(ABORT, 'cuts is append-only');
END;

-- Only what lies before a cut can go.
DROP TRIGGER decision_events_are_never_deleted;
CREATE TRIGGER decision_events_are_never_deleted BEFORE DELETE ON decision_events
WHEN OLD.seq > (SELECT coalesce(max(seq), 0) FROM cuts)
BEGIN
    SELECT RAISE(ABORT, 'decision_events is append-only');
END;
