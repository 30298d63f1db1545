"""The files in deploy/ for Spark on AWS: who may do what, and what the job is told."""

import re

import pytest

from stedi_assets.lakehouse.engines.glue import GlueEngine
from stedi_assets.lakehouse.engines.spark import configuration
from stedi_assets.resources import open_lakehouse
from stedi_assets.settings import Settings
from stedi_assets.tables import TABLES
from stedi_assets.tables.policy import Policy
from stedi_assets_tests.cloudformation import ACCOUNT, REGION, Template, allowed
from stedi_assets_tests.support import DERIVED, KEY, PROJECT

DEPLOY = PROJECT / "deploy"
BUCKET, LANDING = "a-lakehouse", "a-landing"
SECRET = f"arn:aws:secretsmanager:{REGION}:{ACCOUNT}:secret:PseudonymKey-AbCdEf"
JOB_ROLE = f"arn:aws:iam::{ACCOUNT}:role/job"
ZONES = {table.name: table.table(Policy()).zone for table in TABLES}

GLUE = Template(
    (DEPLOY / "glue.yaml").read_text(),
    {
        "LakehouseBucketName": BUCKET,
        "PipelineRoleName": "pipeline",
        "PseudonymKeySecret": SECRET,
        "JobName": "a-job",
    },
    {"JobRole": "job"},
)
JOB = GLUE.properties("Job")


def lakehouse_stack(**parameters: str) -> Template:
    names = {"LakehouseBucket": BUCKET, "LandingBucket": LANDING, "PipelineRole": "pipeline"}
    return Template((DEPLOY / "lakehouse.yaml").read_text(), parameters, names)


def may(action: str, resource: str, stack: Template | None = None) -> bool:
    """Whether the job's role may, where the lakehouse's stack knows of it."""
    stack = stack or lakehouse_stack(ComputeRoleArn=JOB_ROLE)
    [policy] = GLUE.properties("JobRole")["Policies"]
    of_buckets = [
        statement
        for name in stack.resources("AWS::S3::BucketPolicy")
        for statement in stack.properties(name)["PolicyDocument"]["Statement"]
    ]
    context = {"aws:PrincipalArn": JOB_ROLE, "aws:SecureTransport": "true"}
    return allowed(action, resource, context, policy["PolicyDocument"]["Statement"], of_buckets)


def of_bucket(key: str) -> str:
    return f"arn:aws:s3:::{BUCKET}/{key}"


def data_file(table: str) -> str:
    return of_bucket(f"warehouse/{ZONES[table]}/{table}/data/a/part-0.parquet")


@pytest.mark.parametrize("table", ZONES)
def test_job_reads_every_table_and_writes_rows_of_those_it_makes(table: str) -> None:
    makes = table in {derived.name for derived in DERIVED}
    assert may("s3:GetObject", data_file(table))
    for action in ("s3:PutObject", "s3:DeleteObject"):
        assert may(action, data_file(table)) is makes
        assert not may(action, data_file(table).replace("/data/", "/metadata/"))


@pytest.mark.parametrize("table", ["customer_landing", "customer_trusted", "customers_curated"])
def test_job_reads_e_mails_only_where_the_lakehouse_says_so(table: str) -> None:
    assert not may("s3:GetObject", data_file(table), lakehouse_stack())
    assert may("s3:GetObject", data_file("machine_learning_curated"), lakehouse_stack())


def test_job_reads_no_landing_files_and_changes_no_table() -> None:
    glue = f"arn:aws:glue:{REGION}:{ACCOUNT}"
    assert may("glue:GetTable", f"{glue}:table/stedi/customer_landing")
    assert may("secretsmanager:GetSecretValue", SECRET)
    assert may("s3:PutObject", of_bucket("pipes/abc/1.json"))
    for action, resource in (
        ("s3:GetObject", f"arn:aws:s3:::{LANDING}/customer/landing/a.json"),
        ("s3:PutObject", of_bucket("glue/glue_job.py")),
        ("glue:UpdateTable", f"{glue}:table/stedi/customer_trusted"),
        ("glue:StartJobRun", f"{glue}:job/a-job"),
        ("secretsmanager:GetSecretValue", SECRET.replace("Pseudonym", "Other")),
    ):
        assert not may(action, resource), (action, resource)


def test_refresh_starts_this_job_alone() -> None:
    policy = GLUE.properties("StartTheJob")
    assert policy["Roles"] == ["pipeline"]
    statements = policy["PolicyDocument"]["Statement"]
    job = f"arn:aws:glue:{REGION}:{ACCOUNT}:job/"
    for action in ("glue:StartJobRun", "glue:GetJobRun", "glue:BatchStopJobRun"):
        assert allowed(action, f"{job}a-job", {}, statements)
        assert not allowed(action, f"{job}another", {}, statements)
    for action in ("s3:GetObject", "s3:PutObject", "s3:DeleteObject"):
        assert allowed(action, of_bucket("pipes/abc/context.json"), {}, statements)


def test_job_is_told_where_the_key_is_and_not_the_key() -> None:
    assert JOB["NonOverridableArguments"] == {"--pseudonym-key-secret": SECRET}
    script = JOB["Command"]["ScriptLocation"]
    assert script.startswith(f"s3://{BUCKET}/glue/")
    assert (DEPLOY / script.rpartition("/")[2]).exists()


def test_process_and_template_agree_on_job_and_exchange() -> None:
    settings = Settings.load(
        deployment="aws", lakehouse=f"s3://{BUCKET}", engine="glue", pseudonym_key=KEY
    )
    engine = open_lakehouse(settings).engine
    assert isinstance(engine, GlueEngine)
    defaults = Template((DEPLOY / "glue.yaml").read_text(), {})
    assert defaults.properties("Job")["Name"] == engine.job
    assert engine.exchange == f"s3://{BUCKET}/pipes"
    assert KEY not in repr(engine.settings)


def test_templates_take_what_the_lakehouse_gives() -> None:
    given = set(lakehouse_stack().outputs())
    for name in ("glue.yaml", "emr.yaml"):
        text = (DEPLOY / name).read_text()
        asked = re.findall(r"^  (\w+):\n    Type: String\n    Description: Output of", text, re.M)
        assert {"LakehouseBucketName", "PipelineRoleName"} <= set(asked) <= given


def test_spark_submit_says_where_spark_is(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYSPARK_GATEWAY_PORT", "1")
    told = configuration({})
    assert not {"spark.master", "spark.driver.host"} & told.keys()
    assert told["spark.log.level"] == "WARN"  # at INFO, its default there, plans are in the log


def test_document_names_only_what_there_is() -> None:
    page = (DEPLOY.parent / "docs/spark.md").read_text()
    settings = {f"STEDI_{name}".upper() for name in Settings.model_fields}
    assert set(re.findall(r"STEDI_[A-Z0-9_]+", page)) <= settings
    for name in re.findall(r"deploy/(\w+\.\w+)", page):
        assert (DEPLOY / name).exists(), name
    stacks = {
        "": lakehouse_stack(),
        "stedi-glue": GLUE,
        "stedi-emr": Template((DEPLOY / "emr.yaml").read_text(), {}),
    }
    for output, stack in re.findall(r"\$\(out (\w+) ?([\w-]*)\)", page):
        assert output in stacks[stack].outputs(), (output, stack)
    assert page.index("out() {") < page.index("$(out ")
    headings = re.findall(r"^#+ (.*)$", page, re.MULTILINE)
    anchors = {heading.lower().replace(" ", "-") for heading in headings}
    assert set(re.findall(r"\]\(#([^)]*)\)", page)) <= anchors
