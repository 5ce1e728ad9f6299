#!/usr/bin/env bash
# Runs a shell script in a small throw-away virtual machine, whose own kernel lets
# one process open two million files, whatever the limit of the machine outside is.
#
#   scripts/vm.sh [-m MEMORY_MIB] [-t SECONDS] SCRIPT [FILE ...]
#
# SCRIPT is a POSIX sh script that runs as root inside: busybox's commands are on the
# PATH, the loopback is up, nofile is raised. Each FILE is put into /bin inside: pass
# static binaries (CGO_ENABLED=0). What SCRIPT prints comes out on standard output.
#
# The processor is emulated, some 15 to 30 times slower than the one outside: counts
# and bytes are true, times are not.
#
# Needs Debian's packages qemu-system-x86, busybox-static and cpio, and one of its
# kernels, which is fetched into ~/.cache/roost-vm on first use.
#
# Exit status: SCRIPT's own; 124 when the time was up or the machine died.
set -euo pipefail

mem=8192 limit=900
while getopts m:t:h o; do
  case $o in
    m) mem=$OPTARG ;;
    t) limit=$OPTARG ;;
    h) sed -n '2,/^set /{/^set /d;s/^# \{0,1\}//p}' "${BASH_SOURCE[0]}"; exit 0 ;;
    *) exit 2 ;;
  esac
done
shift $((OPTIND - 1))
die() { printf 'vm.sh: %s\n' "$*" >&2; exit 2; }
[ $# -ge 1 ] || die "no script given (see -h)"
script=$1
shift

missing=()
for tool in qemu-system-x86_64:qemu-system-x86 busybox:busybox-static cpio:cpio; do
  command -v "${tool%%:*}" >/dev/null || missing+=("${tool##*:}")
done
if [ ${#missing[@]} -gt 0 ]; then
  command -v apt-get >/dev/null || die "install these, and run it again: ${missing[*]}"
  [ "$(id -u)" = 0 ] || die "run: sudo apt-get install -y --no-install-recommends ${missing[*]}"
  echo "vm.sh: installing Debian packages: ${missing[*]}" >&2
  export DEBIAN_FRONTEND=noninteractive
  { apt-get update -qq && apt-get install -y -qq --no-install-recommends "${missing[@]}"; } >/dev/null ||
    die "apt-get install failed"
fi

cache=${XDG_CACHE_HOME:-$HOME/.cache}/roost-vm
mkdir -p "$cache"
newest_kernel() { find "$cache" -path '*/boot/vmlinuz-*' 2>/dev/null | sort -V | tail -n 1; }
kernel=$(newest_kernel)
if [ -z "$kernel" ]; then
  command -v apt-get >/dev/null || die "put a Linux kernel (x86-64) at $cache/boot/vmlinuz-VERSION"
  echo "vm.sh: fetching a kernel" >&2
  apt-cache depends linux-image-cloud-amd64 2>/dev/null | grep -q Depends: || apt-get update -qq >&2
  package=$(apt-cache depends linux-image-cloud-amd64 | awk '/Depends:/ {print $2; exit}')
  (cd "$cache" && apt-get download -qq "$package" 2>/dev/null && dpkg -x "$package"_*.deb . && rm -f "$package"_*.deb) ||
    die "the kernel could not be fetched"
  kernel=$(newest_kernel)
fi

work=$(mktemp -d "${TMPDIR:-/tmp}/roost-vm.XXXXXX")
machine=
cleanup() {
  [ -z "$machine" ] || kill "$machine" 2>/dev/null || true
  [ -z "$machine" ] || wait "$machine" 2>/dev/null || true
  rm -rf "$work"
}
trap cleanup EXIT
trap 'exit 130' INT
trap 'exit 143' TERM
mkdir -p "$work/root/bin" "$work/root/tmp"
cp "$(command -v busybox)" "$work/root/bin/busybox"
for file in "$@"; do cp "$file" "$work/root/bin/"; done
cp "$script" "$work/root/script.sh"
cat >"$work/root/init" <<'INIT'
#!/bin/busybox sh
/bin/busybox --install -s /bin
export PATH=/bin HOME=/tmp
mkdir -p /proc /sys /dev /tmp
mount -t proc p /proc; mount -t sysfs s /sys; mount -t devtmpfs d /dev 2>/dev/null
ifconfig lo 127.0.0.1 netmask 255.0.0.0 up
sysctl -q -w fs.nr_open=2097152 fs.file-max=5000000 net.core.somaxconn=65535 \
  net.ipv4.tcp_max_syn_backlog=65535 net.ipv4.ip_local_port_range="1024 65535" \
  net.ipv4.tcp_mem="2000000 3000000 4000000" \
  net.core.netdev_max_backlog=100000 net.core.netdev_budget=3000 net.core.netdev_budget_usecs=100000
# tcp_mem is in pages: a message may wait in each of a million sockets. On a slow processor
# the loopback falls behind those who send; what then does not fit into its backlog is lost,
# and TCP repeats it much later. So the backlog is large, and who empties it goes first.
renice -n -20 -p "$(pidof ksoftirqd/0)" >/dev/null
# Fewer switches between the other processes: each costs an emulated processor all that it
# has cached.
mount -t debugfs d /sys/kernel/debug && echo 50000000 >/sys/kernel/debug/sched/wakeup_granularity_ns
ulimit -n 2097152
hostname roost-vm
echo "@@begin"; sh /script.sh; rc=$?; echo "@@exit $rc"
poweroff -f
INIT
chmod +x "$work/root/init"
(cd "$work/root" && find . | cpio -o -H newc 2>/dev/null | gzip -1 >"$work/initrd")

# What the kernel does against hostile programs and for debugging costs an emulated
# processor most of its time, and changes no count and no byte. So do an older processor,
# which has less state to save, timers without a device access each, and one processor
# instead of two that wait for each other.
options="console=ttyS0 quiet panic=1 mitigations=off init_on_alloc=0 randomize_kstack_offset=off"
options+=" nokaslr no5lvl tsc=reliable clocksource=tsc highres=off nohz=off nowatchdog audit=0 thash_entries=1048576"
mkfifo "$work/console"
timeout "$limit" qemu-system-x86_64 -accel tcg,tb-size=512 -cpu Nehalem -smp 1 \
  -m "$mem" -display none -serial stdio -monitor none -nic none -no-reboot \
  -kernel "$kernel" -initrd "$work/initrd" -append "$options" \
  </dev/null >"$work/console" 2>"$work/qemu.log" &
machine=$!

# Line by line, so that progress is seen when it is made.
inside='' status=124
while IFS= read -r line; do
  line=${line%$'\r'}
  case $line in
    @@begin) inside=1 ;;
    @@exit\ *) status=${line#@@exit } inside= ;;
    *) [ -z "$inside" ] || printf '%s\n' "$line" ;;
  esac
done <"$work/console"
wait "$machine" || true
machine=
[ "$status" != 124 ] || cat "$work/qemu.log" >&2
exit "$status"
