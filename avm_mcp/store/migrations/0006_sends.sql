-- Which sends of a paid request were begun, and whose may still leave: no request is said never to have come to be while
-- one may.
ALTER TABLE jobs ADD COLUMN attempt INTEGER NOT NULL DEFAULT 0;  -- how many sends were begun
ALTER TABLE jobs ADD COLUMN sender TEXT;                         -- the process whose last send is not over
UPDATE jobs SET attempt = 1;
