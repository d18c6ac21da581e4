# What the tests of sweeps on a cluster share: the cluster, faults, and what must hold after them. Sourced
# behind tests/cmd/holds.sh, with `slurm` the path of slurm.sh.

# sweep.yaml: 40 runs of a second or two, on the data of small_data.
small_sweep() {
	cat >sweep.yaml <<END
variants:
  mamba: {base: $root/experiments/micro/mamba.yaml}
  moe_mamba: {base: $root/experiments/micro/moe_mamba.yaml}
set:
  model: {d_model: 16, n_blocks: 1}
  train: {batch: 2, context: 32, tokens: 256000}
  checkpoint.every: 0.3
  data.path: data
  eval: {every: 50, tokens: 64}
seeds: [1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18, 19, 20]
END
}

# begin_cluster NODES: with short times for losing a node; ends with the test, whatever happens.
begin_cluster() {
	SLURM_TEST_CPUS=1 holds $slurm start cluster "$1" SlurmdTimeout=5 || exit 1
	trap '$slurm stop cluster; end_disk; rm -rf "$work"' EXIT
	. cluster/env
	n_nodes=$1
}

# --- what the cluster does -------------------------------------------------------------------------------

# Process numbers of our tasks and of all they started; of the workers, and of the tasks alone. Faults spare
# one job and its node.
spared= spared_node=
task_processes() {
	local file
	for file in $(grep -lzxF "SLURM_CONF=$SLURM_CONF" /proc/[0-9]*/environ 2>/dev/null); do
		grep -qz '^SLURM_JOB_ID=' "$file" 2>/dev/null && ! grep -qzx "SLURM_ARRAY_JOB_ID=$spared" "$file" 2>/dev/null &&
			echo "${file//[!0-9]/}"
	done
}
who_is() { for p in $(task_processes); do grep -qzx "$1" "/proc/$p/cmdline" 2>/dev/null && echo "$p"; done; }
workers() { who_is worker; }
tasks() { who_is task; }

live_jobs() { timeout 20 squeue -h -r -o %i 2>/dev/null; }
running_jobs() { timeout 20 squeue -h -r -t RUNNING -o '%F_%K' 2>/dev/null | grep -v "^${spared:-none}_"; }
any() { shuf -n 1; }

# Some run is at work, or will not be for a while.
wait_for_work() {
	for _ in {1..40}; do
		[ -n "$(workers)" ] && return
		sleep 0.5
	done
}

# One fault, by its name. One that five times finds nothing to spoil, or that ended meanwhile, says 1.
fault() {
	for _ in {1..5}; do
		try_fault "$1" && return
		sleep 0.5
	done
	return 1
}

try_fault() {
	local id
	wait_for_work
	case $1 in
	cancel) id=$(running_jobs | any) && [ -n "$id" ] && timeout 20 scancel "$id" ;;
	signal) id=$(running_jobs | any) && [ -n "$id" ] && timeout 20 scancel -b -s USR1 "$id" ;;
	requeue) id=$(running_jobs | any) && [ -n "$id" ] && timeout 20 scontrol requeue "$id" ;;
	worker) id=$(workers | any) && [ -n "$id" ] && kill -KILL "$id" ;;
	task) id=$(tasks | any) && [ -n "$id" ] && kill -KILL "$id" ;;
	freeze) id=$(workers | any) && [ -n "$id" ] && kill -STOP "$id" && sleep 2 && kill -CONT "$id" ;;
	node) lose_node "$(seq "$n_nodes" | grep -v "^${spared_node:-none}$" | any)" ;;
	controller) $slurm kill cluster controller && sleep 1 && $slurm revive cluster controller && wait_controller ;;
	submit) again & again && wait $! ;;
	disk) [ -z "${disk-}" ] || { fill_disk; sleep 2; free_disk; } ;;
	esac >>faults.log 2>&1
}

wait_controller() {
	for _ in {1..40}; do timeout 20 scontrol ping 2>/dev/null | grep -q UP && return; sleep 0.25; done
}

# A node's daemon and all that ran there, as when the machine stops; it comes back at once or when it is missed.
lose_node() {
	local p
	$slurm kill cluster "n$1"
	for p in $(task_processes); do
		grep -qzx "SLURMD_NODENAME=n$1" "/proc/$p/environ" 2>/dev/null && kill -KILL "$p" 2>/dev/null
	done
	sleep $((RANDOM % 2 * 3))
	$slurm revive cluster "n$1"
}

# --- a disk that can be full -----------------------------------------------------------------------------

# begin_disk MIB: results/ is a file system of its own; needs root
begin_disk() {
	mkdir -p results
	if [ "$(id -u)" = 0 ] && mount -t tmpfs -o "size=$1m" tmpfs results 2>/dev/null; then
		disk=1
	else
		echo 'no disk is filled: that needs root, and mount'
	fi
}
end_disk() { [ -z "${disk-}" ] || { umount -l results; disk=; }; }
fill_disk() { cat /dev/zero >results/filler; }
free_disk() { rm -f results/filler; }

# --- to the end ------------------------------------------------------------------------------------------

n_done() { ls results/runs/*/DONE 2>/dev/null | wc -l; }

# What is left goes to the cluster once more.
again() { $moelab submit "${1-$sweep}" --tasks "$n_nodes" --time "${2-5}" -T 1 >>submit.log 2>&1; }

# What an administrator would do: a node that cannot write a task's log has Slurm hold the task; one whose
# daemon came back too soon for it is drained ("Duplicate jobid").
release_held() {
	local node
	for node in $(timeout 20 sinfo -h -N -t drained,draining -o %N 2>/dev/null | sort -u); do
		timeout 20 scontrol update "nodename=$node" state=resume
	done
	timeout 20 squeue -h -r -t PENDING -o '%F_%K %r' 2>/dev/null | grep -i held | cut -d' ' -f1 |
		xargs -r -n 1 timeout 20 scontrol release
}

# until_done N SECONDS: as a person would: looks, and submits again when nothing is in the queue.
until_done() {
	local end=$(($(date +%s) + $2))
	until [ "$(n_done)" -ge "$1" ]; do
		[ "$(date +%s)" -lt $end ] || return 1
		[ -n "$(live_jobs)" ] || again
		release_held
		$moelab status "$name" >>status.log 2>&1
		sleep 1
	done
	while [ -n "$(live_jobs)" ] && [ "$(date +%s)" -lt $end ]; do sleep 0.5; done
}

# Every loss of every step, once: the bits that were computed.
losses() { $moelab query "SELECT label, seed, kind, step, loss FROM curve ORDER BY 1, 2, 3, 4" --format csv "$@"; }
# Steps that a file tells twice, since its run was resumed, and not with the same bits.
disagreements() {
	for f in results/runs/*/metrics.jsonl; do
		sed -nE 's/^\{"t":"step","step":([0-9]+),.*"ce":([^,]+),.*\}$/\1 \2/p' "$f" | sort -u |
			cut -d' ' -f1 | uniq -d | sed "s|^|$f step |"
	done
}

# as_undisturbed N: N runs are done, as in `local`, and nothing is left of what was at work.
as_undisturbed() {
	holds test "$(n_done)" = "$1"
	losses >theirs
	holds test "$(wc -l <theirs)" -gt "$1"
	holds cmp ours theirs
	holds test -z "$(disagreements)"
	holds test -z "$(ls -d results/runs/*/CLAIM results/runs/*/FAILED 2>/dev/null)"
	holds test -z "$(live_jobs)"
	holds test -z "$(task_processes)"
}
