"""What Dagster shows and runs: assets, checks, jobs, sensors."""
