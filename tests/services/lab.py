"""A machine for one recipe: a copy-on-write root with pinned packages, own processes, loopback only.

run(main, debian=[...]) starts the recipe again inside and calls main() there. Nothing that is installed,
started or written outlives it. Needs root, overlayfs and Debian 12. SERVICES_CACHE=DIR keeps downloads.
"""
import os
import resource
import subprocess
import sys
import time

STAGE = "SERVICES_STAGE"
PATIENCE = 40.0


def run(main, debian=(), pypi=(), npm=(), prepare=None, seconds=560):
    stage = os.environ.get(STAGE)
    if stage is None:
        again("installing", ["timeout", "-k", "5", str(seconds), "unshare", "-u", "-m", "-p", "-f", "--mount-proc", "--kill-child"])
    if stage == "installing":
        root()
        install(debian, pypi, npm)
        if prepare:
            prepare()
        again("isolated", ["unshare", "-n"])
    subprocess.run(["ip", "link", "set", "lo", "up"], check=True)
    main()


def again(stage, before):
    os.environ[STAGE] = stage
    os.execvp(before[0], [*before, sys.executable, "-u", os.path.abspath(sys.argv[0]), *sys.argv[1:]])


def root():
    """Changes into an overlay of the machine's root; what is written goes to memory and away with the mounts."""
    top = "/mnt"
    sh(f"mount -t tmpfs -o size=3g tmpfs {top} && mkdir {top}/upper {top}/work {top}/root")
    sh(f"mount -t overlay overlay -o lowerdir=/,upperdir={top}/upper,workdir={top}/work {top}/root")
    for kept in ("dev", "proc", "sys"):
        sh(f"mount --rbind /{kept} {top}/root/{kept}")
    sh(f"mount -t tmpfs tmpfs {top}/root/run && mkdir {top}/root/run/lock")
    cache = os.environ.get("SERVICES_CACHE")
    if cache:
        sh(f"mkdir -p {cache}/debs/partial && mount --bind {cache} {top}/root/{cache}")
    os.chroot(top + "/root")
    os.chdir("/")


def install(debian, pypi, npm):
    cache = os.environ.get("SERVICES_CACHE")
    if debian:
        with open("/usr/sbin/policy-rc.d", "w", encoding="ascii") as policy:
            policy.write("#!/bin/sh\nexit 101\n")  # a package must not start its service
        os.chmod("/usr/sbin/policy-rc.d", 0o755)
        archives = f"-o Dir::Cache::archives={cache}/debs -o Debug::NoLocking=1 -o APT::Keep-Downloaded-Packages=1" if cache else ""
        command = (f"DEBIAN_FRONTEND=noninteractive nice apt-get -o APT::Sandbox::User=root {archives} install -qq -y --allow-downgrades"
                   f" --no-install-recommends {' '.join(debian)}")
        if subprocess.run(f"{command} >/mnt/apt.log 2>&1", shell=True).returncode:
            sh("dpkg --configure -a; apt-get update -qq", check=False)
            if subprocess.run(f"{command} >/mnt/apt.log 2>&1", shell=True).returncode:
                sys.exit(open("/mnt/apt.log").read()[-800:] + "\nnot measured: a pinned version is no longer to be had")
    if pypi:
        sh("python3 -m venv /mnt/venv && nice /mnt/venv/bin/pip install -q --disable-pip-version-check " + " ".join(pypi))
    if npm:
        keep = f"--cache {cache}/npm" if cache else ""
        sh(f"mkdir -p /mnt/npm && cd /mnt/npm && nice npm install {keep} --silent --no-audit --no-fund --prefix /mnt/npm " + " ".join(npm))


def sh(command, check=True):
    """Its output."""
    done = subprocess.run(command, shell=True, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    if check and done.returncode:
        sys.exit(f"{command}: {done.returncode}\n{done.stdout[-800:]}\n{done.stderr[-1500:]}")
    return done.stdout.strip()


def version(package):
    return sh(f"dpkg-query -W -f '${{Version}}' {package}")


def poll(condition, patience=PATIENCE, step=0.05):
    """The seconds until the condition held; None if it never did."""
    start = time.monotonic()
    while time.monotonic() - start < patience:
        if condition():
            return time.monotonic() - start
        time.sleep(step)
    return None


def descriptors(wanted=65535):
    """Raises what this process and its children may open to what the packages' units set, as far as the machine lets it."""
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(wanted, hard), hard))
