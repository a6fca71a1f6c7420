"""JSON schemas for kubeconform: Kubernetes' kinds and the operators' that the chart makes.

Kubernetes' come from its own OpenAPI and prometheus-operator's from its own CRDs, both out of the
Go modules that `programs/kubeconform/schemas.mod` pins, so that nothing is fetched when a chart is
checked. The modules of grafana-operator and perses-operator are not served; `operators.json` has
what the chart uses of their kinds. Standard library only, as `backends.py`.
"""

# ruff: noqa: S603, S607 (it runs the Go command that is on the PATH)
from __future__ import annotations

import json
import re
import shutil
import subprocess
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final

#: What kubeconform's `-schema-location` says after the folder.
PATTERN: Final = "{{.ResourceKind}}_{{.ResourceAPIVersion}}.json"
#: Kubernetes' own kinds in the chart; another is one more word here.
KINDS: Final = frozenset(
    {
        "ConfigMap",
        "DaemonSet",
        "NetworkPolicy",
        "PodDisruptionBudget",
        "Service",
        "ServiceAccount",
        "StatefulSet",
        # In the page for applications.
        "CronJob",
        "Deployment",
        "Job",
    }
)
_REFERENCE: Final = "#/definitions/"
_QUANTITY: Final = "io.k8s.apimachinery.pkg.api.resource.Quantity"


def write(folder: Path, sources: Path, environment: Mapping[str, str]) -> None:
    """Write one schema for each kind and version into `folder`, which is emptied first.

    Args:
        folder: Where to; made if missing.
        sources: The folder of `schemas.mod` and `operators.json`.
        environment: For the Go command.

    Raises:
        ValueError: A module cannot be had or is not the pinned one; the message is Go's.
    """
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    modules = dict(re.findall(r"^\t(\S+) (v\S+)$", (sources / "schemas.mod").read_text(), re.M))
    places = {
        path.rpartition("/")[2]: _module(f"{path}@{version}", sources, environment)
        for path, version in modules.items()
    }
    openapi = places["kubernetes"] / "api" / "openapi-spec" / "swagger.json"
    crds = places["prometheus-operator"] / "jsonnet" / "prometheus-operator"
    schemas = {
        **dict(_kubernetes(json.loads(openapi.read_text(encoding="utf-8")))),
        **dict(_custom(crds)),
        **json.loads((sources / "operators.json").read_text(encoding="utf-8")),
    }
    for name, schema in schemas.items():
        (folder / f"{name}.json").write_text(json.dumps(closed(schema)), encoding="utf-8")


def _module(module: str, sources: Path, environment: Mapping[str, str]) -> Path:
    """Where the module is; checked against `schemas.sum`."""
    # Go would take a module without a sum as it comes, and add its sum to the file.
    if f"{module.replace('@', ' ')} h1:" not in (sources / "schemas.sum").read_text():
        raise ValueError(f"{module} is missing in schemas.sum.")
    answer = subprocess.run(
        ["go", "mod", "download", "-modfile=schemas.mod", "-json", module],
        cwd=sources,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    if answer.returncode:
        raise ValueError((answer.stderr or json.loads(answer.stdout)["Error"]).strip())
    return Path(json.loads(answer.stdout)["Dir"])


def _kubernetes(openapi: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    definitions = openapi["definitions"] | {_QUANTITY: {"type": ["string", "number"]}}
    for name, definition in definitions.items():
        for kind in definition.get("x-kubernetes-group-version-kind", ()):
            if kind["kind"] in KINDS:
                used = {each: definitions[each] for each in _reached(name, definitions)}
                schema = {"$ref": _REFERENCE + name, "definitions": used}
                yield f"{kind['kind'].lower()}_{kind['version']}", schema


def _reached(name: str, definitions: Mapping[str, Any]) -> set[str]:
    """The definitions that one needs, itself among them."""
    found, new = set[str](), {name}
    while new:
        found |= new
        texts = [json.dumps(definitions[each]) for each in new]
        new = {other for text in texts for other in re.findall(rf'"{_REFERENCE}([^"]+)"', text)}
        new -= found
    return found


def _custom(folder: Path) -> Iterator[tuple[str, Any]]:
    for file in sorted(folder.glob("*-crd.json")):
        spec = json.loads(file.read_text(encoding="utf-8"))["spec"]
        for version in spec["versions"]:
            name = f"{spec['names']['kind'].lower()}_{version['name']}"
            yield name, version["schema"]["openAPIV3Schema"]


def closed(schema: Any) -> Any:
    """The schema as JSON schema that allows no field which it does not name."""
    if isinstance(schema, list):
        return [closed(entry) for entry in schema]
    if not isinstance(schema, dict):
        return schema
    result = {name: closed(entry) for name, entry in schema.items()}
    either = result.get("x-kubernetes-int-or-string") or result.get("format") == "int-or-string"
    if either is True:
        result["type"] = ["string", "integer"]
    # `properties` may itself be the name of a property: then its value has no type.
    if (
        result.get("type") == "object"
        and "properties" in result
        and not result.get("x-kubernetes-preserve-unknown-fields")
    ):
        result.setdefault("additionalProperties", False)
    return result
