"""Security records: one JSON line each, chained by hashes, on disk before anything runs."""
