"""One refresh: what there is to do, taking landing files in, and the gate before publication."""
