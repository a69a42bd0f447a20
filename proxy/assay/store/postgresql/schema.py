"""Tables of the shared database, the privileges of its two roles, and their migration.

The tables are in the schema ``assay``. The role of the service may read and add facts of the ledger. It may change only
the columns that `GRANTS` names, and it may delete no fact. The role of the operator may also state that facts no longer
count. Neither role owns the tables: the role that ran ``assay database init`` does.

The table `meta` has the range of schema versions of those programs that may use the database. A migration is additive
for one version, so that replicas of two versions can use one database while they are replaced.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from assay.errors import ConfigurationError, StorageError

if TYPE_CHECKING:
    from assay.store.postgresql.database import Connection

SCHEMA: Final = "assay"
SCHEMA_VERSION: Final = 1
"""Version of the tables that this program uses."""
APP_ROLE: Final = "assay_app"
ADMIN_ROLE: Final = "assay_admin"
NOTICE_CHANNEL: Final = "assay"
"""Channel of ``NOTIFY``. `PostgresLedger` sends ``ledger <index> <project> <version>`` with each write."""
_LOCK_KEY: Final = 0x6173736179
"""Key of the advisory lock that `create_schema` and `upgrade_schema` hold."""
_ROLE_NAME: Final = re.compile(r"[a-z_][a-z0-9_]{0,62}")
_DEPLOYMENT_NAME: Final = re.compile(r"[a-z0-9][a-z0-9._-]{0,62}")

_MAX_FILENAME_BYTES: Final = 2**20
_MAX_TEXT_BYTES: Final = 2**16
_MAX_DIGEST_BYTES: Final = 200
"""Maximum size of a digest, in binary or as text. Without a limit, a program with the role of the service could make
the history of a project too large to read in time."""
_IDENTITY_COLUMNS: Final = ", ".join(
    f"{name} text NOT NULL CHECK (octet_length({name}) <= {_MAX_TEXT_BYTES})"
    for name in ("trust_root", "issuer", "subject")
)
_TABLES: Final = (
    # One row. `reads` and `writes` are the lowest and the highest schema version of programs that may use the database.
    # `restored` is the time at which an operator confirmed that the database was restored from a backup.
    """CREATE TABLE meta (
        only_row boolean PRIMARY KEY DEFAULT true CHECK (only_row), deployment text NOT NULL,
        uuid uuid NOT NULL DEFAULT gen_random_uuid(), reads integer NOT NULL, writes integer NOT NULL,
        created timestamptz NOT NULL DEFAULT now(), restored timestamptz, CHECK (reads <= writes)
    )""",
    # Names from an index are bytes, because they may contain NUL and lone surrogates. Times are microseconds since
    # 1970. `version` of a project never has the same value twice, also after a backup was restored. The version of a
    # fact is that of the project's last row in `forgotten` when the fact was written.
    f"""CREATE TABLE projects (
        id bigint PRIMARY KEY GENERATED ALWAYS AS IDENTITY, idx text NOT NULL, project text NOT NULL, serial bigint,
        serial_url text CHECK (octet_length(serial_url) <= {_MAX_TEXT_BYTES}), rollback_since bigint,
        serial_version bigint NOT NULL DEFAULT 0, version bigint NOT NULL,
        UNIQUE (idx, project)
    )""",
    # An entry of an index has at most 2,704 bytes. A filename or an identity may be longer, so the key of a file has
    # the digest of its name. Only one writer at a time adds facts of a project, and it adds no identity twice.
    f"""CREATE TABLE files (
        project bigint NOT NULL REFERENCES projects,
        filename bytea NOT NULL CHECK (octet_length(filename) <= {_MAX_FILENAME_BYTES}),
        filename_sha256 bytea NOT NULL GENERATED ALWAYS AS (sha256(filename)) STORED, version bigint NOT NULL,
        sha256 bytea NOT NULL CHECK (octet_length(sha256) <= {_MAX_DIGEST_BYTES}), first_seen bigint NOT NULL,
        late boolean NOT NULL, corrected boolean NOT NULL,
        PRIMARY KEY (project, filename_sha256, version)
    )""",
    # First sights that were later than the clock and were set to it, once. They are not in `files`, so that the service
    # needs no privilege to change a row of it.
    """CREATE TABLE corrected_times (
        project bigint NOT NULL, filename_sha256 bytea NOT NULL, version bigint NOT NULL, first_seen bigint NOT NULL,
        PRIMARY KEY (project, filename_sha256, version),
        FOREIGN KEY (project, filename_sha256, version) REFERENCES files
    )""",
    f"""CREATE TABLE established (
        project bigint NOT NULL REFERENCES projects,
        filename bytea NOT NULL CHECK (octet_length(filename) <= {_MAX_FILENAME_BYTES}),
        sha256 bytea NOT NULL CHECK (octet_length(sha256) <= {_MAX_DIGEST_BYTES}),
        {_IDENTITY_COLUMNS}, version bigint NOT NULL, logged bigint NOT NULL
    )""",
    "CREATE INDEX established_project ON established (project)",
    f"""CREATE TABLE publishers (
        project bigint NOT NULL REFERENCES projects, {_IDENTITY_COLUMNS}, version bigint NOT NULL,
        logged bigint NOT NULL, existed bigint NOT NULL
    )""",
    "CREATE INDEX publishers_project ON publishers (project)",
    f"""CREATE TABLE evidence (
        project bigint NOT NULL REFERENCES projects, sha256 bytea NOT NULL,
        document text NOT NULL CHECK (octet_length(document) <= {_MAX_DIGEST_BYTES}), version bigint NOT NULL,
        PRIMARY KEY (project, sha256)
    )""",
    """CREATE TABLE forgotten (
        project bigint NOT NULL REFERENCES projects, version bigint NOT NULL, what text NOT NULL, filename bytea,
        sha256 bytea, found text NOT NULL, reason text NOT NULL, at bigint NOT NULL,
        announced boolean NOT NULL DEFAULT false,
        PRIMARY KEY (project, version)
    )""",
    # Cache: an unlogged table is empty after a crash of the server. The keys of `records` and `flights` are digests.
    """CREATE UNLOGGED TABLE records (
        key bytea PRIMARY KEY CHECK (octet_length(key) = 32), value bytea NOT NULL,
        stored timestamptz NOT NULL DEFAULT now()
    )""",
    "CREATE INDEX records_stored ON records (stored)",
    "CREATE UNLOGGED TABLE flights (key bytea PRIMARY KEY CHECK (octet_length(key) = 32), address text NOT NULL)",
    # Last day on which a replica used the file of an object. The row with an empty digest has the first day of all.
    "CREATE TABLE object_uses (sha256 bytea PRIMARY KEY, day date NOT NULL)",
    """CREATE TABLE audit_heads (
        replica text NOT NULL, part bigint NOT NULL, sequence bigint NOT NULL, hash text NOT NULL,
        at timestamptz NOT NULL DEFAULT now(),
        PRIMARY KEY (replica, part)
    )""",
    # Hosted indexes (`hosted`). Names of hosted indexes, projects and files have no NUL. `changed` is the version of
    # the index that last changed the row.
    "CREATE TABLE hosted_indexes (idx text PRIMARY KEY, version bigint NOT NULL)",
    """CREATE TABLE hosted_uploads (
        upload text PRIMARY KEY, idx text NOT NULL, project text NOT NULL, started timestamptz NOT NULL DEFAULT now(),
        outcome text NOT NULL DEFAULT 'open' CHECK (outcome IN ('open', 'published', 'abandoned', 'removed'))
    )""",
    "CREATE INDEX hosted_uploads_left ON hosted_uploads (started) WHERE outcome IN ('open', 'abandoned')",
    """CREATE TABLE hosted_files (
        idx text NOT NULL, filename text NOT NULL, project text NOT NULL,
        upload text NOT NULL UNIQUE REFERENCES hosted_uploads, entry bytea NOT NULL, changed bigint NOT NULL,
        PRIMARY KEY (idx, filename), UNIQUE (idx, changed)
    )""",
    "CREATE INDEX hosted_files_project ON hosted_files (idx, project, changed)",
    """CREATE TABLE hosted_projects (
        idx text NOT NULL, project text NOT NULL, state bytea NOT NULL, changed bigint NOT NULL,
        PRIMARY KEY (idx, project), UNIQUE (idx, changed)
    )""",
)


@dataclass(frozen=True, slots=True)
class Grant:
    """Privileges of the two roles on one table. A privilege may name columns: ``UPDATE (a, b)``."""

    table: str
    app: tuple[str, ...]
    admin: tuple[str, ...]


_SERIAL: Final = "UPDATE (serial, serial_url, rollback_since, serial_version, version)"
_ADD: Final = ("SELECT", "INSERT")
_CACHE: Final = ("SELECT", "INSERT", "UPDATE", "DELETE")
GRANTS: Final = (
    Grant("meta", app=("SELECT",), admin=("SELECT", "UPDATE (restored)")),
    Grant("projects", app=(*_ADD, _SERIAL), admin=(*_ADD, _SERIAL)),
    Grant("files", app=_ADD, admin=_ADD),
    Grant("corrected_times", app=_ADD, admin=_ADD),
    Grant("established", app=_ADD, admin=_ADD),
    Grant("publishers", app=_ADD, admin=_ADD),
    Grant(
        "evidence",
        app=(*_ADD, "UPDATE (document, version)"),
        admin=(*_ADD, "UPDATE (document, version)"),
    ),
    Grant("forgotten", app=("SELECT", "UPDATE (announced)"), admin=(*_ADD, "UPDATE (announced)")),
    Grant("records", app=_CACHE, admin=("SELECT", "DELETE")),
    Grant("flights", app=_CACHE, admin=("SELECT",)),
    Grant("object_uses", app=_CACHE, admin=("SELECT",)),
    Grant("audit_heads", app=_ADD, admin=("SELECT",)),
    Grant("hosted_indexes", app=(*_ADD, "UPDATE (version)"), admin=("SELECT",)),
    Grant("hosted_uploads", app=(*_ADD, "UPDATE (outcome)"), admin=("SELECT",)),
    Grant("hosted_files", app=_ADD, admin=("SELECT",)),
    Grant("hosted_projects", app=(*_ADD, "UPDATE (state, changed)"), admin=("SELECT",)),
)
"""Privileges on every table."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Migration:
    """Step from one schema version to the next.

    Attributes:
        statements: changes of the tables. They are additive, so that a program of version `reads` still works.
        reads: lowest schema version of programs that may use the database afterwards.
    """

    statements: tuple[str, ...]
    reads: int


