"""The CloudFormation template of the lakehouse: who may do what."""

import re
import subprocess
from collections.abc import Iterator
from typing import Any

import boto3
import pytest
from moto.server import ThreadedMotoServer

from stedi_assets.lakehouse.table import Zone
from stedi_assets.privacy.key import subject_key
from stedi_assets.settings import Settings
from stedi_assets_tests.cloudformation import ACCOUNT, REGION, Template, allowed
from stedi_assets_tests.deploy.permissions import (
    CUSTOMERS,
    DATA_SCIENTIST,
    FORGET,
    NOT_DATA_SCIENTIST,
    NOT_PIPELINE,
    PIPELINE,
    PRODUCERS,
    not_producer,
    producer,
)
from stedi_assets_tests.deploy.support import (
    ADMINISTRATOR,
    AUDITOR,
    DEPLOY,
    EMERGENCY,
    EVERYTHING,
    IOT,
    KMS_KEY,
    PROGRAMS,
    SECRET,
    TABLES,
    TEMPLATE,
)

# What moto's CloudFormation leaves out, `Template` works out.
pytestmark = pytest.mark.filterwarnings("ignore:Tried to parse AWS:UserWarning")


ROLES = ("PipelineRole", "DataScientistRole", *PRODUCERS)


TEMPLATES = ("lakehouse.yaml", "lake_formation.yaml", "glue.yaml", "emr.yaml")


class Stack:
    """The template as moto's CloudFormation deployed it, and what it leaves to `Template`."""

    def __init__(self, endpoint: str, name: str, **parameters: str) -> None:
        self._session = boto3.Session("testing", "testing", region_name=REGION)
        self._endpoint = endpoint
        cloudformation = self.client("cloudformation")
        cloudformation.create_stack(
            StackName=name,
            TemplateBody=TEMPLATE.read_text(),
            Parameters=[
                {"ParameterKey": key, "ParameterValue": value} for key, value in parameters.items()
            ],
            Capabilities=["CAPABILITY_IAM"],
        )
        (self.description,) = cloudformation.describe_stacks(StackName=name)["Stacks"]
        made = cloudformation.describe_stack_resources(StackName=name)["StackResources"]
        self.names = {
            resource["LogicalResourceId"]: resource["PhysicalResourceId"]
            for resource in made
            if resource.get("PhysicalResourceId")
        }
        names = self.names | {"AWS::StackName": name, "PseudonymKey": SECRET}
        self.template = Template(TEMPLATE.read_text(), parameters, names)

    def client(self, service: str) -> Any:
        return self._session.client(service, endpoint_url=self._endpoint)

    def statements(self, role: str) -> list[dict[str, Any]]:
        """What the role's policies say."""
        template = self.template
        documents = [p["PolicyDocument"] for p in template.properties(role)["Policies"]]
        for name in template.resources("AWS::IAM::ManagedPolicy"):
            policy = template.properties(name)
            if self.names[role] in policy["Roles"]:
                documents.append(policy["PolicyDocument"])
        return [statement for document in documents for statement in document["Statement"]]

    def may(
        self, who: str, action: str, resource: str, context: dict[str, str] | None = None
    ) -> bool:
        """Whether a role of the stack, or another by its ARN that may do everything, may."""
        of_stack = who in self.names
        arn = f"arn:aws:iam::{ACCOUNT}:role/{self.names[who]}" if of_stack else who
        given = {
            "aws:PrincipalArn": arn,
            "aws:SecureTransport": "true",
            "aws:PrincipalIsAWSService": "false",
        }
        own = self.statements(who) if of_stack else EVERYTHING
        return allowed(action, resource, given | (context or {}), own, self.bucket_statements())

    def bucket_statements(self) -> list[dict[str, Any]]:
        policies = self.template.resources("AWS::S3::BucketPolicy")
        documents = [self.template.properties(name)["PolicyDocument"] for name in policies]
        return [statement for document in documents for statement in document["Statement"]]

    def arn(self, kind: str, name: str) -> str:
        """ARN of an object (`landing/...`, `access-log/...` by its bucket), table or database."""
        if kind == "s3":
            bucket, slash, key = name.partition("/")
            logical = bucket.title().replace("-", "")
            return f"arn:aws:s3:::{self.names[f'{logical}Bucket']}{slash}{key}"
        name = name.format(WorkGroup=self.template.outputs()["WorkGroupName"])
        return f"arn:aws:{kind}:{REGION}:{ACCOUNT}:{name}"


