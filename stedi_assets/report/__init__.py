"""Pictures of the tables: a page, and the same as metadata in the Dagster UI."""
