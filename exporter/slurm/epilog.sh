#!/bin/sh
# Epilog of Slurm, run by slurmd as root after a job: takes back what prolog.sh wrote down, wherever
# it stands. For another folder than the default see there. An epilog that fails drains the node, so
# this one never does.

map=${WATTSHED_JOB_MAP:-/var/lib/dcgm-exporter/job-mapping}
job=${SLURM_JOB_ID:-}
umask 022

# A file with other jobs is replaced as a whole, so that no reader sees half of it.
strike_out() {
    if command -v flock >/dev/null; then
        flock -w 5 9 || echo "wattshed epilog: $map/.lock is held for long, going on" >&2
    fi
    for file in "$map"/[0-9]* "$map"/MIG-*; do
        grep -qsE "^$job( |\$)" "$file" || continue
        others=$(grep -vE "^$job( |\$)" "$file")
        if [ -z "$others" ]; then
            rm -f "$file"
        else
            printf '%s\n' "$others" >"$map/.$job" && mv -f "$map/.$job" "$file"
        fi
    done
    rm -f "$map/jobs/$job"
}

case $job in
    '' | *[!0-9]*) echo "wattshed epilog: SLURM_JOB_ID is '$job'" >&2 ;;
    *) [ ! -d "$map" ] || (strike_out) 9>>"$map/.lock" ;;
esac
exit 0
