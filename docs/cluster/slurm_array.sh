#!/bin/bash
# One step of a study as an array of Slurm jobs, each with a part of the slides (--shard): no machine needs to ask another.
#
#   tiles=$(sbatch --parsable --array=1-8 docs/cluster/slurm_array.sh 8 preprocessing/tile_slides.py --study /shared/study)
#   sbatch --array=1-8 --gres=gpu:1 --dependency=afterany:$tiles \
#          docs/cluster/slurm_array.sh 8 features/extract_features.py --study /shared/study
#
# The first word is the number of parts: it stays 8 where only some are asked for again (--array=3,5). Submit it in the folder of the
# repository, or name that in SARCOMA_MIL; PYTHON names the environment's Python. Exit code 1 says that some slides failed (status.csv
# says which and why) and the rest is done, so that the next step waits with afterany.
#SBATCH --job-name=sarcoma-mil
#SBATCH --cpus-per-task=4
#SBATCH --mem=16G
#SBATCH --time=24:00:00
#SBATCH --output=sarcoma-mil_%A_%a.log
set -euo pipefail

n_shards=${1:?the number of parts, then a script and its options}
shift
cd "${SARCOMA_MIL:-${SLURM_SUBMIT_DIR:?not started by sbatch}}"
exec "${PYTHON:-python}" "$@" --shard "${SLURM_ARRAY_TASK_ID:?give sbatch --array=1-$n_shards}/$n_shards"
