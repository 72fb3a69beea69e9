-- The clock of the state: what each start of a machine adds to its own boot clock. All durations that processes share
-- are measured by it; before, by each process's wall clock, whose readings it goes on from. Dates: created_at,
-- completed_at, expires_at, day.
CREATE TABLE clocks (
  boot  TEXT PRIMARY KEY,
  ahead DOUBLE PRECISION NOT NULL
);
ALTER TABLE jobs ADD COLUMN started DOUBLE PRECISION NOT NULL DEFAULT 0;  -- when the row was made, by that clock
UPDATE jobs SET started = created_at;
CREATE INDEX jobs_by_start ON jobs (account, started);
