"""Where things are and how the lakehouse behaves: the only reader of the environment."""

import difflib
import errno
import hashlib
import json
import os
import re
from collections.abc import Iterable
from contextlib import suppress
from datetime import timedelta
from itertools import pairwise
from pathlib import Path
from typing import Any, Literal

from pydantic import (
    Field,
    SecretStr,
    ValidationError,
    ValidationInfo,
    field_validator,
    model_validator,
)
from pydantic_settings import BaseSettings, SettingsConfigDict

from stedi_assets.lakehouse.faults import LakehouseError

_CHECKOUT = Path(__file__).resolve().parent.parent
PROJECT = _CHECKOUT if (_CHECKOUT / "workspace.yaml").exists() else Path.cwd()
"""The checkout; for an installed package, the folder it is started in."""

MIN_KEY = 32
"""Characters that the key of `subject_id` must have."""

_MIN_DIFFERENT = 8

# No parts of dots alone: the engine would resolve them, S3 does not.
_S3 = re.compile(r"s3://[a-z0-9][a-z0-9.-]+[a-z0-9](/(?!\.{1,2}(/|$))[^?#%*\[\]\\/]+)*")
_URL = r"^https?://[^/\s]+$"

_MASTER = re.compile(r"local\b|spark://|yarn$|k8s://")

_SOURCES = "customer", "accelerometer", "step_trainer"
_OWN_FOLDERS = "warehouse", "scratch", "pipes"
"""Folders in which a lakehouse deletes files that it does not know."""

_LONGEST = timedelta(days=365_000)
"""Longer durations count as this one: dates do not go back farther."""

ConsentScope = Literal["any", "from_consent_date"]


class SettingsError(LakehouseError, ValueError):
    """A setting is wrong; the message has a sentence for each wrong value, one a line."""


