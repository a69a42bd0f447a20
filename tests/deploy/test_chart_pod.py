"""Pod of the chart, run by ``podman kube play``: it starts, serves by the policy of its ConfigMap, and stops.

Not a cluster: there are no Service, probes, NetworkPolicy or hooks here; those are held to Kubernetes' schemas alone.
Takes the image of test_image.py, and is as long.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from tests.deploy.containers import (
    STORAGE,
    Container,
    policy_text,
    ready,
)
from tests.deploy.tools import Document, documents, free_port, only
from tests.world.clients.installers import ClientResult, run_client
from tests.world.index.distributions import wheel
from tests.world.index.fake_index import Index

pytestmark = [pytest.mark.deploy, pytest.mark.long]

_ENGINE = """
[containers]
default_ulimits = ["nofile=1024:1024", "nproc=1024:1024"]
[engine]
runtime = "runc"
cgroup_manager = "cgroupfs"
events_logger = "none"
[engine.runtimes]
runc = ["/usr/sbin/runc"]
"""


async def podman(tmp_path: Path, *arguments: str) -> ClientResult:
    engine = tmp_path / "containers.conf"
    settings = (f"CONTAINERS_STORAGE_CONF={STORAGE}", f"CONTAINERS_CONF={engine}")
    return await run_client("env", *settings, "podman", "--log-level", "fatal", *arguments, home=tmp_path)


def playable(found: list[Document], name: str, port: int) -> list[Document]:
    """Return the ConfigMaps and the StatefulSet's pod on the host's network, without fields that podman lacks."""
    template = only(found, "StatefulSet")["spec"]["template"]
    spec = template["spec"] | {"hostNetwork": True}
    for key in ("affinity", "nodeSelector", "tolerations", "serviceAccountName"):
        spec.pop(key, None)
    [container] = spec["containers"]
    # Its probes use curl within the container, and its ports cannot be those of the host.
    for key in ("startupProbe", "livenessProbe", "readinessProbe", "ports"):
        container.pop(key)
    for variable in container["env"]:
        if variable["name"] == "ASSAY_SERVER__PORT":
            variable["value"] = str(port)
    pod = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name, "labels": template["metadata"]["labels"]}}
    return [*(each for each in found if each["kind"] == "ConfigMap"), pod | {"spec": spec}]


def values(image: str, index: Index, name: str) -> Mapping[str, object]:
    repository, _, tag = image.rpartition(":")
    configuration = (
        f'[trust]\nrefresh = false\n[[indexes]]\nname = "test"\nurl = "{index.url}"\n'
        f'file-hosts = ["{index.files_host}"]\n'
    )
    return {
        "fullnameOverride": name,
        "image": {"repository": repository, "tag": tag, "pullPolicy": "Never"},
        "configuration.toml": configuration,
        "policy.toml": policy_text("denied"),
        "server.host": "127.0.0.1",
        "audit.enabled": True,
        "extraEnv": [],
        "extraEnvFrom": [],
    }


@asynccontextmanager
async def played(found: list[Document], name: str, tmp_path: Path) -> AsyncIterator[Container]:
    port = free_port()
    (tmp_path / "containers.conf").write_text(_ENGINE, "utf-8")
    play = tmp_path / "pod.yaml"
    play.write_text("\n---\n".join(json.dumps(each) for each in playable(found, name, port)), "utf-8")
    started = await podman(tmp_path, "kube", "play", "--network", "host", str(play))
    try:
        assert started.status == 0, started.output
        await ready(f"http://127.0.0.1:{port}", tmp_path, f"{name}-assay")
        yield Container(f"{name}-assay", f"http://127.0.0.1:{port}", tmp_path, 0)
    finally:
        await podman(tmp_path, "pod", "rm", "--force", "--time", "30", name)
        await podman(tmp_path, "volume", "rm", f"{name}-policy", f"{name}-configuration")


async def test_the_pod_of_the_chart_runs_serves_and_passes_the_test_of_the_chart(image: str, tmp_path: Path) -> None:
    if shutil.which("catatonit") is None:
        pytest.skip("catatonit is missing: bash tests/install-tools.sh image")
    async with Index() as index:
        for project in ("good", "denied"):
            index.add(wheel(project, "1.0"))
        name = f"assay-pod-{free_port()}"
        found = documents("trial-values.yaml", values(image, index, name))
        [tested] = only(found, "Pod")["spec"]["containers"]
        async with played(found, name, tmp_path) as assay:
            assert await assay.listed("good") == ["good-1.0-py3-none-any.whl"]
            assert await assay.listed("denied") == []
            port = assay.origin.rpartition(":")[2]
            code = tested["args"][0].replace(f'"{name}", 80', f'"127.0.0.1", {port}')
            outcome = await podman(tmp_path, "exec", assay.name, *tested["command"], code)
            assert outcome.status == 0, outcome.output
            assert "/readyz 200" in outcome.output
            assert await metric_names(assay) >= {"assay_requests_total", "assay_stored_bytes"}
            stopped = await podman(tmp_path, "pod", "stop", "--time", "30", name)
            assert stopped.status == 0, stopped.output
            status = await podman(tmp_path, "inspect", "--format", "{{.State.ExitCode}}", assay.name)
            assert status.output.strip() == "0"


async def metric_names(assay: Container) -> set[Any]:
    """Return the names of the metrics at the path of the chart's ServiceMonitor."""
    async with aiohttp.ClientSession() as session, session.get(f"{assay.origin}/metrics") as answer:
        assert answer.status == 200
        return {line.split("{")[0].split(" ")[0] for line in (await answer.text()).splitlines() if line[:1] != "#"}
