"""Alert rules and dashboard: they use existing metrics, and the alerts fire when they should."""

from __future__ import annotations

import json
import re
from itertools import combinations
from typing import Any, get_args

import pytest

from assay.telemetry import metrics
from assay.telemetry.requests import RequestsCollector
from assay.web.routing.routes import Route
from tests.deploy.tools import CHART, documents, documents_of, only, run

pytestmark = pytest.mark.deploy

ALERTS = CHART / "files" / "alerts.yaml"
DASHBOARD = CHART / "files" / "dashboard.json"
OURS = re.compile(r"\b(assay_[a-z_]+)(?:\{([^}]*)\})?")
BY = re.compile(r"\bby \(([^)]*)\)")
LATER = {"le", "alertname", "alertstate"}
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


def expressions() -> list[str]:
    [rules] = documents_of(ALERTS.read_text("utf-8"))
    board = json.loads(DASHBOARD.read_text("utf-8"))
    asked = [rule["expr"] for group in rules["groups"] for rule in group["rules"]]
    asked += [target["expr"] for panel in board["panels"] for target in panel.get("targets", [])]
    return [*asked, *(each["expr"] for each in board["annotations"]["list"])]


def test_every_metric_and_label_that_is_asked_for_is_published() -> None:
    published = known()
    asked = [(name, chosen, each) for each in expressions() for name, chosen in OURS.findall(each)]
    assert len({name for name, _, _ in asked}) > 15
    for name, chosen, expression in asked:
        assert name in published, f"{name} of {expression}"
        labels = set(re.findall(r"(\w+)=~?\"", chosen))
        assert labels <= published[name] | LATER, expression
    for expression in expressions():
        names = [name for name, _ in OURS.findall(expression)]
        for labels in BY.findall(expression):
            assert {each.strip() for each in labels.split(",")} <= published[names[0]] | LATER, expression


def test_the_routes_of_the_alerts_exist() -> None:
    [named] = set(re.findall(r'route=~"([^"]+)"', ALERTS.read_text("utf-8")))
    assert set(named.split("|")) <= {route.label for route in get_args(Route)}


def test_prometheus_takes_the_rules_and_each_fires_when_it_should() -> None:
    checked = run("promtool", "check", "rules", ALERTS)
    assert checked.returncode == 0, checked.stderr
    tried = run("promtool", "test", "rules", "tests/deploy/alerts_test.yaml")
    assert tried.returncode == 0, tried.stdout + tried.stderr


def test_every_alert_has_a_test_that_sees_it_fire() -> None:
    [rules] = documents_of(ALERTS.read_text("utf-8"))
    tests = (ALERTS.parents[3] / "tests" / "deploy" / "alerts_test.yaml").read_text("utf-8")
    for rule in rules["groups"][0]["rules"]:
        name = rule["alert"]
        assert re.search(rf'alertname: {name}, exp_alerts: \[{{|alertname="{name}"', tests), name
        assert rule["annotations"]["summary"]
        assert rule["annotations"]["description"]


def test_the_chart_carries_them_to_the_letter() -> None:
    found = documents("production-values.yaml")
    [rules] = documents_of(ALERTS.read_text("utf-8"))
    assert only(found, "PrometheusRule")["spec"] == rules
    assert only(found, "ConfigMap", "-dashboard")["data"]["assay.json"] == DASHBOARD.read_text("utf-8")


def test_no_panel_covers_another() -> None:
    panels: list[dict[str, Any]] = json.loads(DASHBOARD.read_text("utf-8"))["panels"]
    assert len({panel["id"] for panel in panels}) == len(panels)
    for one, other in combinations([panel["gridPos"] for panel in panels], 2):
        apart = one["x"] + one["w"] <= other["x"] or other["x"] + other["w"] <= one["x"]
        assert apart or one["y"] + one["h"] <= other["y"] or other["y"] + other["h"] <= one["y"]
    assert max(panel["gridPos"]["x"] + panel["gridPos"]["w"] for panel in panels) == 24
