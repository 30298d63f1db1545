"""Tests of what a refresh derives from changes."""
