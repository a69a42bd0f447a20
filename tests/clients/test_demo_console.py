"""Output of pip for every story of `make demo`, with the commands that the demo prints."""

from __future__ import annotations

from pathlib import Path

import pytest

from demo.running import demonstrated
from demo.stories import STORIES
from tests.world.clients.installers import run_client

pytestmark = [pytest.mark.clients, pytest.mark.long]


async def test_pip_prints_what_is_promised_of_every_story(tmp_path: Path) -> None:
    directory = tmp_path / "demo"
    directory.mkdir()
    async with demonstrated(directory) as demo:
        for story in STORIES:
            line = f". {demo.directory}/shell; pip install {story.wanted}"
            outcome = await run_client("sh", "-c", line, home=tmp_path)
            assert story.is_in(outcome.output), (story, outcome.output)
            assert (outcome.status == 0) == (not story.console), (story, outcome.output)
        assert list(demo.directory.glob("venv/lib/python*/site-packages/acme_widgets-1.8.dist-info"))


async def test_uv_takes_the_same_shell(tmp_path: Path) -> None:
    directory = tmp_path / "demo"
    directory.mkdir()
    async with demonstrated(directory) as demo:
        for wanted, status, words in (
            ("acme-core", 0, "acme-core==1.0"),
            ("acme-widgets==1.4", 2, "the file has no attestation, but earlier files of the project have one"),
        ):
            outcome = await run_client("sh", "-c", f". {demo.directory}/shell; uv pip install {wanted}", home=tmp_path)
            assert outcome.status == status, outcome.output
            assert words in outcome.output
