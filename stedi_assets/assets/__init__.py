"""The tables: the rule of each, under its name."""

from stedi_assets.assets import curated, trusted

RULES = (
    trusted.customer_trusted,
    trusted.accelerometer_trusted,
    curated.customers_curated,
    curated.device_ownership,
    trusted.step_trainer_trusted,
    curated.machine_learning_curated,
)
"""Rules of the trusted and curated tables, in the order data flows."""
