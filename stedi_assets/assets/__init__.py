"""The tables: the rule of each, under its name."""
