"""The assets that Dagster should show, with their groups and checks."""

LANDING_CHECKS = {"contract", "readable", "completeness", "files", "anomalies"}

GROUPS = {
    "customer_files": "sources",
    "accelerometer_files": "sources",
    "step_trainer_files": "sources",
    "customer_landing": "landing",
    "accelerometer_landing": "landing",
    "step_trainer_landing": "landing",
    "quarantine": "landing",
    "customer_trusted": "trusted",
    "accelerometer_trusted": "trusted",
    "customers_curated": "curated",
    "device_matches": "landing",  # it names people who did not consent
    "device_ownership": "landing",  # likewise
    "step_trainer_trusted": "trusted",
    "machine_learning_curated": "curated",
    "lakehouse_report": "report",
}

OTHER_CHECKS = {
    "customer_landing": LANDING_CHECKS,
    "accelerometer_landing": LANDING_CHECKS,
    "step_trainer_landing": LANDING_CHECKS,
    "quarantine": {"contract", "completeness"},
    "customer_trusted": {"suspended", "consent_share", "anomalies", "recomputed"},
    "accelerometer_trusted": {"anomalies", "recomputed"},
    "customers_curated": {"anomalies", "recomputed"},
    "device_matches": {"anomalies", "recomputed"},
    "device_ownership": {"anomalies", "recomputed"},
    "step_trainer_trusted": {"anomalies", "recomputed"},
    "machine_learning_curated": {"anomalies", "recomputed"},
    "lakehouse_report": {"re_identification"},
}

BLOCKING_CHECKS = {
    "customer_landing": set(),
    "accelerometer_landing": set(),
    "step_trainer_landing": set(),
    "quarantine": set(),
    "customer_trusted": {"contract", "consent", "completeness"},
    "accelerometer_trusted": {"contract", "consent", "completeness"},
    "customers_curated": {"contract", "consent", "completeness"},
    "device_matches": {"contract", "serial_numbers"},
    "device_ownership": {"contract", "serial_numbers", "completeness"},
    "step_trainer_trusted": {"contract", "consent", "serial_numbers", "completeness"},
    "machine_learning_curated": {
        "contract",
        "consent",
        "serial_numbers",
        "completeness",
        "all_files",
    },
    "lakehouse_report": set(),
}
