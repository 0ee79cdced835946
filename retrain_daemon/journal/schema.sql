-- The journal: everything the daemon knows, decided and did. Read it top to bottom as a document.
-- Times are UTC, ISO 8601 with microseconds. `changed_at` is the time of the last change of a row; the triggers at the
-- end copy each change into `history`, so that no code path can forget to write it.

-- One row: what tells this journal from every other, also from one that had the same attempts' names.
CREATE TABLE identity (
    id TEXT NOT NULL
) STRICT;
INSERT INTO identity (id) VALUES (lower(hex(randomblob(6))));

-- One row for each model a policy names.
CREATE TABLE model (
    name               TEXT PRIMARY KEY,
    policy_file        TEXT NOT NULL,
    adopted_at         TEXT,              -- the first look into its drop folder: what was there is history
    settling_at_first  TEXT NOT NULL DEFAULT '[]',  -- JSON: files not complete at the first look: history as well
    inspected_as       TEXT NOT NULL DEFAULT '',    -- what its drops were inspected for: data settings and signature
    inspected_since    TEXT,              -- since when they are inspected for that
    alias              TEXT NOT NULL DEFAULT '',    -- the alias that champion_seen was read from
    champion_seen      INTEGER,           -- the version that was champion when last seen; NULL: never seen one
    hold_since         TEXT,              -- not NULL: nothing starts until someone resumes the model
    hold_by            TEXT,
    hold_why           TEXT,
    resumed_at         TEXT,              -- failures before then do not count any more
    tag_request_taken  INTEGER NOT NULL DEFAULT 0,  -- the tag retrain=now was taken up and not yet seen absent
    trouble            TEXT NOT NULL DEFAULT '',    -- why its drops cannot be inspected, one sentence
    trouble_code       TEXT NOT NULL DEFAULT '',    -- the same for programs
    unloadable         INTEGER,           -- the champion that a worker could not load, whoever tries
    unloadable_why     TEXT NOT NULL DEFAULT '',    -- what it said, one clause
    retired_at         TEXT,              -- since when no policy is about it; NULL: one is
    changed_at         TEXT NOT NULL
) STRICT;

-- One row for each revision of each file seen in a drop folder.
CREATE TABLE drops (
    id           INTEGER PRIMARY KEY,
    model        TEXT NOT NULL,
    path         TEXT NOT NULL,
    size         INTEGER NOT NULL,
    mtime_ns     INTEGER NOT NULL,
    inode        INTEGER NOT NULL,
    arrived_at   TEXT NOT NULL,
    state        TEXT NOT NULL CHECK (state IN
                   ('found',              -- complete, waits for its inspection
                    'recorded',           -- inspected, its rows count
                    'quarantined',        -- cannot be used, see reason
                    'duplicate',          -- the same bytes as another drop in use
                    'superseded',         -- the path has newer bytes
                    'retracted',          -- taken out of training, judging and counts by a person
                    'vanished')),         -- gone before it could be inspected
    current      INTEGER NOT NULL DEFAULT 1,   -- the newest revision of its path
    missing      INTEGER NOT NULL DEFAULT 0,   -- 1: the file is gone and waited for, 2: its rows do not count meanwhile
    fingerprint  TEXT NOT NULL DEFAULT '',     -- sha256 of the bytes
    rows         INTEGER NOT NULL DEFAULT 0,
    usable       INTEGER NOT NULL DEFAULT 0,
    new          INTEGER NOT NULL DEFAULT 0,   -- distinct rows not known before
    training     INTEGER NOT NULL DEFAULT 0,   -- distinct rows on the training side, known or not
    judging      INTEGER NOT NULL DEFAULT 0,   -- distinct rows on the judging side, known or not
    rows_file    TEXT NOT NULL DEFAULT '',     -- its row keys
    units_file   TEXT NOT NULL DEFAULT '',     -- its keys for the leak check
    inspected_as TEXT NOT NULL DEFAULT '',     -- what it was inspected for: data settings and signature
    reason       TEXT NOT NULL DEFAULT '',
    hint         TEXT NOT NULL DEFAULT '',
    changed_at   TEXT NOT NULL,
    suspect      INTEGER NOT NULL DEFAULT 0,   -- quarantined for something that a person may let pass
    released_at  TEXT,                         -- a person let it pass
    released_by  TEXT NOT NULL DEFAULT '',
    released_why TEXT NOT NULL DEFAULT '',
    corrected    INTEGER NOT NULL DEFAULT 0,   -- rows that came with another label than before
    profile_file TEXT NOT NULL DEFAULT '',     -- the distribution of each of its columns
    own_rows     INTEGER NOT NULL DEFAULT 0,   -- most of its rows that were new or corrected at any inspection
    events_by    TEXT,                         -- when nine tenths of its rows had happened; NULL: nothing says so
    notes        TEXT NOT NULL DEFAULT '[]'    -- JSON: sentences about what was noticed in it
) STRICT;
CREATE UNIQUE INDEX drops_current ON drops (model, path) WHERE current = 1;
CREATE INDEX drops_state ON drops (model, state);

