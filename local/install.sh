#!/usr/bin/env bash
# Install Egret's environment into .venv, from lock files with hashes.
#
#   local/install.sh                                     what suits this machine
#   local/install.sh --profile no-k2 --python python3.11 --venv /data/egret-env
#
# Options, also as --name=value:
#   --profile NAME   default  Python 3.10, torch 1.13, k2 and kaldifeat
#                    gpu      torch 2 with k2 and kaldifeat wheels made for it, for a recent NVIDIA GPU
#                    no-k2    Python 3.10 to 3.13 and torch 2, without k2 and kaldifeat
#                    Without it: the one that is installed already; else, where nvidia-smi shows a GPU, gpu if
#                    its wheels can be reached; else default.
#   --python PATH    the Python to build on (searched on PATH and among pyenv's)
#   --venv DIR       where the environment goes (.venv in the project)
#   --torch SPEC     for gpu and no-k2: a version, a wheel file or a URL
#   --dev            also what the tests need
#   --force          remove the environment and make it anew
#   --help           this text
#
# Run it again whenever in doubt: what is complete is left alone, what was interrupted is made anew. kaldifeat
# and KenLM are compiled once and kept in $EGRET_CACHE (~/.cache/egret). docs/installation.md has more.
set -euo pipefail
shopt -s inherit_errexit

EGRET_ROOT=$(CDPATH='' cd -- "$(dirname -- "${BASH_SOURCE[0]}")/.." && pwd)
# shellcheck source=local/installed.sh
. "$EGRET_ROOT/local/installed.sh"
# shellcheck source=local/install_tasks.sh
. "$EGRET_ROOT/local/install_tasks.sh"

arguments=("$@")
profile=
python=
venv=$EGRET_ROOT/.venv
torch=
dev=false
force=false

main() {
  parse_options "$@"
  venv=$(realpath -m -- "$venv")
  log=$venv.log
  recall
  if is_current; then
    # shellcheck disable=SC2154  # noted_python is set by read_note
    echo "local/install.sh: $venv is up to date (profile $profile, Python $noted_python)"
    return
  fi
  mkdir -p -- "$(dirname -- "$venv")"
  take_turns
  # Another process may have finished the same work meanwhile.
  recall
  if is_current; then
    echo "local/install.sh: $venv is up to date"
    return
  fi
  choose_profile
  choose_python
  check_machine
  make_plan
  run_plan
}

# ---------------------------------------------------------------------------------------------- options

parse_options() {
  local name value
  while (($#)); do
    name=${1%%=*}
    case $name in
      --help | -h)
        sed -n '2,/^# shellcheck/{/^# shellcheck/d; s/^# \{0,1\}//; p}' "${BASH_SOURCE[0]}"
        exit 0
        ;;
      --dev | --force)
        [[ $1 == "$name" ]] || usage_error "$name takes no value"
        printf -v "${name#--}" true
        ;;
      --profile | --python | --venv | --torch)
        if [[ $1 == *=* ]]; then
          value=${1#*=}
        else
          value=${2-}
          shift
        fi
        [[ -n $value && $value != --* ]] || usage_error "$name needs a value"
        printf -v "${name#--}" '%s' "$value"
        ;;
      *)
        value=$(nearest "$name" --profile --python --venv --torch --dev --force --help)
        usage_error "unknown option $name; did you mean $value?"
        ;;
    esac
    shift
  done
  case ${profile:-default} in
    default | gpu | no-k2) ;;
    *)
      value=$(nearest "$profile" default gpu no-k2)
      usage_error "--profile $profile: there is default, gpu and no-k2; did you mean $value?"
      ;;
  esac
  if [[ $profile == default && -n $torch ]]; then
    usage_error "--torch: profile default has torch 1.13.1, because k2's wheel was built for it; try --profile no-k2"
  fi
}

usage_error() {
  echo "local/install.sh: $1 (--help lists the options)" >&2
  exit 2
}

