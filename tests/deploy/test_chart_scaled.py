"""Chart with ``mode: scaled``: several replicas with a shared database, object storage and key."""

from __future__ import annotations

from typing import Any

import pytest

from tests.deploy.tools import Document, documents, environment, only, template, workload

pytestmark = pytest.mark.deploy

SCALED = "scaled-values.yaml"
FIXED = "scaled-fixed-values.yaml"
NEEDED: dict[str, object] = {
    "scaled.deployment": "acme",
    "scaled.database.url": "postgresql://assay@db/assay",
    "scaled.key.secretName": "assay-key",
}
HTTP: dict[str, object] = {"url": "s3://assay/", "endpoint": "http://seaweed:8333"}
SINGLE_KINDS = {"ConfigMap", "NetworkPolicy", "Pod", "PodDisruptionBudget", "Service", "ServiceAccount", "StatefulSet"}

Refused = tuple[str, str, dict[str, object], str, dict[str, object]]
REFUSED: list[Refused] = [
    (
        "a database without the mode",
        "minimal-values.yaml",
        {"scaled.database.url": "postgresql://assay@db/assay"},
        "mode: expected scaled, because scaled.database.url",
        {**NEEDED, "mode": "scaled", "replicas": 3},
    ),
    (
        "the mode without anything else",
        "minimal-values.yaml",
        {"mode": "scaled", "replicas": 3},
        "expected a value with mode=scaled",
        {**NEEDED, "mode": "scaled", "replicas": 3},
    ),
    ("an unknown mode", FIXED, {"mode": "many"}, "mode", {"mode": "scaled"}),
    (
        "a password in the URL",
        FIXED,
        {"scaled.database.url": "postgresql://assay:secret@db/assay"},
        "scaled.database.url: expected no password",
        {"scaled.database.url": "postgresql://assay@db:5432/assay"},
    ),
    (
        "another database",
        FIXED,
        {"scaled.database.url": "mysql://assay@db/assay"},
        "/scaled/database/url",
        {"scaled.database.url": "postgresql://db/assay"},
    ),
    (
        "a directory as object storage",
        FIXED,
        {"scaled.objects.url": "file:///mnt/objects"},
        "/scaled/objects/url",
        {"scaled.objects.url": "az://assay/objects/"},
    ),
    (
        "an object storage over http",
        FIXED,
        {"scaled.objects": HTTP},
        "scaled.objects.endpoint: expected https, found http://seaweed:8333",
        {"scaled.objects": {**HTTP, "insecure": True}},
    ),
    (
        "an endpoint of another service than S3",
        FIXED,
        {"scaled.objects.endpoint": "https://s3.acme.example"},
        "scaled.objects.endpoint: expected none, unless scaled.objects.url begins with s3://",
        {"scaled.objects": {"url": "s3://assay/", "endpoint": "https://s3.acme.example"}},
    ),
    (
        "a password in the parameters of the URL",
        FIXED,
        {"scaled.database.url": "postgresql://assay@db/assay?sslmode=require&password=secret"},
        "scaled.database.url: expected no password",
        {"scaled.database.url": "postgresql://assay@db/assay?sslmode=require&passfile=/run/password"},
    ),
    (
        "too few replicas to drain a node",
        FIXED,
        {"replicas": 2},
        "replicas: expected at least scaled.minAvailable + 1 (3)",
        {"replicas": 2, "scaled.minAvailable": 1},
    ),
    (
        "too few replicas of the autoscaler",
        SCALED,
        {"scaled.autoscaling.minReplicas": 2},
        "scaled.autoscaling.minReplicas: expected at least scaled.minAvailable + 1 (3)",
        {"scaled.autoscaling.minReplicas": 4},
    ),
    (
        "less than the minimum at most",
        SCALED,
        {"scaled.autoscaling.minReplicas": 6, "scaled.autoscaling.maxReplicas": 5},
        "scaled.autoscaling.maxReplicas: expected at least minReplicas (6), found 5",
        {"scaled.autoscaling.minReplicas": 6, "scaled.autoscaling.maxReplicas": 6},
    ),
    (
        "an autoscaler without a request to compare with",
        SCALED,
        {"resources.requests": None},
        "resources.requests.cpu: expected a CPU request",
        {"resources.requests": {"cpu": "1"}},
    ),
    (
        "an audit trail that is lost with the pod",
        FIXED,
        {"audit.enabled": True},
        "audit.sink: expected objects or stdout with mode=scaled",
        {"audit.enabled": True, "audit.sink": "stdout"},
    ),
    (
        "an audit trail in objects without an object storage",
        FIXED,
        {"audit.enabled": True, "audit.sink": "objects", "scaled.objects.url": ""},
        "audit.sink: expected stdout without scaled.objects.url",
        {"audit.enabled": True, "audit.sink": "objects"},
    ),
    (
        "an audit trail in objects of a single pod",
        "minimal-values.yaml",
        {"audit.enabled": True, "audit.sink": "objects"},
        "audit.sink: expected file or stdout with mode=single",
        {"audit.enabled": True, "audit.sink": "file"},
    ),
    (
        "a tier without room for entries that wait",
        FIXED,
        {"audit.enabled": True, "audit.sink": "objects", "storage.blobs": "17 GiB"},
        "found 17 GiB and 1 GiB, and 1 GiB of audit entries that may wait",
        {"audit.enabled": True, "audit.sink": "objects", "storage.blobs": "16 GiB"},
    ),
    (
        "one claim for all replicas",
        FIXED,
        {"persistence.existingClaim": "assay"},
        "persistence.existingClaim: expected none with mode=scaled",
        {"persistence.existingClaim": ""},
    ),
    (
        "a tier that is too small",
        FIXED,
        {"storage.blobs": "18 GiB"},
        "at most nine tenths of scaled.tier.size (20Gi), found 18 GiB and 1 GiB",
        {"storage.blobs": "17 GiB"},
    ),
    ("the port of the clients for peers", FIXED, {"scaled.peerPort": 8080}, "peerPort", {"scaled.peerPort": 8081}),
    (
        "an unknown value of scaled",
        FIXED,
        {"scaled.databse": {}},
        "databse",
        {"scaled.database.url": "postgresql://d/a"},
    ),
]

