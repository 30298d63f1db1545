"""Where files and tables are: a folder of this machine, or a bucket with the Glue catalog."""
