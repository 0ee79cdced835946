-- From schema 5 to 6: second looks, the error budget of each tenure, approval, watched promotions, reports and
-- champions that do not load.
ALTER TABLE attempt ADD COLUMN again_of TEXT REFERENCES attempt (id);
ALTER TABLE attempt ADD COLUMN look INTEGER NOT NULL DEFAULT 1;
ALTER TABLE attempt ADD COLUMN reported TEXT NOT NULL DEFAULT '';
ALTER TABLE model ADD COLUMN unloadable INTEGER;
ALTER TABLE model ADD COLUMN unloadable_why TEXT NOT NULL DEFAULT '';
CREATE TRIGGER champion_unloadable AFTER UPDATE OF unloadable ON model WHEN NEW.unloadable IS NOT OLD.unloadable BEGIN
    INSERT INTO history (at, model, subject, event, detail)
    VALUES (NEW.changed_at, NEW.name, NEW.name,
            CASE WHEN NEW.unloadable IS NULL THEN 'champion.tried_again' ELSE 'champion.unloadable' END,
            'version ' || COALESCE(NEW.unloadable, OLD.unloadable) ||
            CASE WHEN NEW.unloadable_why = '' THEN '' ELSE ': ' || NEW.unloadable_why END);
END;
CREATE INDEX attempt_again ON attempt (again_of) WHERE again_of IS NOT NULL;
UPDATE attempt SET reported = round || ' ' || state WHERE ended_at IS NOT NULL;
CREATE INDEX attempt_unreported ON attempt (number)
WHERE evidence IS NOT NULL AND substr(reported, 1, length(round || ' ' || state)) <> round || ' ' || state;

-- How long each version was champion. What is spent of the error budget belongs to one tenure.
CREATE TABLE tenure (
    id         INTEGER PRIMARY KEY,
    model      TEXT NOT NULL,
    version    INTEGER NOT NULL,
    how        TEXT NOT NULL CHECK (how IN
                 ('found',              -- it was champion when the model was first seen, or the first to be adopted
                  'better',             -- promoted, as improvement was shown
                  'not_worse',          -- promoted, as harm was ruled out
                  'moved',              -- a person moved the alias
                  'rolled_back')),      -- champion again after a rollback
    anchor     INTEGER NOT NULL,        -- no challenger may be worse than this version either
    opened_at  TEXT NOT NULL,
    closed_at  TEXT,
    changed_at TEXT NOT NULL
) STRICT;
CREATE UNIQUE INDEX tenure_open ON tenure (model) WHERE closed_at IS NULL;

-- Comparisons against a champion that claimed improvement; the k-th may err with the chance alpha / (k (k + 1)).
CREATE TABLE comparison (
    tenure  INTEGER NOT NULL REFERENCES tenure (id),
    number  INTEGER NOT NULL,
    attempt TEXT NOT NULL REFERENCES attempt (id),
    round   INTEGER NOT NULL,
    alpha   REAL NOT NULL,
    at      TEXT NOT NULL,
    PRIMARY KEY (tenure, number)
) STRICT, WITHOUT ROWID;

-- Verdicts that wait for a person, about this very evidence.
CREATE TABLE approval (
    attempt     TEXT NOT NULL REFERENCES attempt (id),
    round       INTEGER NOT NULL,
    model       TEXT NOT NULL,
    evidence    TEXT NOT NULL,          -- sha256 of the evidence
    asked_at    TEXT NOT NULL,
    expires_at  TEXT NOT NULL,
    answer      TEXT CHECK (answer IN ('approve', 'reject')),  -- NULL: nobody has answered
    by          TEXT NOT NULL DEFAULT '',
    why         TEXT NOT NULL DEFAULT '',
    answered_at TEXT,
    changed_at  TEXT NOT NULL,
    PRIMARY KEY (attempt, round)
) STRICT, WITHOUT ROWID;

