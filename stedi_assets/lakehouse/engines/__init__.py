"""What executes the tables' rules: DuckDB in this process, Spark, or a job of AWS Glue."""
