"""The `stedi` command."""
