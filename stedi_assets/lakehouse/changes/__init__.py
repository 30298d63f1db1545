"""What a change of its inputs does to a table, worked out from the expression that makes it.

Rules are pure functions that know nothing of this. `derive` follows their expressions from the
inputs upwards: of each relation it knows the state before and after, and the rows between.
"""
