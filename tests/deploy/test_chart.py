"""Helm chart: it lints, renders valid manifests, and refuses values that would not work."""

from __future__ import annotations

import json
import tomllib
from pathlib import Path
from typing import Any

import pytest

from tests.deploy.chart_readme import README, default_of, leaves, readme
from tests.deploy.tools import CHART, HELMS, VALUES, Document, documents, documents_of, only, run, template, workload
from tests.paths import ROOT

pytestmark = pytest.mark.deploy

VERSIONS = ("1.27.0", "1.30.0", "1.34.0", "1.37.0")
MINIMAL = "minimal-values.yaml"
PRODUCTION = "production-values.yaml"


def proxy_container(found: list[Document]) -> Document:
    [container] = workload(found)["spec"]["template"]["spec"]["containers"]
    assert isinstance(container, dict)
    return container


@pytest.mark.parametrize("helm", HELMS)
def test_it_lints_strictly_with_every_example_and_with_no_values_at_all(helm: str) -> None:
    for values in (None, *VALUES):
        chosen = ["--values", str(CHART / "ci" / values)] if values else []
        linted = run(helm, "lint", "--strict", CHART, *chosen)
        assert linted.returncode == 0, (values, linted.stdout, linted.stderr)


def test_lint_sees_a_broken_value() -> None:
    linted = run("helm", "lint", "--strict", CHART, "--set", "replicas=many")
    assert linted.returncode != 0
    assert "replicas" in linted.stdout + linted.stderr


def check_against_clusters(found: list[Document], *versions: str) -> list[str]:
    checked = run("python", "tests/deploy/cluster_schema.py", "check", *versions, given=json.dumps(found))
    lines = checked.stdout.splitlines()
    assert checked.returncode == bool([line for line in lines if line]), (checked.stdout, checked.stderr)
    return lines if checked.returncode else []


@pytest.mark.parametrize("version", VERSIONS)
def test_what_every_example_renders_to_is_what_kubernetes_takes(version: str) -> None:
    found = [document for values in VALUES for document in documents(values, version=version)]
    kinds = {each["kind"] for each in found}
    assert {"StatefulSet", "Deployment", "HorizontalPodAutoscaler", "Service", "Ingress", "ConfigMap"} <= kinds
    assert {"NetworkPolicy", "PodDisruptionBudget", "ServiceMonitor", "ServiceAccount", "Pod"} <= kinds
    assert check_against_clusters(found, version) == []


def test_the_schema_check_sees_a_wrong_type_an_unknown_field_and_a_kind_of_a_wrong_group() -> None:
    service = only(documents(MINIMAL), "Service")
    wrong: list[Document] = [
        service | {"spec": service["spec"] | {"ports": "80"}},
        service | {"spec": service["spec"] | {"prots": []}},
        service | {"apiVersion": "v2"},
    ]
    assert check_against_clusters([service], "1.34.0") == []
    assert len(check_against_clusters(wrong, "1.34.0")) == len(wrong)


@pytest.mark.parametrize("values", VALUES)
def test_both_helms_make_the_same_of_it(values: str) -> None:
    def by_name(helm: str) -> dict[str, Document]:
        return {f"{each['kind']}/{each['metadata']['name']}": each for each in documents(values, helm=helm)}

    assert by_name("helm") == by_name("helm3")