# nearest WORD CHOICE...: the choice with the smallest edit distance.
nearest() {
  printf '%s\n' "$@" | awk '
    function min(a, b) { return a < b ? a : b }
    NR == 1 { word = $0; next }
    {
      for (j = 0; j <= length($0); j++) row[j] = j
      for (i = 1; i <= length(word); i++) {
        diagonal = row[0]; row[0] = i
        for (j = 1; j <= length($0); j++) {
          above = row[j]
          row[j] = min(min(above, row[j - 1]) + 1, diagonal + (substr(word, i, 1) != substr($0, j, 1)))
          diagonal = above
        }
      }
      if (NR == 2 || row[length($0)] < least) { least = row[length($0)]; found = $0 }
    }
    END { print found }'
}

# --------------------------------------------------------------------------- what is there, what is wanted

# recall: what the command line leaves open is as it was installed, or was going to be.
recall() {
  read_note "$venv/.egret.json"
  if [[ -z $noted_profile ]]; then
    read_note "$venv/.egret.wanted"
    if [[ $noted_profile == gpu ]]; then
      noted_profile= # it may have been a guess, and must be free to fall back again
    fi
  fi
  if [[ -z $profile || $profile == "$noted_profile" ]]; then
    profile=$noted_profile
    torch=${torch:-$noted_torch}
  fi
  if [[ $noted_dev == true ]]; then
    dev=true
  fi
}

is_current() {
  examine "$venv"
  [[ $force == false && $state == ready ]] &&
    [[ "$profile $dev $torch" == "$noted_profile $noted_dev $noted_torch" ]] &&
    [[ $(version_of "$venv/bin/python") == "$noted_python" ]] &&
    [[ -z $python || $(version_of "$python") == "$noted_python" ]]
}

version_of() {
  "$1" -I -c 'import sys; print("%d.%d" % sys.version_info[:2])' 2>/dev/null
}

# take_turns: of several installations into one folder, one works and the others wait. The lock passes on to
# every child, so that a pip which outlives a killed installer is waited for too.
take_turns() {
  exec 9>"$venv.lock"
  if ! flock --nonblock 9; then
    echo "local/install.sh: another installation into $venv is running; waiting for it"
    flock 9
  fi
}

choose_profile() {
  guessed=false # profile gpu because of nvidia-smi, not because someone asked for it
  if [[ -z $profile ]]; then
    profile=default
    if nvidia-smi >/dev/null 2>&1; then
      echo "local/install.sh: nvidia-smi shows a GPU; trying profile gpu"
      profile=gpu
      guessed=true
    fi
  fi
  case $profile in
    gpu) torch=${torch:-2.8.0} ;; # the newest with CUDA 12, which drivers since 525 run, and k2 wheels
    no-k2) torch=${torch:-2.13.0} ;;
  esac
}

choose_python() {
  local versions candidate version
  case $profile in
    default) versions=(3.10) ;;
    *) versions=(3.11 3.12 3.13 3.10) ;; # 3.11 first: the one that the tests run on
  esac
  if [[ -n $python ]]; then
    version=$(version_of "$python") || fail "--python $python does not run"
    [[ " ${versions[*]} " == *" $version "* ]] ||
      fail "--python $python is Python $version; profile $profile needs ${versions[*]}"
    can_make_venv "$python" || fail "$python has no venv module; on Debian: sudo apt-get install python$version-venv"
    return
  fi
  for version in "${versions[@]}"; do
    for candidate in "python$version" "$(pyenv_root)/versions/$version".*/bin/python python3; do
      # Running it is the only test: pyenv puts a python3.10 on PATH that fails.
      if [[ $(version_of "$candidate") == "$version" ]] && can_make_venv "$candidate"; then
        python=$candidate
        return
      fi
    done
  done
  fail "profile $profile needs Python ${versions[*]}, with its venv module, and none was found on PATH or among
