#!/usr/bin/env bash
#SBATCH --job-name=night-finish
#SBATCH --output=/scratch/runs/night/20261121-080000-abcd/logs/finish-%j.log
#SBATCH --time=60
#SBATCH --account=forest
#SBATCH --partition=gpu

set -euo pipefail

# Merges what the tasks wrote and reports; names what is missing.
RUN=/scratch/runs/night/20261121-080000-abcd

module load cuda/12.4
export TF_XLA_FLAGS='a b'

exec python3 -P -m segbatch.worker "$RUN" --finish