REFUSED: list[tuple[str, dict[str, object], str, dict[str, object]]] = [
    ("more replicas than one", {"replicas": 2}, "replicas: expected 0 or 1 with mode=single", {"replicas": 0}),
    ("no image", {"image.repository": ""}, "image.repository: expected the repository of your Assay image", {}),
    (
        "an ingress without a host",
        {"ingress.enabled": True},
        "ingress.host: expected the host name",
        {"ingress.enabled": True, "ingress.host": "pypi.acme.example"},
    ),
    (
        "a public address that is not the ingress's",
        {"ingress.enabled": True, "ingress.host": "pypi.acme.example", "server.publicUrl": "https://other.example/"},
        "server.publicUrl: expected https://pypi.acme.example/",
        {"ingress.enabled": True, "ingress.host": "pypi.acme.example", "server.publicUrl": "https://pypi.acme.example"},
    ),
    (
        "a cache that fills its volume",
        {"storage.blobs": "50 GiB"},
        "at most nine tenths of persistence.size (50Gi), found 50 GiB and 2 GiB",
        {"storage.blobs": "43 GiB"},
    ),
    (
        "a cache larger than its volume in other units",
        {"storage.blobs": "1 TiB", "persistence.size": "1000Gi"},
        "at most nine tenths",
        {"storage.blobs": "1 TiB", "persistence.size": "2Ti"},
    ),
    (
        "two certificate authorities",
        {"certificateAuthority": {"secretName": "a", "configMapName": "b"}},
        "certificateAuthority: expected secretName or configMapName, found both",
        {"certificateAuthority": {"secretName": "a"}},
    ),
    (
        "https that the probes would not know of",
        {"configuration.toml": '# [server.tls]\n [ server . tls ]\ncertificate = "/run/secrets/assay/tls/tls.crt"\n'},
        "server.tls.secretName: expected the Secret with tls.crt and tls.key",
        {"configuration.toml": "# [server.tls]\n", "server.tls.secretName": "assay-tls"},
    ),
    (
        "views' policies beside a ConfigMap that is not the chart's",
        {"policy.existingConfigMap": "mine", "policy.views": {"strict": "version = 1\n"}},
        "policy.views: expected no views together with policy.existingConfigMap",
        {"policy.views": {"strict": "version = 1\n"}},
    ),
    (
        "a view's policy in the place of the one at /",
        {"policy.views": {"policy": "version = 1\n"}},
        "policy",
        {"policy.views": {"policy-2": "version = 1\n"}},
    ),
    (
        "too little time to stop",
        {"terminationGracePeriodSeconds": 29},
        "at least preStopSeconds + 25",
        {"terminationGracePeriodSeconds": 30},
    ),
    ("an unknown value", {"replica": 1}, "replica", {"replicas": 1}),
    ("an unknown value deep within", {"storage.blob": "1 GiB"}, "blob", {"storage.blobs": "1 GiB"}),
    ("a size without a unit", {"storage.blobs": "50"}, "/storage/blobs", {"storage.blobs": "512 MiB"}),
    ("a plain http address", {"server.publicUrl": "http://pypi.acme.example/"}, "publicUrl", {"server.publicUrl": ""}),
    ("a digest that is none", {"image.digest": "sha256:abc"}, "digest", {"image.digest": "sha256:" + "a" * 64}),
    (
        "a volume that many pods may write to",
        {"persistence.accessModes": ["ReadWriteMany"]},
        "accessModes",
        {"persistence.accessModes": ["ReadWriteOncePod"]},
    ),
    (
        "credentials without a secret",
        {"credentials": [{"name": "internal"}]},
        "secretName",
        {"credentials": [{"name": "internal", "secretName": "gitlab"}]},
    ),
]


@pytest.mark.parametrize(("what", "over", "message", "twin"), REFUSED, ids=[case[0] for case in REFUSED])
def test_what_would_not_work_is_refused_with_the_reason_and_its_twin_is_taken(
    what: str, over: dict[str, object], message: str, twin: dict[str, object]
) -> None:
    refused = template(MINIMAL, over)
    assert refused.returncode != 0, what
    assert message in refused.stderr
    taken = template(MINIMAL, twin)
    assert taken.returncode == 0, taken.stderr


@pytest.mark.parametrize("version", ["1.26.9"])
def test_a_cluster_older_than_any_it_was_checked_with_is_refused(version: str) -> None:
    refused = template(MINIMAL, version=version)
    assert refused.returncode != 0
    assert ">=1.27.0" in refused.stderr


def test_a_changed_configuration_makes_a_new_pod_and_a_changed_policy_does_not() -> None:
    def pod(over: dict[str, object]) -> Any:
        return only(documents(MINIMAL, over), "StatefulSet")["spec"]["template"]

    policy = 'version = 1\n[[rules]]\nname = "all"\nprojects = ["*"]\n'
    assert pod({"policy.toml": policy}) == pod({"policy.views": {"strict": policy}}) == pod({})
    assert pod({"configuration.toml": '[freshness]\npage = "1 hour"\n'}) != pod(
        {"configuration.toml": '[freshness]\npage = "2 hours"\n'}
    )


@pytest.mark.parametrize("values", VALUES)
def test_configuration_and_policy_are_mounted_as_directories_which_alone_are_ever_updated(values: str) -> None:
    mounts = {each["name"]: each for each in proxy_container(documents(values))["volumeMounts"]}
    assert not [each for each in mounts.values() if "subPath" in each or "subPathExpr" in each]
    assert mounts["policy"]["mountPath"] == "/etc/assay/policy"
    assert all(each["readOnly"] for name, each in mounts.items() if name != "storage")


def test_the_probes_ask_what_they_are_for() -> None:
    container = proxy_container(documents(MINIMAL))
    paths = {
        probe: container[probe]["httpGet"]["path"] for probe in ("startupProbe", "livenessProbe", "readinessProbe")
    }
    # Liveness is not readiness: a proxy with a full storage must not be restarted again and again.
    assert paths == {"startupProbe": "/healthz", "livenessProbe": "/healthz", "readinessProbe": "/readyz"}
    assert container["ports"] == [{"name": "http", "containerPort": 8080, "protocol": "TCP"}]


