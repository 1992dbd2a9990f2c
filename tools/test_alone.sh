#!/usr/bin/env bash
# Test one package as its users have it: its wheel and the core's, in an environment of their own.
# Usage: tools/test_alone.sh PACKAGE [pytest arguments]; PACKAGE is a folder of packages/ or eval/.
# RESOLUTION=lowest-direct takes the oldest versions that the package allows, RESOLUTION=highest the
# newest there are, instead of the locked ones.
set -euo pipefail
uv=${UV:-uv}
name=${1:?name a package, for example: core or hbehavemae}
shift
cd "$(dirname "$0")/.."
folder=$(ls -d packages/"$name" eval/"$name" 2>/dev/null || true)
if [ -z "$folder" ]; then
  choices=(packages/*/ eval/*/)
  choices=("${choices[@]%/}")
  echo "error: no package '$name'; choose one of: ${choices[*]##*/}" >&2
  exit 2
fi
distribution=$(sed -n 's/^name = "\(.*\)"/\1/p' "$folder/pyproject.toml" | head -n 1)
environment=.envs/$name
wheels=$environment/wheels

"$uv" venv --quiet --clear ${PYTHON_VERSION:+--python "$PYTHON_VERSION"} "$environment"
"$uv" build --quiet --wheel --no-sources --package behaviorzoo-core --out-dir "$wheels"
[ "$name" = core ] || "$uv" build --quiet --wheel --no-sources --package "$distribution" --out-dir "$wheels"

extras=()
[ "$name" = core ] && extras=(--all-extras)
requirements=$environment/requirements.txt
if [ -n "${RESOLUTION:-}" ]; then
  # What the package itself asks for, and what it asks of the core, are the direct requirements.
  options=(--python "$environment" --no-sources --find-links "$wheels")
  files=(-r "$folder/pyproject.toml" -r packages/core/pyproject.toml)
  "$uv" pip install --quiet "${options[@]}" --resolution "$RESOLUTION" "${files[@]}" --all-extras
  "$uv" pip install --quiet "${options[@]}" --no-deps "$wheels"/*.whl
  # The tools of the tests are no part of the question.
  "$uv" pip install --quiet "${options[@]}" --group "$folder/pyproject.toml:test"
else
  # The locked versions, so that a failure is ours and not that of yesterday's release.
  "$uv" export --quiet --frozen --no-header --no-hashes --no-emit-workspace --package "$distribution" \
    "${extras[@]}" --no-default-groups --group test --output-file "$requirements" >/dev/null
  "$uv" pip install --quiet --python "$environment" -r "$requirements"
  "$uv" pip install --quiet --python "$environment" --no-deps "$wheels"/*.whl
fi

tests=$PWD/$folder/tests
environment=$PWD/$environment
# From a folder without sources, so that only the installed package can be imported.
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
OMP_NUM_THREADS=1 "$environment/bin/python" -m pytest --import-mode=importlib -ra -p no:cacheprovider --rootdir "$tests" "$tests" "$@"
