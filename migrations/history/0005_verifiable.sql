-- Everything that is shown or decided upon can be compared with a chain of events: incidents get events of their own, and so do cuts.

-- Every state of every incident. Chained like decision_events, by itself; `body` is the incident as JSON, byte for byte as in incidents.
CREATE TABLE incident_events (
    seq       INTEGER PRIMARY KEY,
    incident  TEXT    NOT NULL,
    at        INTEGER NOT NULL,
    kind      TEXT    NOT NULL,
    body      BLOB    NOT NULL,
    prev_hash BLOB    NOT NULL CHECK (length(prev_hash) = 32),
    hash      BLOB    NOT NULL CHECK (length(hash) = 32)
) STRICT;

CREATE INDEX incident_events_by_incident ON incident_events (incident, seq);

-- Where incident_events begins; see cuts.
CREATE TABLE incident_cuts (
    seq    INTEGER PRIMARY KEY,
    hash   BLOB    NOT NULL CHECK (length(hash) = 32),
    at     INTEGER NOT NULL,
    cut_at INTEGER NOT NULL
) STRICT;

CREATE TRIGGER incident_events_are_never_changed BEFORE UPDATE ON incident_events
BEGIN
    SELECT RAISE(ABORT, 'incident_events is append-only');
END;

CREATE TRIGGER incident_events_are_never_deleted BEFORE DELETE ON incident_events
WHEN OLD.seq > (SELECT coalesce(max(seq), 0) FROM incident_cuts)
BEGIN
    SELECT RAISE(ABORT, 'incident_events is append-only');
END;

-- Every cut: which chain was cut, up to which event, and under which retention. Chained like decision_events, by itself. The first event
-- says up to where an earlier version had cut, which left no event.
CREATE TABLE cut_events (
    seq       INTEGER PRIMARY KEY,
    chain     TEXT    NOT NULL,
    at        INTEGER NOT NULL,
    kind      TEXT    NOT NULL,
    body      BLOB    NOT NULL,
    prev_hash BLOB    NOT NULL CHECK (length(prev_hash) = 32),
    hash      BLOB    NOT NULL CHECK (length(hash) = 32)
) STRICT;

CREATE TRIGGER cut_events_are_never_changed BEFORE UPDATE ON cut_events
BEGIN
    SELECT RAISE(ABORT, 'cut_events is append-only');
END;

CREATE TRIGGER cut_events_are_never_deleted BEFORE DELETE ON cut_events
BEGIN
    SELECT RAISE(ABORT, 'cut_events is append-only');
END;

-- The operations of a decision, to compare them with its last event.
CREATE INDEX operations_by_decision ON operations (decision);

-- Two filters at once, which would otherwise read every decision that matches the first.
CREATE INDEX decisions_by_state_and_solution ON decisions (state, solution, seq);
CREATE INDEX decisions_by_outcome_and_solution ON decisions (outcome, solution, seq);
