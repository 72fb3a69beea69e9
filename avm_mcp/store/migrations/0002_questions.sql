-- Requests that were refused because they cost more than needs a yes: only such a one may pass by naming its price.
CREATE TABLE questions (
  account  TEXT NOT NULL,
  caller   TEXT NOT NULL,
  identity TEXT NOT NULL,
  credits  INTEGER NOT NULL,
  asked_at DOUBLE PRECISION NOT NULL,
  PRIMARY KEY (account, caller, identity)
);
