"""What the lakehouse costs: a refresh beside a bare script and beside the usual Spark jobs."""
