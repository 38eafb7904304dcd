# shellcheck shell=bash disable=SC2154,SC2329  # what local/install.sh sets; it calls the tasks by their names
# The tasks of an installation, sourced by local/install.sh, whose plan names them. Their output goes to the log.

pip() {
  "$venv/bin/python" -m pip "$@"
}

# make_environment: a complete environment of the same kind is kept and brought up to date; any other goes.
make_environment() {
  local version keep=false
  version=$(version_of "$python")
  read_note "$venv/.egret.json"
  if [[ $force == false && "$noted_profile $noted_python" == "$profile $version" &&
    $(version_of "$venv/bin/python") == "$version" ]]; then
    keep=true
  fi
  hash_locks "$profile" "$dev"
  mkdir -p -- "$venv"
  cat >"$venv/.egret.wanted" <<EOF
{
  "profile": "$profile",
  "python": "$version",
  "torch": "$torch",
  "dev": "$dev",
  "locks": "$lock_hashes"
}
EOF
  rm -f -- "$venv/.egret.json"
  if [[ $keep == false ]]; then
    find "$venv" -mindepth 1 -maxdepth 1 ! -name .egret.wanted -exec rm -rf -- {} +
    mkdir -- "$venv/tmp"
    "$python" -m venv "$venv"
  fi
  mkdir -p -- "$venv/tmp"
}

install_locked() {
  pip install --no-deps --require-hashes -r "$EGRET_ROOT/requirements/$profile.lock"
}

install_dev() {
  pip install --no-deps --require-hashes -r "$EGRET_ROOT/requirements/dev.lock"
}

install_torch() {
  case $torch in
    *.whl | *://*) pip install "$torch" ;;
    *) pip install "torch==$torch" ;;
  esac
}

# reach_wheels: k2's wheels are not on PyPI. Better to know before fetching a torch that would be of no use.
reach_wheels() {
  pip install --no-deps --require-hashes -r <(
    awk '/^(k2utils|packaging)==/ { on = 1 } on { print } !/\\$/ { on = 0 }' "$EGRET_ROOT/requirements/gpu.lock"
  )
  "$venv/bin/python" -c '
from k2utils.commands.install.common import fetch_wheel_links
from k2utils.commands.install.k2 import K2
assert fetch_wheel_links(K2.cuda_index, timeout=20, attempts=2)'
}

install_k2() {
  "$venv/bin/k2utils" install k2
  # Without kaldifeat Lhotse computes the features, so this is no reason to give up.
  "$venv/bin/k2utils" install kaldifeat || echo "kaldifeat has no wheel for this torch; doing without"
}

install_kaldifeat() {
  provide "$kaldifeat" build_kaldifeat
  pip install --no-deps --no-index --force-reinstall "$cache/$kaldifeat"/*.whl
}

build_kaldifeat() {
  "$EGRET_ROOT/local/fetch_source.sh" "$venv/bin/python" kaldifeat "$venv/tmp"
  PATH=$venv/bin:$PATH python "$EGRET_ROOT/local/build_kaldifeat.py" "$venv"/tmp/kaldifeat-*.tar.gz "$1"
}

install_kenlm() {
  provide "$kenlm" "$EGRET_ROOT/local/build_kenlm.sh" "$venv/bin/python"
  pip install --no-deps --no-index --force-reinstall "$cache/$kenlm"/*.whl
  tar -xzf "$cache/$kenlm/kenlm-tools.tar.gz" -C "$venv"
}

# provide NAME COMMAND...: sees to it that $cache/NAME holds what COMMAND leaves in the folder given to it as
# last argument. The folder appears there by renaming, and its checksums show later damage.
provide() {
  local entry=$cache/$1 fresh
  shift
  if (cd -- "$entry" && sha256sum --check SHA256SUMS); then
    return
  fi
  mkdir -p -- "$cache"
  find "$cache" -maxdepth 1 -name 'unfinished.*' -mmin +120 -exec rm -rf -- {} +
  fresh=$(mktemp -d "$cache/unfinished.XXXXXX")
  "$@" "$fresh"
  (cd -- "$fresh" && sha256sum -- * >"$venv/tmp/sums" && mv -- "$venv/tmp/sums" SHA256SUMS)
  chmod 755 "$fresh"
  rm -rf -- "$entry"
  mv -T -- "$fresh" "$entry"
}

check_imports() {
  local modules=(torch lhotse lilcom sentencepiece kenlm kaldilm kaldialign safetensors numpy jsonargparse soundfile
                 torch.utils.tensorboard tqdm yaml requests six h5py espeakng_loader pypinyin)
  case $profile in
    default) modules+=(torchaudio k2 kaldifeat) ;;
    gpu) modules+=(k2) ;;
  esac
  if [[ $dev == true ]]; then
    modules+=(pytest mypy kaldi_native_fbank kaldi_decoder)
  fi
  "$venv/bin/python" -c 'import importlib, sys
for name in sys.argv[1:]:
    print("import", name, flush=True)
    importlib.import_module(name)' "${modules[@]}"
  echo "the model" | "$venv/bin/lmplz" --order 2 --memory 50M --discount_fallback >"$venv/tmp/test.arpa"
  "$venv/bin/build_binary" "$venv/tmp/test.arpa" "$venv/tmp/test.bin"
  pip check
}
