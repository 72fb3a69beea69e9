-- Questions that wait for the allowance: who goes first is decided among them.
CREATE TABLE wants (
  name    TEXT PRIMARY KEY,
  egress  TEXT NOT NULL,
  account TEXT NOT NULL,
  urgent  INTEGER NOT NULL,           -- 0: a look in the background
  since   DOUBLE PRECISION NOT NULL,
  until   DOUBLE PRECISION NOT NULL   -- who has not asked again by then is gone
);
ALTER TABLE buckets ADD COLUMN looked_at DOUBLE PRECISION NOT NULL DEFAULT 0;

-- When each account was last allowed a question, for fair turns.
CREATE TABLE turns (
  egress    TEXT NOT NULL,
  account   TEXT NOT NULL,
  served_at DOUBLE PRECISION NOT NULL,
  PRIMARY KEY (egress, account)
);

-- When each account's tasks were last asked about, by any process. An empty task_id is the list.
CREATE TABLE looks (
  account  TEXT NOT NULL,
  task_id  TEXT NOT NULL,
  asked_at DOUBLE PRECISION NOT NULL,
  seen_at  DOUBLE PRECISION,          -- when it was last answered
  PRIMARY KEY (account, task_id)
);
