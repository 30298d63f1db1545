"""Spark in the tests: local, as a standalone cluster, and behind Spark Connect."""
