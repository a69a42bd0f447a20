"""Sequential verification of provenance documents by the reference implementation.

python reference.py DIRECTORY TRUSTED_ROOT   (documents are FILENAME.SHA256.json; prints the seconds for all of them)
"""

from __future__ import annotations

import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from pypi_attestations import Distribution, Provenance

from benchmarks.verification import prepare_cache


def main(directory: Path, root: Path) -> None:
    cases = []
    for path in sorted(directory.iterdir()):
        name, _, digest = path.name.removesuffix(".json").rpartition(".")
        cases.append((Distribution(name=name, digest=digest), path.read_bytes()))
    with tempfile.TemporaryDirectory() as home:
        prepare_cache(Path(home), root.read_bytes())
        started = time.perf_counter()
        for distribution, document in cases:
            bundle = Provenance.model_validate_json(document).attestation_bundles[0]
            bundle.attestations[0].verify(bundle.publisher, distribution, offline=True)
        print(time.perf_counter() - started)


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
