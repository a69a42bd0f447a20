"""First code of a child process: take over the owner's import path, leave out unneeded modules, run `fork_server`.

`processes` runs this file by its path and with ``-P``, because no package can be imported before `sys.path` is set.
"""

import sys


def main() -> None:
    """Run the module that the command line names.

    The arguments are the owner's process id, the module, modules to leave out (comma-separated), pairs of pipe
    descriptors (``read:write``, space-separated), and each entry of the owner's `sys.path`.
    """
    owner, module, without, pairs, *sys.path[:] = sys.argv[1:]
    if without:
        import warnings  # noqa: PLC0415 - only where a library may warn of a missing module

        sys.modules.update(dict.fromkeys(without.split(",")))  # type: ignore[arg-type]  # None makes an import fail
        warnings.filterwarnings("ignore", "Unable to find acceptable character detection")
    from assay.attestation.pool import fork_server  # noqa: PLC0415 - importable only with the path above

    fork_server.run_module(int(owner), module, [_parse_pair(pair) for pair in pairs.split()])


def _parse_pair(pair: str) -> tuple[int, int]:
    read, write = pair.split(":")
    return int(read), int(write)


if __name__ == "__main__":
    main()
