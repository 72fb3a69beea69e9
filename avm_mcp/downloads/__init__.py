"""Videos out: fetched, verified and saved under a name of their own."""