pyenv's. One of these gets it:
  pyenv install ${versions[0]}
  uv python install ${versions[0]}         and then --python \"\$(uv python find ${versions[0]})\"
  sudo apt-get install python${versions[0]}-venv python${versions[0]}-dev
Any other can be named by --python PATH."
}

pyenv_root() {
  pyenv root 2>/dev/null || printf '%s\n' "${PYENV_ROOT:-$HOME/.pyenv}"
}

can_make_venv() {
  "$1" -I -c 'import ensurepip, venv' 2>/dev/null
}

# check_machine: what would otherwise fail only after gigabytes have been fetched.
check_machine() {
  local needed free
  if [[ $profile == default && $(uname -sm) != "Linux x86_64" ]]; then
    fail "k2 has wheels for Linux x86_64 only, and this is $(uname -sm); try --profile no-k2"
  fi
  if [[ -e $venv && ! -f $venv/pyvenv.cfg && ! -f $venv/.egret.wanted && -n $(ls -A -- "$venv") ]]; then
    fail "$venv is not an environment, and is left alone; choose another --venv, or remove it"
  fi
  case $profile in
    default) needed=5 ;;
    gpu) needed=9 ;;
    no-k2) needed=2 ;;
  esac
  free=$(($(df --output=avail -k -- "$(dirname -- "$venv")" | tail -n 1) / 1000000))
  if [[ ! -f $venv/.egret.json ]] && ((free < needed)); then
    fail "no space: $venv needs $needed GB, and $free GB are free there; choose another place by --venv DIR"
  fi
  name_cache
  if ! [[ -d $cache/$kenlm && ($profile != default || -d $cache/$kaldifeat) ]]; then
    command -v "${CXX:-c++}" >/dev/null ||
      fail "a C++ compiler is needed, to build KenLM and kaldifeat; on Debian: sudo apt-get install g++"
    [[ -f $("$python" -c 'import sysconfig; print(sysconfig.get_path("include"))')/Python.h ]] ||
      fail "$python has no header files; on Debian: sudo apt-get install python$(version_of "$python")-dev"
  fi
}

# name_cache: the names under which compiled packages are kept say all that they depend on.
name_cache() {
  local platform torch_version build
  cache=${EGRET_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/egret}
  platform=py$(version_of "$python")-$(uname -m)-$(getconf GNU_LIBC_VERSION | tr ' ' -)
  torch_version=$(sed -n 's/^torch==\([^ ]*\).*/\1/p' "$EGRET_ROOT/requirements/default.lock")
  build=$(cat "$EGRET_ROOT"/requirements/build.lock "$EGRET_ROOT"/local/{build_*,fetch_*} | sha256sum)
  kenlm=kenlm-$platform-${build::12}
  kaldifeat=kaldifeat-torch$torch_version-$platform-${build::12}
}

# ------------------------------------------------------------------------------------------------ the plan

declare -A title
task= # the process that does the running task

make_plan() {
  case $profile in
    default) plan=(make_environment install_locked install_kaldifeat install_kenlm) ;;
    gpu) plan=(make_environment reach_wheels install_locked install_torch install_k2 install_kenlm) ;;
    no-k2) plan=(make_environment install_locked install_torch install_kenlm) ;;
  esac
  if [[ $dev == true ]]; then
    plan+=(install_dev)
  fi
  plan+=(check_imports)
  title=(
    [make_environment]="environment on $("$python" -V)"
    [reach_wheels]="looking for k2 wheels"
    [install_locked]="packages of requirements/$profile.lock"
    [install_torch]="torch $torch"
    [install_k2]="k2 and kaldifeat for this torch"
    [install_kaldifeat]="kaldifeat (compiled once, a minute)"
    [install_kenlm]="KenLM (compiled once, two minutes)"
    [install_dev]="packages of requirements/dev.lock"
    [check_imports]="checking that everything imports"
  )
}

