"""Settings of the ``[storage.shared]`` table."""

from __future__ import annotations

from datetime import timedelta
from ipaddress import ip_address
from pathlib import Path
from typing import Annotated, Final, Self
from urllib.parse import urlsplit

from pydantic import AfterValidator, Field, StrictBool, model_validator

from assay.errors import ConfigurationError
from assay.indexes import PositiveDuration, is_loopback, normalize_host, split_host
from assay.settings import Settings, make_key_error
from assay.store.postgresql.address import parse_database_url
from assay.units import Duration

_OBJECT_SCHEMES: Final = ("s3", "gs", "az", "file")
_MAX_GRACE: Final = timedelta(days=1)
_MIN_OBJECT_AGE: Final = timedelta(days=1)


def _check_database(url: str) -> str:
    """Return the URL of the database if it is valid and has no password.

    The error never quotes the URL, which may contain a password.

    Raises:
        PydanticCustomError: the URL is invalid, or has a password.
    """
    expected = "postgresql://USER@HOST/DATABASE, without a password (that belongs in password-file)"
    try:
        address = parse_database_url(url)
    except ConfigurationError as error:
        raise make_key_error((), expected=expected, found="another URL", remedy=str(error)) from error
    if address.password is not None:
        raise make_key_error((), expected=expected, found="a URL with a password")
    return url


def _check_objects(url: str) -> str:
    """Return the URL of the object storage if it is valid and has no credentials. The error never quotes it.

    Raises:
        PydanticCustomError: the URL is invalid, or has credentials.
    """
    expected = "s3://BUCKET/, gs://BUCKET/, az://CONTAINER/ or file:///DIRECTORY, with a prefix at most"
    try:
        parts = urlsplit(url)
    except ValueError as error:
        raise make_key_error((), expected=expected, found="a malformed URL") from error
    if "@" in parts.netloc or parts.query or parts.fragment:
        remedy = "credentials come from the environment variables of the cloud, such as AWS_ACCESS_KEY_ID"
        raise make_key_error((), expected=expected, found="a URL with credentials or parameters", remedy=remedy)
    if parts.scheme not in _OBJECT_SCHEMES:
        raise make_key_error((), expected=expected, found=f"a URL with the scheme {parts.scheme[:20]!r}")
    has_place = not parts.netloc and parts.path.strip("/") if parts.scheme == "file" else parts.netloc
    if not has_place:
        raise make_key_error((), expected=expected, found=url)
    return url


def _check_grace(grace: timedelta) -> timedelta:
    if grace > _MAX_GRACE:
        raise ValueError('at most "1 day", or "0 seconds" for no grace')
    return grace


def _check_object_age(age: timedelta) -> timedelta:
    if age and age < _MIN_OBJECT_AGE:
        raise ValueError('at least "1 day", or "0 days" to keep all objects')
    return age


def _check_peer_address(text: str) -> str:
    host, port = split_host(text)
    try:
        address = ip_address(host.strip("[]"))
    except ValueError as error:
        raise ValueError("an IP address and a port, such as 10.0.0.1:8081") from error
    if port is None or address.is_unspecified or address.is_link_local or address.is_multicast:
        raise ValueError("the address of this replica and a port, such as 10.0.0.1:8081")
    return f"[{address}]:{port}" if address.version == 6 else f"{address}:{port}"  # noqa: PLR2004 - IPv6


def _parse_peers(value: str | tuple[str, ...]) -> tuple[str, ...]:
    names = [value] if isinstance(value, str) else list(value)
    peers = tuple(normalize_host(name) for name in names if name)
    if any(split_host(peer)[1] is None for peer in peers):
        raise ValueError("host:port, or an array of such")
    return peers


class SharedDeadlines(Settings):
    """``[storage.shared.deadlines]``: Maximum waits for the engines of the shared storage."""

    ledger: PositiveDuration = timedelta(seconds=2)
    """Maximum duration of each step with the database: to get a connection, and to run a statement."""
    objects: PositiveDuration = timedelta(seconds=2)
    """Time until the first byte of an object. Afterwards, `limits.timeouts.read` applies. An object storage that misses
    the deadline is not asked for 10 seconds, and files come from the index."""
    flight: PositiveDuration = timedelta(seconds=20)
    """Maximum wait for the work of another replica. Then this replica does the work too."""


