#!/bin/sh
# Features of all clips by a SLURM job array: one part for each task, on any node, in any order.
#
#   sbatch --export=ALL,DATA=clips.csv,STORE=features recipes/slurm/array.sh
#   sbatch --export=ALL,DATA=clips.csv,STORE=features --array=3,7 recipes/slurm/array.sh    # these parts again
#   mien merge features                                                                     # when all have ended
#
# STORE lies on a file system that all nodes see. PARTS is written here and not taken from SLURM_ARRAY_TASK_COUNT,
# which counts only the tasks that are started now. OPTIONS are further options of mien extract.
#SBATCH --job-name=mien-extract
#SBATCH --array=1-16
#SBATCH --ntasks=1
#SBATCH --cpus-per-task=4
#SBATCH --mem-per-cpu=2G
#SBATCH --requeue
set -eu
PARTS=${PARTS:-16}

mien extract "$DATA" --out "$STORE" --shard "$SLURM_ARRAY_TASK_ID/$PARTS" \
    --workers "${SLURM_CPUS_PER_TASK:-1}" --quiet ${OPTIONS:-} || test $? -eq 3 # 3: some clips failed, with reasons
