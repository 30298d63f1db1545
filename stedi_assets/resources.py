"""Opens the lakehouse: the one place that knows what a deployment is made of.

Only what a deployment needs is imported: neither Dagster to read a local table, nor AWS's
libraries where there is no AWS.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from stedi_assets.lakehouse.storage.local import LocalStorage
from stedi_assets.lakehouse.storage.storage import Storage
from stedi_assets.settings import Settings, SettingsError

if TYPE_CHECKING:
    from stedi_assets.lakehouse.engines.engine import Engine
    from stedi_assets.lakehouse.lakehouse import Lakehouse

_TABLE_SETTINGS = {
    "deployment",
    "lakehouse",
    "database",
    "s3_endpoint",
    "glue_endpoint",
    "s3_encryption",
    "s3_kms_key",
    "consent_scope",
    "pseudonymize",
    "times",
    "pseudonym_scope",
}
"""Settings that say where tables are and which rows they have; no secrets."""


def open_lakehouse(settings: Settings) -> "Lakehouse":
    """The lakehouse under these settings."""
    from stedi_assets.lakehouse.lakehouse import Lakehouse  # noqa: PLC0415

    storage = open_storage(settings)
    engine = _on_glue(settings, storage) if settings.engine == "glue" else _here(settings, storage)
    return Lakehouse(storage, engine)


def open_storage(settings: Settings) -> Storage:
    """Where files and tables are under these settings."""
    if settings.deployment != "aws":
        return LocalStorage(Path(settings.lakehouse))
    with _extra("aws", "STEDI_DEPLOYMENT=aws"):
        from stedi_assets.lakehouse.storage.s3 import S3Storage  # noqa: PLC0415
        from stedi_assets.lakehouse.storage.s3_files import split  # noqa: PLC0415

    places = settings.lakehouse, settings.landing_root
    return S3Storage(
        root=settings.lakehouse,
        namespace=settings.database,
        new_client=S3Clients(settings.s3_endpoint),
        glue_endpoint=settings.glue_endpoint,
        encryption=settings.s3_encryption,
        kms_key=settings.s3_kms_key,
        # The name of a bucket with dots does not match the certificate of its address.
        path_style=any("." in split(place)[0] for place in places),
    )


@dataclass(frozen=True)
class S3Clients:
    """Makes S3 clients, as dagster-aws does; can be sent to another process.

    Attributes:
        endpoint: Another address of S3.
    """

    endpoint: str | None = None

    def __call__(self) -> Any:
        """A new client; credentials come by the ordinary chain of AWS."""
        with _extra("aws", "STEDI_DEPLOYMENT=aws"):
            from dagster_aws.s3 import S3Resource  # noqa: PLC0415

            from stedi_assets.lakehouse.storage.glue_catalog import ATTEMPTS  # noqa: PLC0415

        return S3Resource(endpoint_url=self.endpoint, max_attempts=ATTEMPTS).get_client()


def _here(settings: Settings, storage: Storage) -> "Engine":
    if settings.engine == "spark":
        return _on_spark(settings, storage)
    from stedi_assets.lakehouse.engines.duckdb import shared_engine  # noqa: PLC0415

    return shared_engine(storage, settings.memory_limit, settings.threads)


def _on_spark(settings: Settings, storage: Storage) -> "Engine":
    with _extra("spark", "STEDI_ENGINE=spark"):
        from dagster_pyspark import LazyPySparkResource  # noqa: PLC0415

        from stedi_assets.lakehouse.engines.spark import (  # noqa: PLC0415
            REDACTED,
            SparkEngine,
            SparkStart,
            configuration,
        )
    from stedi_assets.tables.identity import PSEUDONYM_KEYS  # noqa: PLC0415

    conf = configuration({REDACTED: PSEUDONYM_KEYS} | settings.spark_configuration)
    start = SparkStart(
        conf,
        lambda conf: LazyPySparkResource(spark_config=conf).spark_session,
        lambda: storage.scratch,
        settings.s3_endpoint,
    )
    return SparkEngine(storage, start, settings.memory_limit)


def _on_glue(settings: Settings, storage: Storage) -> "Engine":
    with _extra("aws", "STEDI_ENGINE=glue"):
        from stedi_assets.lakehouse.engines.glue import GlueEngine  # noqa: PLC0415

    return GlueEngine(
        immediate=_here(settings.model_copy(update={"engine": "duckdb"}), storage),
        job=settings.glue_job,
        exchange=f"{settings.lakehouse}/pipes",
        settings=settings.model_dump(include=_TABLE_SETTINGS, exclude_defaults=True),
        new_s3_client=S3Clients(settings.s3_endpoint),
        endpoint=settings.glue_endpoint,
    )


@contextmanager
def _extra(extra: str, setting: str) -> Iterator[None]:
    """Name the extra of the project that a setting needs, if it is not installed."""
    try:
        yield
    except ModuleNotFoundError as error:
        raise SettingsError(
            f"{setting} needs the package {error.name}, which is not installed: install the "
            f"project with its extra, pip install -e '.[{extra}]'."
        ) from None