-- What was decided, when it changed.
CREATE TABLE decision (
    id       INTEGER PRIMARY KEY,
    model    TEXT NOT NULL,
    at       TEXT NOT NULL,
    action   TEXT NOT NULL CHECK (action IN ('train', 'judge', 'wait')),
    code     TEXT NOT NULL,
    sentence TEXT NOT NULL,
    details  TEXT NOT NULL,               -- JSON: each rule with its values
    offered  TEXT NOT NULL DEFAULT ''     -- how a version stands that a person put up as challenger, one sentence
) STRICT;
CREATE INDEX decision_model ON decision (model, id);

-- One row for each attempt; core/steps.py says what may follow what.
CREATE TABLE attempt (
    id                 TEXT PRIMARY KEY,
    number             INTEGER NOT NULL UNIQUE,
    model              TEXT NOT NULL,
    state              TEXT NOT NULL CHECK (state IN ('planned', 'training', 'trained', 'judged', 'promoted', 'rejected',
                                                      'inconclusive', 'failed', 'abandoned')),
    rule               TEXT NOT NULL,
    decision           INTEGER NOT NULL REFERENCES decision (id),
    policy             TEXT NOT NULL,     -- JSON: the policy it began with; it finishes under it
    recipe             TEXT NOT NULL,     -- JSON
    champion_version   INTEGER NOT NULL,  -- judged against this one
    continues          INTEGER,           -- the version whose learned state it continues; NULL: learned anew
    round              INTEGER NOT NULL DEFAULT 0,  -- 0, then one more for each champion it is judged against again
    starts             INTEGER NOT NULL DEFAULT 0,  -- workers started in this round
    cuts               INTEGER NOT NULL DEFAULT 0,  -- of these, how many the end of a daemon cut short
    failures           INTEGER NOT NULL DEFAULT 0,  -- workers that ended without a result
    due_at             TEXT,              -- not before then
    challenger         TEXT,              -- JSON: run, model and learned rows of the accepted training
    evidence           TEXT,              -- JSON
    verdict            TEXT,              -- JSON
    notes              TEXT NOT NULL DEFAULT '[]',  -- JSON: sentences of the worker for a reviewer
    version            INTEGER,           -- the registered version, if it became one
    offered            INTEGER,           -- a version that a person put up as challenger: judged, nothing is trained
    again_of           TEXT REFERENCES attempt (id),  -- the attempt whose challenger it judges on more rows
    look               INTEGER NOT NULL DEFAULT 1,    -- the how manieth look at its challenger
    reported           TEXT NOT NULL DEFAULT '',      -- what its report tells about: round, state, and the run with it
    upstream           TEXT NOT NULL DEFAULT '{}',    -- JSON: each upstream model's champion when it was decided, by name
    reason             TEXT NOT NULL DEFAULT '',
    champion_after     INTEGER,           -- the champion known when it ended
    started_at         TEXT NOT NULL,
    ended_at           TEXT,
    changed_at         TEXT NOT NULL
) STRICT;
CREATE UNIQUE INDEX attempt_open ON attempt (model) WHERE ended_at IS NULL;
CREATE INDEX attempt_again ON attempt (again_of) WHERE again_of IS NOT NULL;
CREATE INDEX attempt_unreported ON attempt (number)
WHERE evidence IS NOT NULL AND substr(reported, 1, length(round || ' ' || state)) <> round || ' ' || state;

