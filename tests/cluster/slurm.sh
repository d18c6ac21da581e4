#!/bin/bash
# A Slurm of simulated nodes on this machine, for tests: in a folder of its own, as any user, beside others.
#
#	slurm.sh works				can one start here? If not: why, on one line
#	slurm.sh start DIR N [KEY=VALUE...]	nodes n1 to nN; keys of slurm.conf replace the ones below. Then: . DIR/env
#	slurm.sh stop DIR			its jobs, its daemons, what these left behind, and nothing else
#	slurm.sh kill DIR NAME			signal 9 to one daemon, "controller", "n1", ...
#	slurm.sh revive DIR NAME		and it is there again
#
# Of Debian: slurmctld, slurmd, slurm-client, and munge; where munge does not start, nobody is authenticated.
set -u
PATH=$PATH:/usr/sbin:/sbin
verb=${1:?works, start, stop, kill or revive}

fail() {
	echo "slurm: $*" >&2
	exit 1
}

# A process that runs with this folder's configuration: its number alone may be another's by now.
is_ours() { grep -qzxF "SLURM_CONF=$dir/slurm.conf" "/proc/$1/environ" 2>/dev/null; }
pid_of() { sed -n "s/ $1\$//p" "$dir/pids" | tail -n 1; }

# wait_for SECONDS COMMAND...: until it succeeds
wait_for() {
	local tries=$(($1 * 10))
	shift
	while ! "$@"; do
		((tries-- > 0)) || return 1
		sleep 0.1
	done
}

# --- configuration ---------------------------------------------------------------------------------------

# The first of n ports in a row where nobody listens.
free_ports() {
	local n=$1 base port
	for _ in {1..20}; do
		base=$((20000 + RANDOM % 1000 * 10))
		for ((port = base; port < base + n; port++)); do
			(exec 3<>"/dev/tcp/127.0.0.1/$port") 2>/dev/null && continue 2
		done
		echo "$base"
		return
	done
	fail "no free ports"
}

# write_conf NODES AUTH KEY=VALUE...: short times, so that a test sees in seconds what takes a site minutes.
write_conf() {
	local nodes=$1 auth=$2 user host port i
	user=$(id -un) host=$(hostname -s)
	port=$(free_ports $((nodes + 1))) || exit 1
	shift 2
	mkdir -p "$dir"/{state,log}
	echo 'CgroupPlugin=cgroup/v1' >"$dir/cgroup.conf"	# found out by itself, it ends slurmd in containers
	: >"$dir/plugstack.conf"
	{
		cat <<-END
			ClusterName=simulated
			SlurmctldHost=$host(127.0.0.1)
			SlurmctldPort=$port
			SlurmUser=$user
			SlurmdUser=$user
			StateSaveLocation=$dir/state
			SlurmdSpoolDir=$dir/spool.%n
			TmpFS=$dir/tmp.%n
			SlurmctldPidFile=$dir/controller.pid
			SlurmdPidFile=$dir/%n.pid
			SlurmctldLogFile=$dir/log/controller
			SlurmdLogFile=$dir/log/%n
			PlugStackConfig=$dir/plugstack.conf
			ProctrackType=proctrack/linuxproc
			TaskPlugin=task/none
			MpiDefault=none
			SelectType=select/cons_tres
			SelectTypeParameters=CR_Core
			SlurmdParameters=config_overrides
			SchedulerParameters=batch_sched_delay=0,sched_min_interval=0,bf_interval=1
			JobCompType=jobcomp/none
			MinJobAge=300
			KillWait=5
			ReturnToService=2
			SlurmdTimeout=10
		END
		if [ "$auth" = munge ]; then
			printf '%s\n' AuthType=auth/munge CredType=cred/munge "AuthInfo=socket=$dir/munge/socket,cred_expire=5"
		else
			printf '%s\n' AuthType=auth/none CredType=cred/none AuthInfo=cred_expire=5
		fi
		printf '%s\n' "$@"
		for ((i = 1; i <= nodes; i++)); do
			mkdir -p "$dir/spool.n$i" "$dir/tmp.n$i"
			echo "NodeName=n$i NodeHostname=$host NodeAddr=127.0.0.1 Port=$((port + i))" \
				"CPUs=${SLURM_TEST_CPUS:-2} RealMemory=4000"
		done
		echo 'PartitionName=all Nodes=ALL Default=YES MaxTime=INFINITE State=UP'
	} >"$dir/slurm.conf"
	echo "export SLURM_CONF=$dir/slurm.conf" >"$dir/env"
}

