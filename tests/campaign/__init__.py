"""The fault campaign: seeded schedules of accidents in virtual time, and a judge that reads only what is outside."""