-- The frozen list of drops of an attempt.
CREATE TABLE attempt_drop (
    attempt TEXT NOT NULL REFERENCES attempt (id),
    drop_id INTEGER NOT NULL REFERENCES drops (id),
    PRIMARY KEY (attempt, drop_id)
) STRICT, WITHOUT ROWID;
CREATE INDEX attempt_drop_of ON attempt_drop (drop_id);

-- Effects outside: written before (begun) and after (done). `subject` is an attempt or a rollback.
CREATE TABLE effect (
    subject    TEXT NOT NULL,
    round      INTEGER NOT NULL,
    name       TEXT NOT NULL,
    model      TEXT NOT NULL,
    detail     TEXT NOT NULL,
    begun_at   TEXT NOT NULL,
    done_at    TEXT,
    changed_at TEXT NOT NULL,
    PRIMARY KEY (subject, round, name)
) STRICT, WITHOUT ROWID;

-- Going back to an earlier champion.
CREATE TABLE rollback (
    id         TEXT PRIMARY KEY,
    model      TEXT NOT NULL,
    alias      TEXT NOT NULL,
    was        INTEGER NOT NULL,
    target     INTEGER NOT NULL,
    by         TEXT NOT NULL,
    why        TEXT NOT NULL,
    begun_at   TEXT NOT NULL,
    ended_at   TEXT,
    outcome    TEXT NOT NULL DEFAULT '',
    changed_at TEXT NOT NULL
) STRICT;
CREATE UNIQUE INDEX rollback_open ON rollback (model) WHERE ended_at IS NULL;

-- What each version learned from. No `learned_file`: nobody recorded it, so rows first seen up to `unknown_until`
-- may have been learned.
CREATE TABLE lineage (
    model         TEXT NOT NULL,
    version       INTEGER NOT NULL,
    continues     INTEGER,
    learned_file  TEXT,
    unknown_until TEXT,
    unit          TEXT NOT NULL DEFAULT '',    -- what the keys in learned_file stand for: a group, or these features
    attempt       TEXT,
    fingerprints  TEXT NOT NULL DEFAULT '[]',  -- JSON: files named by a person as what it learned from
    created_at    TEXT,                        -- when MLflow made the version: a number is given again in a new model
    changed_at    TEXT NOT NULL,
    PRIMARY KEY (model, version)
) STRICT, WITHOUT ROWID;

-- What people asked for through the command line.
CREATE TABLE request (
    id          INTEGER PRIMARY KEY,
    model       TEXT NOT NULL,
    verb        TEXT NOT NULL,
    argument    TEXT NOT NULL,            -- JSON
    by          TEXT NOT NULL,
    why         TEXT NOT NULL,
    asked_at    TEXT NOT NULL,
    answered_at TEXT,
    code        INTEGER,                  -- the exit code the command that asked ends with; 0: done
    answer      TEXT,
    changed_at  TEXT NOT NULL
) STRICT;
CREATE INDEX request_open ON request (id) WHERE answered_at IS NULL;

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

CREATE TABLE history (
    id      INTEGER PRIMARY KEY,
    at      TEXT NOT NULL,
    model   TEXT NOT NULL,
    subject TEXT NOT NULL,
    event   TEXT NOT NULL,
    detail  TEXT NOT NULL DEFAULT ''
) STRICT;
CREATE INDEX history_model ON history (model, id);

CREATE TRIGGER drops_inserted AFTER INSERT ON drops BEGIN
    INSERT INTO history (at, model, subject, event, detail)
    VALUES (NEW.changed_at, NEW.model, NEW.path, 'drop.' || NEW.state, NEW.reason);
END;
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
CREATE TRIGGER decision_inserted AFTER INSERT ON decision BEGIN
    INSERT INTO history (at, model, subject, event, detail)
    VALUES (NEW.at, NEW.model, NEW.model, 'decision.' || NEW.action, NEW.sentence);
END;
CREATE TRIGGER attempt_inserted AFTER INSERT ON attempt BEGIN
    INSERT INTO history (at, model, subject, event, detail)
    VALUES (NEW.changed_at, NEW.model, NEW.id, 'attempt.' || NEW.state, NEW.rule);
