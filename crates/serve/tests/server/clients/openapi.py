"""Asks a running server whatever its OpenAPI document allows, and other things: HTTP GRPC KEY IMAGE."""

import os
import pathlib
import subprocess
import sys

import requests
from prometheus_client.openmetrics.parser import text_string_to_metric_families

address, _, key, _ = sys.argv[1:]
url = f"http://{address}"
document = requests.get(f"{url}/openapi.json", headers={"X-API-Key": key}).json()
assert document["openapi"].startswith("3.1") and len(document["paths"]) >= 30
assert requests.get(f"{url}/openapi.json").status_code == 401

checks = [
    "not_a_server_error",
    "status_code_conformance",
    "content_type_conformance",
    "response_headers_conformance",
    "response_schema_conformance",
    "unsupported_method",
    "ignored_auth",
]
here = pathlib.Path(__file__).parent
command = [
    pathlib.Path(sys.executable).with_name("schemathesis"),
    "--config-file",
    here / "openapi.toml",
    "run",
    f"{url}/openapi.json",
    "--header",
    f"Authorization: Bearer {key}",
    "--checks",
    ",".join(checks),
    "--phases",
    "examples,coverage,fuzzing",
    "--max-examples",
    os.environ.get("STRATA_SCHEMATHESIS_EXAMPLES", "8"),
    "--seed",
    "1",
    "--no-color",
    "--suppress-health-check",
    "all",
]
environment = {"SCHEMATHESIS_HOOKS": str(here / "openapi_hooks.py"), "PYTHONDONTWRITEBYTECODE": "1"}
subprocess.run(command, check=True, env=os.environ | environment)

# The run is worth something only if each route gave answers, too.
metrics = requests.get(f"{url}/metrics", headers={"X-API-Key": key}).text
samples = [sample for family in text_string_to_metric_families(metrics) for sample in family.samples]
answers = [sample for sample in samples if sample.name == "strata_requests_total" and sample.value > 0]
routes = {sample.labels["route"] for sample in answers} - {"none", "regress"}
answered = {sample.labels["route"] for sample in answers if sample.labels["status"] == "200"}
assert routes <= answered, routes - answered
print("all checks passed")