# --- daemons ---------------------------------------------------------------------------------------------

daemon() {
	local name=$1
	shift
	SLURM_CONF=$dir/slurm.conf setsid "$@" >>"$dir/log/$name.out" 2>&1 </dev/null &
	echo "$! $name" >>"$dir/pids"
}

revive() {
	case $1 in
	munge)
		daemon munge munged -F -S "$dir/munge/socket" --key-file="$dir/munge/key" \
			--log-file="$dir/munge/log" --pid-file="$dir/munge/pid" --seed-file="$dir/munge/seed" ;;
	controller) daemon controller slurmctld -D ;;
	*) daemon "$1" slurmd -D -N "$1" ;;
	esac
}

start_munge() {
	command -v munged >/dev/null || return 1
	mkdir -p "$dir/munge" && chmod 755 "$dir" "$dir/munge"
	(umask 077 && head -c 128 /dev/urandom >"$dir/munge/key")
	revive munge
	wait_for 5 test -S "$dir/munge/socket"
}

all_idle() { [ "$(timeout 5 sinfo -h -N -t idle -o %N 2>/dev/null | wc -l)" = "$1" ]; }
all_idle_or_dead() { all_idle "$1" || ! is_ours "$(pid_of controller)" || ! is_ours "$(pid_of n1)"; }

start() {
	local nodes=$1 auth=none program i
	shift
	for program in slurmctld slurmd sinfo; do
		command -v $program >/dev/null || fail "$program is not installed (make deps-cluster, as root)"
	done
	mkdir -p "$dir/log" && dir=$(cd "$dir" && pwd) && : >"$dir/pids" || fail "cannot write $dir"
	[ "${SLURM_TEST_AUTH:-munge}" = munge ] && start_munge && auth=munge
	write_conf "$nodes" $auth "$@"
	. "$dir/env"
	revive controller
	for ((i = 1; i <= nodes; i++)); do
		revive "n$i"
	done
	wait_for 30 all_idle_or_dead "$nodes"
	all_idle "$nodes" && return
	tail -n 3 "$dir"/log/* >&2
	stop
	fail 'its nodes do not come up'
}

# --- the end ---------------------------------------------------------------------------------------------

no_jobs() { [ -z "$(timeout 5 squeue -h 2>/dev/null)" ]; }

signal_all() {
	local pid
	while read -r pid _; do
		is_ours "$pid" && kill "-$1" "$pid"
	done <"$dir/pids"
}

all_gone() {
	local pid
	while read -r pid _; do
		is_ours "$pid" && return 1
	done <"$dir/pids"
	return 0
}

# Steps and their children may outlive their node's daemon.
kill_steps() {
	local file pid
	for file in $(grep -lzxF "SLURM_CONF=$dir/slurm.conf" /proc/[0-9]*/environ 2>/dev/null); do
		pid=${file//[!0-9]/}
		{ grep -qz '^SLURM_JOB_ID=' "$file" || grep -q slurmstepd "/proc/$pid/comm"; } 2>/dev/null && kill -KILL "$pid"
	done
	return 0
}

stop() {
	. "$dir/env" || exit 1
	if is_ours "$(pid_of controller)"; then
		timeout 5 scancel -u "$(id -un)" 2>/dev/null
		wait_for 10 no_jobs
	fi
	signal_all TERM
	wait_for 5 all_gone || { signal_all KILL; wait_for 5 all_gone; }
	kill_steps
}

# --------------------------------------------------------------------------------------------------------

works() {
	local said
	dir=$(mktemp -d)
	trap 'rm -rf "$dir"' EXIT
	said=$("$0" start "$dir/slurm" 1 2>&1) || fail "$(tail -n 1 <<<"$said" | sed 's/^slurm: //')"
	"$0" stop "$dir/slurm"
}

if [ "$verb" = works ]; then
	works
	exit
fi
dir=${2:?folder}
[ "$verb" = start ] || dir=$(cd "$dir" && pwd) || exit 1
case $verb in
start) shift 2 && start "$@" ;;
stop) stop ;;
kill) pid=$(pid_of "${3:?name}") && is_ours "$pid" && kill -KILL "$pid" ;;
revive) revive "${3:?name}" ;;
*) fail "$verb: works, start, stop, kill or revive" ;;
esac
