"""Reader of requirements.txt with hashes, as pip-compile and ``uv pip compile --generate-hashes`` write it.

Files that a line includes with ``-r`` or ``-c`` are read too, through a function of the caller. Pure.
"""

from __future__ import annotations

import argparse
import re
import shlex
from collections.abc import Iterator
from typing import Final, NoReturn

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from assay.errors import ConfigurationError
from assay.lockfiles.fields import parse_prefixed_sha256, parse_version
from assay.lockfiles.model import MAX_LOCKFILE_CHARACTERS, IncludedFile, IncludeReader, PinnedFile, ReadResult
from assay.lockfiles.tools import find_exact_version

FILENAME_PATTERN: Final = r".+\.(txt|in)"
"""Regular expression for the filename of a requirements file."""
MAX_INCLUDED_FILES: Final = 100
"""Maximum number of files that one lockfile includes, directly and indirectly."""
_MAX_LINE_WORDS: Final = 2000
"""Maximum number of words in the options of one line. The time of argparse grows with the square of this number, and a
release has far fewer files."""

_COMMENT = re.compile(r"(^|\s)#.*$")  # as in pip: a # begins a comment only at the start of a line or after white space
_OPTION = re.compile(r"(?:^|\s)-")
_LOCAL_OR_REMOTE = re.compile(r"\.|(git|hg|svn|bzr)\+|.*[/\\]|.*\.(whl|zip|tar\.gz)$")
"""Start of a requirement that is a path or a URL, and not the name of a project."""
_SCHEME = re.compile(r"[a-zA-Z][a-zA-Z0-9+.-]+:")


class _LineOptionParser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        raise ValueError(message)


def _make_line_option_parser() -> _LineOptionParser:
    """Return a parser of the options of a line. Like pip, it accepts the unambiguous beginning of a long option."""
    parser = _LineOptionParser(add_help=False)
    parser.add_argument("-r", "--requirement", dest="requirements", action="append", default=[])
    parser.add_argument("-c", "--constraint", dest="constraints", action="append", default=[])
    parser.add_argument("-e", "--editable", dest="editables", action="append", default=[])
    parser.add_argument("--hash", dest="hashes", action="append", default=[])
    # These options install nothing. Each pinned digest binds an installer to one file, whatever index or directory the
    # file comes from.
    for flag in ("--no-index", "--prefer-binary", "--require-hashes", "--no-require-hashes", "--pre"):
        parser.add_argument(flag, action="store_true")
    parser.add_argument("-i", "--index-url", "--pypi-url")
    parser.add_argument("-f", "--find-links")
    parser.add_argument("-C", "--config-settings")
    for option in (
        "--extra-index-url",
        "--no-binary",
        "--only-binary",
        "--all-releases",
        "--only-final",
        "--trusted-host",
        "--use-feature",
        "--global-option",
    ):
        parser.add_argument(option)
    return parser


_LINE_OPTION_PARSER: Final = _make_line_option_parser()


def read_requirements(text: str, source: str, read_included: IncludeReader | None = None) -> ReadResult:
    """Read a requirements file and the files that it includes.

    Args:
        text: content of the file; untrusted.
        source: path of the file.
        read_included: reads an included file. None: the lines that include files are reported and not followed.

    Raises:
        ConfigurationError: a line is not a valid requirement, an included file cannot be read, files include each other
            in a cycle, or a limit is exceeded.
    """
    reader = _RequirementsReader(read_included)
    reader.read(IncludedFile(source=source, text=text))
    return ReadResult(files=reader.files, unpinned=reader.list_unpinned(), included=tuple(reader.included))


