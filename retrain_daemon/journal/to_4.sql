-- From schema 3 to 4: workers that the end of a daemon cut short are counted apart from those that were started.
ALTER TABLE attempt ADD COLUMN cuts INTEGER NOT NULL DEFAULT 0;
