-- From schema 6 to 7: upstream models of attempts, and the versions of policy files that are in force.
ALTER TABLE attempt ADD COLUMN upstream TEXT NOT NULL DEFAULT '{}';

-- The version of each policy file that is in force, which is the last one without problems.
CREATE TABLE policy_file (
    file        TEXT PRIMARY KEY,
    model       TEXT NOT NULL,             -- the model it is for, or the pattern of its models
    content     TEXT NOT NULL,             -- its text
    digest      TEXT NOT NULL,             -- sha256 of the text
    since       TEXT NOT NULL,             -- when it came into force
    wrong       TEXT NOT NULL DEFAULT '',  -- why the file as it is now did not come into force; '': it did
    wrong_since TEXT,
    changed_at  TEXT NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TRIGGER policy_in_force AFTER INSERT ON policy_file BEGIN
    INSERT INTO history (at, model, subject, event, detail)
    VALUES (NEW.changed_at, NEW.model, NEW.file, 'policy.in_force', substr(NEW.digest, 1, 12));
END;
CREATE TRIGGER policy_replaced AFTER UPDATE OF digest ON policy_file WHEN NEW.digest <> OLD.digest BEGIN
    INSERT INTO history (at, model, subject, event, detail)
    VALUES (NEW.changed_at, NEW.model, NEW.file, 'policy.in_force',
            substr(NEW.digest, 1, 12) || ', was ' || substr(OLD.digest, 1, 12));
END;
CREATE TRIGGER policy_wrong AFTER UPDATE OF wrong ON policy_file WHEN NEW.wrong <> OLD.wrong AND NEW.wrong <> '' BEGIN
    INSERT INTO history (at, model, subject, event, detail)
    VALUES (NEW.changed_at, NEW.model, NEW.file, 'policy.kept',
            substr(NEW.digest, 1, 12) || ' stays in force: ' || NEW.wrong);
END;
