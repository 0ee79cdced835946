-- From schema 2 to 3: what is known of a version goes with the time it was made, and inspections with what they rest on.
ALTER TABLE lineage ADD COLUMN created_at TEXT;
ALTER TABLE model ADD COLUMN inspected_since TEXT;
