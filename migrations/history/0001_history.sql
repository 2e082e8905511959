-- The history: what was decided, why, and what came of it. Times are milliseconds since 1970-01-01T00:00:00Z.

-- The present state of each decision. `seq` is the order of creation and never changes; `body` is the decision as JSON.
CREATE TABLE decisions (
    seq        INTEGER PRIMARY KEY,
    id         TEXT    NOT NULL UNIQUE,
    incident   TEXT,
    target     TEXT,
    namespace  TEXT,
    solution   TEXT    NOT NULL,
    state      TEXT    NOT NULL,
    outcome    TEXT,
    opened_at  INTEGER NOT NULL,
    decided_at INTEGER NOT NULL,
    body       BLOB    NOT NULL
) STRICT;

CREATE INDEX decisions_by_incident ON decisions (incident, seq);
CREATE INDEX decisions_by_target ON decisions (target, seq);
CREATE INDEX decisions_by_solution ON decisions (solution, seq);
CREATE INDEX decisions_by_state ON decisions (state, seq);
CREATE INDEX decisions_by_outcome ON decisions (outcome, seq);
CREATE INDEX decisions_by_time ON decisions (decided_at);

-- Every step of every decision, for ever. `hash` is SHA-256 over `prev_hash` and the other columns as they are stored.
CREATE TABLE decision_events (
    seq       INTEGER PRIMARY KEY,
    decision  TEXT    NOT NULL,
    at        INTEGER NOT NULL,
    kind      TEXT    NOT NULL,
    body      BLOB    NOT NULL,
    prev_hash BLOB    NOT NULL CHECK (length(prev_hash) = 32),
    hash      BLOB    NOT NULL CHECK (length(hash) = 32)
) STRICT;

CREATE INDEX decision_events_by_decision ON decision_events (decision, seq);

CREATE TRIGGER decision_events_are_never_changed BEFORE UPDATE ON decision_events
BEGIN
    SELECT RAISE(ABORT, 'decision_events is append-only');
END;

CREATE TRIGGER decision_events_are_never_deleted BEFORE DELETE ON decision_events
BEGIN
    SELECT RAISE(ABORT, 'decision_events is append-only');
END;

-- The operations inside the decisions once more, for the cooldown to be asked quickly.
CREATE TABLE operations (
    id       TEXT    NOT NULL PRIMARY KEY,
    decision TEXT    NOT NULL,
    target   TEXT,
    solution TEXT    NOT NULL,
    kind     TEXT    NOT NULL,
    asked_at INTEGER NOT NULL,
    outcome  TEXT,
    body     BLOB    NOT NULL
) STRICT, WITHOUT ROWID;

CREATE INDEX operations_by_target ON operations (target, asked_at);
CREATE INDEX operations_by_time ON operations (asked_at);

-- The present state of each incident. `cleared_at` is NULL while it goes on.
CREATE TABLE incidents (
    seq        INTEGER PRIMARY KEY,
    id         TEXT    NOT NULL UNIQUE,
    target     TEXT    NOT NULL,
    opened_at  INTEGER NOT NULL,
    changed_at INTEGER NOT NULL,
    cleared_at INTEGER,
    body       BLOB    NOT NULL
) STRICT;

CREATE INDEX open_incidents ON incidents (seq) WHERE cleared_at IS NULL;

-- What can be searched for; `rowid` is the decision's `seq`. The text itself is in `decisions.body`.
CREATE VIRTUAL TABLE decision_text USING fts5 (words, content = '', contentless_delete = 1, tokenize = 'unicode61');
