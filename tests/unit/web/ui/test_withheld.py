"""Page for a withheld file: alternatives, the waiver and its command, the link to the file's place, hostile names."""

from __future__ import annotations

import re
import shlex
from dataclasses import replace
from datetime import UTC, date, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st
from packaging.version import Version

from assay.cli import build_parser
from assay.cli.commands.waive import parse_expiry
from assay.policy.language.document import load_policy
from assay.policy.language.proposal import format_waiver_of
from assay.policy.verdict import Approved, ReasonCode, Withheld, approve, state_reason
from assay.simple.model import Distribution, File, Kind, NormalizedName
from assay.web.ui.project import ProjectFacts, Selection, render_project_page
from assay.web.ui.releases import build_file_url, build_version_url
from assay.web.ui.withheld import (
    WAIVER_REASON,
    WithheldContext,
    format_waive_command,
    render_withheld_page,
)
from tests.unit.policy.factories import a_file, a_policy, ago, page
from tests.world.clients.html_reader import HtmlReader, read_harmless_page

NOW = datetime(2026, 11, 21, 12, tzinfo=UTC)
PROJECT = NormalizedName("widget")
YOUNG = a_policy('min-age = "9 days"')
SHELL = "widget-1.0.win-amd64-$(touch${IFS}owned);'`id`\"&|*!.exe"
"""Valid filename of an installer, with characters that a shell interprets."""


def judged(*files: File, policy: str = 'min-age = "9 days"') -> tuple[list[Withheld], list[Approved]]:
    verdicts = page(a_policy(policy), *files)
    return [each for each in verdicts if isinstance(each, Withheld)], [
        each for each in verdicts if isinstance(each, Approved)
    ]


def shown(withheld: Withheld, *approved: Approved, root: str = "../", **changes: object) -> HtmlReader:
    context = WithheldContext(project=PROJECT, approved=approved, now=NOW)
    return read_harmless_page(render_withheld_page(withheld, replace(context, **changes), root))  # type: ignore[arg-type] # fields by name


def code_blocks(body: bytes) -> list[str]:
    return re.findall(r"<pre[^>]*><code>(.*?)</code>", body.decode(), re.DOTALL)


def test_the_nearest_approved_version_has_its_requirement_and_a_link() -> None:
    withheld, approved = judged(a_file("1.0", uploaded=ago(90)), a_file("2.0", uploaded=ago(1)))
    found = shown(withheld[0], *approved)
    assert "Nearest approved version: 1.0 (widget==1.0)." in found.text
    assert "../project/widget?version=1.0#version-1.0" in found.links


@pytest.mark.parametrize(
    "code", [code for code in ReasonCode if code not in {ReasonCode.BAD_FILENAME, ReasonCode.OTHER_PROJECT}]
)
def test_every_reason_has_the_nearest_approved_version(code: ReasonCode) -> None:
    (approved,) = judged(a_file("1.0", uploaded=ago(90)))[1]
    made = Withheld(
        file=a_file("2.0"), reasons=(state_reason(code, "all", "x"),), enforced=True, rule="all", nearest="1.0"
    )
    assert "Nearest approved version: 1.0 (widget==1.0)." in shown(made, approved).text
    assert f"- {code}: x; nearest approved version: 1.0" in shown(made, approved).text


def test_a_version_with_approved_files_names_these() -> None:
    strict = 'types = ["wheel"]'
    withheld, approved = judged(a_file("1.0"), a_file("1.0", kind=Kind.SDIST), a_file("0.9"), policy=strict)
    assert withheld[0].nearest is None
    found = shown(withheld[0], *approved)
    assert f"Nearest approved version: 1.0. Approved files of this version: {a_file('1.0').filename}." in found.text
    files = [replace(a_file("1.0"), filename=f"widget-1.0-py3-none-any{number}.whl") for number in range(7)]
    many = [approve(each, rule="all", evidence=None) for each in files]
    assert "widget-1.0-py3-none-any4.whl and 2 more." in shown(withheld[0], *many).text


def test_a_file_without_a_version_gets_the_newest_final_version() -> None:
    approved = judged(a_file("1.0", uploaded=ago(90)), a_file("1.1rc1", uploaded=ago(90)))[1]
    nameless = Withheld(
        file=replace(a_file("1.0"), filename="widget.whl", distribution=None),
        reasons=(state_reason(ReasonCode.BAD_FILENAME, None, "x"),),
        enforced=True,
    )
    found = shown(nameless, *approved)
    assert "Nearest approved version: 1.0 (widget==1.0)." in found.text
    assert "../project/widget?version=none#file-widget.whl" in found.links
    only_pre_release = [each for each in approved if each.file.filename != a_file("1.0").filename]
    assert "Nearest approved version: 1.1rc1 (" in shown(nameless, *only_pre_release).text


def test_a_project_with_nothing_approved_says_so_and_an_unknown_page_says_nothing() -> None:
    (withheld,) = judged(a_file("2.0", uploaded=ago(1)))[0]
    assert "No version of widget is approved." in shown(withheld).text
    assert "Nearest approved version: none" in shown(withheld).text
    unknown = shown(withheld, project=None)
    assert "approved version" not in unknown.text
    assert not [link for link in unknown.links if "project/" in link]


