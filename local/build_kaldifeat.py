#!/usr/bin/env python3
"""Build a kaldifeat wheel for the torch that is installed beside this Python.

    python local/build_kaldifeat.py kaldifeat-1.24.tar.gz DIRECTORY

leaves DIRECTORY/kaldifeat-1.24+torch1.13.1-cp310-cp310-linux_x86_64.whl.

kaldifeat's own CMake build asks for a CUDA toolkit wherever torch's wheel was built with CUDA, and downloads
pybind11. Its C++ sources need neither, because they reach a GPU only through torch, so they are compiled
here as a plain torch extension. Nearly all the time goes into torch's headers: the 18 source files are
gathered into two, one for each core of a small machine, which takes one minute instead of three.
"""

from __future__ import annotations

import argparse
import os
import shutil
import tarfile
import tempfile
from pathlib import Path

import setuptools
import torch
from torch.utils.cpp_extension import BuildExtension, CppExtension

# Compiled only into kaldifeat's own test programs.
TEST_SOURCES = {"feature-window-test.cc", "online-feature-test.cc", "test_kaldifeat.cc"}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("sdist", type=Path, help="kaldifeat-<version>.tar.gz as PyPI has it")
    parser.add_argument("directory", type=Path, help="where the wheel goes")
    args = parser.parse_args()
    directory = args.directory.resolve()
    with tempfile.TemporaryDirectory(prefix="kaldifeat-") as scratch:
        with tarfile.open(args.sdist) as archive:
            archive.extractall(scratch)
        (source,) = Path(scratch).glob("kaldifeat-*")
        build(source, version=source.name.split("-", 1)[1], directory=directory)


def build(source: Path, version: str, directory: Path) -> None:
    """Build the wheel from the unpacked sources in `source` into `directory`."""
    torch_version = torch.__version__.split("+")[0]
    major, minor = torch_version.split(".")[:2]
    package = source / "kaldifeat" / "python" / "kaldifeat"
    # The package refuses to be imported beside another torch than the one named here.
    (package / "torch_version.py").write_text(f'kaldifeat_torch_version = "{torch_version}"\n')
    with open(package / "__init__.py", "a") as init:
        init.write(f'__version__ = "{version}"\n')

    # setuptools wants relative paths and its own setup.py out of the way; ninja runs in another folder and
    # wants the absolute include path.
    os.chdir(source)
    extension = CppExtension(
        "_kaldifeat",
        sources=[gather("kaldifeat/csrc", "core.cc"), gather("kaldifeat/python/csrc", "bindings.cc")],
        include_dirs=[str(source)],
        define_macros=[
            ("KALDIFEAT_TORCH_VERSION_MAJOR", major),
            ("KALDIFEAT_TORCH_VERSION_MINOR", minor),
            ("TORCH_API_INCLUDE_EXTENSION_H", None),
        ],
        extra_compile_args=["-g0"],  # Python's own flags often carry -g: 60 MB of debug symbols
    )
    setuptools.setup(
        name="kaldifeat",
        version=f"{version}+torch{torch_version}",
        packages=["kaldifeat"],
        package_dir={"kaldifeat": str(package.relative_to(source))},
        ext_modules=[extension],
        cmdclass={"build_ext": BuildExtension},
        script_args=["--quiet", "bdist_wheel", "--dist-dir", "dist"],
    )
    (wheel,) = Path("dist").glob("*.whl")
    directory.mkdir(parents=True, exist_ok=True)
    shutil.copy(wheel, directory)


def gather(folder: str, name: str) -> str:
    """Write one source file that includes all others of `folder`; return its path."""
    sources = sorted(path.name for path in Path(folder).glob("*.cc") if path.name not in TEST_SOURCES)
    target = Path(folder) / name
    target.write_text("".join(f'#include "{folder}/{source}"\n' for source in sources))
    return str(target)


if __name__ == "__main__":
    main()