END;
CREATE TRIGGER attempt_changed AFTER UPDATE OF state ON attempt WHEN OLD.state <> NEW.state BEGIN
    INSERT INTO history (at, model, subject, event, detail)
    VALUES (NEW.changed_at, NEW.model, NEW.id, 'attempt.' || NEW.state, NEW.reason);
END;
CREATE TRIGGER effect_begun AFTER INSERT ON effect BEGIN
    INSERT INTO history (at, model, subject, event, detail)
    VALUES (NEW.changed_at, NEW.model, NEW.subject, 'effect.begun', NEW.name || ' ' || NEW.detail);
END;
CREATE TRIGGER effect_done AFTER UPDATE OF done_at ON effect WHEN NEW.done_at IS NOT NULL BEGIN
    INSERT INTO history (at, model, subject, event, detail)
    VALUES (NEW.changed_at, NEW.model, NEW.subject, 'effect.done', NEW.name || ' ' || NEW.detail);
END;
CREATE TRIGGER rollback_begun AFTER INSERT ON rollback BEGIN
    INSERT INTO history (at, model, subject, event, detail)
    VALUES (NEW.changed_at, NEW.model, NEW.id, 'rollback.begun',
            'from version ' || NEW.was || ' to ' || NEW.target || ' by ' || NEW.by || ': ' || NEW.why);
END;
CREATE TRIGGER rollback_ended AFTER UPDATE OF ended_at ON rollback WHEN NEW.ended_at IS NOT NULL BEGIN
    INSERT INTO history (at, model, subject, event, detail)
    VALUES (NEW.changed_at, NEW.model, NEW.id, 'rollback.ended', NEW.outcome);
END;
CREATE TRIGGER model_held AFTER UPDATE OF hold_since ON model WHEN NEW.hold_since IS NOT OLD.hold_since BEGIN
    INSERT INTO history (at, model, subject, event, detail)
    VALUES (NEW.changed_at, NEW.name, NEW.name,
            CASE WHEN NEW.hold_since IS NULL THEN 'model.resumed' ELSE 'model.held' END,
            COALESCE(NEW.hold_by || ': ' || NEW.hold_why, ''));
END;
CREATE TRIGGER champion_seen AFTER UPDATE OF champion_seen ON model
WHEN NEW.champion_seen IS NOT OLD.champion_seen BEGIN
    INSERT INTO history (at, model, subject, event, detail)
    VALUES (NEW.changed_at, NEW.name, NEW.name, 'champion.seen',
            'version ' || COALESCE(NEW.champion_seen, 'none') || ', was ' || COALESCE(OLD.champion_seen, 'none'));
END;
CREATE TRIGGER champion_unloadable AFTER UPDATE OF unloadable ON model WHEN NEW.unloadable IS NOT OLD.unloadable BEGIN
    INSERT INTO history (at, model, subject, event, detail)
    VALUES (NEW.changed_at, NEW.name, NEW.name,
            CASE WHEN NEW.unloadable IS NULL THEN 'champion.tried_again' ELSE 'champion.unloadable' END,
            'version ' || COALESCE(NEW.unloadable, OLD.unloadable) ||
            CASE WHEN NEW.unloadable_why = '' THEN '' ELSE ': ' || NEW.unloadable_why END);
END;
CREATE TRIGGER model_retired AFTER UPDATE OF retired_at ON model
WHEN (NEW.retired_at IS NULL) <> (OLD.retired_at IS NULL) BEGIN
    INSERT INTO history (at, model, subject, event, detail)
    VALUES (NEW.changed_at, NEW.name, NEW.policy_file,
            CASE WHEN NEW.retired_at IS NULL THEN 'policy.taken_up' ELSE 'policy.retired' END, '');
END;
CREATE TRIGGER request_asked AFTER INSERT ON request BEGIN
    INSERT INTO history (at, model, subject, event, detail)
    VALUES (NEW.changed_at, NEW.model, NEW.model, 'request.' || NEW.verb, NEW.by || CASE WHEN NEW.why = '' THEN '' ELSE ': ' || NEW.why END);
END;
CREATE TRIGGER request_answered AFTER UPDATE OF answered_at ON request WHEN NEW.answered_at IS NOT NULL BEGIN
    INSERT INTO history (at, model, subject, event, detail)
    VALUES (NEW.changed_at, NEW.model, NEW.model, 'request.answered', NEW.verb || ': ' || NEW.answer);
END;
