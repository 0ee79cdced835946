-- From schema 6 to 7: upstream models of attempts, the versions of policy files that are in force, and models that no
-- policy is about any more.
ALTER TABLE model ADD COLUMN retired_at TEXT;
ALTER TABLE attempt ADD COLUMN upstream TEXT NOT NULL DEFAULT '{}';

-- Who was champion of the models that one depends on when its policy was first seen with them.
CREATE TABLE upstream_seen (
    model    TEXT NOT NULL,       -- the model that depends on it
    name     TEXT NOT NULL,       -- the name that its policy gives it
    upstream TEXT NOT NULL,       -- the registered model
    alias    TEXT NOT NULL,       -- the alias of its champion
    version  INTEGER NOT NULL,    -- the champion then
    at       TEXT NOT NULL,
    PRIMARY KEY (model, name)
) STRICT, WITHOUT ROWID;

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
CREATE TRIGGER model_retired AFTER UPDATE OF retired_at ON model
WHEN (NEW.retired_at IS NULL) <> (OLD.retired_at IS NULL) BEGIN
    INSERT INTO history (at, model, subject, event, detail)
    VALUES (NEW.changed_at, NEW.name, NEW.policy_file,
            CASE WHEN NEW.retired_at IS NULL THEN 'policy.taken_up' ELSE 'policy.retired' END, '');
END;
