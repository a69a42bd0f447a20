"""Command ``assay hosted list|yank|unyank|status|import|migrate``: a hosted index of a running proxy.

The commands use the proxy's HTTP API with a token from the environment variable ``ASSAY_TOKEN``. The proxy checks the
permission and writes each act to the audit trail. Only ``migrate`` uses the storage itself.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import sys
from collections.abc import Mapping

from assay.cli import EXIT_OK, EXIT_WITHHELD
from assay.cli.hosted.client import TOKEN_VARIABLE, HostedClient, describe_files, find_distributions
from assay.cli.tables import escape_unprintable, print_table
from assay.config import Configuration, load_configuration
from assay.errors import ConfigurationError, UploadForbiddenError, UploadRefusedError
from assay.store.factory import migrate_hosted


def main(options: argparse.Namespace) -> int:
    """List, change or fill a hosted index.

    Returns:
        0; 1 if the proxy refused the change or a file.

    Raises:
        ConfigurationError: the configuration is invalid, or has no such hosted index.
        UpstreamUnavailableError: the proxy is not available.
        StorageError: the hosted files cannot be copied.
    """
    configuration = load_configuration(options.config, os.environ)
    if options.action == "migrate":
        return asyncio.run(_migrate(options, configuration))
    index = configuration.indexes.find_by_name(options.index)
    if options.url is None and (index is None or not index.is_hosted):
        raise ConfigurationError(f"expected a hosted index of the configuration, found {options.index}")
    client = HostedClient(options.url or find_url(configuration), options.index, os.environ.get(TOKEN_VARIABLE))
    try:
        return asyncio.run(_run(options, client))
    except (UploadForbiddenError, UploadRefusedError) as error:
        lacks_token = client.token is None and isinstance(error, UploadForbiddenError)
        hint = f"; {TOKEN_VARIABLE} must contain the token" if lacks_token else ""
        print(f"assay: {escape_unprintable(str(error))}{hint}", file=sys.stderr)
        return EXIT_WITHHELD


def find_url(configuration: Configuration) -> str:
    """Return the address of the configured proxy, without a path."""
    server = configuration.server
    if server.public_url is not None:
        return server.public_url.rstrip("/")
    scheme = "http" if server.tls is None else "https"
    host = {"0.0.0.0": "127.0.0.1", "::": "[::1]"}.get(server.host, server.host)  # noqa: S104 - not a bind
    return f"{scheme}://{host}:{server.port}"


async def _run(options: argparse.Namespace, client: HostedClient) -> int:
    async with client:
        match options.action:
            case "list":
                return await _list(client, as_json=options.json)
            case "import":
                return await _import(options, client)
            case "status":
                content: Mapping[str, str | None] = {"status": options.status, "reason": options.reason}
            case "yank":
                content = {"version": options.version, "filename": options.file, "reason": options.reason}
            case _:
                content = {"version": options.version, "filename": options.file}
        changed = await client.change(options.project, options.action, content)
        for filename in changed.get("filenames", [options.project]):
            print(escape_unprintable(f"{options.action}: {filename}"))
        return EXIT_OK


async def _list(client: HostedClient, *, as_json: bool) -> int:
    found = await client.list_projects()
    if as_json:
        print(json.dumps(found, indent=2))
        return EXIT_OK
    rows = [row for project in found["projects"] for row in describe_files(project)]
    print_table(("PROJECT", "STATUS", "FILE", "PUBLISHERS", "YANKED"), rows)
    return EXIT_OK


async def _import(options: argparse.Namespace, client: HostedClient) -> int:
    refused = 0
    for distribution in await asyncio.to_thread(find_distributions, options.directory):
        name = escape_unprintable(distribution.path.name)
        try:
            await client.upload(distribution)
            print(f"uploaded: {name}")
        except UploadForbiddenError:
            raise
        except UploadRefusedError as error:
            refused += 1
            print(f"refused: {name}: {escape_unprintable(str(error))}")
    return EXIT_WITHHELD if refused else EXIT_OK


async def _migrate(options: argparse.Namespace, configuration: Configuration) -> int:
    index = configuration.indexes.find_by_name(options.index)
    if index is None or not index.is_hosted:
        raise ConfigurationError(f"expected a hosted index of the configuration, found {options.index}")
    result = await migrate_hosted(
        configuration.storage, index.name, options.directory, lambda name: print(f"copied: {escape_unprintable(name)}")
    )
    print(f"{result.copied} files copied, {result.present} files were there before")
    return EXIT_OK
