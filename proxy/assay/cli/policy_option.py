"""By which policy a command judges: the one that ``--policy`` or ``--view`` names, else that of the view at ``/``."""

from __future__ import annotations

import os
from argparse import Namespace
from dataclasses import dataclass
from pathlib import Path

from assay.assembly import read_policy
from assay.config import Configuration, load_configuration
from assay.errors import ConfigurationError
from assay.policy.language.model import Policy
from assay.settings import find_close_match
from assay.views import ViewSettings


@dataclass(frozen=True, slots=True, kw_only=True)
class PolicyChoice:
    """A configuration, and one policy to judge by."""

    configuration: Configuration
    policy: Policy
    path: Path | None
    """The policy's file; None: the built-in one."""


def choose_policy(options: Namespace) -> PolicyChoice:
    """What the options of a command choose.

    Raises:
        ConfigurationError: configuration or policy cannot be used, or there is no such view.
    """
    configuration = load_configuration(options.config, os.environ)
    path = getattr(options, "policy", None) or _find_view(configuration, options.view).policy
    return PolicyChoice(configuration=configuration, policy=read_policy(path), path=path)


def _find_view(configuration: Configuration, name: str | None) -> ViewSettings:
    views = {view.name: view for view in configuration.all_views}
    if name is None:
        return configuration.all_views[0]
    if name not in views:
        near = find_close_match(name, views)
        hint = f'; did you mean "{near}"?' if near else ""
        raise ConfigurationError(f"--view: expected one of {', '.join(views)}; found {name!r}{hint}")
    return views[name]