MIGRATIONS: Final[tuple[Migration, ...]] = ()
"""Migrations from each version to the next, from version 1 on."""


async def create_schema(
    connection: Connection, *, deployment: str, app_role: str = APP_ROLE, admin_role: str = ADMIN_ROLE
) -> list[str]:
    """Create roles, tables and privileges, as far as they do not exist. Idempotent.

    Args:
        connection: connection of a role that may create schemas. It creates the two roles if it may and they are
            missing.
        deployment: name of the deployment, which the configuration of each replica must have.
        app_role: role of the service.
        admin_role: role of the operator's commands.

    Returns:
        Sentences about what was done.

    Raises:
        ConfigurationError: a name is invalid, a role is missing and cannot be created, or the database belongs to
            another deployment or needs `upgrade_schema`.
    """
    if not _DEPLOYMENT_NAME.fullmatch(deployment):
        raise ConfigurationError(
            f"the name of the deployment: expected lower-case letters, digits, '.', '_' and '-', found"
            f" {deployment!r:.80}"
        )
    done = [sentence for role in (app_role, admin_role) for sentence in await _create_role(connection, role)]
    async with connection.transaction():
        await connection.execute("SELECT pg_advisory_xact_lock($1)", _LOCK_KEY)
        if await connection.fetchval("SELECT to_regclass('assay.meta') IS NULL"):
            await connection.execute(f"CREATE SCHEMA IF NOT EXISTS {SCHEMA}")
            await connection.execute(f"SET LOCAL search_path = {SCHEMA}")
            for statement in _TABLES:
                await connection.execute(statement)
            await connection.execute(
                "INSERT INTO meta (deployment, reads, writes) VALUES ($1, $2, $3)",
                deployment,
                MIGRATIONS[-1].reads if MIGRATIONS else SCHEMA_VERSION,
                SCHEMA_VERSION,
            )
            done.append(f"created the tables of schema version {SCHEMA_VERSION} for the deployment {deployment}")
        else:
            await _require_same(connection, deployment)
        await _grant(connection, app_role, admin_role)
        done.append(f"granted the privileges of the service to {app_role}, and those of the operator to {admin_role}")
    return done


