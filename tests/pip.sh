# Functions for the scripts that install packages from PyPI in .tools, with hashes. Source this file in the root directory.

PIP_FLAGS=(--quiet --no-deps --only-binary :all: --require-hashes)

# install_once LOCK NAME COMMAND…: run COMMAND, which installs the packages of a lock file in .tools/NAME. Do nothing if that
# has succeeded before with an equal lock file. COMMAND finds no .tools/NAME, and its pip uses only the index of the lock file.
# If COMMAND fails, remove .tools/NAME and return 1: incomplete packages must count as missing.
install_once() {
  local lock=$1 directory=.tools/$2 installed=.tools/${1##*/}
  shift 2
  cmp -s "$lock" "$installed" && return
  mkdir -p .tools
  rm -rf "$directory" "$installed"
  (
    export PIP_CONFIG_FILE=/dev/null PIP_DISABLE_PIP_VERSION_CHECK=1
    unset PIP_FIND_LINKS PIP_EXTRA_INDEX_URL
    "$@"
  ) </dev/null && cp "$lock" "$installed" && return
  rm -rf "$directory"
  return 1
}

# install_environment LOCK NAME: create the virtual environment .tools/NAME with the packages of a lock file, as install_once
# describes. PYTHON names the interpreter (default: python3).
install_environment() {
  install_once "$1" "$2" create_environment "$1" ".tools/$2"
}

create_environment() {  # create_environment LOCK DIRECTORY
  "${PYTHON:-python3}" -m venv "$2" && "$2/bin/python" -m pip install "${PIP_FLAGS[@]}" -r "$1"
}
