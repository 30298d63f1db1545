"""What Dagster shows and runs: assets, checks, jobs, sensors. Nothing else knows of Dagster."""
