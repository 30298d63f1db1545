"""How tables are stored and computed. It knows none of our tables, no setting, and no Dagster."""
