"""Alert rules and dashboard: they use existing metrics, and the alerts fire when they should."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import combinations
from pathlib import Path
from typing import Any, get_args

import pytest
from prometheus_client.metrics import MetricWrapperBase
from prometheus_client.parser import text_string_to_metric_families

from assay.telemetry import metrics
from assay.telemetry.requests import RequestsCollector
from assay.web.routing.routes import Route
from tests.deploy.tools import CHART, documents, documents_of, only, run
from tests.world.index.distributions import wheel
from tests.world.index.fake_index import Index
from tests.world.proxy.running_proxy import run_test_proxy

pytestmark = pytest.mark.deploy

ALERTS = CHART / "files" / "alerts.yaml"
DASHBOARD = CHART / "files" / "dashboard.json"
OURS = re.compile(r"\b(assay_[a-z_]+)(?:\{([^}]*)\})?")
BY = re.compile(r"\bby \(([^)]*)\)")
WAIVED = """
version = 1
[[rules]]
name = "everything"
projects = ["*"]
[[waivers]]
projects = ["numpy"]
uploaded-before = 2026-01-01
lifts = ["min-age"]
expires = 2026-12-15
reason = "a fix is needed"
"""
RECORDED = re.compile(r"\b(assay:[a-z0-9_:]+)")
SERIES = re.compile(r"\b(?:assay|process)[_:][a-z0-9_:]+")
LATER = {"le", "alertname", "alertstate", "namespace", "job", "pod"}
"""Labels that Prometheus adds later."""


def known() -> dict[str, set[str]]:
    """Return each published series with its labels."""
    found: dict[str, set[str]] = {}
    # For metrics without samples, only the collectors of a registry know the labels.
    for collector in metrics.REGISTRY._collector_to_names:
        names = set(getattr(collector, "_labelnames", ()))
        families = collector.describe() if isinstance(collector, RequestsCollector) else ()
        several = {each.name: set(getattr(each, "_labelnames", ())) for each in families}
        for metric in metrics.REGISTRY._collector_to_names[collector]:
            found[metric] = next((labels for name, labels in several.items() if metric.startswith(name)), names)
    return found


def rules() -> list[dict[str, Any]]:
    """Return the rules of all groups."""
    [document] = documents_of(ALERTS.read_text("utf-8"))
    return [rule for group in document["groups"] for rule in group["rules"]]


def expressions() -> list[str]:
    board = json.loads(DASHBOARD.read_text("utf-8"))
    asked = [rule["expr"] for rule in rules()]
    asked += [target["expr"] for panel in board["panels"] for target in panel.get("targets", [])]
    return [*asked, *(each["expr"] for each in board["annotations"]["list"])]


def test_every_metric_and_label_that_is_asked_for_is_published() -> None:
    published = known()
    asked = [(name, chosen, each) for each in expressions() for name, chosen in OURS.findall(each)]
    assert len({name for name, _, _ in asked}) > 15
    for name, chosen, expression in asked:
        assert name in published, f"{name} of {expression}"
        labels = set(re.findall(r"(\w+)(?:=~|!~|!=|=)\"", chosen))
        assert labels <= published[name] | LATER, expression
    for expression in expressions():
        names = [name for name, _ in OURS.findall(expression)]
        for labels in BY.findall(expression) if names else ():
            assert {each.strip() for each in labels.split(",")} <= published[names[0]] | LATER, expression


@contextmanager
def touched() -> Iterator[None]:
    """Give each metric with labels a series, as if it had been used, and take it away again."""
    collectors = [each for each in metrics.REGISTRY._collector_to_names if isinstance(each, MetricWrapperBase)]
    values = {each: ["touched"] * len(each._labelnames) for each in collectors if each._labelnames}
    try:
        for each, labels in values.items():
            each.labels(*labels)
        yield
    finally:
        for each, labels in values.items():
            each.remove(*labels)


async def test_prometheus_has_no_complaint_about_the_metrics_of_a_running_proxy(tmp_path: Path) -> None:
    async with Index() as index, run_test_proxy(index, tmp_path, policy=WAIVED) as proxy:
        assert (await proxy.get(proxy.files_path(index.add(wheel("foo", "1.0"))))).status == 200
        with touched():
            body = (await proxy.get("/metrics")).body.decode()
    families = {family.name: family for family in text_string_to_metric_families(body)}
    used = {sample.name for family in families.values() for sample in family.samples}
    collected = metrics.REGISTRY._collector_to_names.values()
    gauges = {names[0] for names in collected if len(names) == 1}
    others = {name for names in collected for name in names if name.endswith(("_total", "_bucket", "_sum", "_count"))}
    assert gauges | others <= used, (gauges | others) - used
    assert all(family.documentation for family in families.values() if not family.name.endswith("_created"))
    checked = run("promtool", "check", "metrics", given=body)
    assert (checked.returncode, checked.stdout + checked.stderr) == (0, "")
    wrong = body + "# TYPE assay_wrong counter\nassay_wrong 1\n"
    assert run("promtool", "check", "metrics", given=wrong).returncode != 0, "the twin is found"


def test_the_routes_of_the_alerts_exist() -> None:
    named = re.findall(r'route=~?"([^"]+)"', ALERTS.read_text("utf-8"))
    assert {each for names in named for each in names.split("|")} <= {route.label for route in get_args(Route)}


def test_the_bounds_of_the_objectives_are_bounds_of_the_histogram() -> None:
    bounds = {str(float(bound)) for bound in metrics.REQUESTS.bounds}
    asked = {bound for rule in rules() for bound in re.findall(r'le="([^"]+)"', rule["expr"])}
    assert asked == {"0.05", "10.0"} <= bounds


def test_every_recorded_series_that_is_asked_for_is_recorded_and_used() -> None:
    recorded = {rule["record"] for rule in rules() if "record" in rule}
    asked = {name for expression in expressions() for name in RECORDED.findall(expression)}
    assert recorded == asked


def test_prometheus_takes_the_rules_and_each_fires_when_it_should() -> None:
    checked = run("promtool", "check", "rules", ALERTS)
    assert checked.returncode == 0, checked.stderr
    tried = run("promtool", "test", "rules", "tests/deploy/alerts_test.yaml")
    assert tried.returncode == 0, tried.stdout + tried.stderr


def test_every_alert_has_a_test_that_sees_it_fire_and_one_that_sees_it_quiet() -> None:
    tests = (ALERTS.parents[3] / "tests" / "deploy" / "alerts_test.yaml").read_text("utf-8")
    for rule in rules():
        if "record" in rule:
            continue
        name = rule["alert"]
        assert re.search(rf'alertname: {name}, exp_alerts: \[\s*{{|alertname="{name}"', tests), name
        assert re.search(rf"alertname: {name}, exp_alerts: \[\]", tests), name
        assert rule["annotations"]["summary"]
        assert rule["annotations"]["description"]


def test_the_chart_carries_them_to_the_letter() -> None:
    found = documents("production-values.yaml")
    [document] = documents_of(ALERTS.read_text("utf-8"))
    assert only(found, "PrometheusRule")["spec"] == document
    assert only(found, "ConfigMap", "-dashboard")["data"]["assay.json"] == DASHBOARD.read_text("utf-8")


def test_the_dashboard_has_a_choice_of_namespaces_and_pods_that_every_panel_follows() -> None:
    board = json.loads(DASHBOARD.read_text("utf-8"))
    variables = {each["name"]: each for each in board["templating"]["list"]}
    assert set(variables) == {"source", "namespace", "pod"}
    for name in ("namespace", "pod"):
        assert OURS.findall(variables[name]["definition"])[0][0] in known()
        assert variables[name]["allValue"] == ".*", "also series without the label, outside of Kubernetes"
    for panel in board["panels"]:
        for target in panel.get("targets", []):
            assert target["expr"].count('namespace=~"$namespace"') == len(SERIES.findall(target["expr"])), panel[
                "title"
            ]
    rows = {panel["title"] for panel in board["panels"] if panel["type"] == "row"}
    assert {"Objectives", "Ledger", "Sources", "Replicas"} <= rows


def test_no_panel_covers_another() -> None:
    panels: list[dict[str, Any]] = json.loads(DASHBOARD.read_text("utf-8"))["panels"]
    assert len({panel["id"] for panel in panels}) == len(panels)
    for one, other in combinations([panel["gridPos"] for panel in panels], 2):
        apart = one["x"] + one["w"] <= other["x"] or other["x"] + other["w"] <= one["x"]
        assert apart or one["y"] + one["h"] <= other["y"] or other["y"] + other["h"] <= one["y"]
    assert max(panel["gridPos"]["x"] + panel["gridPos"]["w"] for panel in panels) == 24