for _key, _value in NEEDED.items():
    REFUSED.append((f"no {_key}", FIXED, {_key: ""}, f"{_key}: expected a value with mode=scaled", {_key: _value}))


@pytest.mark.parametrize(("what", "values", "over", "message", "twin"), REFUSED, ids=[case[0] for case in REFUSED])
def test_what_would_not_work_is_refused_with_the_reason_and_its_twin_is_taken(
    what: str, values: str, over: dict[str, object], message: str, twin: dict[str, object]
) -> None:
    refused = template(values, over)
    assert refused.returncode != 0, what
    assert message in refused.stderr
    taken = template(values, twin)
    assert taken.returncode == 0, taken.stderr


def pod(found: list[Document]) -> Any:
    return workload(found)["spec"]["template"]["spec"]


def container(found: list[Document]) -> Any:
    [one] = pod(found)["containers"]
    return one


def test_a_single_pod_has_nothing_of_the_other_mode() -> None:
    found = documents("minimal-values.yaml")
    assert {each["kind"] for each in found} == SINGLE_KINDS
    assert len([each for each in found if each["kind"] == "Service"]) == 1
    assert not [name for name in environment(container(found)) if "SHARED" in name]
    assert "trafficDistribution" not in only(found, "Service")["spec"]
    assert "topologySpreadConstraints" not in pod(found)
    assert "ephemeral-storage" not in container(found)["resources"]["requests"]


def test_an_upgrade_never_has_fewer_replicas_than_before() -> None:
    found = documents(SCALED)
    spec = only(found, "Deployment")["spec"]
    assert spec["strategy"] == {"type": "RollingUpdate", "rollingUpdate": {"maxUnavailable": 0, "maxSurge": 1}}
    assert only(found, "PodDisruptionBudget")["spec"]["minAvailable"] == 2
    assert "maxUnavailable" not in only(found, "PodDisruptionBudget")["spec"]


def test_the_autoscaler_alone_sets_the_number_of_replicas_unless_it_is_zero() -> None:
    found = documents(SCALED)
    scaler = only(found, "HorizontalPodAutoscaler")["spec"]
    assert (scaler["minReplicas"], scaler["maxReplicas"]) == (3, 12)
    assert scaler["scaleTargetRef"] == {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "name": only(found, "Deployment")["metadata"]["name"],
    }
    cpu, sent = scaler["metrics"]
    assert cpu["resource"] == {"name": "cpu", "target": {"type": "Utilization", "averageUtilization": 60}}
    assert sent["pods"]["target"] == {"type": "AverageValue", "averageValue": "100M"}
    assert "replicas" not in only(found, "Deployment")["spec"], "an upgrade does not undo what the autoscaler did"
    stopped = documents(SCALED, {"replicas": 0})
    assert only(stopped, "Deployment")["spec"]["replicas"] == 0
    assert not [each for each in stopped if each["kind"] == "HorizontalPodAutoscaler"]
    fixed = documents(FIXED)
    assert only(fixed, "Deployment")["spec"]["replicas"] == 3
    assert not [each for each in fixed if each["kind"] == "HorizontalPodAutoscaler"]
    [alone] = only(documents(SCALED, {"scaled.autoscaling.sentBytesPerSecond": ""}), "HorizontalPodAutoscaler")["spec"][
        "metrics"
    ]
    assert alone == cpu


