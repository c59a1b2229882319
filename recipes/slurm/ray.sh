#!/bin/sh
# Features of all clips on several nodes of SLURM, by a Ray cluster that lives as long as the job.
#
#   sbatch --export=ALL,DATA=clips.csv,STORE=features recipes/slurm/ray.sh
#
# The same command again continues: a node that died costs the clips in flight. DATA and STORE lie on a file system that
# all nodes see under the same path. Ray ends with the job; on a shared node "ray stop" would end the Ray of other jobs
# of yours too, so the job takes whole nodes. OPTIONS are further options of mien extract.
#SBATCH --job-name=mien-ray
#SBATCH --nodes=4
#SBATCH --ntasks-per-node=1
#SBATCH --cpus-per-task=16
#SBATCH --exclusive
#SBATCH --requeue
set -eu
export RAY_USAGE_STATS_ENABLED=0 # Ray reports usage to its vendor unless it is told not to
export RAY_AUTH_MODE=token       # and lets everybody run code who reaches its ports
RAY_AUTH_TOKEN=$(od -An -N32 -tx1 /dev/urandom | tr -d ' \n')
export RAY_AUTH_TOKEN
HEAD=$(scontrol show hostnames "$SLURM_JOB_NODELIST" | head -n 1)
ADDRESS=$HEAD:${PORT:-6379}
export ADDRESS DATA STORE

# shellcheck disable=SC2016
srun ray symmetric-run --address "$ADDRESS" --min-nodes "$SLURM_NNODES" \
    --num-cpus "$SLURM_CPUS_PER_TASK" --object-store-memory 100000000 -- \
    sh -c '
        mien doctor --cluster "ray=$ADDRESS" &&
        { mien extract "$DATA" --out "$STORE" --cluster "ray=$ADDRESS" --quiet ${OPTIONS:-} || test $? -eq 3; }
    '
