"""Sensors: what happens when something has changed."""
