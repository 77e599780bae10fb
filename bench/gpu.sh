#!/usr/bin/env bash
# Everything that is worth knowing of a machine with a GPU, in one call and within a time limit, without network.
set -uo pipefail
cd "$(dirname "$0")/.." || exit 1

usage() {
  cat <<'END'
usage: bench/gpu.sh [--kit FOLDER] [--python PROGRAM] [--minutes N] [STEP=SECONDS ...]
       bench/gpu.sh --pack FOLDER

Runs the steps one after another, each cut off at its own limit, and writes what they print to
bench/results/<adapter>-<date>/, and summary.txt, which is there to be committed (git ignores the rest):

  tests=160     the whole test suite
  waits=15      what a dispatch, a submit, a wait and a read cost
  bench=60      deno task bench
  peers=180     deno task bench --peers --save of the works that have a goal on a GPU (a large product, W2 small,
                W3, W4), in float32 and float16, with PyTorch, bf16 too, transformers and TRL where --python has them
  train=75      the default training run
  others=100    the same comparison of the other works
  javascript=0  of all works with the JavaScript libraries

STEP=SECONDS changes a limit, 0 leaves the step out. --minutes (default 10) is the limit of the whole: a step
gets at most what is left.

--pack makes a kit on a machine with network: Deno, the packages of this project and of the peers, and the
Vulkan loader where apt-get can fetch it. --kit unpacks one first: into .ares, the .deb files into / (as root).
END
}