@pytest.mark.parametrize(
    ("version", "expected"), [("1.30.0", None), ("1.31.0", "PreferClose"), ("1.37.0", "PreferClose")]
)
def test_clients_stay_in_their_zone_where_kubernetes_can_do_that(version: str, expected: str | None) -> None:
    found = documents(SCALED, version=version)
    [service] = [
        each for each in found if each["kind"] == "Service" and not each["metadata"]["name"].endswith("-peers")
    ]
    assert service["spec"].get("trafficDistribution") == expected


def test_replicas_spread_over_zones_and_nodes_among_those_of_their_version() -> None:
    found = documents(SCALED)
    labels = workload(found)["spec"]["template"]["metadata"]["labels"]
    spread = pod(found)["topologySpreadConstraints"]
    assert [each["topologyKey"] for each in spread] == ["topology.kubernetes.io/zone", "kubernetes.io/hostname"]
    for each in spread:
        assert each["labelSelector"]["matchLabels"].items() <= labels.items()
        assert each["matchLabelKeys"] == ["pod-template-hash"]
    mine = [{"maxSkew": 2, "topologyKey": "rack", "whenUnsatisfiable": "DoNotSchedule", "labelSelector": {}}]
    assert pod(documents(SCALED, {"scaled.topologySpreadConstraints": mine}))["topologySpreadConstraints"] == mine


def test_the_tier_is_lost_with_the_pod_and_the_scheduler_knows_its_size() -> None:
    def storage(found: list[Document]) -> Any:
        [one] = [each for each in pod(found)["volumes"] if each["name"] == "storage"]
        return one

    directory = documents(SCALED)
    assert storage(directory) == {"name": "storage", "emptyDir": {"sizeLimit": "50Gi"}}
    resources = container(directory)["resources"]
    assert resources["requests"]["ephemeral-storage"] == resources["limits"]["ephemeral-storage"] == f"{51 * 1024}Mi"
    assert resources["requests"]["cpu"] == "500m"
    own = documents(SCALED, {"resources.limits": {"ephemeral-storage": "60Gi"}})
    assert container(own)["resources"]["limits"]["ephemeral-storage"] == "60Gi"
    ephemeral = documents(FIXED)
    claim = storage(ephemeral)["ephemeral"]["volumeClaimTemplate"]["spec"]
    assert claim["storageClassName"] == "local-ssd"
    assert claim["resources"] == {"requests": {"storage": "20Gi"}}
    assert "ephemeral-storage" not in container(ephemeral)["resources"]["requests"]
    assert not [each for each in ephemeral if each["kind"] == "PersistentVolumeClaim"]


def test_the_shared_storage_is_set_by_the_environment_and_secrets_are_files() -> None:
    found = documents(SCALED)
    shared = {
        name.removeprefix("ASSAY_STORAGE__SHARED__"): value
        for name, value in environment(container(found)).items()
        if "SHARED" in name
    }
    assert shared == {
        "DEPLOYMENT": "acme-prod",
        "DATABASE": "postgresql://assay@db.acme.example:6432/assay?sslmode=verify-full&sslrootcert=/etc/assay/ca/ca.crt",
        "PASSWORD_FILE": "/run/secrets/assay-shared/database/password",
        "OBJECTS": "s3://assay-eu/",
        "ENDPOINT": "https://s3.acme.example:9000",
        "REGION": "eu-central-1",
        "KEY_FILE": "/run/secrets/assay-shared/key/records",
        "PEERS": "pypi-proxy-assay-peers:8081",
        "PEER_ADDRESS": "$(POD_IP):8081",
    }
    assert container(found)["envFrom"] == [{"secretRef": {"name": "assay-objects"}}]
    mounts = {each["name"]: each for each in container(found)["volumeMounts"]}
    volumes = {each["name"]: each for each in pod(found)["volumes"]}
    for name, secret, mounted in (
        ("shared-database", "assay-database", "/run/secrets/assay-shared/database"),
        ("shared-key", "assay-key", "/run/secrets/assay-shared/key"),
    ):
        assert mounts[name] == {"name": name, "mountPath": mounted, "readOnly": True}
        assert volumes[name]["secret"] == {"secretName": secret, "defaultMode": 0o440}
    fixed = documents(FIXED)
    names = set(environment(container(fixed)))
    assert not {f"ASSAY_STORAGE__SHARED__{key}" for key in ("PASSWORD_FILE", "ENDPOINT", "REGION", "INSECURE")} & names
    assert environment(container(fixed))["ASSAY_STORAGE__SHARED__LEDGER_GRACE"] == "30 minutes"
    assert environment(container(fixed))["ASSAY_STORAGE__SHARED__KEY_FILE"] == "/run/secrets/assay-shared/key/seal"
    assert "envFrom" not in container(fixed)
    none = environment(container(documents(FIXED, {"scaled.objects.url": ""})))
    assert "ASSAY_STORAGE__SHARED__OBJECTS" not in none
    insecure = documents(FIXED, {"scaled.objects": {**HTTP, "insecure": True}})
    assert environment(container(insecure))["ASSAY_STORAGE__SHARED__INSECURE"] == "true"


