"""The `stedi` command."""

import time

BEGAN = time.perf_counter()
"""When the command began to load, by the performance counter."""
