-- Events of services, in the order of their commits: written with the facts that they tell of, and given on from here.
CREATE TABLE service_event (
    position INTEGER PRIMARY KEY AUTOINCREMENT, -- never given out twice: whoever reads on would miss one
    id TEXT NOT NULL UNIQUE,
    host TEXT NOT NULL,
    service TEXT NOT NULL,
    event TEXT NOT NULL -- JSON
);
CREATE INDEX service_event_service ON service_event (service, position);
-- How far each place that they are given on to has them.
CREATE TABLE event_sink (
    name TEXT PRIMARY KEY,
    position BIGINT NOT NULL
);