def test_the_audit_trail_of_replicas_is_uploaded_or_on_standard_output() -> None:
    def audit(sink: str) -> dict[str, str]:
        found = environment(container(documents(SCALED, {"audit.enabled": True, "audit.sink": sink})))
        return {name: value for name, value in found.items() if name.startswith("ASSAY_AUDIT__")}

    path = "/var/lib/assay/audit/audit.jsonl"
    assert audit("objects") == {
        "ASSAY_AUDIT__SINK": "objects",
        "ASSAY_AUDIT__PATH": path,
        "ASSAY_AUDIT__ON_FAILURE": "refuse",
    }
    assert audit("stdout") == {"ASSAY_AUDIT__SINK": "stdout", "ASSAY_AUDIT__ON_FAILURE": "refuse"}


def test_a_replica_names_its_own_address_also_an_ipv6_address() -> None:
    for values, expected in ((SCALED, "$(POD_IP):8081"), (FIXED, "[$(POD_IP)]:9443")):
        variables = container(documents(values))["env"]
        names = [each["name"] for each in variables]
        address = "ASSAY_STORAGE__SHARED__PEER_ADDRESS"
        assert names.index("POD_IP") < names.index(address), "Kubernetes expands only earlier variables"
        assert environment(container(documents(values)))[address] == expected
        [source] = [each for each in variables if each["name"] == "POD_IP"]
        assert source["valueFrom"] == {"fieldRef": {"fieldPath": "status.podIP"}}


def test_the_replicas_find_each_other_by_a_name_and_no_other_pod_reaches_their_port() -> None:
    found = documents(SCALED)
    peers = only(found, "Service", "-peers")
    labels = workload(found)["spec"]["template"]["metadata"]["labels"]
    assert peers["spec"]["clusterIP"] == "None"
    assert peers["spec"]["publishNotReadyAddresses"] is True
    assert peers["spec"]["selector"].items() <= labels.items()
    assert environment(container(found))["ASSAY_STORAGE__SHARED__PEERS"] == f"{peers['metadata']['name']}:8081"
    assert {"name": "peers", "containerPort": 8081, "protocol": "TCP"} in container(found)["ports"]
    monitored = only(found, "ServiceMonitor")["spec"]["selector"]["matchLabels"]
    assert not monitored.items() <= peers["metadata"]["labels"].items(), "or each replica is scraped twice"

    policy = only(found, "NetworkPolicy")["spec"]
    [inbound] = [rule for rule in policy["ingress"] if rule["ports"] == [{"port": "peers", "protocol": "TCP"}]]
    [outbound] = [rule for rule in policy["egress"] if rule["ports"] == [{"port": 8081, "protocol": "TCP"}]]
    assert inbound["from"] == outbound["to"]
    [peer] = inbound["from"]
    assert peer["podSelector"]["matchLabels"].items() <= labels.items()
    assert not peer["podSelector"]["matchLabels"].items() <= only(found, "Pod")["metadata"]["labels"].items()


def test_the_engines_are_reached_at_their_ports_and_never_the_metadata_address() -> None:
    def ways(values: str, over: dict[str, object]) -> dict[Any, Any]:
        rules = only(documents(values, over), "NetworkPolicy")["spec"]["egress"]
        return {rule["ports"][0]["port"]: rule.get("to") for rule in rules if rule["ports"][0]["port"] != 443}

    found = ways(SCALED, {})
    assert set(found) == {53, 8081, 6432, 9000}
    assert found[6432] == [{"ipBlock": {"cidr": "10.1.2.0/24"}}]
    assert found[9000][0]["ipBlock"]["except"] == ["169.254.0.0/16"]
    assert set(ways(FIXED, {})) == {53, 9443, 5432}, "PostgreSQL's port, if the URL has none"
    insecure: dict[str, object] = {
        "scaled.objects": {"url": "s3://assay/", "endpoint": "http://s3.storage", "insecure": True}
    }
    assert set(ways(FIXED, insecure)) == {53, 9443, 5432, 80}
    assert set(ways(FIXED, {"scaled.database.url": "postgresql://a@[fd00::1]:6000/assay"})) == {53, 9443, 6000}
