#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
#
# Makes build/.venv and installs kith's Python package into it, with what its tests need. Respects pip's configuration; needs no
# network when the requirements are already in the environment.
#
#   scripts/python_env.sh            prints nothing but errors; the interpreter is build/.venv/bin/python
#   scripts/python_env.sh PREFIX     builds the module over the kith that is installed there instead of the tree's sources
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

python=build/.venv/bin/python
if ! "$python" -m pip --version >/dev/null 2>&1; then
    python3 -c 'import sys; sys.exit(sys.version_info < (3, 9))' || {
        echo "python3 is $(python3 --version); 3.9 or later is needed" >&2
        exit 1
    }
    mkdir -p build
    python3 -m venv --clear build/.venv
fi

# The build requirements go into the environment, so that the package can be built again without a network.
mapfile -t build_requirements < <("$python" - <<'PY'
try:
    import tomllib
except ModuleNotFoundError:
    from pip._vendor import tomli as tomllib
with open("python/pyproject.toml", "rb") as file:
    print(*tomllib.load(file)["build-system"]["requires"], sep="\n")
PY
)
"$python" -m pip install --quiet "${build_requirements[@]}"
installed=()
if [[ -n "${1:-}" ]]; then
    installed=(--config-settings=cmake.define.KITH_PYTHON_INSTALLED=ON "--config-settings=cmake.define.CMAKE_PREFIX_PATH=$1")
fi
"$python" -m pip install --quiet --no-build-isolation "${installed[@]}" "./python[test]"
