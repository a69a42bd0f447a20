"""Script that each child process runs first: sets `sys.path`, blocks unneeded modules, and calls `fork_server`.

`processes` runs this file by its path, with Python's option ``-P``. Packages can be imported only after this script has
set `sys.path`.
"""

import sys


def main() -> None:
    """Run the module that the command line names.

    The command line has the arguments owner, module, blocked modules and pipes, and then each entry of `sys.path`. The
    owner is the process id of the proxy. Blocked modules are separated by commas. Pipes are pairs of file descriptors
    for forked processes (``read:write``), separated by spaces.
    """
    owner, module, without, pairs, *sys.path[:] = sys.argv[1:]
    if without:
        import warnings  # noqa: PLC0415 - needed only if a library may warn about a blocked module

        sys.modules.update(dict.fromkeys(without.split(",")))  # type: ignore[arg-type]  # with None, an import raises ImportError
        warnings.filterwarnings("ignore", "Unable to find acceptable character detection")
    from assay.attestation.pool import fork_server  # noqa: PLC0415 - importable only with the path above

    fork_server.run_module(int(owner), module, [_parse_pair(pair) for pair in pairs.split()])


def _parse_pair(pair: str) -> tuple[int, int]:
    read, write = pair.split(":")
    return int(read), int(write)


if __name__ == "__main__":
    main()
