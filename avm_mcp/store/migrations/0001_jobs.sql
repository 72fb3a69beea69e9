-- One row for each paid request, written before anything is paid, and for tasks made elsewhere that were looked at.
CREATE TABLE jobs (
  id               TEXT PRIMARY KEY,
  account          TEXT NOT NULL,
  caller           TEXT NOT NULL,
  identity         TEXT NOT NULL,
  live             INTEGER NOT NULL,           -- 1 while the same request again returns this row
  mine             INTEGER NOT NULL,           -- 0: made elsewhere with the same key
  idempotency_key  TEXT NOT NULL UNIQUE,
  body             BLOB,                       -- the exact bytes sent; dropped once the answer is known
  input            TEXT NOT NULL,              -- the fields sent, without the bytes of a picture
  task_id          TEXT,
  model            TEXT NOT NULL,
  seconds          INTEGER NOT NULL,
  prompt           TEXT NOT NULL,
  aspect_ratio     TEXT,
  image            TEXT,
  take             INTEGER NOT NULL,
  status           TEXT NOT NULL,
  day              TEXT NOT NULL,              -- UTC day of the submit, for the daily cap
  created_at       DOUBLE PRECISION NOT NULL,
  answer_by        DOUBLE PRECISION,           -- a SUBMITTING row older than this lost its process or its answer
  settled_at       DOUBLE PRECISION,
  completed_at     DOUBLE PRECISION,
  credits_quoted   INTEGER,
  credits_basis    TEXT,
  credits_charged  INTEGER,
  credits_refunded INTEGER,
  error_code       TEXT,
  error_text       TEXT,
  video_url        TEXT,
  expires_at       DOUBLE PRECISION,
  film             TEXT NOT NULL,
  film_path        TEXT,
  film_size        BIGINT,
  film_error       TEXT,
  max_credits      INTEGER,                    -- the cap that was sent along, for a resend
  resends          INTEGER NOT NULL DEFAULT 0, -- how often a lost request was sent again, with the same key and bytes
  searches         INTEGER NOT NULL DEFAULT 0, -- good lists in which the task of a lost answer was not found
  searched_since   DOUBLE PRECISION            -- when the first of them was read
);
CREATE UNIQUE INDEX jobs_one_live_row_per_request ON jobs (account, caller, identity) WHERE live = 1;
CREATE UNIQUE INDEX jobs_one_row_per_task ON jobs (account, task_id) WHERE task_id IS NOT NULL;
CREATE INDEX jobs_by_time ON jobs (account, created_at);
CREATE INDEX jobs_by_day ON jobs (account, day);

-- When this journal was begun: a younger one than the guard's window cannot know what was started before.
CREATE TABLE facts (
  name  TEXT PRIMARY KEY,
  value DOUBLE PRECISION NOT NULL
);

-- How long finished films took, for the cadence and the progress of the next ones.
CREATE TABLE durations (
  account     TEXT NOT NULL,
  task_id     TEXT NOT NULL,
  model       TEXT NOT NULL,
  seconds     INTEGER NOT NULL,
  took        DOUBLE PRECISION NOT NULL,
  finished_at DOUBLE PRECISION NOT NULL,
  PRIMARY KEY (account, task_id)
);

-- The allowance for questions, one row for each IP address that requests leave by.
CREATE TABLE buckets (
  egress       TEXT PRIMARY KEY,
  tokens       DOUBLE PRECISION NOT NULL,
  filled_at    DOUBLE PRECISION NOT NULL,
  closed_until DOUBLE PRECISION NOT NULL
);

-- Who does what only one process should do, such as watching an account.
CREATE TABLE leases (
  name   TEXT PRIMARY KEY,
  holder TEXT NOT NULL,
  until  DOUBLE PRECISION NOT NULL
);
