/** The guest's file systems beside the image: one `mount -a` of them all costs one process. */
export const FSTAB = `sysfs /sys sysfs nosuid,nodev,noexec 0 0
cgroup2 /sys/fs/cgroup cgroup2 nosuid,nodev,noexec 0 0
devpts /dev/pts devpts nosuid,noexec,gid=5,mode=620,ptmxmode=666 0 0
shm /dev/shm tmpfs nosuid,nodev,mode=1777 0 0
mqueue /dev/mqueue mqueue nosuid,nodev,noexec 0 0
run /run tmpfs nosuid,nodev,mode=755 0 0
tmp /tmp tmpfs nosuid,nodev,mode=1777 0 0
`;

/** Libuv's pool threads: the agent keeps two of them blocked on its port, file operations need the rest. */
const POOL_THREADS = 8;

/**
 * The agent runs in the interpreter until it moves much data (`agent/compile-when-busy.ts`), and keeps the interpreter's code of functions that have not run for long:
 * what has run before a guest is saved need not be read again in its clones. Figures are in bench/README.md.
 */
const NODE_FLAGS = "--no-opt --no-sparkplug --max-lazy --no-flush-bytecode";

/**
 * Process 1: sets the guest up, runs the agent, reaps what is orphaned (a shell's `wait` takes every child that ends, its own or not), and
 * ends the VM with the agent. Each command costs about 10 ms under emulation, so the shell's own words are used where they do.
 */
export const GUEST_INIT_SCRIPT = `#!/bin/sh
export PATH=/usr/bin HOME=/root LANG=C.UTF-8
fail() { echo "tapvisor: cannot $1"; exit 1; }
mkdir /dev/pts /dev/shm /dev/mqueue || fail "make directories in /dev"
mount -a || fail "mount the file systems of /etc/fstab"
read -r controllers < /sys/fs/cgroup/cgroup.controllers
for controller in $controllers; do
  echo "+$controller" > /sys/fs/cgroup/cgroup.subtree_control || echo "tapvisor: no cgroup controller $controller"
done
# Unless the kernel's command line says how memory that is plugged in later is to be used: all of it can be taken out again that way.
read -r policy < /sys/devices/system/memory/auto_online_blocks
if [ "$policy" = offline ]; then echo online_movable > /sys/devices/system/memory/auto_online_blocks; fi
read -r name < /etc/hostname
echo "$name" > /proc/sys/kernel/hostname
ifconfig lo 127.0.0.1 up || fail "bring up the loopback interface"
# When memory runs out the agent is the last to go: without it nothing in here could be ended.
(echo -1000 > /proc/self/oom_score_adj; UV_THREADPOOL_SIZE=${POOL_THREADS} exec node ${NODE_FLAGS} /usr/lib/tapvisor/agent.cjs) &
wait $!
echo "tapvisor: the agent ended with exit code $?"
poweroff -f
fail "power off"
`;
