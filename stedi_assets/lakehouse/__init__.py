"""How tables are stored: it knows no table of ours, no setting, and nothing of Dagster."""
