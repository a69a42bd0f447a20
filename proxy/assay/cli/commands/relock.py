"""Command ``assay relock LOCKFILE --to upstream|proxy``: rewrite the URLs in a lockfile, without the network."""

from __future__ import annotations

import argparse
import os
from urllib.parse import urlsplit

from assay.cli import EXIT_OK
from assay.cli.file_replacement import replace_file
from assay.cli.lockfile_report import MAX_LOCKFILE_BYTES
from assay.cli.policy_option import find_view
from assay.cli.tables import escape_unprintable
from assay.config import Configuration, ServerSettings, load_configuration
from assay.errors import ConfigurationError
from assay.indexes import is_loopback, normalize_address
from assay.lockfiles import read_lockfile
from assay.lockfiles.addresses import Side, Translator
from assay.lockfiles.rewrite import RewrittenLockfile, rewrite_lockfile
from assay.operator_files import read_file


def main(options: argparse.Namespace) -> int:
    """Rewrite the URLs of a lockfile, and print how many have changed. Everything else in the file stays as it is.

    Raises:
        ConfigurationError: the configuration or the lockfile is invalid, or a URL cannot be translated. The lockfile is
            then unchanged.
    """
    configuration = load_configuration(options.config, os.environ)
    translator = _build_translator(configuration, Side(options.to), options.view, options.proxy)
    source = escape_unprintable(str(options.lockfile))
    content = read_file(options.lockfile, max_bytes=MAX_LOCKFILE_BYTES)
    try:
        text = content.decode("utf-8")
    except UnicodeDecodeError as error:
        raise ConfigurationError(f"{source}: not UTF-8, at byte {error.start}") from error
    kind = read_lockfile(text.replace("\r\n", "\n"), str(options.lockfile)).kind
    rewritten = rewrite_lockfile(text, kind, source, translator)
    if rewritten.changed:
        replace_file(options.lockfile, rewritten.text.encode("utf-8"))
    _print_result(source, rewritten, translator)
    return EXIT_OK


def _print_result(source: str, rewritten: RewrittenLockfile, translator: Translator) -> None:
    target = "upstream" if translator.to is Side.UPSTREAM else translator.base
    if not rewritten.translatable:
        print(f"{source}: has no URL of an index or a file, so it is the same for {target}")
    else:
        print(f"{source}: {rewritten.changed} of {rewritten.translatable} URLs changed; all lead to {target}")
    for url in rewritten.others:
        print(f"not from an index, unchanged: {escape_unprintable(url)}")


def _build_translator(configuration: Configuration, to: Side, view: str | None, proxy: str | None) -> Translator:
    """Return the translator for the view of ``--view`` and the address of ``--proxy``.

    Raises:
        ConfigurationError: the view does not exist, or the address of the proxy is invalid or unknown.
    """
    origin = _find_origin(configuration.server, proxy).rstrip("/")
    return Translator(
        indexes=configuration.indexes,
        bases=[f"{origin}{each.path}" for each in configuration.all_views],
        base=f"{origin}{find_view(configuration, view).path}",
        to=to,
    )


def _find_origin(server: ServerSettings, stated: str | None) -> str:
    if stated is not None:
        try:
            return normalize_address(stated).removesuffix("simple/")
        except ValueError as error:
            raise ConfigurationError(f"--proxy: expected {error}, found {stated!r:.100}") from error
    if server.public_url is not None:
        return server.public_url
    if not is_loopback(server.host) or not server.port:
        raise ConfigurationError(
            "the URL of the proxy is unknown: set server.public-url, or use --proxy, such as --proxy https://pypi.acme.example"
        )
    scheme = "http" if server.tls is None else "https"
    host = f"[{server.host}]" if ":" in server.host else server.host
    return normalize_address(urlsplit(f"{scheme}://{host}:{server.port}").geturl())
