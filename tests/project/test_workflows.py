"""Workflows in .github: linters accept them, actions are pinned, and jobs that run code of others can only read."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import tomllib
from pathlib import Path
from typing import Any

import pytest

from tests.deploy import tools
from tests.paths import ROOT, TOOLS

WORKFLOWS = ROOT / ".github" / "workflows"
TEXTS = {path.name: path.read_text("utf-8") for path in sorted(WORKFLOWS.glob("*.yml"))}
USES = re.compile(r"(?m)^\s*(?:- )?uses: (?P<action>\S+?)(?:@(?P<digest>\S+))?(?: # (?P<version>\S+))?$")
RUNS_CODE = re.compile(r"\b(?:make|pip|pytest|npm|uv|bash tests/\S+|\.ci/run)\b|docker/build-push-action")
"""Steps that run code of the project's tests and build, or of packages from an index."""
READ = {"contents": "read"}
CHECKOUT = re.findall(r"actions/checkout@\w+ # \S+", TEXTS["ci.yml"])[0]


def lint(repository: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    command = ["bash", "tests/lint-workflows.sh", str(repository)]
    given = {name: value for name, value in os.environ.items() if name != "CI"} | environment
    return subprocess.run(command, cwd=ROOT, env=given, capture_output=True, text=True, timeout=60, check=False)


@pytest.fixture
def linters() -> None:
    """Skip the test if a linter is missing."""
    for name in ("zizmor", "check-jsonschema"):
        tools.tool(name)


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    shutil.copytree(ROOT / ".github", tmp_path / ".github")
    return tmp_path


def change(repository: Path, name: str, old: str, new: str) -> None:
    path = repository / ".github" / name
    text = path.read_text("utf-8")
    assert old in text
    path.write_text(text.replace(old, new, 1), "utf-8")


@pytest.mark.deploy
@pytest.mark.usefixtures("linters")
def test_the_linters_accept_the_workflows(repository: Path) -> None:
    linted = lint(repository)
    assert linted.returncode == 0, linted.stdout + linted.stderr


@pytest.mark.deploy
@pytest.mark.usefixtures("linters")
@pytest.mark.parametrize(
    ("name", "old", "new", "finding"),
    [
        ("workflows/ci.yml", CHECKOUT, "actions/checkout@v7", "unpinned-uses"),
        ("workflows/ci.yml", "        with:\n          persist-credentials: false\n", "", "artipacked"),
        ("workflows/release.yml", "permissions: {}", "permissions: write-all", "excessive-permissions"),
        ("workflows/release.yml", '"$GITHUB_REF_NAME" --rep', "${{ github.ref_name }} --rep", "template-injection"),
        ("workflows/scheduled.yml", "timeout-minutes:", "timeout-minute:", "timeout-minute"),
        ("dependabot.yml", "patterns:", "pattern:", "pattern"),
        ("dependabot.yml", "    cooldown:\n      default-days: 14\n", "", "dependabot-cooldown"),
    ],
    ids=["unpinned action", "credentials", "all permissions", "template", "schema", "other schema", "no cooldown"],
)
def test_the_twin_a_planted_fault_fails(repository: Path, name: str, old: str, new: str, finding: str) -> None:
    change(repository, name, old, new)
    linted = lint(repository)
    assert linted.returncode != 0
    assert finding in linted.stdout + linted.stderr


def test_missing_linters_are_announced_and_are_an_error_in_ci(tmp_path: Path) -> None:
    skipped = lint(ROOT, ASSAY_TOOLS=str(tmp_path))
    assert (skipped.returncode, "NOT CHECKED. Run: bash tests/install-tools.sh" in skipped.stderr) == (0, True)
    assert lint(ROOT, ASSAY_TOOLS=str(tmp_path), CI="true").returncode != 0


def test_make_lint_checks_the_workflows() -> None:
    recipe = re.search(r"(?m)^lint:.*\n((?:\t.*\n)+)", (ROOT / "Makefile").read_text("utf-8"))
    assert recipe
    assert "\tbash tests/lint-workflows.sh\n" in recipe[1]


def find_unpinned(text: str) -> list[str]:
    """Return the actions of other repositories that are not pinned by a commit with its version beside it."""
    foreign = [found for found in USES.finditer(text) if not found["action"].startswith("$/")]
    pinned = re.compile(r"[0-9a-f]{40} v\d+\.\d+\.\d+")
    return [found["action"] for found in foreign if not pinned.fullmatch(f"{found['digest']} {found['version']}")]


@pytest.mark.parametrize("name", TEXTS)
def test_each_action_is_pinned_by_commit_and_names_its_version(name: str) -> None:
    assert find_unpinned(TEXTS[name]) == []
    assert len(USES.findall(TEXTS[name])) == len(re.findall(r"\buses:", TEXTS[name])) > 1
    images = re.findall(r"\b(?:docker\.io|ghcr\.io|quay\.io)/[\w./-]+:\S+", TEXTS[name])
    assert [image for image in images if not re.search(r"@sha256:[0-9a-f]{64}$", image)] == []


def test_the_twin_an_action_by_tag_or_without_a_version_is_found() -> None:
    digest = "a" * 40
    text = f"- uses: a/tag@v4\n- uses: a/none@{digest}\n- uses: a/good@{digest} # v1.2.3\n  uses: a/bare\n"
    assert find_unpinned(text) == ["a/tag", "a/none", "a/bare"]


def test_each_action_has_one_version_everywhere() -> None:
    used = {found.group("action", "digest", "version") for text in TEXTS.values() for found in USES.finditer(text)}
    assert len(used) == len({action for action, _, _ in used})


def parse(name: str) -> dict[str, Any]:
    [workflow] = tools.documents_of(TEXTS[name])
    return workflow


def find_steps(job: dict[str, Any]) -> str:
    return "\n".join(f"{step.get('uses', '')}\n{step.get('run', '')}" for step in job.get("steps", []))


def find_privileged(workflow: dict[str, Any]) -> list[str]:
    """Return the jobs that run code of others with more than the right to read the repository, or with a secret."""
    return [
        name
        for name, job in workflow["jobs"].items()
        if (RUNS_CODE.search(find_steps(job)) or "steps" not in job)
        and (job.get("permissions", workflow["permissions"]) != READ or "secrets" in str(job) or "environment" in job)
    ]


@pytest.mark.deploy
@pytest.mark.parametrize("name", TEXTS)
def test_jobs_that_run_code_of_others_can_only_read(name: str) -> None:
    workflow = parse(name)
    assert workflow["permissions"] == {}
    assert find_privileged(workflow) == []
    assert "secrets." not in TEXTS[name], "publishing needs no stored secret"
    assert all("timeout-minutes" in job for job in workflow["jobs"].values() if "steps" in job)


@pytest.mark.deploy
def test_the_twin_a_build_with_rights_is_found() -> None:
    workflow = parse("release.yml")
    workflow["jobs"]["build"]["permissions"] = {"contents": "read", "id-token": "write"}
    workflow["jobs"]["ci"]["permissions"] = {"contents": "write"}
    workflow["jobs"]["image-build"]["environment"] = "pypi"
    assert find_privileged(workflow) == ["ci", "build", "image-build"]


@pytest.mark.deploy
def test_everything_is_built_before_anything_is_published() -> None:
    jobs = parse("release.yml")["jobs"]

    def needed(name: str) -> set[str]:
        direct = set(jobs[name].get("needs", []))
        return direct.union(*(needed(each) for each in direct))

    published = {name for name, job in jobs.items() if "write" in str(job.get("permissions"))} - {"provenance"}
    assert published == {"pypi", "image", "chart", "github"}
    for name in published:
        assert {"ci", "build", "image-build"} <= needed(name), name
    assert needed("github") == set(jobs) - {"github"}


@pytest.mark.deploy
def test_the_policy_for_releases_describes_the_workflow() -> None:
    workflow = parse("release.yml")
    policy = tomllib.loads((ROOT / "config" / "examples" / "policy-assay.toml").read_text("utf-8"))
    [rule] = policy["rules"]
    [publisher] = rule["publishers"]
    assert publisher["environment"] == workflow["jobs"]["pypi"]["environment"]["name"]
    assert publisher["workflow"] in TEXTS
    # YAML 1.1 reads the key `on` as true.
    assert (publisher["trigger"], publisher["ref"]) == ("push", "refs/tags/v*")
    assert workflow.get("on", workflow.get("true")) == {"push": {"tags": ["v*"]}}


@pytest.mark.deploy
def test_ci_tests_each_supported_python() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    supported = re.findall(r"Python :: (3\.\d+)", "\n".join(project["classifiers"]))
    jobs = parse("ci.yml")["jobs"]
    assert jobs["checks"]["strategy"]["matrix"]["python"] == supported
    assert jobs["newest"]["continue-on-error"] is True
    assert "continue-on-error" not in jobs["checks"]


def test_workflows_name_only_scripts_and_targets_that_exist() -> None:
    targets = set(re.findall(r"(?m)^([a-z-]+):", (ROOT / "Makefile").read_text("utf-8")))
    for name, text in TEXTS.items():
        commands = re.sub(r"(?m)^\s*#.*$", "", text)
        scripts = set(re.findall(r"(?:bash|python3|CI=true) ((?:tests|release|\.ci)/\S+)", commands))
        called = {each for made in re.findall(r"\bmake ([a-z -]+)", commands) for each in made.split()}
        assert [path for path in scripts if not (ROOT / path).is_file()] == [], name
        assert called <= targets, name
        assert scripts | called, name


@pytest.mark.deploy
@pytest.mark.skipif(not (TOOLS / "venv").exists(), reason="no tools: bash tests/install-tools.sh")
def test_each_shell_step_is_a_valid_script() -> None:
    for name in TEXTS:
        for job in parse(name)["jobs"].values():
            for step in job.get("steps", []):
                script = re.sub(r"\$\{\{.*?\}\}", "x", step.get("run", ""))
                assert subprocess.run(["bash", "-n", "-c", script], check=False).returncode == 0, script
