"""What a CloudFormation template comes to: its values filled in, its policies decided.

moto's CloudFormation makes buckets and roles of a template, but no bucket policies, databases,
secrets or workgroups, and its access control looks at no conditions. Hence what is here. Of both
languages, templates and policies, it knows what `deploy/lakehouse.yaml` uses, and fails on more.
"""

import re
from collections.abc import Iterable, Mapping
from typing import Any

import yaml

ACCOUNT, REGION = "123456789012", "us-east-1"
_PSEUDO = {
    "AWS::AccountId": ACCOUNT,
    "AWS::Region": REGION,
    "AWS::Partition": "aws",
    "AWS::URLSuffix": "amazonaws.com",
    "AWS::StackName": "stedi",
    "AWS::NoValue": None,
}


class _Loader(yaml.SafeLoader):
    """Reads the short forms of CloudFormation's functions."""


def _function(loader: _Loader, name: str, node: yaml.Node) -> dict[str, Any]:
    match node:
        case yaml.ScalarNode():
            value: Any = loader.construct_scalar(node)
            value = value.split(".") if name == "GetAtt" else value
        case yaml.SequenceNode():
            value = loader.construct_sequence(node, deep=True)
    return {name if name == "Ref" else f"Fn::{name}": value}


_Loader.add_multi_constructor("!", _function)


class Template:
    """A template under parameters, its resources under the names they got."""

    def __init__(
        self, text: str, parameters: Mapping[str, str], names: Mapping[str, str] | None = None
    ) -> None:
        self._template = yaml.load(text, _Loader)
        defaults = {
            name: str(parameter.get("Default", ""))
            for name, parameter in self._template["Parameters"].items()
        }
        chosen: dict[str, Any] = {**defaults, **parameters}
        for name, parameter in self._template["Parameters"].items():
            if parameter["Type"] == "CommaDelimitedList":
                chosen[name] = chosen[name].split(",")
        self._values = _PSEUDO | chosen | dict(names or {})

    def resources(self, kind: str) -> dict[str, Any]:
        """The resources of a type that are made under the parameters, by name in the template."""
        return {
            name: resource
            for name, resource in self._template["Resources"].items()
            if resource["Type"] == kind and self._holds(resource.get("Condition"))
        }

    def properties(self, name: str) -> Any:
        """Properties of a resource, filled in."""
        return self._fill(self._template["Resources"][name]["Properties"])

    def outputs(self) -> dict[str, Any]:
        """The outputs, filled in."""
        return {
            name: self._fill(output["Value"])
            for name, output in self._template["Outputs"].items()
            if self._holds(output.get("Condition"))
        }

    def _holds(self, condition: str | None) -> bool:
        return condition is None or self._fill(self._template["Conditions"][condition])

    def _fill(self, node: Any) -> Any:  # noqa: PLR0911  (one for each function)
        match node:
            case {"Ref": name}:
                return self._values.get(name, name)
            case {"Fn::Sub": text}:
                return re.sub(r"\$\{([^}]+)}", lambda found: self._named(found[1]), text)
            case {"Fn::GetAtt": [name, attribute]}:
                return self._named(f"{name}.{attribute}")
            case {"Fn::If": [condition, there, otherwise]}:
                return self._fill(there if self._holds(condition) else otherwise)
            case {"Fn::Not": [condition]}:
                return not self._fill(condition)
            case {"Fn::Equals": [one, other]}:
                return str(self._fill(one)) == str(self._fill(other))
            case dict():
                assert not any(key.startswith("Fn::") for key in node), node
                filled = {key: self._fill(value) for key, value in node.items()}
                return {key: value for key, value in filled.items() if value is not None}
            case list():
                return [value for value in map(self._fill, node) if value is not None]
        return node

    def _named(self, name: str) -> str:
        name, _, attribute = name.partition(".")
        value = self._fill({"Ref": name})
        if not attribute:
            return str(value)
        assert attribute == "Arn"
        kind = self._template["Resources"][name]["Type"]
        return {
            "AWS::S3::Bucket": f"arn:aws:s3:::{value}",
            "AWS::IAM::Role": f"arn:aws:iam::{ACCOUNT}:role/{value}",
        }[kind]


def allowed(
    action: str,
    resource: str,
    context: Mapping[str, str],
    own: Iterable[Mapping[str, Any]],
    of_bucket: Iterable[Mapping[str, Any]] = (),
) -> bool:
    """Whether a request of this account is allowed, by its principal's and the bucket's statements.

    Some statement has to allow it, and none to deny it. A service of AWS is named in the context,
    by `aws:PrincipalServiceName`.
    """
    applying = [
        statement["Effect"]
        for statement in (*own, *of_bucket)
        if _is_of(statement.get("Principal", "*"), context)
        and _matches(statement["Action"], action)
        and _matches(statement["Resource"], resource)
        and _conditions(statement.get("Condition", {}), context)
    ]
    return "Allow" in applying and "Deny" not in applying


def _is_of(principal: Any, context: Mapping[str, str]) -> bool:
    match principal:
        case "*":
            return True
        case {"Service": str(service)}:
            return context.get("aws:PrincipalServiceName") == service
    raise NotImplementedError(principal)


def _matches(patterns: str | list[str], value: str) -> bool:
    return any(
        re.fullmatch(re.escape(pattern).replace(r"\*", ".*").replace(r"\?", "."), value, re.DOTALL)
        for pattern in _list(patterns)
    )


def _conditions(conditions: Mapping[str, Any], context: Mapping[str, str]) -> bool:
    return all(
        _condition(operator, _list(wanted), context.get(key))
        for operator, keys in conditions.items()
        for key, wanted in keys.items()
    )


def _condition(operator: str, wanted: list[str], found: str | None) -> bool:
    # A request without the key meets negated conditions, and no others.
    match operator:
        case "Bool" | "StringEquals":
            return found in wanted
        case "StringLike":
            return found is not None and _matches(wanted, found)
        case "ArnNotEquals":
            return found is None or not _matches(wanted, found)
    raise NotImplementedError(operator)


def _list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [value]
