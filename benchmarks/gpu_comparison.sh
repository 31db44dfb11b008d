#!/bin/bash
# The comparison on real prompts (plain, fine-tuning, LoRA, CLSR-FT, DistilWhisper, and ablations), on one GPU, offline:
#
#   benchmarks/gpu_comparison.sh WEIGHTS PROMPTS OUTPUT [--parallel 12] [--last_start 480] [--deadline 510] ...
#
# WEIGHTS  folder of openai/whisper-base
# PROMPTS  folder with prompts/<language> (examples/get_prompts.py PROMPTS/prompts ru fr es) and
#          shifted/<language> (benchmarks/shift_recordings.py PROMPTS/prompts PROMPTS/shifted ru fr es)
# OUTPUT   gets results.tar.gz, written anew as jobs end; tables: benchmarks/comparison_tables.py OUTPUT/results.tar.gz
#
# Models, logs and records lie in $WORK (default: OUTPUT/work). Started again with the same arguments, it goes on.
set -euo pipefail
weights=$1 prompts=$2 output=$3
shift 3
export OMP_NUM_THREADS=1 OPENBLAS_NUM_THREADS=1 MKL_NUM_THREADS=1 TOKENIZERS_PARALLELISM=false
export HF_HUB_OFFLINE=1 HF_DATASETS_OFFLINE=1 TQDM_DISABLE=1 MPLBACKEND=agg PYTHONUNBUFFERED=1
export PYTORCH_NVML_BASED_CUDA_CHECK=1 PYTORCH_CUDA_ALLOC_CONF=expandable_segments:True
exec "${PYTHON:-python3}" "$(dirname "$0")/gpu_comparison.py" "$weights" "$prompts" "$output" \
    --work "${WORK:-$output/work}" "$@"
