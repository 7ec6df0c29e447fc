#!/bin/bash
# enter_root.sh SYSTEM LIVE CGROUP NAME BIND...: become process 1 of a root of its own, in the namespaces that the caller made
# (mount, pid, net, uts, ipc), and end when stdin does, with every process in it (tests/support/roots.py).
#
# SYSTEM: the folder of a system, which stays as it is; what is written goes into LIVE. CGROUP: what becomes /sys/fs/cgroup, or "".
# BIND: HOST:INSIDE, a folder or a file. A real pivot_root, since runc pivots too.
set -eu
system=$1 live=$2 cgroup=$3 name=$4
shift 4
mount -t overlay overlay -o "lowerdir=$system,upperdir=$live/upper,workdir=$live/work" "$live/root"
cd "$live/root"
mount -t proc proc proc
mount --rbind /dev dev
mount -t sysfs sysfs sys
[ -z "$cgroup" ] || mount --rbind "$cgroup" sys/fs/cgroup
mount -t tmpfs -o mode=755 tmpfs run
mkdir -p run/lock .old
for bind in "$@"; do
    from=${bind%%:*} to=.${bind#*:}
    if [ -d "$from" ]; then
        mkdir -p "$to"
    else
        mkdir -p "${to%/*}"
        touch "$to"
    fi
    mount --rbind "$from" "$to"
done
# The name server is slirp4netns, which asks those of the host.
rm -f etc/resolv.conf
echo 'nameserver 10.0.2.3' >etc/resolv.conf
printf '127.0.0.1 localhost\n127.0.1.1 %s\n' "$name" >etc/hosts
echo "$name" >etc/hostname
echo "$name" >/proc/sys/kernel/hostname
pivot_root . .old
cd /
umount -l /.old
rmdir /.old
echo ready
# bash waits for the orphans that become its children.
exec env -i PATH=/usr/sbin:/usr/bin:/sbin:/bin bash -c 'while read -r _; do :; done'
