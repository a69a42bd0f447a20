"""Completion scripts for bash, zsh and fish, which are derived from the option parser. Pure.

A script contains all commands, options and choices, so it runs no program. It finds the command in the words before the
cursor, and completes an option, the value of an option, or an argument.
"""

from __future__ import annotations

import argparse
import shlex
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Final

from assay.cli.parsing.argparse_private import list_arguments, list_subcommands

_FILES: Final = "@files"
_DIRECTORIES: Final = "@directories"
"""Markers for a value that is a path. They stand where the choices of other values stand."""


@dataclass(frozen=True, slots=True, kw_only=True)
class OptionWords:
    """Option of a command."""

    flags: tuple[str, ...]
    help: str
    values: tuple[str, ...] | None
    """Choices of its value, or a marker for a path; empty for any other value. None: the option has no value."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CommandWords:
    """Command with its words."""

    path: str
    """Words before its arguments, such as ``assay ledger export``."""
    options: tuple[OptionWords, ...]
    arguments: tuple[str, ...] = ()
    """Choices of its arguments, and markers for paths."""
    commands: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))
    """Names of the commands below it, with their summaries."""


def list_commands(parser: argparse.ArgumentParser) -> Iterator[CommandWords]:
    """Yield the words of a parser and of all commands below it."""
    options: list[OptionWords] = []
    arguments: list[str] = []
    for action in list_arguments(parser):
        if action.option_strings:
            values = None if action.nargs == 0 else _list_values(action)
            options.append(OptionWords(flags=tuple(action.option_strings), help=_get_help(action), values=values))
        else:
            arguments += _list_values(action)
    below = list_subcommands(parser)
    yield CommandWords(
        path=parser.prog,
        options=tuple(options),
        arguments=tuple(dict.fromkeys(arguments)),
        commands={each.name: each.summary for each in below},
    )
    for each in below:
        yield from list_commands(each.parser)


def _list_values(action: argparse.Action) -> tuple[str, ...]:
    if action.choices is not None:
        return tuple(map(str, action.choices))
    shown = str(action.metavar)
    if shown == "DIRECTORY":
        return (_DIRECTORIES,)
    return (_FILES,) if action.type is Path or "LOCKFILE" in shown else ()


def _get_help(action: argparse.Action) -> str:
    text = "" if action.help is None else action.help.partition("(default:")[0]
    return " ".join(text.replace("%%", "%").split()).rstrip(" ;:")


def _list_words(command: CommandWords) -> list[str]:
    return [*command.commands, *(each for each in command.arguments if not each.startswith("@"))]


def _quote_words(words: Sequence[str]) -> str:
    return shlex.quote(" ".join(words))


def format_bash(commands: Sequence[CommandWords]) -> str:
    """Return the script for bash."""
    nested = " | ".join(shlex.quote(each.path) for each in commands[1:])
    lines = [
        "# bash completion of assay, written by `assay completion bash`",
        "_assay() {",
        "    local current=${COMP_WORDS[COMP_CWORD]} previous=${COMP_WORDS[COMP_CWORD-1]} command=assay word",
        '    for word in "${COMP_WORDS[@]:1:COMP_CWORD-1}"; do',
        '        case "$command $word" in',
        f'            {nested}) command="$command $word" ;;',
        "        esac",
        "    done",
        "    local values options words paths=",
        '    case "$command:$previous" in',
    ]
    for each in commands:
        for option in each.options:
            if option.values is not None:
                patterns = " | ".join(shlex.quote(f"{each.path}:{flag}") for flag in option.flags)
                lines.append(f"        {patterns}) {_assign_bash(option.values)}; _assay_reply; return ;;")
    lines += ["    esac", '    case "$command" in']
    for each in commands:
        flags = _quote_words([flag for option in each.options for flag in option.flags])
        values = (*_list_words(each), *(value for value in each.arguments if value.startswith("@")))
        lines.append(f"        {shlex.quote(each.path)}) options={flags}; {_assign_bash(values)} ;;")
    lines += [
        "    esac",
        "    if [[ $current == -* ]]; then words=$options paths=; fi",
        "    _assay_reply",
        "}",
        "_assay_reply() {  # uses the variables of its caller",
        '    mapfile -t COMPREPLY < <(compgen -W "$words" -- "$current")',
        "    if [[ $paths == files ]]; then",
        '        mapfile -t -O ${#COMPREPLY[@]} COMPREPLY < <(compgen -f -- "$current")',
        "        compopt -o filenames 2>/dev/null",
        "    elif [[ $paths == directories ]]; then",
        '        mapfile -t -O ${#COMPREPLY[@]} COMPREPLY < <(compgen -d -- "$current")',
        "        compopt -o filenames 2>/dev/null",
        "    fi",
        "}",
        "complete -F _assay assay",
    ]
    return "\n".join(lines) + "\n"


def _assign_bash(values: Sequence[str]) -> str:
    paths = "files" if _FILES in values else "directories" if _DIRECTORIES in values else ""
    return f"words={_quote_words([each for each in values if not each.startswith('@')])} paths={paths}"


def format_zsh(commands: Sequence[CommandWords]) -> str:
    """Return the script for zsh, for a file called ``_assay`` in a directory of ``$fpath``."""
    nested = " | ".join(f"({shlex.quote(each.path)})" for each in commands[1:])
    lines = [
        "#compdef assay",
        "# zsh completion of assay, written by `assay completion zsh`",
        "_assay() {",
        "    local command=assay word previous=${words[CURRENT-1]}",
        "    local -a options values",
        "    for word in ${words[2,CURRENT-1]}; do",
        '        case "$command $word" in',
        f'            {nested}) command="$command $word" ;;',
        "        esac",
        "    done",
        '    case "$command:$previous" in',
    ]
    for each in commands:
        for option in each.options:
            if option.values is not None:
                patterns = " | ".join(f"({shlex.quote(f'{each.path}:{flag}')})" for flag in option.flags)
                lines.append(f"        {patterns}) {_complete_zsh(option.values)}; return ;;")
    lines += ["    esac", '    case "$command" in']
    for each in commands:
        flags = " ".join(_describe_zsh(flag, option.help) for option in each.options for flag in option.flags)
        words = [_describe_zsh(name, summary) for name, summary in each.commands.items()]
        words += [shlex.quote(value) for value in each.arguments if not value.startswith("@")]
        paths = "_files; " if _FILES in each.arguments else "_files -/; " if _DIRECTORIES in each.arguments else ""
        lines += [
            f"        ({shlex.quote(each.path)})",
            f"            options=({flags})",
            f"            values=({' '.join(words)})",
            f"            [[ $PREFIX == -* ]] || {{ {paths}true; }} ;;",
        ]
    lines += [
        "    esac",
        "    if [[ $PREFIX == -* ]]; then",
        "        _describe option options",
        "    elif (( $#values )); then",
        "        _describe word values",
        "    fi",
        "}",
        'if [[ $funcstack[1] == _assay ]]; then _assay "$@"; else compdef _assay assay; fi',
    ]
    return "\n".join(lines) + "\n"


def _describe_zsh(word: str, text: str) -> str:
    return shlex.quote(f"{word}:{text}" if text else word)


def _complete_zsh(values: Sequence[str]) -> str:
    if _FILES in values:
        return "_files"
    if _DIRECTORIES in values:
        return "_files -/"
    return f"compadd -- {' '.join(map(shlex.quote, values))}" if values else "_message value"


def format_fish(commands: Sequence[CommandWords]) -> str:
    """Return the script for fish."""
    nested = " ".join(_quote_fish(each.path) for each in commands[1:])
    lines = [
        "# fish completion of assay, written by `assay completion fish`",
        "function __assay_is",
        "    set -l command assay",
        "    for word in (commandline -opc)[2..]",
        f'        if contains -- "$command $word" {nested}',
        '            set command "$command $word"',
        "        end",
        "    end",
        '    test "$command" = "$argv"',
        "end",
        "complete -c assay -f",
    ]
    for each in commands:
        start = f"complete -c assay -n {_quote_fish(f'__assay_is {each.path}')}"
        for name, summary in each.commands.items():
            lines.append(f"{start} -a {_quote_fish(name)} -d {_quote_fish(summary)}")
        if words := [value for value in each.arguments if not value.startswith("@")]:
            lines.append(f"{start} -a {_quote_fish(' '.join(words))}")
        lines += [f"{start} {_complete_fish(each.arguments)}"] if _complete_fish(each.arguments) else []
        for option in each.options:
            flags = " ".join(f"-l {flag[2:]}" if flag.startswith("--") else f"-s {flag[1:]}" for flag in option.flags)
            lines.append(f"{start} {flags}{_take_fish(option.values)} -d {_quote_fish(option.help)}")
    return "\n".join(lines) + "\n"


def _complete_fish(values: Sequence[str]) -> str:
    if _FILES in values:
        return "-F"
    return "-a '(__fish_complete_directories)'" if _DIRECTORIES in values else ""


def _take_fish(values: Sequence[str] | None) -> str:
    """Return the options of ``complete`` for the value of an option."""
    if values is None:
        return ""
    if paths := _complete_fish(values):
        return f" -r {paths}"
    return f" -x -a {_quote_fish(' '.join(values))}" if values else " -x"


def _quote_fish(text: str) -> str:
    escaped = text.replace("\\", "\\\\").replace("'", "\\'")
    return f"'{escaped}'"


FORMATTERS: Final = MappingProxyType({"bash": format_bash, "zsh": format_zsh, "fish": format_fish})
"""Function that formats the script of each shell."""