kit="" pack="" python="" minutes=10
declare -A limit=([tests]=160 [waits]=15 [bench]=60 [peers]=180 [train]=75 [others]=100 [javascript]=0)
while [ $# -gt 0 ]; do
  case "$1" in
    --kit) kit=${2:?} && shift ;;
    --pack) pack=${2:?} && shift ;;
    --python) python=${2:?} && shift ;;
    --minutes) minutes=${2:?} && shift ;;
    -h | --help) usage && exit 0 ;;
    *=*)
      if [ -z "${limit[${1%%=*}]+known}" ] || ! [[ ${1#*=} =~ ^[0-9]+$ ]]; then
        echo "gpu.sh: $1 is no step with a number of seconds" >&2 && usage >&2 && exit 2
      fi
      limit[${1%%=*}]=${1#*=}
      ;;
    *) echo "gpu.sh: what is $1?" >&2 && usage >&2 && exit 2 ;;
  esac
  shift
done
begun=$SECONDS
home=$PWD/.ares

# --- A kit ----------------------------------------------------------------------------------------------------

if [ -n "$pack" ]; then
  set -e
  mkdir -p "$pack"
  pack=$(cd "$pack" && pwd)
  deno=$(deno eval 'console.log(Deno.execPath())')
  tar -C "$(dirname "$deno")" -cf - "$(basename "$deno")" | xz -T0 -3 >"$pack/deno.tar.xz"
  # A fresh folder has what this project needs and nothing else; sources' maps and other systems' binaries stay behind.
  fresh=$(mktemp -d)
  trap 'rm -rf "$fresh"' EXIT
  DENO_DIR=$fresh deno cache --quiet mod.ts cli/*.ts bench/peers/ares*.ts tests/*.ts tests/*/*_test.ts
  DENO_DIR=$home/peers deno cache --quiet --config bench/peers/packages.json bench/peers/{jax_js,tfjs,gpu_js}.ts
  small=(--exclude=*.map --exclude=*_test.js --exclude=*.min.js --exclude=*.fesm*.js --exclude=*.es2017.js
    --exclude=darwin-* --exclude=win32-* --exclude=*.tgz)
  tar "${small[@]}" -C "$fresh" -cf - npm | xz -T0 -3 >"$pack/packages.tar.xz"
  tar "${small[@]}" -C "$home/peers" -cf - npm | xz -T0 -3 >"$pack/peers.tar.xz"
  if command -v apt-get >/dev/null; then
    (cd "$pack" && apt-get download libvulkan1) || echo "gpu.sh: no libvulkan1 in the kit" >&2
  fi
  du -h "$pack"/*
  exit 0
fi

if [ -n "$kit" ]; then
  mkdir -p "$home/kit/deno" "$home/kit/packages" "$home/peers"
  if [ -f "$kit/deno.tar.xz" ]; then
    tar -C "$home/kit/deno" -xJf "$kit/deno.tar.xz" && PATH=$home/kit/deno:$PATH
  fi
  if [ -f "$kit/packages.tar.xz" ]; then
    tar -C "$home/kit/packages" -xJf "$kit/packages.tar.xz" && export DENO_DIR=$home/kit/packages
  fi
  if [ -f "$kit/peers.tar.xz" ]; then tar -C "$home/peers" -xJf "$kit/peers.tar.xz"; fi
  for deb in "$kit"/*.deb; do
    if [ -f "$deb" ]; then dpkg -x "$deb" /; fi
  done
  if [ "$(id -u)" -eq 0 ]; then ldconfig; fi
fi
export PATH XDG_RUNTIME_DIR=${XDG_RUNTIME_DIR:-/tmp} NO_COLOR=1
# Where a container gets its driver from outside, its description may lie beside it and not where the loader looks.
described=/usr/local/nvidia/share/vulkan/icd.d/nvidia_icd.json
if [ -z "${VK_DRIVER_FILES:-}" ] && [ -f "$described" ]; then export VK_DRIVER_FILES=$described; fi

# --- Steps ----------------------------------------------------------------------------------------------------

if ! facts=$(deno eval 'import { Gpu } from "./gpu/device.ts";
    const { name, driver, software } = (await Gpu.open()).facts;
    console.log(`${name}\n${driver}\n${software}`); Deno.exit(0);'); then
  echo "gpu.sh: no adapter (above: why)" >&2
  exit 1
fi
adapter=$(sed -n 1p <<<"$facts")
driver=$(sed -n 2p <<<"$facts")
software=$(sed -n 3p <<<"$facts")
slug=$(tr '[:upper:]' '[:lower:]' <<<"$adapter" | sed 's/[^a-z0-9]\{1,\}/-/g; s/^-//; s/-$//')
out=bench/results/$slug-$(date -u +%F)
mkdir -p "$out"
summary=$out/summary.txt
{
  echo "adapter: $adapter"
  echo "driver:  $driver"
  echo "date:    $(date -u +%FT%TZ)"
  echo "commit:  $(git describe --always --dirty 2>/dev/null || echo unknown)"
  if [ -n "$python" ]; then
    "$python" -c 'import sys
try:
    import torch
    print("python:  %s, PyTorch %s" % (sys.version.split()[0], torch.__version__))
except ImportError:
    print("python:  %s without PyTorch" % sys.version.split()[0])'
  fi
} | tee "$summary"

granted() { # name: its seconds, at most what is left of the whole
  local left=$((60 * minutes - (SECONDS - begun)))
  if [ "$left" -lt "${limit[$1]}" ]; then echo "$left"; else echo "${limit[$1]}"; fi
}

anywhere() { # text that says nothing of where this machine keeps what
  sed "s#$PWD/##g; s#$PWD#.#g; s#${HOME:-/nowhere}#~#g"
}

step() { # name, a pattern of the lines that sum it up, command...
  local name=$1 pattern=$2 seconds start=$SECONDS code=0
  seconds=$(granted "$name")
  shift 2
  if [ "${limit[$name]}" -eq 0 ]; then echo "$name: left out" | tee -a "$summary" && return; fi
  if [ "$seconds" -lt 5 ]; then echo "$name: not begun, the $minutes minutes are up" | tee -a "$summary" && return; fi
  timeout --kill-after=5 "$seconds" "$@" >"$out/$name.txt" 2>"$out/$name.log" </dev/null &
  wait $! || code=$?
  # timeout heads a process group. Who in it survived its signal would compute beside the next step.
  kill -KILL -- "-$!" 2>/dev/null
  case $code in
    0) echo "$name: done in $((SECONDS - start)) s" ;;
    124 | 137) echo "$name: CUT OFF after $seconds s" ;;
    *) echo "$name: FAILED with exit code $code after $((SECONDS - start)) s: $(tail -n 1 "$out/$name.log")" ;;
  esac | anywhere | tee -a "$summary"
  grep -hE "$pattern" "$out/$name.txt" | tail -n 60 | sed 's/^/  /' | anywhere | tee -a "$summary"
}

compared() { # name of the step, names of works and peers...
  local name=$1 seconds
  shift
  # The comparison ends by itself, with what it has, before it would be cut off with nothing.
  seconds=$(($(granted "$name") - 15))
  if [ "$seconds" -lt 6 ]; then seconds=6; fi
  step "$name" "^targets|failed: |│ (W|AEPO)" deno task --quiet bench --peers --save --rounds 3 --limit 60 \
    --minutes "$(awk "BEGIN { print $seconds / 60 }")" "${with_python[@]}" "$@"
}

with_python=()
native=(ares "best product" "passes alone")
if [ -n "$python" ]; then
  with_python=(--python "$python")
  native+=(PyTorch "HF generate" TRL)
fi
goals=("W2 small" W3 W4)
# Minutes on a processor; so do 16 bits wait for their names there.
if [ "$software" = false ]; then goals=("W1 4096x4096" "${goals[@]}"); fi

step tests "^[0-9]+ passed, [0-9]+ failed|FAILED" deno task --quiet test
step waits "dispatch" deno run -A bench/waits.ts
step bench "^best |GFLOP/s: .* best matmul" deno task --quiet bench
compared peers "${goals[@]}" "${native[@]}"
step train "base|aepo|peak GPU|trained model" deno task --quiet train --run "gpu-$slug"
compared others "W1 512" "W1 1024" "W1 8x" "W2 tiny" AEPO "${native[@]}"
compared javascript js

echo "all of it: $((SECONDS - begun)) s; $summary" | tee -a "$summary"
! grep -qE "^(tests|waits|bench|peers|train|others|javascript): (FAILED|CUT)" "$summary"
