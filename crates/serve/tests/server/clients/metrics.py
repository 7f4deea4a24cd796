"""Reads a running server's metrics with Prometheus's own parsers: HTTP GRPC KEY IMAGE."""

import sys

import requests
from prometheus_client.openmetrics.parser import text_string_to_metric_families
from prometheus_client.parser import text_string_to_metric_families as older_parser

address, _, key, _ = sys.argv[1:]
session = requests.Session()
session.headers["Authorization"] = f"Bearer {key}"
body = {"instances": [[0.5] * 16] * 3}
for call in ("tiny:predict", "tiny/versions/2:predict", "deep:predict", "tiny:regress", "none:predict"):
    session.post(f"http://{address}/v1/models/{call}", json=body)
requests.get(f"http://{address}/v1/models")

response = session.get(f"http://{address}/metrics")
assert response.headers["content-type"] == "application/openmetrics-text; version=1.0.0; charset=utf-8"
# The parser of OpenMetrics is strict: of names, units, types, the order of buckets, and the end.
families = {family.name: family for family in text_string_to_metric_families(response.text)}
assert all(name.startswith("strata_") and family.documentation for name, family in families.items())


def value(name, **labels):
    """The sum of all samples that have these labels."""
    samples = [sample for family in families.values() for sample in family.samples if sample.name == name]
    return sum(sample.value for sample in samples if labels.items() <= sample.labels.items())


predicted = {"model": "tiny", "route": "predict", "status": "200"}
assert value("strata_requests_total", **predicted) == 2
assert value("strata_requests_total", version="2", **predicted) == 1
assert value("strata_requests_total", route="regress", status="400") == 1
assert value("strata_requests_total", route="predict", status="404") == 1
assert value("strata_refused_total", reason="no-credential") >= 1
assert value("strata_batch_rows_count", model="deep") >= 1
assert families["strata_request_seconds"].type == "histogram"
# Prometheus itself, when it is not told the type of the text, reads the older format.
assert len(list(older_parser(response.text))) >= len(families)
print("all checks passed")
