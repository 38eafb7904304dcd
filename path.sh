# shellcheck shell=bash
# Sourced by every script, from any folder: puts Egret's environment first. Installs it when it is not there.
#
#   EGRET_ROOT           (set here) the folder of this file
#   EGRET_VENV=DIR       use this environment instead of .venv
#   EGRET_NO_INSTALL=1   never install anything: fail, or warn where the environment is merely out of date

EGRET_ROOT=$(CDPATH='' cd -- "${BASH_SOURCE[0]%/*}/" && pwd)
export EGRET_ROOT
if [[ ${EGRET_VENV:-/} != /* ]]; then
  export EGRET_VENV=$PWD/$EGRET_VENV # it still means the same after a change of folder
fi

# See to it that the environment is there and up to date. A subshell, to leave no names behind.
(
  # shellcheck source=local/installed.sh
  . "$EGRET_ROOT/local/installed.sh"
  venv=${EGRET_VENV:-$EGRET_ROOT/.venv}
  install=("$EGRET_ROOT/local/install.sh")
  if [[ -n ${EGRET_VENV-} ]]; then
    install+=(--venv "$venv")
  fi
  examine "$venv"
  if [[ $state == ready ]]; then
    exit 0
  elif [[ -n ${EGRET_VENV-} && -x $venv/bin/python && ! -e $venv/.egret.json && ! -e $venv/.egret.wanted ]]; then
    exit 0 # an environment that someone else made, and looks after
  elif [[ ${EGRET_NO_INSTALL:-0} == 0 ]]; then
    if [[ $state == stale ]]; then
      echo "path.sh: requirements/ has changed since $venv was installed; bringing it up to date" >&2
    fi
    exec "${install[@]}" >&2
  elif [[ $state == stale ]]; then
    echo "path.sh: warning: requirements/ has changed since $venv was installed; run: ${install[*]}" >&2
  else
    echo "path.sh: Egret is not installed in $venv; run: ${install[*]}" >&2
    exit 1
  fi
) || return 1

# In front of everything else, and once only however often this file is sourced.
case $PATH in
  "${EGRET_VENV:-$EGRET_ROOT/.venv}/bin:"*) ;;
  *) PATH=${EGRET_VENV:-$EGRET_ROOT/.venv}/bin:$PATH ;;
esac
case ${PYTHONPATH-}: in
  "$EGRET_ROOT:"*) ;;
  *) PYTHONPATH=$EGRET_ROOT${PYTHONPATH:+:$PYTHONPATH} ;;
esac
# Sorting by code point is the same everywhere, and transcripts are UTF-8. Old systems lack C.UTF-8.
if [[ ${LC_ALL-} != C.UTF-8 ]]; then
  if [[ $(LC_ALL=C.UTF-8 locale charmap 2>/dev/null) == UTF-8 ]]; then
    LC_ALL=C.UTF-8
  else
    LC_ALL=en_US.UTF-8
  fi
fi
# A job's log shows what the job prints when it prints it.
PYTHONUNBUFFERED=1
export PATH PYTHONPATH LC_ALL PYTHONUNBUFFERED
