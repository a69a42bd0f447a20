"""Command ``assay database init|upgrade|check|restored``: the database that several replicas share.

``init`` and ``upgrade`` need a role that may create or own the tables, ``restored`` the role of the operator, and
``check`` the role that is to be checked. No command prints the password.
"""

from __future__ import annotations

import argparse
import asyncio
import logging
import os
import sys

from assay import telemetry
from assay.cli import EXIT_OK
from assay.config import load_configuration
from assay.errors import ConfigurationError
from assay.store.factory import check_url_option, make_database_admin
from assay.store.settings import StorageSettings


def main(options: argparse.Namespace) -> int:
    """Create, upgrade or check the database, or confirm that it was restored from a backup.

    Raises:
        ConfigurationError: the URL or a name is invalid, the URL has a password, a check failed, or the database
            belongs to another deployment.
        StorageError: the database cannot be reached or used.
    """
    telemetry.configure_logging(sys.stderr, level=logging.WARNING)
    storage = load_configuration(options.config, os.environ).storage
    for line in asyncio.run(_run(options, storage)):
        print(line)
    return EXIT_OK


async def _run(options: argparse.Namespace, storage: StorageSettings) -> list[str]:
    """Run the action and return the lines to print."""
    if options.url is not None:
        check_url_option("--url", options.url)
    admin = make_database_admin(storage, options.url, password=os.environ.get("PGPASSWORD"))
    async with admin:
        match options.action:
            case "init":
                return await admin.create(
                    deployment=_get_deployment(options, storage),
                    app_role=options.app_role,
                    admin_role=options.admin_role,
                )
            case "upgrade":
                return await admin.upgrade(app_role=options.app_role, admin_role=options.admin_role)
            case "check":
                configured = None if storage.shared is None else storage.shared.deployment
                expected = options.deployment or configured
                report = await admin.check(deployment=expected, is_operator=options.operator)
                return [
                    f"all checks of {admin} passed: deployment {report.deployment}, role {report.role}",
                    f"the tables are for schema versions {report.reads} to {report.writes}",
                ]
            case _:
                restored = await admin.confirm_restored()
                return [
                    f"confirmed at {restored.isoformat()} that {admin} was restored",
                    "the replicas now write the facts again that they still remember",
                ]


def _get_deployment(options: argparse.Namespace, storage: StorageSettings) -> str:
    if options.deployment is not None:
        return str(options.deployment)
    if storage.shared is None:
        raise ConfigurationError("--deployment: expected, because the configuration has no storage.shared.deployment")
    return storage.shared.deployment
