# shellcheck shell=bash disable=SC2034,SC2154  # what is set by name, or for the one who sources this
# What an environment holds; sourced by path.sh and local/install.sh. Every script of Egret passes through here
# when it starts, so processes are counted: one, for the hashes.
#
# local/install.sh notes what it is about to install in VENV/.egret.wanted, and puts VENV/.egret.json in its
# place when all of it is there, so that an interrupted installation is never taken for a whole one.

# read_note FILE: sets noted_profile, noted_python, noted_torch, noted_dev and noted_locks; empty without FILE.
read_note() {
  local key text=''
  if [[ -f $1 ]]; then
    text=$(<"$1")
  fi
  for key in profile python torch dev locks; do
    [[ $text =~ \"$key\":\ \"([^\"]*)\" ]] || true
    printf -v "noted_$key" '%s' "${BASH_REMATCH[1]-}"
  done
}

# hash_locks PROFILE DEV: sets lock_hashes, of the lock files that an environment is made of.
hash_locks() {
  local names=("$1.lock" build.lock)
  if [[ $2 == true ]]; then
    names+=(dev.lock)
  fi
  lock_hashes=$(CDPATH='' cd -- "$EGRET_ROOT/requirements" && exec sha256sum "${names[@]}")
  lock_hashes=${lock_hashes//$'\n'/, }
}

# examine VENV: sets the noted_ values and state: "missing" (also: half made), "stale" (a lock file has changed
# since) or "ready".
examine() {
  read_note "$1/.egret.json"
  state=missing
  if [[ -n $noted_profile && -x $1/bin/python ]]; then
    hash_locks "$noted_profile" "$noted_dev"
    state=stale
    if [[ $noted_locks == "$lock_hashes" ]]; then
      state=ready
    fi
  fi
}
