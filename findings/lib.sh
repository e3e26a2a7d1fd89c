# Sourced first by each finding: a copy-on-write root in memory with pinned packages, own processes, loopback only.
# DEBIAN, PYPI and NPM name the packages (the variables are set before). What the finding then needs is in $WORK:
# venv/bin/python, npm/node_modules. Needs root on Debian 12. seen WHAT EXPECTED MEASURED compares; done_ ends.
set -euo pipefail
WORK=/mnt
case ${FINDING_STAGE:-} in
'')
    export FINDING_STAGE=install
    exec timeout -k 5 "${LIMIT:-600}" unshare -u -m -p -f --mount-proc --kill-child bash "$(realpath "$0")"
    ;;
install)
    mount -t tmpfs -o size=3g tmpfs /mnt
    mkdir /mnt/upper /mnt/work /mnt/root
    mount -t overlay overlay -o lowerdir=/,upperdir=/mnt/upper,workdir=/mnt/work /mnt/root
    for kept in dev proc sys; do mount --rbind /$kept /mnt/root/$kept; done
    mount -t tmpfs tmpfs /mnt/root/run
    mkdir /mnt/root/run/lock
    export FINDING_STAGE=fetch
    exec chroot /mnt/root bash "$(realpath "$0")"
    ;;
fetch)
    printf '#!/bin/sh\nexit 101\n' >/usr/sbin/policy-rc.d # no service is started by its package
    chmod +x /usr/sbin/policy-rc.d
    get() { DEBIAN_FRONTEND=noninteractive nice apt-get -o APT::Sandbox::User=root ${FINDING_DEBS:+-o Dir::Cache::archives="$FINDING_DEBS" -o Debug::NoLocking=1} \
        install -qq -y --no-install-recommends --allow-downgrades $DEBIAN >/mnt/apt.log 2>&1; }
    if [[ -n ${DEBIAN:-} ]]; then
        get || { dpkg --configure -a >/dev/null 2>&1; apt-get update -qq; get; } || { tail -5 /mnt/apt.log; echo "not looked at: a pinned version is no longer to be had"; exit 2; }
    fi
    if [[ -n ${PYPI:-} ]]; then
        python3 -m venv /mnt/venv
        nice /mnt/venv/bin/pip install -q --disable-pip-version-check $PYPI
    fi
    if [[ -n ${NPM:-} ]]; then
        mkdir -p /mnt/npm
        (cd /mnt/npm && nice npm install --silent --no-audit --no-fund --prefix /mnt/npm $NPM)
    fi
    export FINDING_STAGE=run
    exec unshare -n bash "$(realpath "$0")"
    ;;
esac
cd /mnt
ip link set lo up
result=0
# Compares what is seen now with what was seen when this was written.
seen() {
    if [[ $2 == "$3" ]]; then
        echo "as seen: $1: $3"
    else
        echo "CHANGED: $1: was $2, now $3"
        result=1
    fi
}
done_() { exit "$result"; }
# until_ SECONDS COMMAND...: repeats it until it succeeds; fails after that time.
until_() {
    local end=$((SECONDS + $1))
    shift
    until "$@" >/dev/null 2>&1; do
        ((SECONDS < end)) || return 1
        sleep 0.1
    done
}
listens() { until_ 60 sh -c "ss -Htln 'sport = :$1' | grep -q ." || { echo "nobody listens on $1"; exit 2; }; }
# count STATE FILTER: rows of the TCP tables.
count() { ss -Htan state "$1" "$2" | wc -l; }
