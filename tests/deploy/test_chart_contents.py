"""Contents of the chart: its configuration and policy load, and its pods meet `restricted`."""

from __future__ import annotations

import copy
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from assay.config import Configuration, load_configuration
from assay.policy.language.document import load_policy
from assay.store.shared.settings import SharedSettings
from tests.deploy.pod_security import violations
from tests.deploy.tools import EXAMPLES, VALUES, Document, documents, documents_of, environment, only, workload

pytestmark = pytest.mark.deploy

SIDECAR = EXAMPLES / "sidecar-pod.yaml"


def expanded(value: str) -> str:
    """Return the value of a variable as Kubernetes passes it, in a pod with an address of the kind that it expects."""
    return value.replace("[$(POD_IP)]", "[fd00::7]").replace("$(POD_IP)", "10.0.0.7")


def configured(container: Document, spec: Document, maps: dict[str, Document], place: Path) -> Configuration:
    """Return the configuration from the container's environment and mounts, with ConfigMaps written below `place`."""
    volumes = {each["name"]: each for each in spec["volumes"]}
    for mount in container["volumeMounts"]:
        source = volumes.get(mount["name"], {}).get("configMap", {}).get("name")
        for name, text in maps.get(source, {}).get("data", {}).items():
            path = place / mount["mountPath"].lstrip("/") / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text, "utf-8")
    environ = {name: expanded(value) for name, value in environment(container).items()}
    if "ASSAY_CONFIG" in environ:
        environ["ASSAY_CONFIG"] = str(place / environ["ASSAY_CONFIG"].lstrip("/"))
    return load_configuration(None, environ)


@pytest.mark.parametrize("values", VALUES)
def test_the_rendered_maps_are_configuration_and_policy_as_the_product_reads_them(values: str, tmp_path: Path) -> None:
    found = documents(values)
    spec = workload(found)["spec"]["template"]["spec"]
    [container] = spec["containers"]
    maps = {each["metadata"]["name"]: each for each in found if each["kind"] == "ConfigMap"}
    configuration = configured(container, spec, maps, tmp_path)

    assert (configuration.server.port, str(configuration.policy)) == (8080, "/etc/assay/policy/policy.toml")
    assert str(configuration.storage.directory) == "/var/lib/assay/storage"
    for name, document in maps.items():
        if "policy.toml" in document["data"]:
            for text in document["data"].values():
                assert load_policy(text, name).rules
    mounted = tuple(f"{each['mountPath']}/" for each in container["volumeMounts"])
    needed = [str(configuration.policy), environment(container).get("SSL_CERT_FILE", mounted[0])]
    needed += [str(view.policy) for view in configuration.all_views]
    needed += [root.path for root in configuration.trust.roots.values()]
    needed += [configuration.trust.root] if configuration.trust.root.startswith("/") else []
    tls, auth = configuration.server.tls, configuration.server.auth
    needed += [path for path in (tls and tls.certificate, tls and tls.key, auth and auth.tokens) if path]
    if (shared := configuration.storage.shared) is not None:
        assert str(shared.key_file).startswith(mounted)
        needed += [str(shared.password_file)] if shared.password_file else []
    for view in configuration.views:
        assert (tmp_path / str(view.policy).lstrip("/")).exists(), "a key of the ConfigMap"
    for index in configuration.indexes:
        credentials = index.credentials
        if credentials and credentials.password_file:
            needed.append(credentials.password_file)
    assert [path for path in needed if not path.startswith(mounted)] == []


def test_the_maps_carry_what_the_values_say_to_the_letter() -> None:
    text = "# ünïcode, a tab\tand a last line without an end\n\n   # indented\nversion = 1\nmode = 'audit'"
    found = documents("minimal-values.yaml", {"policy.toml": text, "configuration.toml": "  # indented first\n"})
    assert only(found, "ConfigMap", "-policy")["data"] == {"policy.toml": text}
    assert only(found, "ConfigMap", "-configuration")["data"] == {"proxy.toml": "  # indented first\n"}


def test_what_is_shown_in_the_product_is_what_the_production_example_says(tmp_path: Path) -> None:
    found = documents("production-values.yaml")
    spec = only(found, "StatefulSet")["spec"]["template"]["spec"]
    maps = {each["metadata"]["name"]: each for each in found if each["kind"] == "ConfigMap"}
    configuration = configured(spec["containers"][0], spec, maps, tmp_path)
    assert configuration.server.public_url == "https://pypi.acme.example/"
    assert (configuration.storage.blobs, configuration.verification.workers) == (170 * 2**30, 2)
    assert [index.name for index in configuration.indexes] == ["internal", "pypi"]
    assert str(configuration.audit.path) == "/var/lib/assay/audit/audit.jsonl"
    assert configuration.audit.on_failure == "refuse"
    assert spec["containers"][0]["image"] == f"registry.acme.example/assay@sha256:{'0123456789abcdef' * 4}"


