-- Every statement that lists, sums or finds jobs has an index, so that it costs the same however many jobs have ended.
-- The conditions are those of the statements in store/reading.py, to the letter.
DROP INDEX jobs_by_time;
CREATE INDEX jobs_by_time ON jobs (account, created_at, id) WHERE status <> 'NOT_CREATED';
DROP INDEX jobs_by_start;
CREATE INDEX jobs_by_start ON jobs (account, started, id);
CREATE INDEX jobs_by_status ON jobs (account, status, created_at, id);
CREATE INDEX jobs_unfinished ON jobs (account, created_at, id)
  WHERE status NOT IN ('CANCEL', 'COMPLETED', 'FAILED', 'NOT_CREATED');
CREATE INDEX jobs_to_download ON jobs (account, created_at, id) WHERE download = 'wanted';
CREATE INDEX jobs_presumed_never ON jobs (account, status, error_code, created_at, id) WHERE task_id IS NULL;
CREATE INDEX jobs_failed ON jobs (account, caller, identity, settled_at) WHERE status = 'FAILED';
CREATE INDEX jobs_by_picture ON jobs (account, image) WHERE mine = 1 AND image IS NOT NULL;
CREATE INDEX durations_by_kind ON durations (account, model, seconds, finished_at);

ALTER TABLE told_prices RENAME TO known_prices;
ALTER TABLE known_prices RENAME COLUMN told_at TO known_since;
