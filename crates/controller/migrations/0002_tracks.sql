-- One row for each track of an orchestration; computed from the journals. A rollout of ten thousand hosts writes the rows of the
-- tracks that a turn touched, and no others.
CREATE TABLE track (
    orchestration TEXT NOT NULL,
    number BIGINT NOT NULL,
    host TEXT NOT NULL,
    open BIGINT NOT NULL,
    outcome TEXT,
    view TEXT NOT NULL, -- JSON
    PRIMARY KEY (orchestration, number)
);
-- One open track per host (E13), whatever the engine believes.
CREATE UNIQUE INDEX track_open_host ON track (host) WHERE open = 1;
-- Until now: one open orchestration per host.
DROP INDEX orchestration_open_host;
CREATE INDEX track_host ON track (host);
CREATE INDEX track_outcome ON track (orchestration, outcome, number);
