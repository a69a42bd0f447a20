# Functions for the scripts that install Debian packages. Source this file.

# apt_get ARGUMENT…: run apt-get. While another package manager holds a lock, wait, for APT_LOCK_SECONDS (default: 300) at
# most. apt-get itself waits only for the lock of dpkg (DPkg::Lock::Timeout), and fails at once on the locks of its lists and
# its archives. Every other error is returned at once.
apt_get() {
  local limit=${APT_LOCK_SECONDS:-300} started=$SECONDS errors status
  errors=$(mktemp)
  while :; do
    status=0
    LC_ALL=C apt-get -o "DPkg::Lock::Timeout=$limit" "$@" 2>"$errors" || status=$?
    if [ "$status" -eq 0 ] || ! grep -q 'Could not get lock' "$errors" || [ $((SECONDS - started)) -ge "$limit" ]; then
      break
    fi
    echo "apt-get: another package manager runs; waiting" >&2
    sleep "${APT_LOCK_PAUSE:-5}"
  done
  cat "$errors" >&2
  rm -f "$errors"
  return "$status"
}
