"""Where the lakehouse is: the one place that knows what a deployment is made of.

Only what a deployment needs is imported: neither Dagster to read a local table, nor AWS's
libraries where there is no AWS.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from stedi_assets.lakehouse.storage import LocalStorage, Storage
from stedi_assets.settings import Settings, SettingsError

if TYPE_CHECKING:
    from dagster_aws.s3 import S3Resource

    from stedi_assets.lakehouse.aws import S3Lakehouse
    from stedi_assets.lakehouse.resource import Compute, Lakehouse

_OF_TABLES = {
    "deployment",
    "lakehouse",
    "database",
    "s3_endpoint",
    "glue_endpoint",
    "s3_encryption",
    "s3_kms_key",
    "consent_scope",
    "pseudonymize",
}
"""Settings that say where tables are and which rows they have; no secrets."""


def storage(settings: Settings) -> Storage:
    """Where files and tables are under these settings."""
    if settings.deployment == "aws":
        return _on_aws(settings).storage
    return LocalStorage(Path(settings.lakehouse))


def lakehouse(settings: Settings) -> "Lakehouse":
    """The lakehouse under these settings, as a Dagster resource."""
    if settings.deployment == "aws":
        return _on_aws(settings)
    from stedi_assets.lakehouse.resource import LocalLakehouse  # noqa: PLC0415

    return LocalLakehouse(root=settings.lakehouse, compute=_compute(settings))


def _compute(settings: Settings) -> "Compute":
    if settings.engine == "spark":
        return _on_spark(settings)
    from stedi_assets.lakehouse.resource import Embedded  # noqa: PLC0415

    return Embedded(memory_limit=settings.memory_limit, threads=settings.threads)


def _on_spark(settings: Settings) -> "Compute":
    with _extra("spark", "STEDI_ENGINE=spark"):
        from dagster_pyspark import LazyPySparkResource  # noqa: PLC0415

        from stedi_assets.lakehouse.spark import REDACTED, Spark, configuration  # noqa: PLC0415
    from stedi_assets.assets.curated import PSEUDONYM_KEYS  # noqa: PLC0415

    conf = configuration({REDACTED: PSEUDONYM_KEYS} | settings.spark_configuration)
    session = LazyPySparkResource(spark_config=conf)
    return Spark(session=session, task_memory=settings.memory_limit)


def _on_aws(settings: Settings) -> "S3Lakehouse":
    with _extra("aws", "STEDI_DEPLOYMENT=aws"):
        from dagster_aws.s3 import S3Resource  # noqa: PLC0415

        from stedi_assets.lakehouse.aws import ATTEMPTS, S3Lakehouse  # noqa: PLC0415
        from stedi_assets.lakehouse.s3 import split  # noqa: PLC0415

    places = settings.lakehouse, settings.landing_root
    s3 = S3Resource(endpoint_url=settings.s3_endpoint, max_attempts=ATTEMPTS)
    return S3Lakehouse(
        root=settings.lakehouse,
        database=settings.database,
        s3=s3,
        glue_endpoint=settings.glue_endpoint,
        encryption=settings.s3_encryption,
        kms_key=settings.s3_kms_key,
        # With dots in it, a name does not match the certificate of its own address.
        path_style=any("." in split(place)[0] for place in places),
        compute=_on_glue(settings, s3) if settings.engine == "glue" else _compute(settings),
    )


def _on_glue(settings: Settings, s3: "S3Resource") -> "Compute":
    from stedi_assets.lakehouse.glue import OnGlue  # noqa: PLC0415

    return OnGlue(
        here=_compute(settings),
        s3=s3,
        exchange=f"{settings.lakehouse}/pipes",
        job=settings.glue_job,
        settings=settings.model_dump(include=_OF_TABLES, exclude_defaults=True),
        endpoint=settings.glue_endpoint,
    )


@contextmanager
def _extra(extra: str, setting: str) -> Iterator[None]:
    """Say which of the project's extras a setting takes, where it is not installed."""
    try:
        yield
    except ModuleNotFoundError as error:
        raise SettingsError(
            f"{setting} takes the package {error.name}, which is not installed: install the "
            f"project with its extra, pip install -e '.[{extra}]'."
        ) from None
