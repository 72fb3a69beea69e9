-- The field's own words: videos are downloaded, tasks are polled, prices are told.
ALTER TABLE jobs RENAME COLUMN film TO download;
ALTER TABLE jobs RENAME COLUMN film_path TO file_path;
ALTER TABLE jobs RENAME COLUMN film_size TO file_size;
ALTER TABLE jobs RENAME COLUMN film_error TO download_error;
ALTER TABLE looks RENAME TO polls;
ALTER TABLE buckets RENAME COLUMN looked_at TO polled_at;
ALTER TABLE questions RENAME TO told_prices;
ALTER TABLE told_prices RENAME COLUMN asked_at TO told_at;
