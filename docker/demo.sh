#!/usr/bin/env bash
# What `make demo` does, in an image that has everything: /work/demo/report.html
set -euo pipefail
demo=${1:-demo}
rm -rf "$demo"
behaviorzoo synth --out "$demo/data" --recordings 12 --frames 6000 --missing 0.05 --seed 0
hbehavemae pretrain experiment=demo "data.path=$demo/data/recordings" "out=$demo/run"
hbehavemae embed "$demo/run" --out "$demo/embeddings.nc" --stride 17 "data.path=$demo/data/recordings"
hieras-eval run --task custom --embeddings "$demo/embeddings.nc" --labels "$demo/data/labels.csv" \
  --baseline hand --recordings "$demo/data/recordings" --output-dir "$demo/probe"
hieras-eval report "$demo/probe" --out "$demo/hierarchy.html"
behaviorzoo report --run "$demo/run" --embeddings "$demo/embeddings.nc" --labels "$demo/data/labels.csv" \
  --probe "$demo/probe" --recordings "$demo/data/recordings" --out "$demo/report.html"