@pytest.fixture(scope="module")
def cloud() -> Iterator[str]:
    server = ThreadedMotoServer("127.0.0.1", 0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    yield f"http://{host}:{port}"
    server.stop()


@pytest.fixture(scope="module")
def stack(cloud: str) -> Stack:
    """The template with nothing chosen."""
    return Stack(cloud, "stedi")


@pytest.fixture(scope="module")
def chosen(cloud: str) -> Stack:
    """The template with everything chosen that can be."""
    return Stack(
        cloud,
        "chosen",
        KmsKeyArn=KMS_KEY,
        LandingExpirationDays="365",
        PipelineService="ec2.amazonaws.com,emr-serverless.amazonaws.com",
        BreakGlassArn=EMERGENCY,
        DataScientistPrincipalArn=ADMINISTRATOR,
        CustomersCurated="yes",
        ForgetLandingFiles="yes",
        StepTrainerProducerArn=IOT,
        AuditorArn=AUDITOR,
    )


def test_linter_finds_nothing_in_the_templates() -> None:
    templates = [DEPLOY / name for name in TEMPLATES]
    found = subprocess.run(
        [PROGRAMS / "cfn-lint", "--include-checks", "I", "--", *templates],
        capture_output=True,
        text=True,
        check=False,
    )
    assert (found.stdout, found.returncode) == ("", 0)


def test_template_deploys(stack: Stack, chosen: Stack) -> None:
    for each in (stack, chosen):
        assert each.description["StackStatus"] == "CREATE_COMPLETE"
        assert "PipelineInstanceProfile" in each.names


def test_roles_have_their_policies(chosen: Stack) -> None:
    iam = chosen.client("iam")
    for role in ROLES:
        name = chosen.names[role]
        (policy,) = chosen.template.properties(role)["Policies"]
        assert iam.list_role_policies(RoleName=name)["PolicyNames"] == [policy["PolicyName"]]
        (attached,) = iam.list_attached_role_policies(RoleName=name)["AttachedPolicies"]
        assert "UseTheKey" in attached["PolicyName"]


def test_outputs_are_settings(stack: Stack, chosen: Stack) -> None:
    for each, encryption in ((stack, "AES256"), (chosen, "aws:kms")):
        outputs = each.template.outputs()
        settings = Settings.load(
            deployment="aws",
            lakehouse=outputs["StediLakehouse"],
            landing=outputs["StediLanding"],
            database=outputs["StediDatabase"],
            s3_encryption=outputs["StediEncryption"],
            s3_kms_key=outputs.get("StediKmsKey"),
        )
        assert settings.lakehouse == f"s3://{each.names['LakehouseBucket']}"
        assert settings.landing_root == f"s3://{each.names['LandingBucket']}"
        assert settings.s3_encryption == encryption
    reported = {
        output["OutputKey"]: output["OutputValue"] for output in chosen.description["Outputs"]
    }
    filled = chosen.template.outputs()
    assert {name: filled[name] for name in reported} == reported


BY_S3 = {"SSEAlgorithm": "AES256"}
BY_KEY = {"SSEAlgorithm": "aws:kms", "KMSMasterKeyID": KMS_KEY}


@pytest.mark.parametrize(
    ("bucket", "with_key"),
    [("LandingBucket", BY_KEY), ("LakehouseBucket", BY_KEY), ("AccessLogBucket", BY_S3)],
)
def test_buckets_are_private_and_encrypted(
    stack: Stack, chosen: Stack, bucket: str, with_key: dict[str, str]
) -> None:
    for each, encryption in ((stack, BY_S3), (chosen, with_key)):
        found = each.client("s3").get_bucket_encryption(Bucket=each.names[bucket])
        (rule,) = found["ServerSideEncryptionConfiguration"]["Rules"]
        assert rule["ApplyServerSideEncryptionByDefault"] == encryption
    properties = stack.template.properties(bucket)
    assert set(properties["PublicAccessBlockConfiguration"].values()) == {True}
    assert len(properties["PublicAccessBlockConfiguration"]) == 4
    assert properties["OwnershipControls"] == {
        "Rules": [{"ObjectOwnership": "BucketOwnerEnforced"}]
    }


def test_age_deletes_no_file_of_a_table(chosen: Stack) -> None:
    properties = chosen.template.properties("LakehouseBucket")
    assert "VersioningConfiguration" not in properties  # what vacuum deletes is gone
    rules = properties["LifecycleConfiguration"]["Rules"]
    assert all(rule["Status"] == "Enabled" for rule in rules)
    by_age = [rule for rule in rules if set(rule) & {"ExpirationInDays", "Transitions"}]
    assert {rule["Prefix"] for rule in by_age} == {"compute-logs/", "athena-results/", "pipes/"}
    (rest,) = [rule for rule in rules if rule not in by_age]
    assert set(rest) == {"Id", "Status", "AbortIncompleteMultipartUpload"}


def test_landing_files_are_archived_and_expire_only_if_asked(stack: Stack, chosen: Stack) -> None:
    def rules(each: Stack) -> dict[str, dict[str, Any]]:
        configured = each.template.properties("LandingBucket")["LifecycleConfiguration"]
        return {rule["Id"]: rule for rule in configured["Rules"]}

    assert rules(stack)["archive"]["Transitions"][0]["StorageClass"] == "GLACIER_IR"
    assert "expire" not in rules(stack)
    assert rules(chosen)["expire"]["ExpirationInDays"] == "365"
    assert all("ExpirationInDays" not in rule for rule in rules(stack).values())
    assert rules(stack)["forget-what-was-deleted"]["NoncurrentVersionExpiration"] == {
        "NoncurrentDays": 7
    }


def test_what_cannot_be_made_again_outlives_the_stack(stack: Stack) -> None:
    kinds = ("S3::Bucket", "Glue::Database", "SecretsManager::Secret")
    kept = [
        resource for kind in kinds for resource in stack.template.resources(f"AWS::{kind}").values()
    ]
    assert len(kept) == 5
    assert {resource["DeletionPolicy"] for resource in kept} == {"Retain"}
    assert {resource["UpdateReplacePolicy"] for resource in kept} == {"Retain"}


def test_pseudonym_key_is_made_long_enough(stack: Stack) -> None:
    wanted = stack.template.properties("PseudonymKey")["GenerateSecretString"]
    secrets = stack.client("secretsmanager")
    made = secrets.get_random_password(**wanted)["RandomPassword"]
    assert subject_key(Settings.load(pseudonym_key=made)) == made


@pytest.mark.parametrize(
    ("role", "principal"),
    [
        ("PipelineRole", {"Service": ["ec2.amazonaws.com", "emr-serverless.amazonaws.com"]}),
        ("DataScientistRole", {"AWS": ADMINISTRATOR}),
        ("CustomerProducerRole", {"AWS": f"arn:aws:iam::{ACCOUNT}:root"}),
        ("AccelerometerProducerRole", {"AWS": f"arn:aws:iam::{ACCOUNT}:root"}),
        ("StepTrainerProducerRole", {"AWS": IOT}),
    ],
)
def test_roles_are_assumed_by_whom_they_are_for(
    chosen: Stack, role: str, principal: dict[str, Any]
) -> None:
    found = chosen.client("iam").get_role(RoleName=chosen.names[role])["Role"]
    (statement,) = found["AssumeRolePolicyDocument"]["Statement"]
    assert statement == {"Effect": "Allow", "Principal": principal, "Action": "sts:AssumeRole"}


@pytest.mark.parametrize("role", ROLES)
def test_roles_name_what_they_may(chosen: Stack, role: str) -> None:
    statements = chosen.statements(role)
    assert all(statement["Effect"] == "Allow" for statement in statements)
    actions = [action for statement in statements for action in _list(statement["Action"])]
    assert not [action for action in actions if "*" in action]
    resources = [arn for statement in statements for arn in _list(statement["Resource"])]
    assert not [arn for arn in resources if not re.match(r"arn:aws:\w+:.*\w", arn)]


Requests = list[tuple[str, str, str]]
"""Action, kind of ARN, and what `Stack.arn` makes one of."""


@pytest.mark.parametrize(
    ("role", "needs", "more"),
    [
        ("PipelineRole", PIPELINE, [*NOT_PIPELINE, *FORGET]),
        ("DataScientistRole", DATA_SCIENTIST, [*NOT_DATA_SCIENTIST, *CUSTOMERS]),
        *((role, producer(source), not_producer(source)) for role, source in PRODUCERS.items()),
    ],
)
def test_roles_may_what_they_need_and_no_more(
    stack: Stack, role: str, needs: Requests, more: Requests
) -> None:
    decided = {
        request: stack.may(role, request[0], stack.arn(*request[1:])) for request in (*needs, *more)
    }
    assert decided == dict.fromkeys(needs, True) | dict.fromkeys(more, False)


@pytest.mark.parametrize(
    ("role", "needs", "more"),
    [
        ("PipelineRole", [*PIPELINE, *FORGET], NOT_PIPELINE),
        ("DataScientistRole", [*DATA_SCIENTIST, *CUSTOMERS], NOT_DATA_SCIENTIST),
    ],
)
def test_roles_may_more_where_that_is_chosen_and_no_more_than_that(
    chosen: Stack, role: str, needs: Requests, more: Requests
) -> None:
    decided = {
        request: chosen.may(role, request[0], chosen.arn(*request[1:]))
        for request in (*needs, *more)
    }
    assert decided == dict.fromkeys(needs, True) | dict.fromkeys(more, False)


def test_customers_are_listed_only_where_they_are_read(stack: Stack, chosen: Stack) -> None:
    given = {"s3:prefix": "warehouse/curated/customers_curated/"}
    for each, may in ((stack, False), (chosen, True)):
        bucket = each.arn("s3", "lakehouse")
        assert each.may("DataScientistRole", "s3:ListBucket", bucket, given) is may


def test_roles_list_their_own_prefixes(stack: Stack) -> None:
    bucket = stack.arn("s3", "lakehouse")
    for prefix, data_scientist in {
        "warehouse/curated/machine_learning_curated/": True,
        "athena-results/data-scientists/": True,
        "warehouse/": False,
        "athena-results/": False,
        "warehouse/trusted/customer_trusted/": False,
        "warehouse/landing/quarantine/": False,
        "compute-logs/": False,
    }.items():
        given = {"s3:prefix": prefix}
        assert stack.may("PipelineRole", "s3:ListBucket", bucket, given)
        assert stack.may("DataScientistRole", "s3:ListBucket", bucket, given) is data_scientist
        assert not any(stack.may(role, "s3:ListBucket", bucket, given) for role in PRODUCERS)


CLOSED = [
    "landing/customer/landing/a.json",
    "landing/anything",
    "lakehouse/compute-logs/storage/run/compute_logs/step.err",
    *(
        f"lakehouse/warehouse/{table.zone}/{table.name}/data/a.parquet"
        for table in TABLES
        if table.name != "machine_learning_curated"
    ),
]


@pytest.mark.parametrize("key", CLOSED)
def test_administrators_read_nobodys_e_mail(stack: Stack, chosen: Stack, key: str) -> None:
    for action in ("s3:GetObject", "s3:GetObjectVersion"):
        assert not stack.may(ADMINISTRATOR, action, stack.arn("s3", key))
        assert not stack.may(EMERGENCY, action, stack.arn("s3", key))
        assert not chosen.may(ADMINISTRATOR, action, chosen.arn("s3", key))
        assert chosen.may(EMERGENCY, action, chosen.arn("s3", key))
    assert stack.may(ADMINISTRATOR, "s3:DeleteObject", stack.arn("s3", key))
    assert stack.may("PipelineRole", "s3:GetObject", stack.arn("s3", key))


def test_tables_with_personal_data_are_denied(stack: Stack) -> None:
    personal = {table.name for table in TABLES if any(column.personal for column in table.columns)}
    denied = {key.split("/")[3] for key in CLOSED if key.startswith("lakehouse/warehouse")}
    assert "customers_curated" in personal and "quarantine" in personal
    assert personal <= denied


def test_results_are_read_by_data_scientists_alone(stack: Stack, chosen: Stack) -> None:
    for each in (stack, chosen):
        result = each.arn("s3", "lakehouse/athena-results/data-scientists/a.csv")
        assert each.may("DataScientistRole", "s3:GetObject", result)
        assert not each.may(ADMINISTRATOR, "s3:GetObject", result)
        assert not any(
            each.may(role, "s3:GetObject", result) for role in (*PRODUCERS, "PipelineRole")
        )


@pytest.mark.parametrize("who", [*ROLES, EMERGENCY])
def test_nobody_comes_without_tls(chosen: Stack, who: str) -> None:
    plain = {"aws:SecureTransport": "false"}
    for action, name in (
        ("s3:GetObject", "lakehouse/warehouse/curated/customers_curated/data/a.parquet"),
        *(("s3:PutObject", f"landing/{source}/landing/a.json") for source in PRODUCERS.values()),
        ("s3:ListBucket", "landing"),
        ("s3:ListBucket", "lakehouse"),
    ):
        assert not chosen.may(who, action, chosen.arn("s3", name), plain)


def test_pseudonym_key_is_read_by_the_pipeline_alone(stack: Stack) -> None:
    secret, read = stack.template.outputs()["PseudonymKeySecret"], "secretsmanager:GetSecretValue"
    assert stack.may("PipelineRole", read, secret)
    assert not stack.may("DataScientistRole", read, secret)
    assert not any(stack.may(role, read, secret) for role in PRODUCERS)
    assert not stack.may("PipelineRole", read, "another secret")


@pytest.mark.parametrize("role", ROLES)
def test_key_of_the_buckets_is_used_by_way_of_s3(chosen: Stack, role: str) -> None:
    by_s3 = {"kms:ViaService": f"s3.{REGION}.amazonaws.com"}
    for action in ("kms:Decrypt", "kms:GenerateDataKey"):
        assert chosen.may(role, action, KMS_KEY, by_s3)
        assert not chosen.may(role, action, KMS_KEY)


LOG = "access-log/lakehouse/2026-11-29-22-00-00-AB12"


def writes_logs(stack: Stack, account: str) -> bool:
    """Whether S3 may write the log of an account's bucket."""
    context = {
        "aws:PrincipalServiceName": "logging.s3.amazonaws.com",
        "aws:PrincipalIsAWSService": "true",
        "aws:SecureTransport": "true",
        "aws:SourceAccount": account,
    }
    return allowed("s3:PutObject", stack.arn("s3", LOG), context, (), stack.bucket_statements())


def test_s3_logs_who_asks_both_buckets_for_what(stack: Stack) -> None:
    for bucket in ("landing", "lakehouse"):
        logging = stack.template.properties(f"{bucket.capitalize()}Bucket")["LoggingConfiguration"]
        assert logging == {
            "DestinationBucketName": stack.names["AccessLogBucket"],
            "LogFilePrefix": f"{bucket}/",
        }
    buckets = stack.template.resources("AWS::S3::Bucket")
    for bucket in ("LandingBucket", "LakehouseBucket"):
        assert buckets[bucket]["DependsOn"] == "AccessLogBucketPolicy"


def test_s3_writes_logs_of_this_account_alone(stack: Stack) -> None:
    assert writes_logs(stack, ACCOUNT)
    assert not writes_logs(stack, "210987654321")


def test_nobody_forges_or_deletes_an_access_log(stack: Stack, chosen: Stack) -> None:
    for each in (stack, chosen):
        for who in (*ROLES, ADMINISTRATOR, EMERGENCY, AUDITOR):
            for action in ("s3:PutObject", "s3:DeleteObject", "s3:DeleteObjectVersion"):
                assert not each.may(who, action, each.arn("s3", LOG))


def test_access_logs_are_read_by_the_auditor_alone(stack: Stack, chosen: Stack) -> None:
    for who in (*ROLES, ADMINISTRATOR, EMERGENCY):
        assert not chosen.may(who, "s3:GetObject", chosen.arn("s3", LOG))
    assert chosen.may(AUDITOR, "s3:GetObject", chosen.arn("s3", LOG))
    assert not stack.may(AUDITOR, "s3:GetObject", stack.arn("s3", LOG))


def test_access_logs_expire(stack: Stack) -> None:
    rules = stack.template.properties("AccessLogBucket")["LifecycleConfiguration"]["Rules"]
    (expire,) = [rule for rule in rules if "ExpirationInDays" in rule]
    assert expire == {"Id": "expire", "Status": "Enabled", "ExpirationInDays": "365"}


def test_query_results_lie_where_data_scientists_write(stack: Stack) -> None:
    configuration = stack.template.properties("WorkGroup")["WorkGroupConfiguration"]
    assert configuration["EnforceWorkGroupConfiguration"] is True
    place = configuration["ResultConfiguration"]["OutputLocation"]
    assert place == f"s3://{stack.names['LakehouseBucket']}/athena-results/data-scientists/"


def test_data_scientists_see_the_curated_tables_that_they_read(stack: Stack, chosen: Stack) -> None:
    def seen(each: Stack) -> set[str]:
        return {
            arn.rpartition("/")[2]
            for statement in each.statements("DataScientistRole")
            for arn in _list(statement["Resource"])
            if ":table/" in arn
        }

    assert seen(stack) == {"machine_learning_curated"}
    assert seen(chosen) == {table.name for table in TABLES if table.zone == Zone.CURATED}


def _list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [value]
