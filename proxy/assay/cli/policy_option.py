"""Choice of the policy for a command: the policy of ``--policy`` or ``--view``, else that of the view at ``/``."""

from __future__ import annotations

import os
from argparse import Namespace
from dataclasses import dataclass
from pathlib import Path

from assay.assembly.inputs import get_known_names, read_policy
from assay.config import Configuration, load_configuration
from assay.errors import ConfigurationError
from assay.policy.language.model import Policy
from assay.settings import find_close_match
from assay.views import ViewSettings


@dataclass(frozen=True, slots=True, kw_only=True)
class PolicyChoice:
    """Configuration, and the policy by which a command judges files."""

    configuration: Configuration
    policy: Policy
    path: Path | None
    """Path of the policy file. None: the built-in policy."""


def choose_policy(options: Namespace) -> PolicyChoice:
    """Load the configuration, and the policy that the options of a command choose.

    Raises:
        ConfigurationError: the configuration or the policy is invalid, or no view has the name in ``--view``.
    """
    configuration = load_configuration(options.config, os.environ)
    path = getattr(options, "policy", None) or find_view(configuration, options.view).policy
    return PolicyChoice(
        configuration=configuration, policy=read_policy(path, get_known_names(configuration)), path=path
    )


def find_view(configuration: Configuration, name: str | None) -> ViewSettings:
    """Return the view that ``--view`` names; the view at ``/`` if `name` is None.

    Raises:
        ConfigurationError: no view has this name.
    """
    views = {view.name: view for view in configuration.all_views}
    if name is None:
        return configuration.all_views[0]
    if name not in views:
        match = find_close_match(name, views)
        hint = f'; did you mean "{match}"?' if match else ""
        raise ConfigurationError(f"--view: expected one of the views {', '.join(views)}; found {name!r}{hint}")
    return views[name]
