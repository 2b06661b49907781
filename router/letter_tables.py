"""The tables of dead letters, as they came to be: each text brings those before it
forward."""

SCHEMA = """
ALTER TABLE dead_letters ADD COLUMN state TEXT NOT NULL DEFAULT 'dead';
ALTER TABLE dead_letters ADD COLUMN closed_at INTEGER;
ALTER TABLE dead_letters ADD COLUMN history TEXT NOT NULL DEFAULT '[]'; -- a JSON list
UPDATE dead_letters SET history = json_array(
    json_object('at', died_at, 'state', state, 'code', code, 'reason', reason)
);
CREATE INDEX dead_letters_retrying ON dead_letters (destination, partition, offset)
    WHERE state = 'retrying';
CREATE INDEX dead_letters_closed ON dead_letters (closed_at)
    WHERE closed_at IS NOT NULL;
"""

# Of an event that was sent again: its replay, with the counts of which it counts.
OF_REPLAYS = "ALTER TABLE dead_letters ADD COLUMN replay INTEGER NOT NULL DEFAULT 0;"

# Whose event a letter is that was put back, so that his events can wait for it.
USERS = """
ALTER TABLE dead_letters ADD COLUMN user_key TEXT;
UPDATE dead_letters SET user_key = coalesce(
    nullif(json_extract(CAST(body AS TEXT), '$.anonymousId'), ''),
    json_extract(CAST(body AS TEXT), '$.userId'), ''
) WHERE state = 'retrying';
CREATE INDEX dead_letters_retrying_of ON dead_letters
    (destination, partition, user_key, offset) WHERE state = 'retrying';
"""

# What is only of use while a letter may be sent again, in a table of its own: there
# whole pages come free when letters are dropped.
CONTENTS = """
CREATE TABLE letter_contents (
    id INTEGER PRIMARY KEY, detail TEXT NOT NULL, body BLOB NOT NULL
);
INSERT INTO letter_contents
    SELECT id, detail, body FROM dead_letters WHERE state != 'dropped';
ALTER TABLE dead_letters DROP COLUMN detail;
ALTER TABLE dead_letters DROP COLUMN body;
"""
