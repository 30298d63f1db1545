"""What each role may do, and must not: (action, kind of key, resource)."""

from stedi_assets_tests.deploy.support import TABLES

PIPELINE = [
    ("s3:GetObject", "s3", "landing/customer/landing/a.json"),
    ("s3:ListBucket", "s3", "landing"),
    ("s3:ListBucket", "s3", "lakehouse"),
    *(
        (action, "s3", f"lakehouse/warehouse/{table.zone}/{table.name}/data/a.parquet")
        for action in ("s3:GetObject", "s3:PutObject", "s3:DeleteObject", "s3:AbortMultipartUpload")
        for table in TABLES
    ),
    ("s3:PutObject", "s3", "lakehouse/compute-logs/storage/run/compute_logs/step.out"),
    ("s3:PutObject", "s3", "lakehouse/report/report.html"),
    ("s3:DeleteObject", "s3", "lakehouse/report/report.html"),
    ("s3:PutObject", "s3", "lakehouse/certificates/000001.json"),
    ("s3:GetObject", "s3", "lakehouse/certificates/000001.json"),
    ("s3:GetObject", "s3", "lakehouse/compute-logs/storage/run/compute_logs/step.out"),
    *(
        (f"glue:{action}", "glue", where)
        for action in ("GetTable", "GetTables", "CreateTable", "UpdateTable")
        for where in ("table/stedi/quarantine", "database/stedi", "catalog")
    ),
    ("glue:GetDatabase", "glue", "database/stedi"),
    ("glue:CreateDatabase", "glue", "database/stedi"),
]
FORGET = [
    *(
        (action, "s3", f"landing/{source}/landing/2023/a.json.gz")
        for action in (
            "s3:GetObjectVersion",
            "s3:PutObject",
            "s3:DeleteObject",
            "s3:DeleteObjectVersion",
        )
        for source in ("customer", "accelerometer", "step_trainer")
    ),
    ("s3:ListBucketVersions", "s3", "landing"),
]
"""What the pipeline may with ForgetLandingFiles alone."""
NOT_PIPELINE = [
    ("s3:PutObject", "s3", "landing/elsewhere/a.json"),
    ("s3:DeleteObject", "s3", "landing/elsewhere/a.json"),
    ("s3:DeleteObjectVersion", "s3", "landing/elsewhere/a.json"),
    ("s3:DeleteBucket", "s3", "landing"),
    ("s3:PutLifecycleConfiguration", "s3", "landing"),
    ("s3:DeleteObject", "s3", "lakehouse/compute-logs/storage/run/compute_logs/step.out"),
    ("s3:DeleteObject", "s3", "lakehouse/certificates/000001.json"),
    ("s3:PutObject", "s3", "lakehouse/glue/glue_job.py"),
    ("s3:GetObject", "s3", "lakehouse/athena-results/data-scientists/a.csv"),
    ("s3:PutBucketPolicy", "s3", "lakehouse"),
    ("s3:DeleteBucket", "s3", "lakehouse"),
    ("glue:UpdateTable", "glue", "table/others/a"),
    ("glue:GetTable", "glue", "table/others/a"),
    ("glue:DeleteTable", "glue", "table/stedi/customer_landing"),
    ("glue:DeleteDatabase", "glue", "database/stedi"),
    ("glue:CreateDatabase", "glue", "database/others"),
    ("athena:StartQueryExecution", "athena", "workgroup/{WorkGroup}"),
]
READ_BY_DATA_SCIENTISTS = ("machine_learning_curated", "customers_curated")
DATA_SCIENTIST = [
    ("s3:GetObject", "s3", "lakehouse/warehouse/curated/machine_learning_curated/data/a.parquet"),
    ("s3:GetObject", "s3", "lakehouse/warehouse/curated/machine_learning_curated/metadata/a.json"),
    ("s3:GetBucketLocation", "s3", "lakehouse"),
    ("s3:PutObject", "s3", "lakehouse/athena-results/data-scientists/a.csv"),
    ("s3:GetObject", "s3", "lakehouse/athena-results/data-scientists/a.csv"),
    ("glue:GetTable", "glue", "table/stedi/machine_learning_curated"),
    ("glue:GetDatabase", "glue", "database/stedi"),
    ("athena:StartQueryExecution", "athena", "workgroup/{WorkGroup}"),
    ("athena:GetQueryResults", "athena", "workgroup/{WorkGroup}"),
]
CUSTOMERS = [
    ("s3:GetObject", "s3", "lakehouse/warehouse/curated/customers_curated/data/a.parquet"),
    ("s3:GetObject", "s3", "lakehouse/warehouse/curated/customers_curated/metadata/a.json"),
    ("glue:GetTable", "glue", "table/stedi/customers_curated"),
]
"""What data scientists may with CustomersCurated alone."""
NOT_DATA_SCIENTIST = [
    ("s3:GetObject", "s3", "landing/customer/landing/a.json"),
    ("s3:ListBucket", "s3", "landing"),
    ("s3:ListBucket", "s3", "lakehouse"),  # with no prefix
    *(
        (action, "s3", f"lakehouse/warehouse/{table.zone}/{table.name}/data/a.parquet")
        for action in ("s3:GetObject", "s3:GetObjectVersion")
        for table in TABLES
        if table.name not in READ_BY_DATA_SCIENTISTS
    ),
    *(
        (action, "s3", f"lakehouse/warehouse/curated/{table}/data/a.parquet")
        for action in ("s3:PutObject", "s3:DeleteObject")
        for table in READ_BY_DATA_SCIENTISTS
    ),
    ("s3:GetObject", "s3", "lakehouse/athena-results/others/a.csv"),
    ("s3:GetObject", "s3", "lakehouse/compute-logs/storage/run/compute_logs/step.out"),
    *(
        ("glue:GetTable", "glue", f"table/stedi/{table.name}")
        for table in TABLES
        if table.name not in READ_BY_DATA_SCIENTISTS
    ),
    ("glue:UpdateTable", "glue", "table/stedi/machine_learning_curated"),
    ("glue:GetTable", "glue", "table/others/a"),
    ("athena:StartQueryExecution", "athena", "workgroup/primary"),
]
PRODUCERS = {
    "CustomerProducerRole": "customer",
    "AccelerometerProducerRole": "accelerometer",
    "StepTrainerProducerRole": "step_trainer",
}
"""The role of each source's producer."""


def producer(source: str) -> list[tuple[str, str, str]]:
    return [
        (action, "s3", f"landing/{source}/landing/2023/a.json.gz")
        for action in ("s3:PutObject", "s3:AbortMultipartUpload")
    ]


def not_producer(source: str) -> list[tuple[str, str, str]]:
    return [
        *(
            request
            for other in PRODUCERS.values()
            if other != source
            for request in producer(other)
        ),
        ("s3:GetObject", "s3", f"landing/{source}/landing/a.json"),
        ("s3:DeleteObject", "s3", f"landing/{source}/landing/a.json"),
        ("s3:ListBucket", "s3", "landing"),
        ("s3:PutObject", "s3", f"landing/{source}/elsewhere/a.json"),
        ("s3:PutObject", "s3", f"lakehouse/warehouse/landing/{source}_landing/data/a.parquet"),
        ("glue:GetTable", "glue", f"table/stedi/{source}_landing"),
    ]
