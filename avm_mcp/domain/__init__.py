"""What every room knows: errors, requests, jobs, models and prices. No I/O."""
