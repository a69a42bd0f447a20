"""Code blocks of README and docs: configuration and policies load, commands exist, make targets are defined."""

from __future__ import annotations

import ast
import re
import shlex
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from assay.config import Configuration
from assay.policy.language.document import load_policy
from tests.paths import DOCS, ROOT
from tests.project.test_docs import unknown

PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", ROOT / "tests" / "README.md", *sorted(DOCS.glob("*.md"))]
_BLOCK = re.compile(r"^```(?P<language>[a-z]*)\n(?P<text>.*?)^```$", re.MULTILINE | re.DOTALL)
_CONFIGURATION_TABLES = {
    "server",
    "storage",
    "indexes",
    "trust",
    "verification",
    "audit",
    "views",
    "evidence",
    "advisories",
    "policy",
    "freshness",
    "help",
}
_OTHER_TOOLS = {"tool"}
_SHELL_PROGRAMS = {
    "install",
    "mv",
    "rm",
    ".",
    "pip", "uv", "curl", "docker", "podman", "kubectl", "helm", "openssl", "bash", "python", ".venv/bin/python",
    "pre-commit", "git", "cd", "export", "kill", "sqlite3", "date", "diff", "sed",
    "cosign", "gh", "pipx", "pip-audit", "pypi-attestations", "skopeo",
}  # fmt: skip
"""Programs other than Assay and make; the clients' tests run pip and uv as the pages do."""


@dataclass(frozen=True)
class Block:
    """A code block of a page."""

    page: str
    line: int
    language: str
    text: str

    def __str__(self) -> str:
        return f"{self.page}:{self.line}"


def _read_blocks() -> Iterator[Block]:
    for page in PAGES:
        source = page.read_text("utf-8")
        for found in _BLOCK.finditer(source):
            line = source.count("\n", 0, found.start()) + 1
            yield Block(page.relative_to(ROOT).as_posix(), line, found["language"], found["text"])


BLOCKS = list(_read_blocks())


def of_language(*languages: str) -> list[Block]:
    return [block for block in BLOCKS if block.language in languages]


def load_toml(text: str) -> str:
    """Load a block with the product's own models; return what it is."""
    tables = tomllib.loads(text)
    if set(tables) <= _OTHER_TOOLS:
        return "another tool's"
    if set(tables) == {"expect"}:
        return "expectations"
    # A policy has a key `advisories` with a text, and a configuration has tables of this name.
    named = {key for key, value in tables.items() if not isinstance(value, str)}
    if named & _CONFIGURATION_TABLES and "version" not in tables:
        indexes = [{"name": "pypi", "url": "https://pypi.org/simple/", "file-hosts": ["files.pythonhosted.org"]}]
        # A view with users needs a method of authentication, which another block of the same page shows.
        defaults = {"indexes": indexes, "server": {"auth": {"tokens": "tokens"}}}
        Configuration.model_validate(defaults | tables)
        return "configuration"
    load_policy(text if "version" in tables else f"version = 1\n{text}", "block")
    return "policy"


def commands_of(block: Block) -> Iterator[str]:
    """Yield the commands of a shell block, without comments, prompts and output."""
    text = block.text.replace("\\\n", " ")
    for line in text.splitlines():
        if block.language == "console" and not line.startswith("$ "):
            continue
        command = re.sub(r"\s#\s.*$", "", line.removeprefix("$ ")).strip()
        if command and not command.startswith("#"):
            yield command


def programs_of(command: str) -> Iterator[list[str]]:
    """Yield each program of a command line with its arguments, without assignments and redirections."""
    for part in re.split(r"\s*(?:&&|;|\|\s)\s*", re.sub(r"\$\([^)]*\)|\$\w+", "x", command)):
        words = shlex.split(re.sub(r"\s(?:>>?|<)\s*\S+", "", part))
        while words and re.fullmatch(r"\w+=\S*", words[0]):
            words = words[1:]
        if words:
            yield words


def unrunnable(command: str) -> list[str]:
    """Return what prevents a command from running as printed."""
    found = []
    for program, *arguments in programs_of(command):
        match program:
            case "assay":
                found += unknown(shlex.join(arguments).replace("'", ""))
            case "make":
                targets = re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text("utf-8"), re.MULTILINE)
                found += [each for each in arguments if "=" not in each and each not in targets]
            case "bash" | "python" | ".venv/bin/python":
                paths = [each for each in arguments if "/" in each and not each.startswith("-")]
                found += [each for each in paths if not (ROOT / each).exists()]
            case "echo" | "printf" | "sha256sum" | "cut":
                pass
            case _:
                found += [] if program in _SHELL_PROGRAMS else [program]
    return found


@pytest.mark.parametrize("block", of_language("toml"), ids=str)
def test_a_toml_block_loads_as_printed(block: Block) -> None:
    assert load_toml(block.text)


@pytest.mark.parametrize("block", of_language("python"), ids=str)
def test_a_python_block_compiles(block: Block) -> None:
    compile(block.text, str(block), "exec", flags=ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)


def test_every_language_is_checked_here_or_elsewhere() -> None:
    # tests/service/web/test_front_proxies.py runs the proxies' configurations; a block without a language is output.
    assert {block.language for block in BLOCKS} <= {
        "toml",
        "sh",
        "console",
        "python",
        "mermaid",
        "",
        "nginx",
        "haproxy",
        "yaml",
    }


@pytest.mark.parametrize("block", of_language("sh", "console"), ids=str)
def test_every_command_of_a_shell_block_exists(block: Block) -> None:
    wrong = {command: unrunnable(command) for command in commands_of(block)}
    assert {command: found for command, found in wrong.items() if found} == {}


def test_commands_that_need_no_network_run_as_printed(tmp_path: Path) -> None:
    commands = {command for block in of_language("sh", "console") for command in commands_of(block)}
    assert "assay check" in commands
    readme = next(block for block in of_language("toml") if block.page == "README.md")
    (tmp_path / "policy.toml").write_text(readme.text)
    environment = {
        "PATH": str(Path(sys.executable).parent),
        "ASSAY_POLICY": "policy.toml",
        "ASSAY_STORAGE__DIRECTORY": str(tmp_path / "storage"),
    }
    for command in ("assay check", "assay policy schema", "assay trust show"):
        ended = subprocess.run(
            shlex.split(command), cwd=tmp_path, env=environment, capture_output=True, text=True, check=False
        )
        assert ended.returncode == 0, (command, ended.stdout, ended.stderr)


def test_faults_are_found() -> None:
    assert unrunnable("assay audit LOCKFILE && make serve") == []
    assert unrunnable("assay audit --colour LOCKFILE") == ["--colour"]
    assert unrunnable("make frobnicate") == ["frobnicate"]
    assert unrunnable("frobnicate x") == ["frobnicate"]
    assert unrunnable("bash tests/none.sh") == ["tests/none.sh"]
    assert load_toml("[server]\nport = 9000") == "configuration"
    assert load_toml('[[rules]]\nname = "a"\nprojects = ["*"]\nmin-age = "3 days"') == "policy"
    with pytest.raises(Exception, match="prot"):
        load_toml("[server]\nprot = 9000")
    assert {load_toml(block.text) for block in of_language("toml")} >= {"configuration", "policy", "expectations"}
    assert sum(1 for block in of_language("sh", "console") for _ in commands_of(block)) > 30
