import os

# The size of a terminal that is none: GNU readline, which pytest loads, hands it to the processes
# that share the tests, and a console that is made meanwhile keeps it.
for _name in ("COLUMNS", "LINES"):
    os.environ.pop(_name, None)
