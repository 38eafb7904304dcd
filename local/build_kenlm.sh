#!/usr/bin/env bash
# Build KenLM's programs and its Python module from the source archive on PyPI.
#
#   local/build_kenlm.sh PYTHON DIRECTORY
#
# leaves in DIRECTORY
#   kenlm-tools.tar.gz   bin/lmplz, bin/build_binary, and lib/kenlm/ with the Boost libraries they need
#   kenlm-*.whl          the module, for PYTHON, which has setuptools, cmake and ninja beside it
#
# Boost comes from the system, or else from the PyPI package cmeel-boost.
set -euo pipefail

python=$1
directory=$(realpath -- "$2")
here=$(CDPATH='' cd -- "$(dirname -- "${BASH_SOURCE[0]}")" && pwd)
PATH=$(dirname -- "$python"):$PATH

scratch=$(mktemp -d -t kenlm-XXXXXX)
trap 'rm -rf -- "$scratch"' EXIT
cd "$scratch"

"$here/fetch_source.sh" "$python" kenlm .
mkdir source
tar -xzf kenlm-*.tar.gz -C source --strip-components 1

configure() {
  # $ORIGIN: the programs look for Boost beside themselves, so that they run wherever they are put and
  # whatever becomes of the Boost they were built with; as an old-style rpath it holds for Boost's own
  # libraries too.
  # shellcheck disable=SC2016
  cmake -S source -B build -G Ninja -Wno-dev -DCMAKE_BUILD_TYPE=Release \
    -DCMAKE_BUILD_WITH_INSTALL_RPATH=ON -DCMAKE_INSTALL_RPATH='$ORIGIN/../lib/kenlm' \
    -DCMAKE_EXE_LINKER_FLAGS=-Wl,--disable-new-dtags "$@"
}

boost=$scratch/boost/cmeel.prefix
if ! configure; then
  echo "Boost was not found on the system; using cmeel-boost"
  "$here/fetch_source.sh" "$python" cmeel-boost .
  "$python" -m zipfile -e cmeel_boost-*.whl boost
  rm -rf build
  configure -DCMAKE_PREFIX_PATH="$boost"
fi
cmake --build build --target lmplz build_binary

mkdir -p tools/bin tools/lib/kenlm
cp build/bin/lmplz build/bin/build_binary tools/bin
LD_LIBRARY_PATH=$boost/lib ldd tools/bin/* | awk '/libboost/ { print $3 }' | sort -u |
  xargs -r cp -L -t tools/lib/kenlm
strip tools/bin/*
echo "the a b" | tools/bin/lmplz --order 2 --memory 50M --discount_fallback >test.arpa
tools/bin/build_binary test.arpa test.bin
tar -czf "$directory/kenlm-tools.tar.gz" -C tools bin lib

"$python" -m pip wheel --no-deps --no-build-isolation --wheel-dir "$directory" kenlm-*.tar.gz