@pytest.mark.parametrize(("secret", "scheme"), [("", "HTTP"), ("assay-tls", "HTTPS")])
def test_whoever_asks_the_pod_speaks_as_it_does(secret: str, scheme: str) -> None:
    over = {"server.tls.secretName": secret, "serviceMonitor.enabled": True}
    found = documents(MINIMAL, over)
    container = proxy_container(found)
    for probe in ("startupProbe", "livenessProbe", "readinessProbe"):
        assert container[probe]["httpGet"]["scheme"] == scheme
    environ = {each["name"]: each.get("value") for each in container["env"]}
    https = scheme == "HTTPS"
    assert environ.get("ASSAY_SERVER__TLS__CERTIFICATE") == ("/etc/assay/tls/tls.crt" if https else None)
    assert environ.get("ASSAY_SERVER__TLS__KEY") == ("/etc/assay/tls/tls.key" if https else None)
    [endpoint] = only(found, "ServiceMonitor")["spec"]["endpoints"]
    assert endpoint.get("scheme", "http").upper() == scheme
    assert ("HTTPSConnection" in only(found, "Pod")["spec"]["containers"][0]["args"][0]) == https
    compile(only(found, "Pod")["spec"]["containers"][0]["args"][0], "helm test", "exec")
    mounts = {each["name"]: each for each in container["volumeMounts"]}
    assert (mounts["tls"] == {"name": "tls", "mountPath": "/etc/assay/tls", "readOnly": True}) if https else True
    assert ("tls" in mounts) == https
    assert check_against_clusters(found, "1.34.0") == []


def test_without_a_policy_of_the_chart_the_view_at_the_root_may_be_a_table_of_the_configuration() -> None:
    found = documents(MINIMAL, {"policy.toml": "", "policy.views": {"everybody": "version = 1\n"}})
    assert "ASSAY_POLICY" not in {each["name"] for each in proxy_container(found)["env"]}
    assert only(found, "ConfigMap", "-policy")["data"] == {"everybody.toml": "version = 1\n"}
    assert "policy" in {each["name"] for each in proxy_container(found)["volumeMounts"]}


def test_every_selector_finds_the_proxy_and_not_the_pod_of_the_test() -> None:
    found = documents(PRODUCTION)
    pod = only(found, "StatefulSet")["spec"]["template"]["metadata"]["labels"]
    test = only(found, "Pod")["metadata"]["labels"]
    service = only(found, "Service")
    selectors = [
        only(found, "StatefulSet")["spec"]["selector"]["matchLabels"],
        service["spec"]["selector"],
        only(found, "PodDisruptionBudget")["spec"]["selector"]["matchLabels"],
        only(found, "NetworkPolicy")["spec"]["podSelector"]["matchLabels"],
    ]
    for selector in selectors:
        assert selector.items() <= pod.items()
        assert not selector.items() <= test.items()
    monitor = only(found, "ServiceMonitor")
    assert monitor["spec"]["selector"]["matchLabels"].items() <= service["metadata"]["labels"].items()
    assert [(each["port"], each["path"]) for each in monitor["spec"]["endpoints"]] == [("http", "/metrics")]
    assert monitor["metadata"]["labels"]["release"] == "prometheus"
    assert only(found, "StatefulSet")["spec"]["serviceName"] == service["metadata"]["name"]


def test_who_may_come_in_and_where_it_may_go() -> None:
    named = only(documents(PRODUCTION), "NetworkPolicy")["spec"]
    [way_in] = named["ingress"]
    test = only(documents(PRODUCTION), "Pod")["metadata"]["labels"]
    peers = [peer["podSelector"]["matchLabels"] for peer in way_in["from"] if "podSelector" in peer]
    assert len(way_in["from"]) == 3
    assert [peer for peer in peers if peer.items() <= test.items()], "helm test must come in too"
    excluded = [block["ipBlock"]["except"] for rule in named["egress"] for block in rule.get("to", [])]
    assert excluded[0] == ["169.254.0.0/16"], "never the cloud's metadata address"
    assert {port["port"] for rule in named["egress"] for port in rule["ports"]} == {53, 443}
    closed = only(documents("air-gapped-values.yaml"), "NetworkPolicy")["spec"]["egress"]
    assert [rule["to"] for rule in closed if "to" in rule] == [[{"ipBlock": {"cidr": "10.1.2.0/24"}}]]


