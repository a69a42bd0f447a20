"""Stores of obstore with the connection settings that Assay needs. Nothing here sends a request."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING

from obstore.exceptions import (
    AlreadyExistsError,
    BaseError,
    PermissionDeniedError,
    PreconditionError,
    UnauthenticatedError,
)
from obstore.store import AzureStore, GCSStore, LocalStore, S3Store

from assay.errors import ConfigurationError
from assay.store.objects.settings import ObjectStorageSettings

if TYPE_CHECKING:  # these names exist only in obstore's stubs
    from obstore.store import ClientConfig, ObjectStore, RetryConfig, S3Config

STORE_ERRORS = (BaseError, OSError, ValueError)
"""Errors of obstore. A missing object is a `FileNotFoundError`."""
DENIED_ERRORS = (PermissionDeniedError, UnauthenticatedError)
EXISTS_ERRORS = (AlreadyExistsError, PreconditionError)
_CONNECT_TIMEOUT = timedelta(seconds=2)
_WHOLE_BODY_TIMEOUT = timedelta(days=1)
"""Maximum time of one request with its body. obstore's default of 30 seconds would end the download of a large file;
`ObjectStorageSettings.read_seconds` detects a stalled connection instead."""
_RETRIES: RetryConfig = {
    "max_retries": 2,
    "backoff": {"init_backoff": timedelta(milliseconds=50), "max_backoff": timedelta(seconds=1), "base": 2},
    "retry_timeout": timedelta(minutes=1),
}
"""obstore's default of 10 retries takes 2.6 seconds for an endpoint that refuses connections; 2 take 0.1 seconds."""
_MAX_REASON_CHARACTERS = 200


def connect(settings: ObjectStorageSettings) -> ObjectStore:
    """Return the store of a location.

    Raises:
        ConfigurationError: obstore does not accept the location, the region or a variable of the environment.
    """
    client: ClientConfig = {
        "allow_http": settings.uses_http,
        "connect_timeout": _CONNECT_TIMEOUT,
        "read_timeout": timedelta(seconds=settings.read_seconds),
        "timeout": _WHOLE_BODY_TIMEOUT,
    }
    try:
        match settings.scheme:
            case "file":
                return LocalStore.from_url(settings.url)
            case "gs":
                return GCSStore.from_url(settings.url, client_options=client, retry_config=_RETRIES)
            case "az":
                return AzureStore.from_url(settings.url, client_options=client, retry_config=_RETRIES)
            case _:
                config: S3Config = {}
                if settings.endpoint is not None:
                    config["endpoint"] = settings.endpoint
                if settings.region is not None:
                    config["region"] = settings.region
                return S3Store.from_url(settings.url, config=config, client_options=client, retry_config=_RETRIES)
    except STORE_ERRORS as error:
        raise ConfigurationError(f"objects: {describe(error)}") from error


def describe(error: BaseException) -> str:
    """Return the first line of an error, without the lines for developers that obstore adds."""
    if isinstance(error, TimeoutError):
        return "no answer in time"
    lines = str(error).splitlines()
    return (lines[0] if lines else type(error).__name__)[:_MAX_REASON_CHARACTERS]