class SharedSettings(Settings):
    """``[storage.shared]``: Storage that several replicas share ([replicas.md](replicas.md)).

    Without this table, the storage directory has everything, and one proxy uses it. With it, the directory is the local
    tier of one replica: each replica has its own directory. It needs the extra ``assay-proxy[scale]``.
    """

    deployment: Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9._-]{0,62}$")]
    """Name of the deployment, which all replicas have in common. It must be the name with which ``assay database init``
    created the tables, and is the first part of the name of each object."""
    database: Annotated[str, AfterValidator(_check_database)]
    """URL of the PostgreSQL database: ``postgresql://USER@HOST/DATABASE``, without a password. TLS with a verified
    certificate is required (``sslmode=verify-full``, ``sslrootcert=FILE``), unless the URL says otherwise or the server
    is on loopback."""
    password_file: Path | None = None
    """File with the password of the database. It is read anew for each connection, so the password can be rotated.
    None: no password."""
    key_file: Path
    """File with the key that seals records in the database and signs requests between replicas: a line of at least 32
    random bytes, in hexadecimal or Base64. While a key is rotated, the file has two lines: the new key first. A changed
    file is read again."""
    objects: Annotated[str, AfterValidator(_check_objects)] | None = None
    """Object storage of downloaded files: ``s3://BUCKET/``, ``gs://``, ``az://`` or ``file:///DIRECTORY``, which must
    exist. Credentials come from the environment variables of the cloud. None: each replica downloads the files that it
    needs itself."""
    endpoint: str | None = None
    """URL of a server with the API of S3. None: the service of the cloud."""
    region: Annotated[str, Field(min_length=1, max_length=100)] | None = None
    """Region of the bucket. None: that of the environment."""
    insecure: StrictBool = False
    """If true, plain http is permitted to an `endpoint` that is not on loopback."""
    objects_max_age: Annotated[Duration, AfterValidator(_check_object_age)] = timedelta(days=90)
    """Time after its last use for which an object is kept: at least a day, or ``"0 days"`` to keep all objects."""
    peers: Annotated[str | tuple[str, ...], AfterValidator(_parse_peers)] = ()
    """Addresses of the other replicas, for files that they are downloading: ``host:port``, or an array of such. The
    name of a headless Service has the addresses of all replicas. Requests between replicas are signed. Without a value,
    a replica waits for the object instead."""
    peer_address: Annotated[str, AfterValidator(_check_peer_address)] | None = None
    """IP address and port on which this replica listens for the other ones, such as ``10.0.0.1:8081``. It is required
    with `peers`."""
    ledger_grace: Annotated[Duration, AfterValidator(_check_grace)] = timedelta(hours=1)
    """Time for which pages are renewed while the database is away, if they teach the ledger nothing and approve no file
    that was not approved before. Afterwards, requests get 503. At most a day."""
    deadlines: SharedDeadlines = SharedDeadlines()

    @property
    def peer_names(self) -> tuple[str, ...]:
        """Addresses of the other replicas, ``host:port`` each."""
        return self.peers if isinstance(self.peers, tuple) else ()

    def without_peers(self) -> Self:
        """Return the settings of a command, which has no connections to replicas."""
        return self.model_copy(update={"peers": (), "peer_address": None})

    def get_shown_database(self) -> str:
        """Return the URL of the database without user and parameters, for people."""
        return str(parse_database_url(self.database))

    @model_validator(mode="after")
    def _check_peers(self) -> Self:
        if self.peers and self.peer_address is None:
            raise make_key_error("peer-address", expected="the address of this replica, which peers need", found=None)
        if self.peer_address is not None and not self.peers:
            raise make_key_error("peers", expected="the addresses of the other replicas", found=None)
        return self

    @model_validator(mode="after")
    def _check_endpoint(self) -> Self:
        if self.endpoint is None:
            return self
        if self.objects is None or urlsplit(self.objects).scheme != "s3":
            raise make_key_error("endpoint", expected='no value without objects = "s3://BUCKET/"', found="a URL")
        try:
            parts = urlsplit(self.endpoint)
            _, host = parts.port, parts.hostname
        except ValueError:
            parts, host = urlsplit(""), None
        if parts.scheme not in {"http", "https"} or not host or "@" in parts.netloc or parts.query or parts.fragment:
            raise make_key_error("endpoint", expected="https://HOST, without credentials or parameters", found="a URL")
        if parts.scheme == "http" and not self.insecure and not is_loopback(host):
            expected = "https (http is allowed on loopback, or with `insecure = true`)"
            raise make_key_error("endpoint", expected=expected, found=self.endpoint)
        return self
