"""Trail on standard output: whole lines before anything is served, one chain, and failures."""

from __future__ import annotations

import asyncio
import os
from datetime import UTC, datetime
from pathlib import Path

import pytest

from assay.errors import StorageError
from assay.telemetry.audit_chain import encode_fields, read_trail, verify_trail
from assay.telemetry.audit_stdout import TrailStdout
from assay.telemetry.audit_trail import AuditSettings, open_audit_trail


async def test_entries_are_on_standard_output_once_they_are_acknowledged(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    async with open_audit_trail(AuditSettings(sink="stdout"), lambda: datetime(2026, 7, 1, tzinfo=UTC)) as trail:
        assert trail is not None
        assert trail.parts is None
        await asyncio.gather(*(trail.record({"number": number}) for number in range(20)))
        written = capfd.readouterr().out
    collected = tmp_path / "collected.jsonl"
    await asyncio.to_thread(collected.write_text, written)
    report = await asyncio.to_thread(lambda: verify_trail(read_trail(collected)))
    assert (report.entries, report.faults) == (20, ())


def test_a_closed_output_is_a_failure_and_the_next_entry_has_its_own_line(tmp_path: Path) -> None:
    with (tmp_path / "out").open("wb") as file:
        writer = TrailStdout(file.fileno())
        writer.append([encode_fields({"number": 1})])
        with pytest.MonkeyPatch.context() as patched:
            write = os.write

            def fail_within_a_line(descriptor: int, view: memoryview) -> int:
                patched.setattr("assay.telemetry.audit_stdout.os.write", refuse)
                return write(descriptor, view[:10])

            patched.setattr("assay.telemetry.audit_stdout.os.write", fail_within_a_line)
            with pytest.raises(StorageError, match="Broken pipe"):
                writer.append([encode_fields({"number": 2})])
        writer.append([encode_fields({"number": 3})])
        writer.close()
    lines = (tmp_path / "out").read_bytes().splitlines(keepends=True)
    assert len(lines) == 3
    whole = tmp_path / "whole.jsonl"
    whole.write_bytes(lines[0] + lines[2])
    assert verify_trail(read_trail(whole)).faults == ()


def refuse(*_: object) -> int:
    raise OSError(32, "Broken pipe")