async def upgrade_schema(
    connection: Connection,
    *,
    app_role: str = APP_ROLE,
    admin_role: str = ADMIN_ROLE,
    migrations: Sequence[Migration] = MIGRATIONS,
) -> list[str]:
    """Migrate the tables to the version after the last of `migrations`, in one transaction, and grant the privileges.

    Returns:
        Sentences about what was done.

    Raises:
        StorageError: the database has no schema of Assay, or one of a later version.
    """
    target = len(migrations) + 1
    done: list[str] = []
    async with connection.transaction():
        await connection.execute("SELECT pg_advisory_xact_lock($1)", _LOCK_KEY)
        if await connection.fetchval("SELECT to_regclass('assay.meta') IS NULL"):
            raise StorageError("the database has no schema of Assay; create it with: assay database init")
        await connection.execute(f"SET LOCAL search_path = {SCHEMA}")
        found = int(await connection.fetchval("SELECT writes FROM meta"))
        if found > target:
            raise StorageError(
                f"the database has schema version {found}, but this Assay knows versions up to {target} only; use the"
                " Assay that upgraded it"
            )
        for number, migration in enumerate(migrations[found - 1 :], start=found + 1):
            for statement in migration.statements:
                await connection.execute(statement)
            await connection.execute("UPDATE meta SET reads = $1, writes = $2", migration.reads, number)
            done.append(f"migrated the tables to schema version {number}")
        await _grant(connection, app_role, admin_role)
    return done or [f"the tables already have schema version {target}"]


