#!/usr/bin/env bash
# What is to be measured on an NVIDIA GPU, the most worthwhile first, in 25 minutes: that the engines are equal, how fast
# each is, from a process's start to a saved model, the evidence, and where the time goes.
#
#   bench/on_gpu.sh OUT [--device cpu --tiny]
#
# Each part has a time limit; one that fails or runs out of it stops none of the others. OUT/done names the parts that
# are done: they are left out when it is started again. OUT holds a log of each part, steps.tsv (part, seconds, exit
# status), records and saved benchmarks. DistilBERT's shape has random weights here: speed needs no others. Quality is
# minilm's, where it is installed. --tiny shows that all of it works, on the smallest encoder.
set -uo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

if (($# < 1)) || [[ $1 == -* ]]; then
    echo "usage: bench/on_gpu.sh OUT [--device cpu --tiny]" >&2
    exit 2
fi
mkdir -p "$1/logs" "$1/done"
out=$(cd "$1" && pwd)
shift
device=cuda tiny=
while (($#)); do
    case $1 in
    --device) device=${2:?--device takes cpu or cuda} && shift 2 ;;
    --tiny) tiny=yes && shift ;;
    *) echo "on_gpu.sh: no option $1; --device cpu and --tiny would do" >&2 && exit 2 ;;
    esac
done

data=${RTLAB_DATASET:-corpus} speed=distilbert-random quality=minilm limit=
few="--study embedded" whole="--study lab"
precisions="bf16 tf32 fp32"
if [[ $tiny ]]; then
    data=corpus speed=tiny-distilbert quality=tiny-distilbert limit="--limit 48"
    few="--study smoke" whole="--study smoke"
    precisions=bf16
fi
[[ $device == cpu ]] && precisions=${precisions/tf32 /} # which a CPU has not
ends=$((SECONDS + 25 * 60))

part() { # NAME SECONDS COMMAND...: do it, unless it was done or the time is over
    local name=$1 seconds=$2 begin=$SECONDS status=0
    shift 2
    [[ -e $out/done/$name ]] && return
    ((SECONDS + 10 >= ends)) && echo "$name: no time left" && return
    ((seconds > ends - SECONDS)) && seconds=$((ends - SECONDS))
    timeout --signal=INT --kill-after=20 "$seconds" "$@" >"$out/logs/$name.log" 2>&1 || status=$?
    printf '%s\t%s\t%s\n' "$name" $((SECONDS - begin)) "$status" | tee -a "$out/steps.tsv"
    ((status)) || touch "$out/done/$name"
}

engines() { # NAME SECONDS WHAT PRECISION OPTION...: engines compared, saved as a benchmark
    local name=$1 seconds=$2 what=$3 precision=$4
    shift 4
    part "$name" "$seconds" python -m pytest bench -p no:cacheprovider --device "$device" --encoder "$speed" \
        --dataset "$data" $limit --precision "$precision" -k "$what" --output-dir "$out/results" \
        --benchmark-storage "file://$out/benchmarks" --benchmark-save "$name" "$@"
}

dynamic=test_native_packed_against_trainer_dynamic
part equal 240 python -m pytest -q -p no:cacheprovider --tb short -k "cuda or capture or replay or waits_for" \
    tests/test_capture.py tests/test_native.py tests/test_environment.py tests/test_testbed.py tests/test_step.py
engines bf16-steps 120 "$dynamic" bf16 $few
engines bf16-whole 420 "$dynamic" bf16 $whole
engines speedrun 240 test_from_start_to_a_saved_model bf16 $whole
part evidence 360 python -m rtlab sweep evidence --part 1 --encoder "$quality" --dataset "$data" --device "$device" \
    --precision bf16 --engine native --output-dir "$out/results" $limit ${tiny:+--seeds 1 --epochs 1}
part profile 60 python bench/profile_steps.py "$out/profile" --encoder "$speed" --dataset "$data" --device "$device" $limit
for precision in ${precisions#bf16}; do
    engines "$precision-steps" 120 "$dynamic" "$precision" $few
done
part evidence-reference 360 python -m rtlab sweep evidence --part 1 --encoder "$quality" --dataset "$data" \
    --device "$device" --precision bf16 --engine trainer --seeds 2 --output-dir "$out/results" $limit ${tiny:+--epochs 1}
engines memory 120 test_peak_memory bf16 $few
engines fixed 240 test_native_packed_against_trainer_fixed bf16 $few

cat "$out/steps.tsv"
