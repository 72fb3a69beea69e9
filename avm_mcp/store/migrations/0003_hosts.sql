-- When hosts cut calls over stdio, by the name that they give: what `avm_mcp/domain/client_timeouts.py` learns their limits from.
CREATE TABLE hosts (
  name       TEXT PRIMARY KEY,
  cut_age    DOUBLE PRECISION,  -- how old the last call was that was cut, in seconds
  cut_at     DOUBLE PRECISION,
  seconds    DOUBLE PRECISION,  -- the limit that was learned
  learned_at DOUBLE PRECISION
);
