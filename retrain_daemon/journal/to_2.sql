-- From schema 1 to 2: why drops cannot be inspected gets a code, decisions may be to judge what a person offered.
ALTER TABLE model ADD COLUMN trouble_code TEXT NOT NULL DEFAULT '';
CREATE TABLE decision_2 (
    id       INTEGER PRIMARY KEY,
    model    TEXT NOT NULL,
    at       TEXT NOT NULL,
    action   TEXT NOT NULL CHECK (action IN ('train', 'judge', 'wait')),
    code     TEXT NOT NULL,
    sentence TEXT NOT NULL,
    details  TEXT NOT NULL,
    offered  TEXT NOT NULL DEFAULT ''
) STRICT;
INSERT INTO decision_2 (id, model, at, action, code, sentence, details)
    SELECT id, model, at, action, code, sentence, details FROM decision;
DROP TABLE decision;
ALTER TABLE decision_2 RENAME TO decision;
CREATE INDEX decision_model ON decision (model, id);
CREATE TRIGGER decision_inserted AFTER INSERT ON decision BEGIN
    INSERT INTO history (at, model, subject, event, detail)
    VALUES (NEW.at, NEW.model, NEW.model, 'decision.' || NEW.action, NEW.sentence);
END;
ALTER TABLE attempt ADD COLUMN offered INTEGER;
