"""Sail on Kubernetes, as far as its file can be checked without a cluster."""

import re
from typing import Any

import kubernetes_validate
import pytest
import yaml

from stedi_assets_tests.deploy.support import DEPLOY

TEXT = (DEPLOY / "sail.yaml").read_text()
RESOURCES: list[dict[str, Any]] = list(yaml.safe_load_all(TEXT))


def resource(kind: str, name: str) -> dict[str, Any]:
    [found] = [
        each for each in RESOURCES if (each["kind"], each["metadata"]["name"]) == (kind, name)
    ]
    return found


POD = resource("Deployment", "sail")["spec"]["template"]
[CONTAINER] = POD["spec"]["containers"]
ENVIRONMENT = {each["name"]: each.get("value") for each in CONTAINER["env"]}


@pytest.mark.parametrize("given", RESOURCES, ids=lambda given: str(given["kind"]))
def test_resource_is_of_the_schema(given: dict[str, Any]) -> None:
    kubernetes_validate.validate(given, "1.33", strict=True)
    is_namespace = given["kind"] == "Namespace"
    assert given["metadata"]["name" if is_namespace else "namespace"] == "stedi"


def test_workers_run_the_image_of_the_server() -> None:
    assert ENVIRONMENT["SAIL_KUBERNETES__IMAGE"] == CONTAINER["image"]
    assert ENVIRONMENT["SAIL_KUBERNETES__NAMESPACE"] == "stedi"


def test_server_may_do_nothing_but_keep_pods_and_workers_nothing_at_all() -> None:
    [rule] = resource("Role", "sail-workers")["rules"]
    assert (rule["apiGroups"], rule["resources"]) == ([""], ["pods"])
    assert "*" not in rule["verbs"]
    [subject] = resource("RoleBinding", "sail-workers")["subjects"]
    assert subject["name"] == POD["spec"]["serviceAccountName"] == "sail"
    worker = resource("ServiceAccount", ENVIRONMENT["SAIL_KUBERNETES__WORKER_SERVICE_ACCOUNT_NAME"])
    assert worker["automountServiceAccountToken"] is False


def test_only_dagster_and_its_own_workers_reach_the_server() -> None:
    policy = resource("NetworkPolicy", "sail")["spec"]
    assert policy["podSelector"]["matchLabels"] == POD["metadata"]["labels"]
    dagster, workers = policy["ingress"]
    [port] = resource("Service", "sail")["spec"]["ports"]
    assert dagster["ports"] == [port]
    assert port["port"] == CONTAINER["ports"][0]["containerPort"]
    for rule in (dagster, workers):
        for peer in rule["from"]:
            assert peer.keys() == {"podSelector"}, "pods of this namespace"
            assert peer["podSelector"]["matchLabels"]


def test_rows_that_a_session_keeps_are_where_all_pods_find_them() -> None:
    assert ENVIRONMENT["SAIL_EXECUTION__CHECKPOINT__PATH"].startswith("<StediLakehouse>/")


def test_queries_are_not_logged() -> None:
    assert ENVIRONMENT["RUST_LOG"] == "error"


def test_what_is_to_be_set_is_named_in_the_beginning() -> None:
    head = TEXT.partition("apiVersion")[0]
    assert "image" in head
    assert set(re.findall(r"<\w+>", TEXT.partition("apiVersion")[2])) == {
        "<image>",
        "<PipelineRoleArn>",
        "<StediLakehouse>",
    }