class Settings(BaseSettings):
    """The settings, read from the variables `STEDI_...`.

    Paths are absolute once read, so that a later change of the working folder moves nothing.
    """

    model_config = SettingsConfigDict(
        env_prefix="STEDI_", env_ignore_empty=True, frozen=True, hide_input_in_errors=True
    )

    deployment: Literal["local", "aws"] = Field(
        "local",
        description="where landing and warehouse are: folders of this machine (`local`), or S3 "
        "with the tables in AWS Glue (`aws`)",
    )
    lakehouse: str = Field(
        str(PROJECT / "lakehouse"),
        description="folder or `s3://bucket/prefix` of warehouse and catalog",
    )
    landing: str | None = Field(
        None, description="folder or `s3://bucket/prefix` of the landing folders"
    )
    database: str = Field(
        "stedi",
        pattern=r"^[a-z0-9_]{1,255}$",
        description="Glue database of the tables (`aws`); each lakehouse has one of its own",
    )
    s3_endpoint: str | None = Field(
        None, pattern=_URL, description="address of an S3-compatible store instead of AWS's"
    )
    glue_endpoint: str | None = Field(
        None, pattern=_URL, description="address of another Glue API instead of AWS's"
    )
    s3_encryption: Literal["AES256", "aws:kms"] | None = Field(
        None,
        description="server-side encryption that every file must have, `AES256` (to be set as "
        "the bucket's default, too) or `aws:kms`; the bucket's default where unset",
    )
    s3_kms_key: str | None = Field(
        None, description="key for `aws:kms`: id, ARN or alias, such as alias/aws/s3"
    )
    engine: Literal["duckdb", "spark", "glue"] = Field(
        "duckdb",
        description="what executes the transformations: DuckDB, embedded, or Spark (`spark`), "
        "where one machine is not enough, or a job of AWS Glue (`glue`)",
    )
    spark_conf: str = Field(
        "{}",
        description='Spark\'s configuration as JSON, such as `{"spark.master": "yarn"}` or '
        '`{"spark.remote": "sc://host:15002"}`; Sail on this machine where it names neither. No '
        "secrets: Spark shows it",
    )
    glue_job: str = Field(
        "stedi", pattern=r"^[A-Za-z0-9_.-]+$", description="name of the Glue job (deploy/glue.yaml)"
    )
    consent_scope: ConsentScope = Field(
        "any",
        description="which readings of a consenting customer may be used: `any`, or those "
        "`from_consent_date` on",
    )
    pseudonymize: bool = Field(
        True, description="`false` adds `user` and `serialnumber` to machine_learning_curated"
    )
    times: Literal["exact", "shifted"] = Field(
        "exact",
        description="times in machine_learning_curated: `exact`, by which people can be "
        "recognized, or `shifted`, those of each person by a secret span of up to 795 days",
    )
    pseudonym_scope: Literal["all", "release"] = Field(
        "all",
        description="where a person has the same `subject_id` and span of time: in `all` training "
        "sets, or in one `release` alone, so that sets cannot be linked to each other by them",
    )
    pseudonym_key: SecretStr | None = Field(
        None,
        min_length=MIN_KEY,
        description="key of `subject_id`, at least 32 characters; where unset, made once and kept "
        "in the lakehouse folder (not on `aws`)",
    )
    refresh_interval: timedelta = Field(
        timedelta(0),
        ge=timedelta(0),
        description="least time between two refreshes that new landing files start, such as 15m; "
        "each makes anew every table that the files concern",
    )
    max_quarantine_share: float = Field(
        0.05,
        ge=0,
        le=1,
        description="share of a file's objects that may be unreadable: a file of readings with "
        "more is held back, customer records with more fail the check `readable`",
    )
    max_consent_fall: float = Field(
        10.0,
        ge=0,
        le=100,
        description="percentage points by which the share of consenting people may fall in a "
        "refresh without a warning and an alert; it takes effect in any case",
    )
    retention: timedelta = Field(
        timedelta(days=7),
        ge=timedelta(0),
        description="how long a snapshot lives after it was replaced, such as 12h or 7d",
    )
    landing_retention: str | None = Field(
        None,
        description="how long landing data stay after they landed, such as 365d; or of each "
        "source, such as `accelerometer=90d, step_trainer=365d`; for ever where unset",
    )
    refused_retention: timedelta | None = Field(
        None,
        gt=timedelta(0),
        description="how long readings stay of people who never consented, where that is shorter; "
        "longer than sensor readings may be late",
    )
    training_sets: int = Field(
        30,
        ge=1,
        description="of how many days the last tagged training set is kept; others go with "
        "STEDI_RETENTION",
    )
    memory_limit: str | None = Field(
        None,
        # No more digits than the engine can count bytes.
        pattern=r"^(\d{1,12}(\.\d{1,9})?\s?[KM]|\d{1,6}(\.\d{1,9})?\s?[GT])i?B$",
        description="memory of the embedded engine, such as 4GB; where unset, half of what the "
        "machine or the container has (with Spark: of each task that reads landing files, "
        "1GB where unset)",
    )
    threads: int | None = Field(
        None,
        ge=1,
        le=1024,
        description="threads of the embedded engine; the machine's where unset",
    )

    webhook: SecretStr | None = Field(
        None,
        description="http(s) address that is told what failed in a run, such as an incoming "
        "webhook of Slack or Teams",
    )
    webserver: str = Field(
        "http://127.0.0.1:3000",
        pattern=r"^https?://[^\s/]+(/[^\s/]+)*$",
        description="address of the Dagster UI, for links to it",
    )

    @classmethod
    def load(cls, **values: Any) -> "Settings":
        """Read the settings from the environment; `values` win over it.

        Raises:
            SettingsError: A value is wrong, one sentence each; or there is no such setting.
        """
        _assert_known(name for name in os.environ if name.startswith("STEDI_"))
        try:
            return cls(**values)
        except ValidationError as error:
            raise SettingsError("\n".join(_sentence(e) for e in error.errors())) from None

    @staticmethod
    def make_landing_folder() -> None:
        """Make the folder STEDI_LANDING, if it does not exist, before something is written to it.

        Where that is not possible, `load` says what is wrong.
        """
        landing = os.environ.get("STEDI_LANDING", "")
        if landing and not landing.startswith("s3://"):
            with suppress(OSError, RuntimeError):
                Path(landing).expanduser().mkdir(parents=True, exist_ok=True)

    @field_validator("retention", "refresh_interval", "refused_retention", mode="before")
    @classmethod
    def _duration(cls, text: str | timedelta | None) -> timedelta | None:
        return duration(text) if isinstance(text, str) else text and min(text, _LONGEST)

    @field_validator("landing_retention")
    @classmethod
    def _ages(cls, text: str | None) -> str | None:
        if text is not None:
            _ages_by_source(text)
        return text

    @field_validator("pseudonym_key")
    @classmethod
    def _not_weak(cls, key: SecretStr | None) -> SecretStr | None:
        if key and (weakness := weakness_of_key(key.get_secret_value())):
            raise ValueError(
                f"it is easily guessed, {weakness}; make one with openssl rand -hex 32"
            )
        return key

    @field_validator("webhook")
    @classmethod
    def _web_address(cls, webhook: SecretStr | None) -> SecretStr | None:
        if webhook and not re.fullmatch(r"https?://[^/\s]+\S*", webhook.get_secret_value()):
            raise ValueError("write an address that begins with https:// or http://")
        return webhook

    @field_validator("spark_conf")
    @classmethod
    def _json_object(cls, text: str) -> str:
        try:
            conf = json.loads(text)
        except ValueError:
            conf = None
        if not isinstance(conf, dict) or not all(
            name.startswith("spark.") and isinstance(value, str | int | float)
            for name, value in conf.items()
        ):
            raise ValueError(
                "write a JSON object of texts and numbers, whose names begin with spark."
            )
        if not str(conf.get("spark.remote", "sc://")).startswith("sc://"):
            raise ValueError(
                "write spark.remote as sc://host:15002; for this machine set spark.master instead"
            )
        if not _MASTER.match(str(conf.get("spark.master", "local"))):
            raise ValueError(
                "set spark.master to local[*], spark://host:7077, yarn or k8s://address"
            )
        return text

    @field_validator("lakehouse", "landing", mode="before")
    @classmethod
    def _absolute(cls, place: str | Path | None, info: ValidationInfo) -> str | None:
        if place is None:
            return None
        on_s3 = str(place).startswith("s3://")
        if info.data.get("deployment") == "aws":
            address = str(place).rstrip("/")
            if not _S3.fullmatch(address):
                raise ValueError(
                    "with STEDI_DEPLOYMENT=aws it has to be set to s3://bucket/prefix, where the "
                    "bucket's name is of 3 or more small letters, digits, dots and hyphens, and "
                    "the prefix has no wildcards and no parts that are empty or of dots alone"
                )
            return address
        if on_s3:
            raise ValueError("it is on S3, which needs STEDI_DEPLOYMENT=aws")
        return _absolute_path(Path(place))

    @model_validator(mode="after")
    def _places(self) -> "Settings":
        if self.deployment == "local":
            try:
                self._assert_folders()
            except OSError as error:  # a folder may not be looked into
                place = "STEDI_LANDING" if self.landing else "STEDI_LAKEHOUSE"
                raise ValueError(f"{place} is wrong: {_not_usable(error)}") from None
        self._assert_apart()
        if self.engine == "glue" and self.deployment != "aws":
            raise ValueError("STEDI_ENGINE=glue needs STEDI_DEPLOYMENT=aws")
        if bool(self.s3_kms_key) != (self.s3_encryption == "aws:kms"):
            raise ValueError("STEDI_S3_ENCRYPTION=aws:kms and STEDI_S3_KMS_KEY go together")
        return self

    def _assert_folders(self) -> None:
        lakehouse = Path(self.lakehouse)
        existing = next(path for path in (lakehouse, *lakehouse.parents) if path.exists())
        if not existing.is_dir():
            raise ValueError(
                f"STEDI_LAKEHOUSE is {self.lakehouse}, but {existing} is a file; name a folder"
            )
        if self.landing and not Path(self.landing).is_dir():
            raise ValueError(
                f"STEDI_LANDING is {self.landing}, which is no folder; name the folder that holds "
                "customer/, accelerometer/ and step_trainer/, or unset it"
            )

    def _assert_apart(self) -> None:
        """Refuse overlapping folders: tables' files must not be landing files, nor the reverse."""
        for source in _SOURCES:
            folder = _resolve_links(f"{self.landing_root}/{source}/landing")
            if _is_within(self.lakehouse, folder):
                raise ValueError(
                    f"STEDI_LAKEHOUSE is {self.lakehouse}, in the landing folder {folder}, where "
                    "its own files would be taken for landing files; name a folder outside of it"
                )
            if any(_is_within(folder, f"{self.lakehouse}/{own}") for own in _OWN_FOLDERS):
                raise ValueError(
                    f"The landing folder {folder} is among the lakehouse's own files, where a "
                    "vacuum removes what no table refers to; set STEDI_LANDING to another place"
                )

    @property
    def landing_root(self) -> str:
        """Root of the landing folders; it need not exist."""
        return self.landing or f"{self.lakehouse}/landing"

    @property
    def has_dagster_home(self) -> bool:
        """Whether the environment says where Dagster keeps its runs, as in production."""
        return bool(os.environ.get("DAGSTER_HOME"))

    @property
    def dagster_home(self) -> Path:
        """Folder of the history of runs: DAGSTER_HOME, else one of this lakehouse alone."""
        if self.has_dagster_home:
            return Path(os.environ["DAGSTER_HOME"])
        if self.deployment == "local":
            return Path(self.lakehouse) / "history"
        place = hashlib.sha256(f"{self.lakehouse} {self.database}".encode()).hexdigest()
        return PROJECT / ".dagster" / place[:12]

    @property
    def places(self) -> dict[str, str]:
        """The variables that say where things are, for a process in another folder."""
        places = {"STEDI_LAKEHOUSE": self.lakehouse, "STEDI_LANDING": self.landing}
        return {name: place for name, place in places.items() if place}

    @property
    def unreadable_limits(self) -> dict[str, float]:
        """Sources of which single files are held back, with the share that may be unreadable.

        Customers are not among them: what says that somebody withdrew is never held back.
        """
        return dict.fromkeys(("accelerometer", "step_trainer"), self.max_quarantine_share)

    @property
    def landing_ages(self) -> dict[str, timedelta]:
        """How long landing data of each source stay; without sources whose data stay for ever."""
        return _ages_by_source(self.landing_retention) if self.landing_retention else {}

    @property
    def spark_configuration(self) -> dict[str, str]:
        """Spark's configuration, each value as Spark writes it."""
        conf = json.loads(self.spark_conf)
        return {k: v if isinstance(v, str) else json.dumps(v) for k, v in conf.items()}