class _RequirementsReader:
    """Reader of one requirements file and of the files that it includes. It collects the results.

    A line of a constraints file (``-c``) installs nothing. It needs a digest only if no other line pins a digest of the
    same project.
    """

    def __init__(self, read_included: IncludeReader | None) -> None:
        self.files: list[PinnedFile] = []
        self.included: list[IncludedFile] = []
        self._read_included = read_included
        self._unpinned: list[str] = []
        self._unpinned_constraints: list[tuple[str, str]] = []
        """Pairs of project name and description, for the lines of constraints files that pin no digest."""
        self._visited: set[tuple[str, bool]] = set()
        self._chain: list[str] = []
        """Paths of the files that are being read. Each file includes the next one."""
        self._characters = 0

    def list_unpinned(self) -> list[str]:
        """Return descriptions of the lines that pin no digest."""
        pinned = {each.project for each in self.files}
        return [*self._unpinned, *(told for name, told in self._unpinned_constraints if name not in pinned)]

    def read(self, file: IncludedFile, *, is_constraint: bool = False) -> None:
        """Read all lines of a file, and the files that it includes.

        Raises:
            ConfigurationError: as for `read_requirements`.
        """
        self._characters += len(file.text)
        if self._characters > MAX_LOCKFILE_CHARACTERS:
            raise ConfigurationError(f"{file.source}: more than {MAX_LOCKFILE_CHARACTERS} characters in all files")
        self._visited.add((file.source, is_constraint))
        self._chain.append(file.source)
        for number, line in _iter_logical_lines(file.text):
            self._read_line(line, f"{file.source}:{number}", is_constraint=is_constraint)
        self._chain.pop()

    def _read_line(self, line: str, where: str, *, is_constraint: bool) -> None:
        option = _OPTION.search(line)
        stated, rest = (line, "") if option is None else (line[: option.start()].strip(), line[option.start() :])
        try:
            options, unknown = _LINE_OPTION_PARSER.parse_known_args(_split_words(rest))
        except ValueError as error:
            raise ConfigurationError(f"{where}: invalid options: {error}") from error
        if stated:
            self._add_requirement(stated, options.hashes, where, is_constraint=is_constraint)
            return
        for path in options.requirements:
            self._include("-r", path, where, is_constraint=False)  # as in pip, also in a constraints file
        for path in options.constraints:
            self._include("-c", path, where, is_constraint=True)
        for path in options.editables:
            self._report(f"-e {path}: a path or URL, not from an index")
        if unknown:
            self._report(f"{line}: an unknown option")

    def _include(self, option: str, named: str, where: str, *, is_constraint: bool) -> None:
        if self._read_included is None or _SCHEME.match(named):
            self._report(f"{option} {named}: a separate requirements file; audit it separately")
            return
        if not re.fullmatch(FILENAME_PATTERN, named):
            self._report(f"{option} {named}: expected the name of a requirements file (.txt or .in)")
            return
        file = self._read_included(named, self._chain[-1], where)
        if file.source in self._chain:
            raise ConfigurationError(f"{where}: files include each other: {' > '.join((*self._chain, file.source))}")
        if (file.source, is_constraint) in self._visited or (file.source, False) in self._visited:
            return
        if len(self._visited) > MAX_INCLUDED_FILES:
            raise ConfigurationError(f"{where}: more than {MAX_INCLUDED_FILES} included files")
        self.included.append(file)
        self.read(file, is_constraint=is_constraint)

    def _add_requirement(self, stated: str, hashes: list[str], where: str, *, is_constraint: bool) -> None:
        try:
            requirement = Requirement(stated)
        except (ValueError, RecursionError) as error:  # InvalidRequirement, or too many digits or parentheses
            if _LOCAL_OR_REMOTE.match(stated):
                self._report(f"{stated}: a path or URL, not from an index")
                return
            # An included file may be any file of the machine, so its content does not go into the message.
            found = "" if len(self._chain) > 1 else f", found {stated!r:.80}"
            raise ConfigurationError(f"{where}: expected a requirement{found}") from error
        name = canonicalize_name(requirement.name)
        told, digests = None, [digest for each in hashes if (digest := parse_prefixed_sha256(each))]
        version = find_exact_version(requirement.specifier)
        if requirement.url is not None:
            told = f"{requirement.name}: from {requirement.url}, not from an index"
        elif version is None:
            told = f"{requirement.name}{requirement.specifier}: not pinned to one version"
        elif len(digests) < len(hashes):
            told = f"{requirement.name}=={version}: has a hash other than SHA-256, which can match another file"
        elif not digests:
            told = f"{requirement.name}=={version}: has no SHA-256, so any file of this version matches"
        if told is not None and is_constraint:
            self._unpinned_constraints.append((name, self._locate(told)))
        elif told is not None:
            self._report(told)
        if version is not None and requirement.url is None:
            checked = parse_version(version, where)
            self.files += [PinnedFile(project=name, version=checked, filename=None, sha256=each) for each in digests]

    def _report(self, told: str) -> None:
        self._unpinned.append(self._locate(told))

    def _locate(self, told: str) -> str:
        return f"{self._chain[-1]}: {told}" if len(self._chain) > 1 else told


def _split_words(text: str) -> list[str]:
    """Return the words of a line's options.

    Raises:
        ValueError: a quotation mark is missing, or there are more than `_MAX_LINE_WORDS` words.
    """
    words = shlex.split(text) if any(mark in text for mark in "'\"\\") else text.split()
    if len(words) > _MAX_LINE_WORDS:
        raise ValueError(f"more than {_MAX_LINE_WORDS} words")
    return words


def _iter_logical_lines(text: str) -> Iterator[tuple[int, str]]:
    """Yield each logical line with the number of its first physical line.

    A logical line is joined at backslashes and has no comments.
    """
    first, pending = 0, ""
    for number, line in enumerate((*text.splitlines(), ""), start=1):
        first = first if pending else number
        if line.endswith("\\") and not line.lstrip().startswith("#"):
            pending += f"{line[:-1]} "
            continue
        joined = _COMMENT.sub("", pending + line).strip()
        pending = ""
        if joined:
            yield first, joined
