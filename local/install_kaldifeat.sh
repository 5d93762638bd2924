#!/usr/bin/env bash
# Build and install kaldifeat, the optional extractor of --features.extractor kaldifeat, for the torch of an environment.
# Run it again after each change of torch. Needs a C++ compiler and make; one job, a few minutes.
# Usage: local/install_kaldifeat.sh [PYTHON]     (.venv/bin/python)
set -euo pipefail
cd "$(dirname "$0")/.."

version=1.24
python=$(command -v -- "${1:-.venv/bin/python}") || { echo "install_kaldifeat.sh: no program ${1:-.venv/bin/python}" >&2; exit 2; }
for tool in c++ make; do
  command -v "$tool" >/dev/null || { echo "install_kaldifeat.sh: no $tool: apt-get install build-essential" >&2; exit 1; }
done
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

# Tools of the build, outside the environment.
"$python" -m pip install --quiet --disable-pip-version-check --target "$work/tools" cmake pybind11 setuptools wheel
export PYTHONPATH=$work/tools PATH=$work/tools/bin:$PATH

# kaldifeat's build would download pybind11, and use a configuration of torch that needs a CUDA toolkit if torch was built
# with CUDA. These two folders replace both; kaldifeat itself has no CUDA code, it calls torch.
mkdir "$work/pybind11" "$work/torch"
cat >"$work/pybind11/CMakeLists.txt" <<END
include(GNUInstallDirs)
set(CMAKE_FIND_PACKAGE_TARGETS_GLOBAL TRUE)
find_package(pybind11 REQUIRED CONFIG PATHS "$("$python" -m pybind11 --cmakedir)" NO_DEFAULT_PATH)
END
"$python" - >"$work/torch/TorchConfig.cmake" <<'END'
from pathlib import Path
import torch

root = Path(torch.__file__).parent
print(f"""set(TORCH_FOUND TRUE)
set(TORCH_CXX_FLAGS "-D_GLIBCXX_USE_CXX11_ABI={int(torch.compiled_with_cxx11_abi())}")
set(TORCH_INCLUDE_DIRS "{root}/include" "{root}/include/torch/csrc/api/include")
set(TORCH_LIBRARIES "{root}/lib/libtorch.so" "{root}/lib/libtorch_cpu.so" "{root}/lib/libc10.so")
include_directories(${{TORCH_INCLUDE_DIRS}})""")
END

export KALDIFEAT_CMAKE_ARGS="-DCMAKE_BUILD_TYPE=Release -DCMAKE_CXX_STANDARD=17 -Dkaldifeat_BUILD_TESTS=OFF \
-DCMAKE_UNITY_BUILD=ON -DCMAKE_UNITY_BUILD_BATCH_SIZE=0 -DPYTHON_EXECUTABLE=$python \
-DFETCHCONTENT_SOURCE_DIR_PYBIND11=$work/pybind11 -DTorch_DIR=$work/torch"
export KALDIFEAT_MAKE_ARGS=-j1
"$python" -m pip install --disable-pip-version-check --no-cache-dir --no-deps --no-build-isolation --force-reinstall \
  --no-binary kaldifeat "kaldifeat==$version"
unset PYTHONPATH
"$python" -c 'from augmem.self_tests import kaldifeat_features; print("kaldifeat:", kaldifeat_features())'