def weakness_of_key(key: str) -> str | None:
    """What makes a key easy to guess, if anything."""
    if len(set(key)) < _MIN_DIFFERENT:
        return f"with fewer than {_MIN_DIFFERENT} different characters"
    if any(key == (key[:n] * len(key))[: len(key)] for n in range(1, len(key) // 2 + 1)):
        return "a pattern that repeats"
    steps = [ord(after) - ord(before) for before, after in pairwise(key)]
    if max(steps.count(1), steps.count(-1)) > len(steps) / 2:
        return "a run such as abcdef or 012345"
    return None


def _assert_known(names: Iterable[str]) -> None:
    """Refuse an unknown variable: whoever set it believes that it does something."""
    settings = {f"STEDI_{name}".upper() for name in Settings.model_fields}
    for name in sorted(set(names) - settings):
        close = difflib.get_close_matches(name, settings, n=1, cutoff=0.85)
        hint = f"; did you mean {close[0]}?" if close else "; docs/settings.md lists them all."
        raise SettingsError(f"There is no setting {name}{hint}")


def duration(text: str) -> timedelta:
    """Read a duration such as 90m, 12h or 7d.

    Raises:
        ValueError: It is not one; the message says how to write one.
    """
    match = re.fullmatch(r"(\d{1,6})\s?([mhdw])", text.strip())
    if not match:
        raise ValueError("write a number and m, h, d or w, such as 12h or 7d")
    unit = {"m": "minutes", "h": "hours", "d": "days", "w": "weeks"}[match[2]]
    return min(timedelta(**{unit: int(match[1])}), _LONGEST)


def _ages_by_source(text: str) -> dict[str, timedelta]:
    """Read one duration for all sources, or one for each that is named.

    Raises:
        ValueError: It is neither; the message says how to write it.
    """
    parts = [part.rpartition("=") for part in text.split(",")]
    named = [source.strip() for source, _, _ in parts]
    ages = [duration(age) for _, _, age in parts]
    if named == [""]:
        named, ages = list(_SOURCES), ages * len(_SOURCES)
    if len(set(named)) < len(named) or not set(named) <= set(_SOURCES):
        raise ValueError(f"write one duration, or one each of {', '.join(_SOURCES)}")
    if not all(ages):
        raise ValueError("nothing would stay; write a duration longer than 0")
    return dict(zip(named, ages, strict=True))


def _absolute_path(path: Path) -> str:
    try:
        path = path.expanduser()
    except RuntimeError:
        raise ValueError("there is no such home folder") from None
    try:
        path = path.resolve()
    except RuntimeError:
        raise ValueError("its links lead in a circle") from None
    except OSError as error:
        raise ValueError(_not_usable(error)) from None
    if signs := sorted(set("?#%\\") & set(str(path))):
        raise ValueError(f"the catalog cannot address a path with {' '.join(signs)} in it")
    if not str(path).isprintable():
        raise ValueError("there are characters in the path that no terminal can print")
    return str(path)


def _not_usable(error: OSError) -> str:
    if error.errno == errno.ENAMETOOLONG:
        return "the path is too long for this machine"
    return f"{error.filename or 'the working folder'} cannot be looked into: {error.strerror}"


def _resolve_links(folder: str) -> str:
    return folder if folder.startswith("s3://") else os.path.realpath(folder)


def _is_within(place: str, folder: str) -> bool:
    return f"{place}/".startswith(f"{folder}/")


def _sentence(error: Any) -> str:
    if not error["loc"]:
        return f"{error['ctx']['error']}."
    name = f"STEDI_{error['loc'][0]}".upper()
    field = Settings.model_fields[error["loc"][0]]
    match error["type"]:
        case "literal_error":
            return f"{name} is “{error['input']}”; allowed: {error['ctx']['expected']}."
        case "too_short" | "string_too_short":
            return f"{name} is too short; it needs {error['ctx']['min_length']} characters or more."
        case "string_pattern_mismatch":
            return f"{name} is wrong; {_PATTERNS[error['loc'][0]]}."
        case "bool_parsing" | "bool_type":
            return f"{name} is neither true nor false."
        case _:
            message = error["msg"].removeprefix("Value error, ")
            reason = message[0].lower() + message[1:]
            return f"{name} is wrong: {reason} ({field.description})."


_ADDRESS = "write an address such as https://s3.example.com"
_PATTERNS = {
    "memory_limit": "write a number and a unit, such as 4GB or 512MB",
    "database": "write small letters, digits and underscores",
    "s3_endpoint": _ADDRESS,
    "glue_endpoint": _ADDRESS,
    "glue_job": "write letters, digits, and . _ -",
    "webserver": "write an address such as https://dagster.example.com, without a slash at its end",
}
"""What to write where a value does not match its pattern."""
