"""What each role may do, and must not: (action, kind of key, resource)."""

from stedi_assets.lakehouse.table import Zone
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
    ("s3:GetObject", "s3", "lakehouse/compute-logs/storage/run/compute_logs/step.out"),
    *(
        (f"glue:{action}", "glue", where)
        for action in ("GetTable", "GetTables", "CreateTable", "UpdateTable")
        for where in ("table/stedi/quarantine", "database/stedi", "catalog")
    ),
    ("glue:GetDatabase", "glue", "database/stedi"),
    ("glue:CreateDatabase", "glue", "database/stedi"),
]
NOT_PIPELINE = [
    ("s3:PutObject", "s3", "landing/customer/landing/a.json"),
    ("s3:DeleteObject", "s3", "landing/customer/landing/a.json"),
    ("s3:DeleteObjectVersion", "s3", "landing/customer/landing/a.json"),
    ("s3:DeleteObject", "s3", "lakehouse/compute-logs/storage/run/compute_logs/step.out"),
    ("s3:GetObject", "s3", "lakehouse/athena-results/a.csv"),
    ("s3:PutBucketPolicy", "s3", "lakehouse"),
    ("s3:DeleteBucket", "s3", "lakehouse"),
    ("glue:UpdateTable", "glue", "table/others/a"),
    ("glue:GetTable", "glue", "table/others/a"),
    ("glue:DeleteTable", "glue", "table/stedi/customer_landing"),
    ("glue:DeleteDatabase", "glue", "database/stedi"),
    ("glue:CreateDatabase", "glue", "database/others"),
    ("athena:StartQueryExecution", "athena", "workgroup/{WorkGroup}"),
]
DATA_SCIENTIST = [
    ("s3:GetObject", "s3", "lakehouse/warehouse/curated/machine_learning_curated/data/a.parquet"),
    ("s3:GetObject", "s3", "lakehouse/warehouse/curated/customers_curated/metadata/a.json"),
    ("s3:GetBucketLocation", "s3", "lakehouse"),
    ("s3:PutObject", "s3", "lakehouse/athena-results/a.csv"),
    ("s3:GetObject", "s3", "lakehouse/athena-results/a.csv"),
    ("glue:GetTable", "glue", "table/stedi/machine_learning_curated"),
    ("glue:GetTable", "glue", "table/stedi/customers_curated"),
    ("glue:GetDatabase", "glue", "database/stedi"),
    ("athena:StartQueryExecution", "athena", "workgroup/{WorkGroup}"),
    ("athena:GetQueryResults", "athena", "workgroup/{WorkGroup}"),
]
NOT_DATA_SCIENTIST = [
    ("s3:GetObject", "s3", "landing/customer/landing/a.json"),
    ("s3:ListBucket", "s3", "landing"),
    ("s3:ListBucket", "s3", "lakehouse"),  # with no prefix
    *(
        (action, "s3", f"lakehouse/warehouse/{table.zone}/{table.name}/data/a.parquet")
        for action in ("s3:GetObject", "s3:GetObjectVersion")
        for table in TABLES
        if table.zone != Zone.CURATED
    ),
    ("s3:PutObject", "s3", "lakehouse/warehouse/curated/customers_curated/data/a.parquet"),
    ("s3:DeleteObject", "s3", "lakehouse/warehouse/curated/customers_curated/data/a.parquet"),
    ("s3:GetObject", "s3", "lakehouse/compute-logs/storage/run/compute_logs/step.out"),
    *(
        ("glue:GetTable", "glue", f"table/stedi/{table.name}")
        for table in TABLES
        if table.zone != Zone.CURATED
    ),
    ("glue:UpdateTable", "glue", "table/stedi/customers_curated"),
    ("glue:GetTable", "glue", "table/others/a"),
    ("athena:StartQueryExecution", "athena", "workgroup/primary"),
]
PRODUCER = [
    (action, "s3", f"landing/{source}/landing/2023/a.json.gz")
    for action in ("s3:PutObject", "s3:AbortMultipartUpload")
    for source in ("customer", "accelerometer", "step_trainer")
]
NOT_PRODUCER = [
    ("s3:GetObject", "s3", "landing/customer/landing/a.json"),
    ("s3:DeleteObject", "s3", "landing/customer/landing/a.json"),
    ("s3:ListBucket", "s3", "landing"),
    ("s3:PutObject", "s3", "landing/elsewhere/a.json"),
    ("s3:PutObject", "s3", "lakehouse/warehouse/landing/customer_landing/data/a.parquet"),
    ("glue:GetTable", "glue", "table/stedi/customer_landing"),
]
