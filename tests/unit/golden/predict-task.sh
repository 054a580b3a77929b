#!/usr/bin/env bash
#SBATCH --job-name=night
#SBATCH --output=/scratch/runs/night/20261121-080000-abcd/logs/%A_%a.log
#SBATCH --open-mode=append
#SBATCH --nodes=1
#SBATCH --ntasks-per-node=1
#SBATCH --cpus-per-task=8
#SBATCH --mem=32768M
#SBATCH --time=240
#SBATCH --signal=B:USR1@120
#SBATCH --requeue
#SBATCH --array=0-2
#SBATCH --gres=gpu:a100:2
#SBATCH --account=forest
#SBATCH --partition=gpu

set -euo pipefail

# What this script does is in the run folder: /scratch/runs/night/20261121-080000-abcd
RUN=/scratch/runs/night/20261121-080000-abcd
TASK=$(( ${SLURM_ARRAY_TASK_ID:-0} + 0 ))
SELF="${SLURM_ARRAY_JOB_ID:-$SLURM_JOB_ID}${SLURM_ARRAY_TASK_ID:+_$SLURM_ARRAY_TASK_ID}"

echo "--- $(date -u +%FT%TZ) job $SELF task $TASK on $(hostname), restart ${SLURM_RESTART_COUNT:-0}"

module load cuda/12.4
export TF_XLA_FLAGS='a b'

SCRATCH=$(mktemp -d -- /tmp/segbatch.XXXXXXXX)
trap 'rm -rf -- "$SCRATCH"' EXIT
export SEGBATCH_SCRATCH="$SCRATCH"

# The task runs in the background, since bash delivers a trap only between commands; the flag tells an interrupted
# `wait` from a finished one, so that the task's exit code is kept.
child=
interrupted=0
forward() {
    interrupted=1
    if [[ -n "$child" ]]; then kill -USR1 "$child" 2>/dev/null || true; fi
}
trap forward USR1 TERM
run_task() {
    "$@" &
    child=$!
    local code
    while true; do
        interrupted=0
        code=0
        wait "$child" || code=$?
        if (( ! interrupted )); then return "$code"; fi
    done
}

code=0
run_task srun --cpus-per-task=8 python3 -P -m segbatch.worker "$RUN" --task "$TASK" || code=$?

if (( code == 85 )); then
    echo "--- told to stop; requeued as $SELF"
    scontrol requeue "$SELF"
    exit 0
fi
exit "$code"
