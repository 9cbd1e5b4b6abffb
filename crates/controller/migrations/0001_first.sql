-- All times are milliseconds since 1970-01-01T00:00:00Z. Ids are UUIDs as text. What is JSON says so.

CREATE TABLE meta (
    key TEXT NOT NULL PRIMARY KEY,
    value BIGINT NOT NULL
);

-- The truth. `journal` is 'fleet' or the id of an orchestration.
CREATE TABLE journal (
    journal TEXT NOT NULL,
    position BIGINT NOT NULL,
    version BIGINT NOT NULL,
    record TEXT NOT NULL, -- JSON
    checksum BLOB NOT NULL, -- SHA-256 of the checksum before, the version and the record
    PRIMARY KEY (journal, position)
);

-- Where each journal ends: a lost tail is seen, an append that follows something else is a conflict.
CREATE TABLE journal_head (
    journal TEXT NOT NULL PRIMARY KEY,
    records BIGINT NOT NULL,
    checksum BLOB NOT NULL
);

-- What the API reads; computed from the journals.
CREATE TABLE orchestration (
    number INTEGER PRIMARY KEY AUTOINCREMENT,
    id TEXT NOT NULL UNIQUE,
    host TEXT NOT NULL,
    open BIGINT NOT NULL,
    records BIGINT NOT NULL,
    initiated_at BIGINT NOT NULL,
    ended_at BIGINT,
    view TEXT NOT NULL -- JSON
);
-- One open orchestration per host (E13), whatever the engine believes.
CREATE UNIQUE INDEX orchestration_open_host ON orchestration (host) WHERE open = 1;
CREATE INDEX orchestration_host ON orchestration (host, number);

CREATE TABLE audit (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    at BIGINT NOT NULL,
    actor TEXT NOT NULL,
    action TEXT NOT NULL,
    target TEXT,
    orchestration TEXT,
    success BIGINT NOT NULL,
    detail TEXT NOT NULL
);
CREATE INDEX audit_orchestration ON audit (orchestration, id);
CREATE INDEX audit_target ON audit (target, id);
CREATE INDEX audit_actor ON audit (actor, id);
CREATE INDEX audit_action ON audit (action, id);

CREATE TABLE account (
    name TEXT NOT NULL PRIMARY KEY,
    role TEXT NOT NULL,
    may_force BIGINT NOT NULL,
    scope TEXT NOT NULL,
    password TEXT NOT NULL, -- argon2id
    must_change BIGINT NOT NULL,
    created_at BIGINT NOT NULL
);

-- API tokens (with a name) and sessions (without).
CREATE TABLE token (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    account TEXT NOT NULL REFERENCES account (name) ON DELETE CASCADE,
    name TEXT,
    hash BLOB NOT NULL UNIQUE, -- SHA-256 of 32 random bytes
    role TEXT NOT NULL,
    may_force BIGINT NOT NULL,
    scope TEXT NOT NULL,
    created_at BIGINT NOT NULL,
    expires_at BIGINT NOT NULL,
    last_used_at BIGINT
);
CREATE UNIQUE INDEX token_name ON token (account, name) WHERE name IS NOT NULL;

CREATE TABLE enrolment (
    hash BLOB NOT NULL PRIMARY KEY, -- SHA-256 of 32 random bytes
    name TEXT NOT NULL,
    labels TEXT NOT NULL, -- JSON
    created_by TEXT NOT NULL,
    created_at BIGINT NOT NULL,
    expires_at BIGINT NOT NULL,
    used_at BIGINT
);

-- One row for each key that a machine came with; which of them is valid stands in the fleet journal.
CREATE TABLE device (
    host TEXT NOT NULL,
    machine_id TEXT NOT NULL,
    name TEXT NOT NULL,
    public_key TEXT NOT NULL,
    secret_hash BLOB NOT NULL,
    enrolled_at BIGINT NOT NULL,
    PRIMARY KEY (host, public_key)
);
CREATE INDEX device_machine ON device (machine_id);
CREATE INDEX device_name ON device (name);
