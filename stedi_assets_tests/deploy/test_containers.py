"""The image, and the containers of Dagster in production."""

import re
import shutil
import subprocess
import sys
from pathlib import Path
from zipfile import ZipFile

import pytest
import yaml

from stedi_assets.settings import Settings
from stedi_assets_tests.cloudformation import Template
from stedi_assets_tests.deploy.support import DEPLOY, KMS_KEY, TEMPLATE
from stedi_assets_tests.support import PROJECT

# What moto's CloudFormation leaves out, `Template` works out.
pytestmark = pytest.mark.filterwarnings("ignore:Tried to parse AWS:UserWarning")


def test_image_has_what_the_package_needs(tmp_path: Path) -> None:
    pytest.importorskip("setuptools", minversion="77", reason="builds the package")
    copied = re.findall(r"^COPY (.+) (/\S+)$", (DEPLOY / "Dockerfile").read_text(), re.MULTILINE)
    sources = {source: target for names, target in copied for source in names.split()}
    sent = (DEPLOY / "Dockerfile.dockerignore").read_text().splitlines()
    assert set(sources) == {line[1:] for line in sent if line.startswith("!")}
    for source, target in sources.items():
        place = tmp_path / target.strip("/")
        if (PROJECT / source).is_dir():
            ignored = shutil.ignore_patterns("__pycache__")
            shutil.copytree(PROJECT / source, place, ignore=ignored)
        else:
            place.mkdir(parents=True, exist_ok=True)
            shutil.copy(PROJECT / source, place)

    build = [sys.executable, "-m", "pip", "wheel", "--no-deps", "--no-build-isolation", "--quiet"]
    wheels = tmp_path / "wheels"
    subprocess.run([*build, "--wheel-dir", wheels, tmp_path / "src"], check=True)
    (wheel,) = wheels.iterdir()
    with ZipFile(wheel) as files:
        packed = {name for name in files.namelist() if name.startswith("stedi_assets/")}
        (entry_points,) = [name for name in files.namelist() if name.endswith("entry_points.txt")]
        assert b"stedi = stedi_assets.__main__:main" in files.read(entry_points)
    shipped = (path for path in (PROJECT / "stedi_assets").rglob("*") if path.is_file())
    assert packed == {str(f.relative_to(PROJECT)) for f in shipped if f.suffix != ".pyc"}
    assert {path.name for path in (tmp_path / "opt/dagster").iterdir()} == {
        "dagster.yaml",
        "workspace.yaml",
    }


def test_image_runs_as_nobody_special() -> None:
    lines = (DEPLOY / "Dockerfile").read_text().splitlines()
    users = [line.split()[1] for line in lines if line.startswith("USER ")]
    assert users == ["stedi"]
    assert lines.index("USER stedi") > max(
        number for number, line in enumerate(lines) if line.startswith(("RUN ", "COPY "))
    )


COMPOSE = yaml.safe_load((DEPLOY / "compose.yaml").read_text())


SERVICES = COMPOSE["services"]


INTERNAL = {"internal": True}


EXAMPLE = dict(
    line.removeprefix("# ").split("=", 1)
    for line in (DEPLOY / "example.env").read_text().splitlines()
    if re.match(r"(# )?[A-Z0-9_]+=", line)
)


def test_containers_are_healthy_or_started_again() -> None:
    assert set(SERVICES) == {"postgres", "code", "webserver", "daemon", "proxy"}
    for service in SERVICES.values():
        assert service["restart"] == "unless-stopped"
        assert service["healthcheck"]["test"]
        for other, needed in service.get("depends_on", {}).items():
            assert other in SERVICES
            assert needed == {"condition": "service_healthy"}
    assert {SERVICES[name]["image"] for name in ("code", "webserver", "daemon")} == {
        "stedi-lakehouse"
    }


def test_only_the_ui_is_reached_from_outside_and_only_from_this_machine() -> None:
    published = {name: service["ports"] for name, service in SERVICES.items() if "ports" in service}
    assert published == {"proxy": ["${DAGSTER_UI:-127.0.0.1:3000}:3000"]}


def test_only_the_code_location_reaches_aws() -> None:
    inner = {name for name, network in COMPOSE["networks"].items() if network == INTERNAL}
    outward = {name: set(service["networks"]) - inner for name, service in SERVICES.items()}
    assert {name: found for name, found in outward.items() if found} == {
        "code": {"aws"},
        "proxy": {"outside"},
    }
    options = COMPOSE["networks"]["outside"]["driver_opts"]
    assert options == {"com.docker.network.bridge.enable_ip_masquerade": "false"}


