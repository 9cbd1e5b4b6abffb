-- Several services of one host are tracks of one orchestration. What must not be is as before: open tracks of one host in two
-- orchestrations (E13), whatever the engine believes.
DROP INDEX track_open_host;
CREATE INDEX track_open_host ON track (host) WHERE open = 1;
CREATE TRIGGER track_one_orchestration_insert BEFORE INSERT ON track
WHEN NEW.open = 1
    AND EXISTS (SELECT 1 FROM track WHERE host = NEW.host AND open = 1 AND orchestration <> NEW.orchestration)
BEGIN
    SELECT RAISE(ABORT, 'another orchestration has an open track on this host');
END;
CREATE TRIGGER track_one_orchestration_update BEFORE UPDATE OF open ON track
WHEN NEW.open = 1 AND OLD.open = 0
    AND EXISTS (SELECT 1 FROM track WHERE host = NEW.host AND open = 1 AND orchestration <> NEW.orchestration)
BEGIN
    SELECT RAISE(ABORT, 'another orchestration has an open track on this host');
END;
