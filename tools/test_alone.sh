#!/usr/bin/env bash
# Test one package as its users have it: its wheel and the core's, in an environment of their own.
# Usage: tools/test_alone.sh PACKAGE [pytest arguments]; PACKAGE is a folder of packages/ or eval/.
set -euo pipefail
uv=${UV:-uv}
name=${1:?name a package, for example: core or hbehavemae}
shift
cd "$(dirname "$0")/.."
folder=$(ls -d packages/"$name" eval/"$name" 2>/dev/null || true)
if [ -z "$folder" ]; then
  echo "error: no package '$name'; choose one of: $(ls packages eval 2>/dev/null | grep -v : | xargs)" >&2
  exit 2
fi
distribution=$(sed -n 's/^name = "\(.*\)"/\1/p' "$folder/pyproject.toml" | head -n 1)
environment=.envs/$name
wheels=$environment/wheels

"$uv" venv --quiet --clear ${PYTHON_VERSION:+--python "$PYTHON_VERSION"} "$environment"
"$uv" build --quiet --wheel --no-sources --package behaviorzoo-core --out-dir "$wheels"
[ "$name" = core ] || "$uv" build --quiet --wheel --no-sources --package "$distribution" --out-dir "$wheels"

# The locked versions, so that a failure is ours and not that of yesterday's release.
extras=()
[ "$name" = core ] && extras=(--all-extras)
"$uv" export --quiet --frozen --no-header --no-hashes --no-emit-workspace --package "$distribution" \
  "${extras[@]}" --no-default-groups --group test --output-file "$environment/requirements.txt" >/dev/null
"$uv" pip install --quiet --python "$environment" -r "$environment/requirements.txt"
"$uv" pip install --quiet --python "$environment" --no-deps "$wheels"/*.whl

tests=$PWD/$folder/tests
environment=$PWD/$environment
# From a folder without sources, so that only the installed package can be imported.
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
OMP_NUM_THREADS=1 "$environment/bin/python" -m pytest --import-mode=importlib -ra -p no:cacheprovider --rootdir "$tests" "$tests" "$@"
