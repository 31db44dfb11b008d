#!/bin/bash
# What the model costs and whether it is right on one GPU, in less than 8 minutes, offline:
#
#   benchmarks/gpu.sh OUTPUT [--only equality] [--deadline 460] ...
#
# OUTPUT  gets gpu.json, which is complete at any time, gpu.txt, the same to read, and logs/
#
# On a machine without a GPU, a try of every step with the least model: --device cpu --try
set -euo pipefail
export OMP_NUM_THREADS="${OMP_NUM_THREADS:-1}" TOKENIZERS_PARALLELISM=false
export HF_HUB_OFFLINE=1 HF_DATASETS_OFFLINE=1 TQDM_DISABLE=1 MPLBACKEND=agg PYTHONUNBUFFERED=1
exec "${PYTHON:-python3}" "$(dirname "$0")/gpu.py" "$@"
