#!/usr/bin/env bash
# A job array of Slurm: sbatch --array=0-15 deploy/bulk/slurm.sh LIST OUT [OPTION...]
# After a failure or a time limit, submit it again: each part goes on.
#SBATCH --job-name=mask-detector
#SBATCH --cpus-per-task=2
#SBATCH --mem=2G
#SBATCH --time=04:00:00
#SBATCH --requeue
exec "$SLURM_SUBMIT_DIR/deploy/bulk/label_part.sh" \
  "$SLURM_ARRAY_TASK_ID" "$SLURM_ARRAY_TASK_COUNT" "$@" --threads "$SLURM_CPUS_PER_TASK"
