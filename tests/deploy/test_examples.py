"""Examples for build machines: they match their schemas, pin their downloads, use existing commands, and work."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from assay.cli import build_parser
from tests.deploy.tools import EXAMPLES, Document, documents_of, free_port, run
from tests.paths import ROOT
from tests.world.clients.installers import ClientResult, run_client
from tests.world.index.distributions import wheel
from tests.world.index.fake_index import Index, ListedFile

pytestmark = pytest.mark.deploy

COMPOSE = EXAMPLES / "docker-compose.yaml"
GITHUB = EXAMPLES / "github-actions.yaml"
GITLAB = EXAMPLES / "gitlab-ci.yaml"
SIDECAR = EXAMPLES / "sidecar-pod.yaml"
SCRIPT = EXAMPLES / "behind-assay.sh"
FORMATS = {
    COMPOSE: ["compose-spec"],
    GITHUB: ["github-workflows"],
    GITLAB: ["gitlab-ci", "--data-transform", "gitlab-ci"],
}


@pytest.mark.parametrize("example", FORMATS, ids=lambda path: path.name)
def test_each_example_fits_its_schema(example: Path, tmp_path: Path) -> None:
    schema, *options = FORMATS[example]
    fits = run("check-jsonschema", "--builtin-schema", f"vendor.{schema}", *options, example)
    assert fits.returncode == 0, fits.stdout
    spoilt = tmp_path / "spoilt.yaml"
    spoilt.write_text(re.sub(r"(?m)^( *)(services|jobs|script):", r"\1\2: 1 #", example.read_text("utf-8")))
    refused = run("check-jsonschema", "--builtin-schema", f"vendor.{schema}", *options, spoilt)
    assert refused.returncode != 0


@pytest.mark.parametrize("version", ["1.29.0", "1.37.0"])
def test_the_sidecar_pod_is_what_kubernetes_takes(version: str) -> None:
    strict = run("kubernetes-validate", "--strict", "-k", version, SIDECAR)
    assert (strict.returncode, strict.stdout.count(" passed ")) == (0, 2), strict.stdout


def test_the_workflow_has_nothing_that_a_security_linter_objects_to() -> None:
    audited = run("zizmor", "--offline", "--no-progress", "--persona", "pedantic", GITHUB)
    assert audited.returncode == 0, audited.stdout


def test_the_dockerfile_has_nothing_that_its_linter_objects_to(tmp_path: Path) -> None:
    linted = run("hadolint", "Dockerfile")
    assert (linted.returncode, linted.stdout) == (0, "")
    loose = tmp_path / "Dockerfile"
    loose.write_text("FROM python:latest\nRUN cd / && pip install requests\n")
    assert run("hadolint", str(loose)).returncode != 0


def test_every_image_and_action_is_pinned_by_digest_or_is_yours_to_name() -> None:
    base = re.search(r"(?m)^ARG BASE_IMAGE=(\S+@sha256:[0-9a-f]{64})$", (ROOT / "Dockerfile").read_text("utf-8"))
    assert base
    named = re.compile(r"(?m)^\s*(?:- )?(?:image|uses|ASSAY_IMAGE): *(\S+)")
    for example in (COMPOSE, GITHUB, GITLAB):
        found = named.findall(example.read_text("utf-8"))
        assert found, example.name
        for image in found:
            pinned = re.search(r"@(?:sha256:[0-9a-f]{64}|[0-9a-f]{40})$", image)
            assert pinned or image.startswith("${ASSAY_IMAGE"), (example.name, image)
            if "python:" in image:
                assert image == base[1], "one base, raised together"


def test_the_commands_in_the_examples_exist() -> None:
    said = set()
    for example in filter(Path.is_file, EXAMPLES.rglob("*")):
        text = example.read_text("utf-8")
        said |= set(
            re.findall(r"(?:^|[&;`] *|ASSAY_IMAGE\" )assay (audit|serve|check|explain|cache)\b", text, re.MULTILINE)
        )
        said |= set(re.findall(r"(?:\"\$ASSAY_IMAGE\" |command: \[|args: \[)(audit|serve|cache)\b", text))
    assert {"audit", "serve"} <= said
    for command in said:
        with pytest.raises(SystemExit) as exit_status:
            build_parser().parse_args([command, "--help"])
        assert exit_status.value.code == 0, command


def test_compose_gives_the_proxy_nothing_that_it_does_not_need() -> None:
    [compose] = documents_of(COMPOSE.read_text("utf-8"))
    services: dict[str, Document] = compose["services"]
    assert set(services) == {"assay", "audit", "warm"}
    for name, each in services.items():
        assert each["read_only"] is True, name
        assert each["cap_drop"] == ["ALL"], name
        assert each["security_opt"] == ["no-new-privileges:true"], name
        assert each["user"] == "10001:10001", name
    assert services["assay"]["ports"] == ["127.0.0.1:8080:8080"], "no authentication of its own: loopback"
    assert "./assay:/etc/assay:ro" in services["assay"]["volumes"]


async def behind(index: Index, tmp_path: Path, locked: list[ListedFile], *command: str) -> ClientResult:
    """Run `behind-assay.sh` with the test's index and a lockfile of these files."""
    lock, policy, configuration = (tmp_path / name for name in ("requirements.txt", "policy.toml", "proxy.toml"))
    pins = (f"{each.built.project}==1.0 --hash=sha256:{each.built.sha256}\n" for each in locked)
    lock.write_text("".join(pins), "utf-8")
    policy.write_text(
        'version = 1\n[[rules]]\nname = "not these"\nprojects = ["bad"]\ndeny = "we use another"\n'
        '[[rules]]\nname = "all"\nprojects = ["*"]\n',
        "utf-8",
    )
    configuration.write_text(
        f'[trust]\nrefresh = false\n[verification]\nworkers = 0\n[[indexes]]\nname = "test"\nurl = "{index.url}"\n'
        f'file-hosts = ["{index.files_host}"]\n',
        "utf-8",
    )
    variables = {
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
        "ASSAY_CONFIG": configuration,
        "ASSAY_POLICY": policy,
        "ASSAY_STORAGE__DIRECTORY": tmp_path / "storage",
        "ASSAY_SERVER__PORT": free_port(),
        "ASSAY_LOG": tmp_path / "assay.log",
        "PIP_NO_CACHE_DIR": 1,
    }
    settings = [f"{name}={value}" for name, value in variables.items()]
    return await run_client("env", *settings, "sh", str(SCRIPT), str(lock), *command, home=tmp_path, cwd=tmp_path)


