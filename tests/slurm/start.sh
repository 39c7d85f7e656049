#!/bin/bash
# A Slurm of one node on this machine, for tests: munged, slurmctld and slurmd from Debian's packages slurm-wlm and
# munge, as root, with everything they write in the folder that is given.
#   tests/slurm/start.sh FOLDER     starts them and waits until the node is idle; prints the configuration's path
#   tests/slurm/start.sh --stop FOLDER
set -euo pipefail
if [ "$1" = "--stop" ]; then
  export SLURM_CONF="$2/slurm.conf"
  scancel --user=root 2>/dev/null || true
  for _ in $(seq 20); do
    if [ -z "$(squeue --noheader 2>/dev/null)" ]; then break; fi
    sleep 1
  done
  for name in slurmd slurmctld munged; do
    if [ -s "$2/$name.pid" ]; then kill "$(cat "$2/$name.pid")" 2>/dev/null || true; fi
  done
  exit 0
fi
mkdir -p "$1" && cd "$1" && folder=$PWD
for program in munged slurmctld slurmd sinfo; do
  command -v $program >/dev/null || { echo "$program is not installed (apt-get install slurm-wlm munge)" >&2; exit 3; }
done
mkdir -p state spool && chmod 755 .
dd if=/dev/urandom of=munge.key bs=1024 count=1 status=none && chmod 400 munge.key
munged --force --key-file="$folder/munge.key" --socket="$folder/munge.socket" --pid-file="$folder/munged.pid" \
  --log-file="$folder/munged.log" --seed-file="$folder/munged.seed"
host=$(hostname -s)
cores=$(nproc)
memory=$(($(awk '/MemTotal/ {print $2}' /proc/meminfo) / 1024 - 512))
cat > slurm.conf <<CONF
ClusterName=test
SlurmctldHost=$host(127.0.0.1)
AuthType=auth/munge
AuthInfo=socket=$folder/munge.socket,cred_expire=10
CredType=cred/munge
SlurmUser=root
SlurmdUser=root
SlurmctldPort=16817
SlurmdPort=16818
SlurmctldPidFile=$folder/slurmctld.pid
SlurmdPidFile=$folder/slurmd.pid
SlurmctldLogFile=$folder/slurmctld.log
SlurmdLogFile=$folder/slurmd.log
StateSaveLocation=$folder/state
SlurmdSpoolDir=$folder/spool
ProctrackType=proctrack/pgid
TaskPlugin=task/none
SwitchType=switch/none
MpiDefault=none
JobRequeue=1
ReturnToService=2
SchedulerType=sched/backfill
SchedulerParameters=bf_interval=2,sched_interval=2
SelectType=select/cons_tres
SelectTypeParameters=CR_Core_Memory
KillWait=10
MinJobAge=3600
NodeName=$host NodeAddr=127.0.0.1 CPUs=$cores RealMemory=$memory State=UNKNOWN
PartitionName=test Nodes=$host Default=YES MaxTime=INFINITE State=UP
CONF
export SLURM_CONF=$folder/slurm.conf
slurmctld -f "$SLURM_CONF"
slurmd -f "$SLURM_CONF"
for _ in $(seq 60); do
  if [ "$(sinfo -h -o %T 2>/dev/null)" = "idle" ]; then echo "$SLURM_CONF"; exit 0; fi
  sleep 1
done
echo "the node did not become idle: $(sinfo 2>&1); $(tail -5 slurmctld.log slurmd.log)" >&2
exit 4
