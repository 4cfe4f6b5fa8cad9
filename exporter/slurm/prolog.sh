#!/bin/sh
# Prolog of Slurm, run by slurmd as root before a job: writes down which GPUs the job has, in the
# form that dcgm-exporter reads, and beside it whose job it is. For another folder than the default
# call it from a prolog of your own:
#     WATTSHED_JOB_MAP=/run/gpustat exec sh /etc/slurm/wattshed/prolog.sh
# A prolog that fails drains the node and sends the job back to the queue, so this one never does.

map=${WATTSHED_JOB_MAP:-/var/lib/dcgm-exporter/job-mapping}
job=${SLURM_JOB_ID:-}
umask 022

# Names of what the job has, one a line: indices of GPUs, or UUIDs of MIG devices.
devices() {
    case ${CUDA_VISIBLE_DEVICES:-} in
        *MIG-*) list=$CUDA_VISIBLE_DEVICES ;;
        *) list=${SLURM_JOB_GPUS:-${CUDA_VISIBLE_DEVICES:-}} ;;
    esac
    printf '%s\n' "$list" | tr ',' '\n' | grep -E '^([0-9]+|MIG-[A-Za-z0-9-]+)$'
}

# A line key=value for a value that Slurm gave; people may put line ends into the name of a job.
fact() {
    [ -z "$2" ] || printf '%s=%s\n' "$1" "$(printf '%s' "$2" | tr -d '[:cntrl:]')"
}

facts() {
    fact user "${SLURM_JOB_USER:-${SLURM_JOB_UID:-}}"
    fact account "${SLURM_JOB_ACCOUNT:-}"
    fact partition "${SLURM_JOB_PARTITION:-}"
    fact name "${SLURM_JOB_NAME:-}"
    fact shards "${SLURM_SHARDS_ON_NODE:-}"
    fact mps_percent "${CUDA_MPS_ACTIVE_THREAD_PERCENTAGE:-}"
}

# Other jobs may share the GPU and begin or end right now: one script at a time, five seconds at most.
write_down() {
    if command -v flock >/dev/null; then
        flock -w 5 9 || echo "wattshed prolog: $map/.lock is held for long, going on" >&2
    fi
    facts >"$map/jobs/.$job" && mv -f "$map/jobs/.$job" "$map/jobs/$job"
    for device in $(devices); do
        grep -qsE "^$job( |\$)" "$map/$device" || printf '%s\n' "$job" >>"$map/$device"
    done
}

case $job in
    '' | *[!0-9]*) echo "wattshed prolog: SLURM_JOB_ID is '$job'" >&2 ;;
    *) mkdir -p "$map/jobs" && (write_down) 9>>"$map/.lock" ;;
esac
exit 0
