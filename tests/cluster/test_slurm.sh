#!/bin/bash
# The simulated cluster itself: jobs run on all nodes, a killed daemon comes back, two clusters do not meet,
# and nothing of a stopped one is left.

. "$(dirname "$0")/../cmd/holds.sh"
slurm=$root/tests/cluster/slurm.sh

holds $slurm start a 2
holds $slurm start b 1
. a/env
trap '$slurm stop a; $slurm stop b; rm -rf "$work"' EXIT

holds srun -N 2 -n 2 --immediate=20 sh -c 'echo $SLURMD_NODENAME'
holds test "$(sort out | tr '\n' ' ')" = "n1 n2 "

# A job outlives its node's daemon, which comes back; it goes with the cluster.
sbatch --parsable -w n2 -o out.%j --wrap 'echo $$ >pid; exec sleep 1000' >id
until [ -s pid ]; do sleep 0.1; done
holds $slurm kill a n2
holds kill -0 "$(cat pid)"
holds $slurm revive a n2
holds srun -w n2 --immediate=20 true

holds $slurm stop a
holds test ! -e "/proc/$(cat pid)"
holds test -z "$(grep -lzxF "SLURM_CONF=$work/a/slurm.conf" $(ls -d /proc/[0-9]*/environ | grep -v "/$$/") 2>/dev/null)"
. b/env
holds srun -n 1 --immediate=20 true
holds $slurm stop b

tests_end
