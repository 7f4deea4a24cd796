"""Checks the files of `deploy` as far as that is possible without a cluster: Kubernetes' and KServe's schemas, the linter of
container files, systemd's own check, Grafana's types."""

import json
import pathlib
import re
import shutil
import subprocess
import sys

import kserve.models
import kubernetes.client.models
import kubernetes_validate
import yaml
from grafana_foundation_sdk.models.dashboard import Dashboard

DEPLOY = pathlib.Path("deploy")
failures = []


def kserve_problems(value, type_name, place):
    """What KServe's published types do not know, or lack."""
    if match := re.fullmatch(r"list\[(.+)\]", type_name):
        for index, each in enumerate(value):
            yield from kserve_problems(each, match[1], f"{place}[{index}]")
        return
    model = getattr(kserve.models, type_name, None) or getattr(kubernetes.client.models, type_name, None)
    if model is None or not isinstance(value, dict):
        return
    fields = {key: model.openapi_types[name] for name, key in model.attribute_map.items()}
    for key, each in value.items():
        if key not in fields:
            yield f"{place}.{key}: {type_name} has no such field"
        else:
            yield from kserve_problems(each, fields[key], f"{place}.{key}")
    try:
        model(**{name: value[key] for name, key in model.attribute_map.items() if key in value})
    except ValueError as error:
        yield f"{place}: {error}"


for path in sorted(DEPLOY.glob("kubernetes/*.yaml")):
    for document in yaml.safe_load_all(path.read_text()):
        name = f"{path}: {document['kind']}"
        if document["apiVersion"].startswith("serving.kserve.io/"):
            version = document["apiVersion"].split("/")[1].capitalize()
            failures += [f"{name}{problem}" for problem in kserve_problems(document, version + document["kind"], "")]
            continue
        try:
            kubernetes_validate.validate(document, "1.32", strict=True)
        except kubernetes_validate.ValidationError as error:
            failures.append(f"{name}: {error.message}")

for path in sorted(DEPLOY.glob("grafana/*.json")):
    try:
        dashboard = Dashboard.from_json(json.loads(path.read_text()))
    except (KeyError, TypeError, ValueError) as error:
        failures.append(f"{path}: {error!r}")
    else:
        if not dashboard.panels:
            failures.append(f"{path}: no panels")

commands = [[shutil.which("hadolint", path=pathlib.Path(sys.executable).parent), DEPLOY / "Dockerfile"]]
if shutil.which("systemd-analyze"):
    # The program is not installed here.
    commands.append(["systemd-analyze", "verify", "--man=no", DEPLOY / "strata.service"])
for command in commands:
    found = subprocess.run(command, capture_output=True, text=True)
    lines = [line for line in (found.stdout + found.stderr).splitlines() if "is not executable" not in line]
    failures += [f"{command[-1]}: {line}" for line in lines]

for failure in failures:
    print(failure)
sys.exit(1 if failures else 0)