-- Promotions that are watched: the version before goes on being compared on new rows.
CREATE TABLE watch (
    attempt    TEXT PRIMARY KEY REFERENCES attempt (id),
    model      TEXT NOT NULL,
    version    INTEGER NOT NULL,        -- the one that was promoted
    previous   INTEGER NOT NULL,        -- the one before it
    begun_at   TEXT NOT NULL,
    rows       INTEGER NOT NULL DEFAULT 0,     -- so many could be compared when they were counted last
    counted    TEXT NOT NULL DEFAULT '[]',     -- JSON: the drops that they were counted in
    counted_as TEXT NOT NULL DEFAULT '',       -- by which settings and records of what was learned
    ended_at   TEXT,
    outcome    TEXT NOT NULL DEFAULT '',
    changed_at TEXT NOT NULL
) STRICT, WITHOUT ROWID;
CREATE UNIQUE INDEX watch_open ON watch (model) WHERE ended_at IS NULL;

-- The looks at watched promotions.
CREATE TABLE watch_look (
    attempt  TEXT NOT NULL REFERENCES watch (attempt),
    look     INTEGER NOT NULL,
    rows     INTEGER NOT NULL,
    alpha    REAL NOT NULL,             -- the chance of a wrong rollback that this look may spend
    evidence TEXT NOT NULL,             -- JSON
    worse    INTEGER NOT NULL,          -- 1: the promoted version is shown to be worse
    sentence TEXT NOT NULL,
    at       TEXT NOT NULL,
    PRIMARY KEY (attempt, look)
) STRICT, WITHOUT ROWID;

-- Whoever is champion began a tenure at the last move that was seen.
INSERT INTO tenure (model, version, how, anchor, opened_at, changed_at)
SELECT name, champion_seen, 'found', champion_seen, changed_at, changed_at FROM model WHERE champion_seen IS NOT NULL;

CREATE TRIGGER tenure_opened AFTER INSERT ON tenure BEGIN
    INSERT INTO history (at, model, subject, event, detail)
    VALUES (NEW.changed_at, NEW.model, NEW.model, 'tenure.opened',
            'version ' || NEW.version || ', ' || replace(NEW.how, '_', ' ') || '; anchor version ' || NEW.anchor);
END;
CREATE TRIGGER comparison_made AFTER INSERT ON comparison BEGIN
    INSERT INTO history (at, model, subject, event, detail)
    SELECT NEW.at, tenure.model, NEW.attempt, 'budget.spent',
           printf('comparison %d against version %d: %.5f', NEW.number, tenure.version, NEW.alpha)
    FROM tenure WHERE tenure.id = NEW.tenure;
END;
CREATE TRIGGER approval_asked AFTER INSERT ON approval BEGIN
    INSERT INTO history (at, model, subject, event, detail)
    VALUES (NEW.changed_at, NEW.model, NEW.attempt, 'approval.asked',
            'until ' || NEW.expires_at || ', about evidence ' || substr(NEW.evidence, 1, 12));
END;
CREATE TRIGGER approval_answered AFTER UPDATE OF answer ON approval WHEN NEW.answer IS NOT NULL BEGIN
    INSERT INTO history (at, model, subject, event, detail)
    VALUES (NEW.changed_at, NEW.model, NEW.attempt, 'approval.' || NEW.answer,
            NEW.by || CASE WHEN NEW.why = '' THEN '' ELSE ': ' || NEW.why END);
END;
CREATE TRIGGER watch_begun AFTER INSERT ON watch BEGIN
    INSERT INTO history (at, model, subject, event, detail)
    VALUES (NEW.changed_at, NEW.model, NEW.attempt, 'watch.begun',
            'version ' || NEW.version || ' beside version ' || NEW.previous);
END;
CREATE TRIGGER watch_looked AFTER INSERT ON watch_look BEGIN
    INSERT INTO history (at, model, subject, event, detail)
    SELECT NEW.at, watch.model, NEW.attempt, 'watch.looked', NEW.sentence FROM watch WHERE watch.attempt = NEW.attempt;
END;
CREATE TRIGGER watch_ended AFTER UPDATE OF ended_at ON watch WHEN NEW.ended_at IS NOT NULL BEGIN
    INSERT INTO history (at, model, subject, event, detail)
    VALUES (NEW.changed_at, NEW.model, NEW.attempt, 'watch.ended', NEW.outcome);
END;
