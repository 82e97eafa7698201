"""The provisioned dashboard asks for what is measured."""

import json
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml
from prometheus_client.parser import text_string_to_metric_families

GRAFANA = Path(__file__).parents[2] / "docker" / "grafana"
DASHBOARD = json.loads((GRAFANA / "dashboards" / "assay.json").read_text(encoding="utf-8"))
PANELS: list[dict[str, Any]] = [panel for panel in DASHBOARD["panels"] if panel["type"] != "row"]
EXPRESSIONS = [target["expr"] for panel in PANELS for target in panel["targets"]]

# Of vLLM 0.32's 45 families (vllm/v1/metrics/loggers.py), those that the dashboard shows; all have `model_name`.
VLLM = {
    "vllm:e2e_request_latency_seconds_bucket",
    "vllm:generation_tokens_total",
    "vllm:kv_cache_usage_perc",
    "vllm:num_preemptions_total",
    "vllm:num_requests_running",
    "vllm:num_requests_waiting",
    "vllm:prefix_cache_hits_total",
    "vllm:prefix_cache_queries_total",
    "vllm:prompt_tokens_total",
    "vllm:time_to_first_token_seconds_bucket",
}


def metrics_in(expression: str) -> set[str]:
    """The metric names of a PromQL expression."""
    return set(re.findall(r"\b(?:assay_|vllm:)\w+", expression))


def test_every_metric_exists(embedded: httpx.Client) -> None:
    """The service's own are in its /metrics, under the names that Prometheus stores; vLLM's are in vLLM's list."""
    families = list(text_string_to_metric_families(embedded.get("/metrics").text))
    stored = set()
    for family in families:
        suffixes = {
            "counter": ("_total",),
            "histogram": ("_bucket", "_sum", "_count"),
            "summary": ("_sum", "_count"),
        }
        stored |= {family.name + suffix for suffix in suffixes.get(family.type, ("",))}
    asked = set().union(*(metrics_in(expression) for expression in EXPRESSIONS))
    assert {name for name in asked if name.startswith("assay_")} <= stored
    assert {name for name in asked if name.startswith("vllm:")} == VLLM


def test_every_panel_can_be_read_alone() -> None:
    """A title, what it means, a unit, the provisioned datasource, and an expression with a legend."""
    provisioned = yaml.safe_load(
        (GRAFANA / "provisioning" / "datasources" / "prometheus.yml").read_text(encoding="utf-8")
    )["datasources"]
    for panel in PANELS:
        assert panel["title"]
        assert len(panel["description"]) > 15
        assert panel["fieldConfig"]["defaults"]["unit"]
        assert panel["targets"]
        for target in panel["targets"]:
            assert target["datasource"]["uid"] in {source["uid"] for source in provisioned}
            assert target["legendFormat"]


def test_the_tenant_that_is_chosen_counts_on_every_panel() -> None:
    """What is measured by tenant is asked for that one; All is every tenant, not those who were not let in."""
    (tenant,) = DASHBOARD["templating"]["list"]
    assert (tenant["name"], tenant["allValue"]) == ("tenant", ".+")
    without = {expression for expression in EXPRESSIONS if "tenant=~" not in expression}
    assert set().union(*map(metrics_in, without)) - VLLM == {
        "assay_batch_tokens_total",
        "assay_cache_errors_total",
        "assay_canary_sound",
        "assay_engine_restarts_total",
        "assay_engine_up",
        "assay_quarantine_total",
        "assay_quotas_shared",
        "assay_requests_total",  # 401: no tenant
    }


def test_replicas_are_reckoned_together() -> None:
    """Or else their series would have one name; where each counts, the legend names it."""
    for panel in PANELS:
        for target in panel["targets"]:
            together = re.match(r"(?:sum|avg|min|max|histogram_quantile)\b", target["expr"])
            assert together or "{{instance}}" in target["legendFormat"], target["expr"]


def test_the_panels_fit_the_grid() -> None:
    """Ids are unique and no two panels overlap on the 24 columns."""
    assert len({panel["id"] for panel in DASHBOARD["panels"]}) == len(DASHBOARD["panels"])
    taken = set()
    for panel in DASHBOARD["panels"]:
        at = panel["gridPos"]
        assert at["x"] + at["w"] <= 24
        cells = {(at["x"] + dx, at["y"] + dy) for dx in range(at["w"]) for dy in range(at["h"])}
        assert not cells & taken
        taken |= cells


def test_the_rows_are_those_an_operator_looks_for() -> None:
    """From who calls to what computes."""
    titles = [panel["title"] for panel in DASHBOARD["panels"] if panel["type"] == "row"]
    assert titles == ["Calls", "Tenants", "Rollouts", "Rewards", "Cache", "Queues", "Engines", "vLLM"]


def test_the_dashboard_is_where_grafana_looks(compose: dict[str, Any]) -> None:
    """The provider's path, the home page's path and the mount agree."""
    (provider,) = yaml.safe_load(
        (GRAFANA / "provisioning" / "dashboards" / "assay.yml").read_text(encoding="utf-8")
    )["providers"]
    service = compose["services"]["grafana"]
    folder = provider["options"]["path"]
    assert f"./docker/grafana/dashboards:{folder}:ro" in service["volumes"]
    home = service["environment"]["GF_DASHBOARDS_DEFAULT_HOME_DASHBOARD_PATH"]
    assert home == f"{folder}/assay.json"


@pytest.mark.skipif(not shutil.which("promtool"), reason="needs Prometheus' promtool")
def test_prometheus_parses_every_expression(tmp_path: Path) -> None:
    """As the expressions of recording rules."""
    rules = [
        {"record": f"panel:{index}", "expr": expression.replace("$__rate_interval", "1m")}
        for index, expression in enumerate(EXPRESSIONS)
    ]
    path = tmp_path / "rules.yml"
    path.write_text(yaml.safe_dump({"groups": [{"name": "dashboard", "rules": rules}]}))
    checked = subprocess.run(["promtool", "check", "rules", path], capture_output=True, text=True)
    assert checked.returncode == 0, checked.stdout + checked.stderr
    assert f"SUCCESS: {len(EXPRESSIONS)} rules found" in checked.stdout