def test_the_page_has_the_waiver_that_its_command_writes() -> None:
    (withheld,) = judged(a_file("2.0", uploaded=ago(1)))[0]
    body = render_withheld_page(withheld, WithheldContext(project=PROJECT, view="strict", now=NOW), "../")
    command, toml = code_blocks(body)
    words = shlex.split(command.replace("&#x27;", "'"))
    assert words[0] == "assay"
    options = build_parser().parse_args(words[1:])
    assert (options.module, options.files, options.view) == ("waive", [withheld.file.filename], "strict")
    expires = parse_expiry(options.expires, NOW)
    assert expires == date(2026, 12, 5)
    written = "\n".join(format_waiver_of([withheld], expires=expires, reason=options.reason)).strip()
    assert toml.replace("&quot;", '"') == written
    (waiver,) = load_policy(f"version = 1\n{written}\n", "policy.toml").waivers
    assert (waiver.sha256, waiver.reason) == ((withheld.file.sha256,), WAIVER_REASON)
    assert "--view" not in (format_waive_command(withheld, None) or "")


def test_what_no_waiver_lifts_has_no_command_but_what_to_do_instead() -> None:
    (withheld,) = judged(a_file("2.0"), policy='deny = "use gadget"')[0]
    assert format_waive_command(withheld, None) is None
    found = shown(withheld)
    assert (
        "No waiver can approve this file, because no waiver lifts denied. Instead: if the denial is wrong, change the"
        " rule." in found.text
    )
    assert "assay waive" not in found.text
    assert "[[waivers]]" not in found.text


def hostile_file(filename: str) -> File:
    distribution = Distribution(project=PROJECT, version=Version("1.0"), kind=Kind.INSTALLER)
    return replace(a_file("1.0", uploaded=ago(1)), filename=filename, distribution=distribution)


@given(st.text(st.characters(min_codepoint=33, max_codepoint=126), min_size=1, max_size=60) | st.just(SHELL))
def test_the_command_names_the_file_whatever_it_is_called(filename: str) -> None:
    made = Withheld(
        file=hostile_file(f"w{filename}.exe"), reasons=(state_reason(ReasonCode.TOO_YOUNG, "all", "x"),), enforced=False
    )
    words = shlex.split(format_waive_command(made, None) or "")
    assert words == ["assay", "waive", f"w{filename}.exe", "--reason", WAIVER_REASON, "--expires", "2 weeks"]


ANY = st.text(max_size=40) | st.sampled_from(
    [
        "<script>alert(1)</script>",
        "</textarea><script>",
        "</pre></code>",
        '"><svg onload=x>',
        "\n]]>",
        "\x1b[31m",
        SHELL,
    ]
)


@given(ANY, ANY, ANY)
def test_hostile_text_changes_no_element(filename: str, message: str, rule: str) -> None:
    def made(filename: str, message: str, rule: str) -> HtmlReader:
        reason = state_reason(ReasonCode.TOO_YOUNG, rule or "x", message or "x", expected=message, found=filename)
        file = hostile_file(f"x{filename}")
        return shown(
            Withheld(file=file, reasons=(reason,), enforced=False, rule=rule or "x"),
            help=f"https://acme.example/?{len(filename)}",
            is_help_url=True,
            request_id="1",
        )

    plain, hostile = made("x", "x", "x"), made(filename, message or "x", rule)
    if message:
        assert [tag for tag, _ in hostile.elements if tag not in {"dl", "dt", "dd"}] == [
            tag for tag, _ in plain.elements if tag not in {"dl", "dt", "dd"}
        ]
    assert [link for link in hostile.links if "project" in link][-2].startswith("../project/widget?version=1.0#file-")


@pytest.mark.parametrize(
    "filename", ["widget-1.0+cpu-1!x.whl", 'widget"><b>.whl', "widget 1.0.whl", "widget\ud800.whl", SHELL]
)
def test_a_link_to_a_file_leads_to_its_element_and_no_id_occurs_twice(filename: str) -> None:
    made = Withheld(
        file=hostile_file(filename), reasons=(state_reason(ReasonCode.TOO_YOUNG, "all", "x"),), enforced=False
    )
    again = replace(made, file=replace(made.file, location="files.example/other"))
    facts = ProjectFacts(name="widget", index="pypi", files=[made, again])
    body = render_project_page(facts, Selection(), NOW)
    ids = [attributes["id"] for _, attributes in read_harmless_page(body).elements if "id" in attributes]
    url = build_file_url("", PROJECT, made.file)
    assert ids.count(url.partition("#")[2]) == 1
    assert re.fullmatch(r"project/widget\?version=1\.0#file-[A-Za-z0-9._+!-]+", url)
    assert ids.count(build_version_url("", PROJECT, "1.0").partition("#")[2]) == 1
    assert len(ids) == len(set(ids))