def test_an_uninstall_keeps_the_ledger_unless_told_otherwise() -> None:
    def retention(over: dict[str, object]) -> Any:
        return only(documents(MINIMAL, over), "StatefulSet")["spec"]["persistentVolumeClaimRetentionPolicy"]

    assert retention({}) == {"whenDeleted": "Retain", "whenScaled": "Retain"}
    assert retention({"persistence.whenDeleted": "Delete"})["whenDeleted"] == "Delete"


def test_storage_is_a_claim_an_existing_claim_or_nothing_that_lasts() -> None:
    def storage(values: str) -> Any:
        spec = only(documents(values), "StatefulSet")["spec"]
        mine = [each for each in spec["template"]["spec"]["volumes"] if each["name"] == "storage"]
        return mine or [each["metadata"]["name"] for each in spec["volumeClaimTemplates"]]

    assert storage(MINIMAL) == ["storage"]
    assert storage("air-gapped-values.yaml") == [{"name": "storage", "persistentVolumeClaim": {"claimName": "assay"}}]
    assert storage("trial-values.yaml") == [{"name": "storage", "emptyDir": {"sizeLimit": "8Gi"}}]


def notes(values: str) -> str:
    """Return NOTES.txt as shown after an installation, rendered without a cluster."""
    dry = ("--dry-run=client", "--namespace", "build", "--values", CHART / "ci" / values)
    shown = run("helm", "install", "pypi-proxy", CHART, *dry)
    assert shown.returncode == 0, shown.stderr
    return shown.stdout.partition("NOTES:\n")[2]


def test_the_notes_have_lines_to_copy_for_pip_and_uv() -> None:
    public = notes(PRODUCTION)
    assert "pip install --index-url https://pypi.acme.example/simple/ requests" in public
    assert "uv pip install --default-index https://pypi.acme.example/simple/ requests" in public
    assert "WARNING" not in public
    assert "Every pod of the cluster" not in public
    own = notes("views-values.yaml")
    assert "pip install --index-url https://pypi.acme.example/simple/ requests" in own
    assert "key policy.toml, production.toml. A change" in own
    inside = notes("trial-values.yaml")
    assert "--index-url http://pypi.build.svc:80/simple/ --trusted-host pypi.build.svc" in inside
    assert "WARNING: persistence is off" in inside
    assert "Every pod of the cluster may use it" in inside


def test_the_readme_is_made_of_the_schema_and_the_defaults() -> None:
    assert README.read_text("utf-8") == readme(), "python -m tests.deploy.chart_readme"


def test_every_value_has_a_default_a_schema_and_a_description() -> None:
    schema = json.loads((CHART / "values.schema.json").read_text("utf-8"))
    [values] = documents_of((CHART / "values.yaml").read_text("utf-8"))
    known = dict(leaves(schema))
    for key, found in known.items():
        assert found["description"], key
        default_of(values, key)

    def keys(table: dict[str, Any], prefix: str = "") -> set[str]:
        found: set[str] = set()
        for key, value in table.items():
            name = prefix + key
            found |= {name} if name in known or not isinstance(value, dict) else keys(value, f"{name}.")
        return found

    assert keys(values) == set(known)


def test_chart_image_and_product_have_one_version() -> None:
    product = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]["version"]
    [chart] = documents_of((CHART / "Chart.yaml").read_text("utf-8"))
    assert chart["appVersion"] == product
    assert f"ARG VERSION={product}\n" in (ROOT / "Dockerfile").read_text("utf-8")


@pytest.mark.parametrize("helm", HELMS)
def test_the_packaged_chart_is_installed_like_the_folder(helm: str, tmp_path: Path) -> None:
    packed = run(helm, "package", CHART, "--destination", tmp_path)
    assert packed.returncode == 0, packed.stderr
    [package] = tmp_path.iterdir()
    image = ("--set", "image.repository=registry.example/assay")
    made = run(helm, "template", "pypi-proxy", package, *image)
    assert (made.returncode, made.stdout) == (0, run(helm, "template", "pypi-proxy", CHART, *image).stdout)


def test_a_dry_run_installs_the_packaged_chart(tmp_path: Path) -> None:
    # Helm 3 needs a cluster even for a dry run on the client.
    run("helm", "package", CHART, "--destination", tmp_path)
    [package] = tmp_path.iterdir()
    command = ("helm", "install", "pypi-proxy", package, "--dry-run=client")
    done = run(*command, "--set", "image.repository=registry.example/assay")
    assert done.returncode == 0, done.stderr
    assert "STATUS: pending-install" in done.stdout
    assert run(*command).returncode != 0, "an image is required"
