#!/bin/sh
# For build machines: run a command with Assay as its only index.
#
#   behind-assay.sh requirements.txt sh -c 'pip install -r requirements.txt && pytest'
#
# 1. `assay audit` judges every file that the lockfile pins. A withheld file fails the build with its rule and reason
#    (status 1), a file that cannot be decided now or an entry that is not checked (no hash, a URL, a path) with status 3.
# 2. `assay serve` starts on loopback, and pip downloads the files that the lockfile pins for this machine through it, to
#    warm the cache. Keep ASSAY_STORAGE__DIRECTORY between builds: Assay needs the ledger in it to detect replaced files.
# 3. The command runs with Assay as the only index of pip and uv. Then Assay is stopped.
#
# Requires `assay` on the path and a lockfile with hashes. ASSAY_CONFIG and ASSAY_POLICY name the configuration and policy
# files, ASSAY_LOG the log file.
set -eu
lock=$1
shift
: "${ASSAY_SERVER__PORT:=8080}" "${ASSAY_LOG:=assay.log}"
origin=http://127.0.0.1:$ASSAY_SERVER__PORT
export ASSAY_SERVER__PORT ASSAY_SERVER__HOST=127.0.0.1

assay audit "$lock"

assay serve --log json 2>"$ASSAY_LOG" &
proxy=$!
trap 'kill "$proxy" 2>/dev/null && wait "$proxy" || true' EXIT
until python3 -c "import sys, http.client as h; c = h.HTTPConnection('127.0.0.1', int(sys.argv[1]), timeout=5)
try: c.request('GET', '/readyz'); sys.exit(c.getresponse().status != 200)
except OSError: sys.exit(1)" "$ASSAY_SERVER__PORT"; do
  kill -0 "$proxy" 2>/dev/null || { cat "$ASSAY_LOG" >&2; exit 2; }
  sleep 0.2
done

unset PIP_EXTRA_INDEX_URL PIP_FIND_LINKS PIP_NO_INDEX UV_INDEX UV_EXTRA_INDEX_URL UV_FIND_LINKS UV_INDEX_URL
export PIP_CONFIG_FILE=/dev/null PIP_INDEX_URL="$origin/simple/" UV_DEFAULT_INDEX="$origin/simple/"
warmed=$(mktemp -d)
python3 -m pip download --quiet --disable-pip-version-check --no-deps --require-hashes --dest "$warmed" -r "$lock"
rm -r "$warmed"

"$@"