def test_the_shared_storage_of_the_product_is_that_of_the_scaled_examples(tmp_path: Path) -> None:
    def shared(values: str) -> SharedSettings:
        found = documents(values)
        spec = workload(found)["spec"]["template"]["spec"]
        maps = {each["metadata"]["name"]: each for each in found if each["kind"] == "ConfigMap"}
        settings = configured(spec["containers"][0], spec, maps, tmp_path).storage.shared
        assert settings is not None
        return settings

    scaled = shared("scaled-values.yaml")
    assert (scaled.deployment, scaled.objects, scaled.region) == ("acme-prod", "s3://assay-eu/", "eu-central-1")
    assert scaled.endpoint == "https://s3.acme.example:9000"
    assert (scaled.peer_names, scaled.peer_address) == (("pypi-proxy-assay-peers:8081",), "10.0.0.7:8081")
    assert (scaled.deadlines.ledger, scaled.ledger_grace) == (timedelta(seconds=3), timedelta(hours=1))
    fixed = shared("scaled-fixed-values.yaml")
    assert (fixed.peer_address, fixed.ledger_grace) == ("[fd00::7]:9443", timedelta(minutes=30))
    assert (fixed.password_file, fixed.endpoint, fixed.region, fixed.insecure) == (None, None, None, False)


@pytest.mark.parametrize("values", VALUES)
def test_every_pod_fits_the_restricted_standard_and_writes_to_its_volume_alone(values: str) -> None:
    found = documents(values)
    for spec in (workload(found)["spec"]["template"]["spec"], only(found, "Pod")["spec"]):
        assert violations(spec) == []
        assert spec["automountServiceAccountToken"] is False
        assert spec["enableServiceLinks"] is False
        [container] = spec["containers"]
        assert container["securityContext"]["readOnlyRootFilesystem"] is True


def container(spec: Document) -> Any:
    return spec["containers"][0]


LOOSER: list[tuple[str, Callable[[Document], object]]] = [
    ("hostNetwork", lambda spec: spec.update(hostNetwork=True)),
    ("hostPath", lambda spec: spec["volumes"].append({"name": "host", "hostPath": {"path": "/"}})),
    ("sysctl", lambda spec: spec["securityContext"].update(sysctls=[{"name": "kernel.msgmax", "value": "1"}])),
    ("runAsNonRoot", lambda spec: spec["securityContext"].update(runAsNonRoot=False)),
    ("runAsUser is 0", lambda spec: container(spec)["securityContext"].update(runAsUser=0)),
    ("seccompProfile", lambda spec: spec["securityContext"].pop("seccompProfile")),
    ("privileged", lambda spec: container(spec)["securityContext"].update(privileged=True)),
    ("allowPrivilegeEscalation", lambda spec: container(spec)["securityContext"].pop("allowPrivilegeEscalation")),
    ("not all dropped", lambda spec: container(spec)["securityContext"].update(capabilities={"drop": ["NET_RAW"]})),
    ("are added", lambda spec: container(spec)["securityContext"]["capabilities"].update(add=["SYS_ADMIN"])),
    ("procMount", lambda spec: container(spec)["securityContext"].update(procMount="Unmasked")),
    ("hostPort", lambda spec: container(spec)["ports"][0].update(hostPort=80)),
    ("seLinuxOptions", lambda spec: spec["securityContext"].update(seLinuxOptions={"type": "spc_t"})),
    ("appArmor", lambda spec: spec["securityContext"].update(appArmorProfile={"type": "Unconfined"})),
    ("init", lambda spec: spec.update(initContainers=[{"name": "init", "image": "x"}])),
]


@pytest.mark.parametrize(("what", "loosen"), LOOSER, ids=[case[0] for case in LOOSER])
def test_the_standard_sees_each_thing_that_is_let_loose(what: str, loosen: Callable[[Document], object]) -> None:
    spec = copy.deepcopy(only(documents("minimal-values.yaml"), "StatefulSet")["spec"]["template"]["spec"])
    assert violations(spec) == []
    loosen(spec)
    assert any(what in problem for problem in violations(spec)), violations(spec)


def test_the_sidecar_is_a_sidecar_on_loopback_that_the_build_waits_for(tmp_path: Path) -> None:
    found = documents_of(SIDECAR.read_text("utf-8"))
    spec = only(found, "Pod")["spec"]
    [assay] = spec["initContainers"]
    maps = {each["metadata"]["name"]: each for each in found if each["kind"] == "ConfigMap"}
    configuration = configured(assay, spec, maps, tmp_path)
    assert assay["restartPolicy"] == "Always"
    assert (configuration.server.host, configuration.server.port) == ("127.0.0.1", 8080)
    assert load_policy(maps["assay-sidecar"]["data"]["policy.toml"], "policy.toml").withheld == "stop"
    [build] = spec["containers"]
    assert environment(build)["PIP_INDEX_URL"] == "http://127.0.0.1:8080/simple/"
    assert environment(build)["UV_DEFAULT_INDEX"] == "http://127.0.0.1:8080/simple/"
    assert assay["startupProbe"]["exec"]["command"][0] == "python"
    assert violations(spec) == []
    assert assay["securityContext"]["readOnlyRootFilesystem"] is True
