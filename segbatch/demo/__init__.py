"""A small painted world with exact truth, to try every kind of job on."""