run_plan() {
  local number
  echo "local/install.sh: profile $profile into $venv; details in $log"
  # pip follows the user's configuration as to where packages come from, and as to nothing else.
  export PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_INPUT=1 PIP_PROGRESS_BAR=off PIP_USER=0 TMPDIR=$venv/tmp
  unset PYTHONPATH PYTHONHOME PYTHONDONTWRITEBYTECODE PIP_TARGET PIP_PREFIX PIP_REQUIRE_HASHES
  : >"$log"
  trap 'kill "$task" 2>/dev/null || true' EXIT
  trap 'exit 130' INT
  trap 'exit 143' TERM
  SECONDS=0
  for number in "${!plan[@]}"; do
    run_task "[$((number + 1))/${#plan[@]}] ${title[${plan[number]}]}" "${plan[number]}"
  done
  rm -rf -- "$venv/tmp"
  mv -- "$venv/.egret.wanted" "$venv/.egret.json"
  echo "local/install.sh: done in $SECONDS s"
}

# run_task TITLE FUNCTION: its output goes to the log; a terminal shows the seconds pass.
run_task() {
  local began=$SECONDS status=0
  printf '%-62s' "$1"
  "$2" >>"$log" 2>&1 &
  task=$!
  while sleep 0.2 && kill -0 "$task" 2>/dev/null; do
    if [[ -t 1 ]]; then
      printf '\r%-62s%4d s' "$1" $((SECONDS - began))
    fi
  done
  wait "$task" || status=$?
  task=
  if [[ -t 1 ]]; then
    printf '\r%-62s' "$1"
  fi
  if ((status == 0)); then
    printf '%4d s\n' $((SECONDS - began))
    return
  fi
  printf ' failed\n'
  if [[ $profile == gpu && $guessed == true && $2 != install_kenlm ]]; then
    fall_back
  fi
  fail "${1#* } failed: $(reason)
last lines of $log:
$(tail -n 8 -- "$log" | cut -c 1-200 | sed 's/^/    /')"
}

fail() {
  echo "local/install.sh: $1" >&2
  exit 1
}

# reason: what went wrong, in a user's words, from the end of the log.
reason() {
  local last
  last=$(tail -n 60 -- "$log")
  case $last in
    *"No space left on device"*) echo "no space left on the disk of $venv or of $cache" ;;
    *"DO NOT MATCH THE HASHES"*) echo "a download differs from what the lock file pins; try again, or another package index" ;;
    *"(from versions: none)"* | *"connection broken"* | *"Max retries exceeded"* | *"Read timed out"* | \
      *"ProxyError"* | *"Network is unreachable"*)
      echo "the package index cannot be reached; check network, proxy (HTTPS_PROXY) and pip config, then run this again"
      ;;
    *"Permission denied"*) echo "no permission to write; is $venv or $cache someone else's?" ;;
    *) echo "the log says why" ;;
  esac
}

# fall_back: profile gpu was a guess, and its wheels are out of reach.
fall_back() {
  local capability
  capability=$(nvidia-smi --query-gpu=compute_cap --format=csv,noheader 2>/dev/null | sort -n | tail -n 1)
  if ((${capability%%.*} < 9)); then
    echo "local/install.sh: no k2 wheels for this torch and GPU within reach; taking profile default instead"
    profile=default
  else
    echo "local/install.sh: no k2 wheels for this torch and GPU within reach, and torch 1.13 of profile default"
    echo "  does not know GPUs of compute capability $capability; taking profile no-k2 instead. All but graph"
    echo "  decoding and k2's losses work without k2. With access to its wheels: local/install.sh --profile gpu"
    profile=no-k2
  fi
  trap - EXIT
  exec 9>&- # the lock, which the new process takes again
  exec "$EGRET_ROOT/local/install.sh" "${arguments[@]}" --profile "$profile"
}

# On one line: bash must not read on in a file that an update may have changed meanwhile.
main "$@"; exit