async def _create_role(connection: Connection, role: str) -> list[str]:
    if not _ROLE_NAME.fullmatch(role):
        raise ConfigurationError(f"the name of a role: expected lower-case letters, digits and '_', found {role!r:.80}")
    if await connection.fetchval("SELECT EXISTS (SELECT FROM pg_roles WHERE rolname = $1)", role):
        return []
    if not await connection.fetchval("SELECT rolcreaterole OR rolsuper FROM pg_roles WHERE rolname = current_user"):
        raise ConfigurationError(
            f"the role {role} does not exist, and this role may not create it; create it, or name another role"
        )
    # Another database of the same server may create the role at the same time: roles belong to the server.
    await connection.execute(
        f"DO $$ BEGIN CREATE ROLE {role} LOGIN; EXCEPTION WHEN duplicate_object OR unique_violation THEN NULL; END $$"
    )
    return [f"created the role {role} without a password; set one with: ALTER ROLE {role} PASSWORD '...'"]


async def _require_same(connection: Connection, deployment: str) -> None:
    row = await connection.fetchrow(f"SELECT deployment, writes FROM {SCHEMA}.meta")  # noqa: S608 - a constant
    if row["deployment"] != deployment:
        raise ConfigurationError(
            f"the database belongs to the deployment {row['deployment']!r}, not {deployment!r}; use another database,"
            " or that name"
        )
    if row["writes"] != SCHEMA_VERSION:
        raise ConfigurationError(
            f"the database has schema version {row['writes']}, and this Assay has {SCHEMA_VERSION}; run: assay"
            " database upgrade"
        )


async def _grant(connection: Connection, app_role: str, admin_role: str) -> None:
    """Grant exactly the privileges of `GRANTS`. The names of the roles were checked by `_create_role`."""
    for role in (app_role, admin_role):
        if not _ROLE_NAME.fullmatch(role):
            raise ConfigurationError(f"the name of a role is invalid: {role!r:.80}")
        await connection.execute(f"GRANT USAGE ON SCHEMA {SCHEMA} TO {role}")
    for grant in GRANTS:
        for role, privileges in ((app_role, grant.app), (admin_role, grant.admin)):
            await connection.execute(f"REVOKE ALL ON {SCHEMA}.{grant.table} FROM {role}")
            await connection.execute(f"GRANT {', '.join(privileges)} ON {SCHEMA}.{grant.table} TO {role}")
