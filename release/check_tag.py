"""Check that a tag can be released, and write the release notes: ``python3 release/check_tag.py v0.2.0``.

The tag must be ``v`` and the version in pyproject.toml. The chart must have the same version, and CHANGELOG.md a
section for it. With ``--repository OWNER/NAME``, the documentation and the example policy must name that repository
instead of the placeholder. The release workflow runs this before it installs anything, so the script uses only the
standard library.
"""

from __future__ import annotations

import argparse
import re
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PLACEHOLDER = re.compile(r"\bOWNER/(?:charts/)?assay\b")
POLICY = "config/examples/policy-assay.toml"


def find_errors(root: Path, tag: str, repository: str | None) -> Iterator[str]:
    """Yield a sentence for each reason against a release of this tag."""
    version = tomllib.loads((root / "pyproject.toml").read_text("utf-8"))["project"]["version"]
    if tag != f"v{version}":
        yield f"the tag is {tag}, but the version in pyproject.toml is {version}: expected the tag v{version}"
    chart = re.findall(
        r'(?m)^(?:version: |appVersion: ")([^"\s]+)', (root / "helm/assay/Chart.yaml").read_text("utf-8")
    )
    if chart != [version, version]:
        yield f"helm/assay/Chart.yaml has the versions {chart}: expected {version} twice"
    if not read_notes(root, version):
        yield f"CHANGELOG.md has no text under the heading `## {version}`"
    if repository is not None:
        yield from find_other_repositories(root, repository)


def find_other_repositories(root: Path, repository: str) -> Iterator[str]:
    """Yield an error for each file that still has the placeholder, and one if the policy names another repository."""
    globs = ("README.md", "SECURITY.md", "docs/**/*.md", "config/**/*", "helm/**/*")
    for path in sorted({path for glob in globs for path in root.glob(glob) if path.is_file()}):
        if found := PLACEHOLDER.search(path.read_text("utf-8")):
            yield f"{path.relative_to(root)} has the placeholder {found[0]}: replace OWNER by the owner of {repository}"
    policy = tomllib.loads((root / POLICY).read_text("utf-8"))
    named = policy["rules"][0]["publishers"][0]["repository"]
    if named.lower() != repository.lower():
        yield f"{POLICY} names the repository {named}: expected {repository}"


def read_notes(root: Path, version: str) -> str:
    """Return the section of a version in CHANGELOG.md without its heading; "" if there is no such section."""
    text = (root / "CHANGELOG.md").read_text("utf-8")
    section = re.search(rf"(?ms)^## \[?{re.escape(version)}\]?(?: [^\n]*)?\n(.*?)(?=^## |\Z)", text)
    return section[1].strip() if section else ""


def main() -> int:
    """Check the tag of the command line; return 1 and print each error, or write the notes and return 0."""
    parser = argparse.ArgumentParser(description="check that a tag can be released")
    parser.add_argument("tag")
    parser.add_argument("--repository", help="the repository on GitHub, OWNER/NAME")
    parser.add_argument("--notes", type=Path, help="file for the section of CHANGELOG.md")
    parser.add_argument("--root", type=Path, default=ROOT, help=argparse.SUPPRESS)
    options = parser.parse_args()
    errors = list(find_errors(options.root, options.tag, options.repository))
    for error in errors:
        print(f"check_tag: {error}", file=sys.stderr)
    if errors:
        return 1
    if options.notes is not None:
        options.notes.write_text(read_notes(options.root, options.tag.removeprefix("v")) + "\n", "utf-8")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
