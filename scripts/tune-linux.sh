#!/usr/bin/env bash
# Makes room for N connections on a Linux machine: what `roost doctor --fix`
# does, for machines without the binary. docs/tuning.md has the formula.
#
#   scripts/tune-linux.sh 100000                show what it would write
#   sudo scripts/tune-linux.sh 100000 --apply   write it, and set it now
#
# ROOT=DIR works on the files under DIR instead of / (for tests).
set -euo pipefail

usage() { sed -n '2,/^set /{/^set /d;s/^# \{0,1\}//p}' "${BASH_SOURCE[0]}"; }
n=${1:-}
case $n in
  -h | --help) usage; exit 0 ;;
  '' | *[!0-9]*) usage >&2; exit 2 ;;
esac
[ "$n" -ge 1 ] && [ "$n" -le 1000000000 ] || { echo "N is $n: want 1 to 1000000000" >&2; exit 2; }
case ${2:-} in '' | --apply) ;; *) usage >&2; exit 2 ;; esac
root=${ROOT:-}
root=${root%/}
[ -r "$root/proc/self/limits" ] || { echo "no /proc/self/limits: this is for Linux" >&2; exit 1; }

value() { cat "$root/proc/sys/${1//.//}" 2>/dev/null || echo 0; }
max() { echo $(($1 > $2 ? $1 : $2)); }
# How many connections fit into $1 descriptors: less 64 and 1 %.
connections() { echo $(($1 - 64 - $1 / 100)); }

# The smallest descriptor limit for N, rounded up to a thousand.
nofile=$(((((n + 64) * 100 + 98) / 99 + 1 + 999) / 1000 * 1000))

settings=()
set_to() { settings+=("$1 = $2"); }

nr_open=$(value fs.nr_open)
[ "$nr_open" != 0 ] && [ "$(connections "$nr_open")" -lt "$n" ] && set_to fs.nr_open "$nofile"

file_max=$(value fs.file-max)
read -r used _ <<<"$(value fs.file-nr)"
[ "$file_max" != 0 ] && [ "$(connections $((file_max - used)))" -lt "$n" ] &&
  set_to fs.file-max $((nofile + 2 * used + 10000))

# A page for each connection, because in a broadcast all have something queued.
read -r _ pressure high <<<"$(value net.ipv4.tcp_mem)"
queued=$(sed -nE 's/^TCP:.* mem ([0-9]+).*/\1/p' "$root/proc/net/sockstat" 2>/dev/null || true)
if [ -n "${high:-}" ] && [ $((high - ${queued:-0})) -lt "$n" ]; then
  pressure=$(max "$pressure" $((n + ${queued:-0})))
  set_to net.ipv4.tcp_mem "$((pressure / 4 * 3)) $pressure $(max "$high" $((pressure / 2 * 3)))"
fi

tracked_max=$(value net.netfilter.nf_conntrack_max)
tracked=$(value net.netfilter.nf_conntrack_count)
[ "$tracked_max" != 0 ] && [ $((tracked_max - tracked)) -lt "$n" ] &&
  set_to net.netfilter.nf_conntrack_max "$(max $((2 * n)) $((n + 2 * tracked)))"

for name in net.core.somaxconn net.ipv4.tcp_max_syn_backlog; do
  found=$(value $name)
  [ "$found" != 0 ] && [ "$found" -lt 65535 ] && set_to $name 65535
done

hard=$(awk '/^Max open files/ { print $5 }' "$root/proc/self/limits")
limits=()
if [ "$hard" != unlimited ] && [ "$(connections "$hard")" -lt "$n" ]; then
  for who in '*' root; do
    limits+=("$who soft nofile $nofile" "$who hard nofile $nofile")
  done
fi

if [ ${#settings[@]} = 0 ] && [ ${#limits[@]} = 0 ]; then
  echo "Nothing to write: no setting stands in the way of $n connections."
  exit 0
fi
sysctl_file=/etc/sysctl.d/60-roost.conf
limits_file=/etc/security/limits.d/60-roost.conf
head="# Written by scripts/tune-linux.sh: room for $n connections."
if [ ${#settings[@]} -gt 0 ]; then
  echo "$sysctl_file"
  printf '    %s\n' "${settings[@]}"
fi
if [ ${#limits[@]} -gt 0 ]; then
  echo "$limits_file"
  printf '    %s\n' "${limits[@]}"
fi
if [ "${2:-}" != --apply ]; then
  echo "Nothing was changed. With --apply, as root, it is."
  exit 0
fi

failed=0
nr_open_failed=0
for setting in "${settings[@]+"${settings[@]}"}"; do
  name=${setting%% = *}
  file=$root/proc/sys/${name//.//}
  if ! { [ -e "$file" ] && echo "${setting#* = }" >"$file"; }; then
    echo "could not set $name" >&2
    failed=1
    [ "$name" = fs.nr_open ] && nr_open_failed=1
  fi
done
if [ ${#settings[@]} -gt 0 ]; then
  mkdir -p "$root${sysctl_file%/*}"
  printf '%s\n' "$head" "${settings[@]}" >"$root$sysctl_file"
fi
if [ ${#limits[@]} -gt 0 ]; then
  if [ $nr_open_failed = 1 ]; then
    echo "$limits_file was not written: with a limit above fs.nr_open every login would be refused" >&2
  else
    mkdir -p "$root${limits_file%/*}"
    printf '%s\n' "$head" "${limits[@]}" >"$root$limits_file"
    echo "The descriptor limit applies to new logins; a systemd service needs LimitNOFILE=$nofile."
  fi
fi
[ $failed = 0 ] && echo "Done."
exit $failed