def test_proxy_reaches_the_webserver_alone() -> None:
    reached = {name for name, service in SERVICES.items() if "ui" in service["networks"]}
    assert reached == {"webserver", "proxy"}
    assert "inside" not in SERVICES["proxy"]["networks"]


def test_proxy_has_no_rights_but_the_one_to_start() -> None:
    proxy = SERVICES["proxy"]
    assert (proxy["cap_drop"], proxy["cap_add"]) == (["ALL"], ["NET_BIND_SERVICE"])
    assert proxy["read_only"] is True
    assert not proxy["user"].startswith("0")


def test_logins_and_configuration_are_files_beside_it() -> None:
    assert COMPOSE["configs"] == {"caddyfile": {"file": "./Caddyfile"}}
    assert COMPOSE["secrets"] == {"ui-logins": {"file": "./ui-logins"}}
    assert (DEPLOY / "Caddyfile").exists()
    assert "/ui-logins" in (DEPLOY / ".gitignore").read_text().splitlines()


def test_images_are_those_of_the_settings() -> None:
    asked = {name: service["image"] for name, service in SERVICES.items() if "build" not in service}
    assert asked == {
        "postgres": "${POSTGRES_IMAGE:?set it in deploy/.env}",
        "proxy": "${PROXY_IMAGE:?set it in deploy/.env}",
    }
    for name in ("code", "webserver", "daemon"):
        arguments = SERVICES[name]["build"]["args"]
        assert arguments == {"PYTHON_IMAGE": "${PYTHON_IMAGE:?set it in deploy/.env}"}
    first = (DEPLOY / "Dockerfile").read_text().split("FROM ")[1].splitlines()[0]
    assert first == "${PYTHON_IMAGE}"


def test_command_of_the_page_writes_images_by_digest(tmp_path: Path) -> None:
    """With a stand-in for Docker: its registry is not reached from here."""
    (command,) = re.findall(
        r"^\$ (for image in .*?done >> \.env)$",
        (DEPLOY / "README.md").read_text(),
        re.MULTILINE | re.DOTALL,
    )
    digest = "sha256:" + "0123456789abcdef" * 4
    docker = tmp_path / "docker"
    docker.write_text(
        f"""#!/bin/sh
        [ "$1 $2 $3 $5 $6" = 'buildx imagetools inspect --format {{{{.Manifest.Digest}}}}' ] \\
            && echo {digest}
        """
    )
    docker.chmod(0o755)
    environment = {"PATH": f"{tmp_path}:/usr/bin:/bin"}
    subprocess.run(["bash", "-euc", command], cwd=tmp_path, env=environment, check=True)
    written = dict(
        line.split("=", 1) for line in (tmp_path / ".env").read_text().splitlines() if line
    )
    asked = re.findall(r"\$\{(\w+_IMAGE)", (DEPLOY / "compose.yaml").read_text())
    assert set(written) == set(asked)
    for image in written.values():
        assert re.fullmatch(rf"\w+:[\w.-]+@{digest}", image)


def test_only_the_code_location_gets_the_settings_and_the_key() -> None:
    assert [name for name, service in SERVICES.items() if "env_file" in service] == ["code"]
    given = {variable for service in SERVICES.values() for variable in service["environment"]}
    assert not [variable for variable in given if variable.startswith("STEDI_")]


def test_containers_get_every_variable_that_dagster_asks_for() -> None:
    text = (DEPLOY / "dagster.yaml").read_text() + (DEPLOY / "workspace.yaml").read_text()
    asked = set(re.findall(r"\{env: (\w+)}", text))
    assert len(asked) == 8
    for name in ("code", "webserver", "daemon"):
        assert asked <= set(SERVICES[name]["environment"])


def test_example_names_every_variable_and_no_secret() -> None:
    asked = re.findall(r"\$\{(\w+)", (DEPLOY / "compose.yaml").read_text())
    assert set(asked) <= set(EXAMPLE)
    settings = {f"STEDI_{name.upper()}" for name in Settings.model_fields}
    assert {name for name in EXAMPLE if name.startswith("STEDI_")} <= settings
    assert {EXAMPLE[name] for name in EXAMPLE if name.endswith(("PASSWORD", "PSEUDONYM_KEY"))} == {
        ""
    }
    named = {value[1:-1] for value in EXAMPLE.values() if value.startswith("<")}
    assert named <= set(Template(TEMPLATE.read_text(), {"KmsKeyArn": KMS_KEY}).outputs())
    ignored = (DEPLOY / ".gitignore").read_text().splitlines()
    assert "/.env" in ignored
