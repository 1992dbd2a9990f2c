#!/usr/bin/env bash
# Install one package of this repository at the locked versions into a virtual environment.
#
#   docker/install.sh PACKAGE VARIANT ENVIRONMENT
#
# PACKAGE      behaviorzoo-bams, behaviorzoo-hieras-eval, ...
# VARIANT      cuda: torch as locked, with CUDA; cpu: the same version without, gigabytes smaller
# ENVIRONMENT  folder of the environment, made where it is missing
set -euo pipefail
package=$1 variant=$2 environment=$3
cd "$(dirname "$0")/.."
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT

case $variant in
  cuda) left_out=() ;;
  cpu)
    # Everything that only the CUDA build of torch asks for.
    mapfile -t left_out < <(sed -n 's/^name = "\(torch\|torchvision\|triton\|cuda-.*\|nvidia-.*\)"$/--no-emit-package=\1/p' uv.lock)
    ;;
  *)
    echo "docker/install.sh: VARIANT is cpu or cuda, not '$variant'" >&2
    exit 2
    ;;
esac

[ -x "$environment/bin/python" ] || uv venv --quiet --python 3.11 "$environment"
uv export --quiet --frozen --no-dev --no-emit-workspace --all-extras --package "$package" \
  ${left_out[@]+"${left_out[@]}"} --output-file "$scratch/locked.txt" >/dev/null
uv pip install --quiet --python "$environment" --no-deps --requirement "$scratch/locked.txt"

if [ "$variant" = cpu ]; then
  # As many of the two as the package uses, at their locked versions.
  uv export --quiet --frozen --no-dev --no-emit-workspace --no-hashes --all-extras --package "$package" |
    sed -n 's/^\(torch\|torchvision\)==\([^ ;]*\).*/\1==\2/p' | sort -u >"$scratch/torch.txt"
  if [ -s "$scratch/torch.txt" ]; then
    uv pip install --quiet --python "$environment" --no-deps \
      --index-url "${TORCH_CPU_INDEX:-https://download.pytorch.org/whl/cpu}" --requirement "$scratch/torch.txt"
  fi
fi

# The package and the core are built here, so that nothing refers to this folder afterwards.
uv build --quiet --wheel --no-sources --package behaviorzoo-core --out-dir "$scratch"
[ "$package" = behaviorzoo-core ] || uv build --quiet --wheel --no-sources --package "$package" --out-dir "$scratch"
uv pip install --quiet --python "$environment" --no-deps "$scratch"/*.whl
