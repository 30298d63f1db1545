"""How tables are stored and computed.

It reads no setting and knows none of our tables. Messages name settings, and `engines/glue.py` uses
Dagster Pipes.
"""
