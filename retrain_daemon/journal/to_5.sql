-- From schema 4 to 5: what people let pass, what was noticed in a file, drift and scores.
ALTER TABLE drops ADD COLUMN suspect INTEGER NOT NULL DEFAULT 0;
ALTER TABLE drops ADD COLUMN released_at TEXT;
ALTER TABLE drops ADD COLUMN released_by TEXT NOT NULL DEFAULT '';
ALTER TABLE drops ADD COLUMN released_why TEXT NOT NULL DEFAULT '';
ALTER TABLE drops ADD COLUMN corrected INTEGER NOT NULL DEFAULT 0;
ALTER TABLE drops ADD COLUMN profile_file TEXT NOT NULL DEFAULT '';
ALTER TABLE drops ADD COLUMN own_rows INTEGER NOT NULL DEFAULT 0;
UPDATE drops SET own_rows = new;
ALTER TABLE drops ADD COLUMN events_by TEXT;
ALTER TABLE drops ADD COLUMN notes TEXT NOT NULL DEFAULT '[]';
CREATE INDEX attempt_drop_of ON attempt_drop (drop_id);

-- How far the rows that no judged attempt had are from what the last judged attempt learned from, measured when `key`
-- changed: the new drops and those they are compared with.
CREATE TABLE drift (
    id             INTEGER PRIMARY KEY,
    model          TEXT NOT NULL,
    at             TEXT NOT NULL,
    key            TEXT NOT NULL,
    new_rows       INTEGER NOT NULL,
    reference_rows INTEGER NOT NULL,
    columns        TEXT NOT NULL,         -- JSON: the distance (PSI) of each column, of the newest measurement
    worst          TEXT NOT NULL,         -- the column that is farthest
    value          REAL                   -- its distance; NULL: not known
) STRICT;
CREATE INDEX drift_model ON drift (model, id);

-- The same of single drops, when each was new.
CREATE TABLE drop_drift (
    drop_id INTEGER PRIMARY KEY REFERENCES drops (id),
    model   TEXT NOT NULL,
    at      TEXT NOT NULL,
    worst   TEXT NOT NULL,
    value   REAL NOT NULL
) STRICT;

-- What each version scored on each drop, on the rows it had not learned from.
CREATE TABLE score (
    model   TEXT NOT NULL,
    version INTEGER NOT NULL,
    drop_id INTEGER NOT NULL REFERENCES drops (id),
    metric  TEXT NOT NULL,
    value   REAL,                         -- NULL: it has none, see problem
    rows    INTEGER NOT NULL,
    problem TEXT NOT NULL DEFAULT '',
    at      TEXT NOT NULL,
    PRIMARY KEY (model, version, drop_id, metric)
) STRICT, WITHOUT ROWID;

DROP TRIGGER drops_changed;
CREATE TRIGGER drops_changed AFTER UPDATE OF state ON drops WHEN OLD.state <> NEW.state BEGIN
    INSERT INTO history (at, model, subject, event, detail)
    VALUES (NEW.changed_at, NEW.model, NEW.path, 'drop.' || NEW.state,
            CASE WHEN NEW.reason <> '' THEN NEW.reason ELSE NEW.new || ' new of ' || NEW.rows || ' rows'
            || CASE WHEN NEW.corrected > 0 THEN ', ' || NEW.corrected || ' with another label than before' ELSE '' END
            END);
END;
CREATE TRIGGER drops_released AFTER UPDATE OF released_at ON drops WHEN NEW.released_at IS NOT NULL BEGIN
    INSERT INTO history (at, model, subject, event, detail)
    VALUES (NEW.changed_at, NEW.model, NEW.path, 'drop.released', 'by ' || NEW.released_by || ': ' || NEW.released_why ||
            CASE WHEN OLD.state = 'quarantined' THEN '; it was quarantined: ' || OLD.reason
                 ELSE '; the same bytes as were released before' END);
END;
CREATE TRIGGER drift_measured AFTER INSERT ON drift WHEN NEW.value IS NOT NULL BEGIN
    INSERT INTO history (at, model, subject, event, detail)
    VALUES (NEW.at, NEW.model, NEW.model, 'drift.measured',
            printf('%.3f in %s, %d new rows against %d', NEW.value, NEW.worst, NEW.new_rows, NEW.reference_rows));
END;
CREATE TRIGGER score_kept AFTER INSERT ON score WHEN NEW.value IS NOT NULL BEGIN
    INSERT INTO history (at, model, subject, event, detail)
    SELECT NEW.at, NEW.model, drops.path, 'champion.scored',
           printf('version %d: %s %.4g on %d rows', NEW.version, NEW.metric, NEW.value, NEW.rows)
    FROM drops WHERE drops.id = NEW.drop_id;
END;