def test_the_script_is_a_script_for_any_posix_shell() -> None:
    assert subprocess.run(["sh", "-n", SCRIPT], check=False).returncode == 0
    assert os.access(SCRIPT, os.X_OK)


async def test_the_script_warms_the_cache_and_runs_the_command_behind_assay(tmp_path: Path) -> None:
    async with Index() as index:
        good = index.add(wheel("good", "1.0"))
        install = "python3 -m pip install --target target -r requirements.txt && echo to $UV_DEFAULT_INDEX && exit 7"
        outcome = await behind(index, tmp_path, [good], "sh", "-c", install)
        assert outcome.status == 7, outcome.output
        assert "to http://127.0.0.1:" in outcome.output
        assert (tmp_path / "target" / "good-1.0.dist-info").is_dir()
        assert index.count(good.path) == 1, "warmed once, then from the cache"
        log = (tmp_path / "assay.log").read_text("utf-8")
        assert '"event": "stopped"' in log, "Assay goes when the command has ended"


async def test_the_script_fails_on_a_withheld_file_before_anything_runs(tmp_path: Path) -> None:
    async with Index() as index:
        good, bad = index.add(wheel("good", "1.0")), index.add(wheel("bad", "1.0"))
        outcome = await behind(index, tmp_path, [good, bad], "touch", "ran")
        assert outcome.status == 1, outcome.output
        assert "denied by the policy: we use another" in outcome.output
        assert not (tmp_path / "ran").exists()
        assert index.count(bad.path) == 0
