"""What makes a journal of today one of an earlier schema, step by step."""

from __future__ import annotations

AS_SCHEMA_6 = """
PRAGMA foreign_keys = OFF;
DROP TABLE policy_file;
DROP TABLE upstream_seen;
DROP TRIGGER model_retired;
ALTER TABLE model DROP COLUMN retired_at;
ALTER TABLE attempt DROP COLUMN upstream;
PRAGMA user_version = 6;
"""
AS_SCHEMA_5 = """
PRAGMA foreign_keys = OFF;
DROP TABLE watch_look;
DROP TABLE watch;
DROP TABLE approval;
DROP TABLE comparison;
DROP TABLE tenure;
DROP INDEX attempt_again;
DROP INDEX attempt_unreported;
ALTER TABLE attempt DROP COLUMN again_of;
ALTER TABLE attempt DROP COLUMN look;
ALTER TABLE attempt DROP COLUMN reported;
DROP TRIGGER champion_unloadable;
ALTER TABLE model DROP COLUMN unloadable;
ALTER TABLE model DROP COLUMN unloadable_why;
PRAGMA user_version = 5;
"""
AS_SCHEMA_4 = """
PRAGMA foreign_keys = OFF;
DROP TRIGGER drops_released;
DROP TRIGGER drops_changed;
CREATE TRIGGER drops_changed AFTER UPDATE OF state ON drops WHEN OLD.state <> NEW.state BEGIN
    INSERT INTO history (at, model, subject, event, detail)
    VALUES (NEW.changed_at, NEW.model, NEW.path, 'drop.' || NEW.state,
            CASE WHEN NEW.reason <> '' THEN NEW.reason ELSE NEW.new || ' new of ' || NEW.rows || ' rows' END);
END;
DROP INDEX attempt_drop_of;
DROP TABLE drift;
DROP TABLE drop_drift;
DROP TABLE score;
ALTER TABLE drops DROP COLUMN suspect;
ALTER TABLE drops DROP COLUMN released_at;
ALTER TABLE drops DROP COLUMN released_by;
ALTER TABLE drops DROP COLUMN released_why;
ALTER TABLE drops DROP COLUMN corrected;
ALTER TABLE drops DROP COLUMN profile_file;
ALTER TABLE drops DROP COLUMN own_rows;
ALTER TABLE drops DROP COLUMN events_by;
ALTER TABLE drops DROP COLUMN notes;
PRAGMA user_version = 4;
"""
AS_SCHEMA_3 = """
PRAGMA foreign_keys = OFF;
ALTER TABLE attempt DROP COLUMN cuts;
PRAGMA user_version = 3;
"""
AS_SCHEMA_2 = """
ALTER TABLE lineage DROP COLUMN created_at;
ALTER TABLE model DROP COLUMN inspected_since;
PRAGMA user_version = 2;
"""
AS_SCHEMA_1 = """
DROP TRIGGER decision_inserted;
ALTER TABLE model DROP COLUMN trouble_code;
ALTER TABLE attempt DROP COLUMN offered;
ALTER TABLE decision DROP COLUMN offered;
PRAGMA user_version = 1;
"""


def earlier(schema: int) -> str:
    """The SQL that takes a journal of schema 7 back to `schema`."""
    return "".join((AS_SCHEMA_6, AS_SCHEMA_5, AS_SCHEMA_4, AS_SCHEMA_3, AS_SCHEMA_2, AS_SCHEMA_1)[: 7 - schema])
