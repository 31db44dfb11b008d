#!/bin/bash
# WER, size, memory and time of whisper-base with experts (full, low-rank, in 8 bits), with LoRA, and exported, in one run:
#
#   benchmarks/quality.sh WHISPER PROMPTS MODELS [--rounds 3] [--batch_sizes 1 8] ...
#
# WHISPER  folder or Hub id of openai/whisper-base
# PROMPTS  folder with the prompts of ru (examples/get_prompts.py PROMPTS ru)
# MODELS   folder of the models. Those that it lacks are trained or made: experts, rank128 and lora are trained;
#          experts-int8, rank128-int8, exported and lora-merged are made of them. MODELS/quality gets the results.
#
# The flags after these are those of `distilwhisper benchmark quality`; $TRAINING holds flags for `distilwhisper train`.
# Started again, it goes on with the models that are missing. Let the machine do nothing else while it measures.
set -euo pipefail
whisper=$1 prompts=$2 models=$3
shift 3
python=${PYTHON:-python3}
data=(--data "$prompts/{language}")
distilwhisper() { "$python" -m modeling_distilwhisper "$@"; }

train() {  # name, flags
    [[ -f $models/$1/results.json ]] && return
    distilwhisper train --student "$whisper" --languages ru "${data[@]}" --output_dir "$models/$1" "${@:2}" \
        --num_train_epochs 2 --warmup_epochs 0.5 --per_device_train_batch_size 8 --per_device_eval_batch_size 16 \
        --normalizer report --logging_steps 5 --report_to none --save_only_model true ${TRAINING:-}
}
# As the comparison on real prompts has them, but without a teacher, which gained nothing there. It chose the learning
# rates on validation prompts; that of rank 128, its system without gates, follows from LoRA's.
train experts --learning_rate 2e-4
train rank128 --learning_rate 7e-4 --expert_rank 128 --gate_budget 1
train lora --learning_rate 1e-3 --method lora --lora_rank 32

for name in experts rank128; do
    [[ -d $models/$name-int8 ]] || distilwhisper compress "$models/$name" --int8 --output_dir "$models/$name-int8"
done
[[ -f $models/exported/export.json ]] ||
    distilwhisper export "$models/experts" --language ru "${data[@]}" --normalizer report --output_dir "$models/exported"
[[ -d $models/lora-merged ]] || "$python" "$(dirname "$0")/merge_lora.py" "$models/lora" "$models/lora-merged"

distilwhisper benchmark quality --languages ru "${data[@]}" --normalizer report --output_dir "$models/quality" --models \
    "plain=$whisper" "full experts=$models/experts" "full experts, int8=$models/experts-int8" \
    "rank 128=$models/rank128" "rank 128, int8=$models/rank128-int8" \
    "LoRA 32=$models/lora" "LoRA 32, merged=$models/lora-merged" "exported=$models/exported" "$@"
