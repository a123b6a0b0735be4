# Misbehaves as $INPUT_DO says. Plain busybox sh, nothing to compile.
case "$INPUT_DO" in
ok) echo fine ;;
serve)
  nc -l -p 8443 &
  exec httpd -f -p 127.0.0.1:80
  ;;
sleep) exec sleep 1000 ;;
busy) while :; do :; done ;;
ignore-term)
  trap '' TERM
  while :; do sleep 1; done
  ;;
polite)
  trap 'echo "stopped by SIGTERM" >&2; exit 0' TERM
  while :; do sleep 0.1; done
  ;;
drip) while :; do echo drip && sleep 0.2; done ;;
fork-bomb) while :; do sleep 1000 & done ;;
file-bomb) i=3; while eval "exec $i</dev/null"; do echo "$i" >&2; i=$((i + 1)); done ;;
memory-bomb) exec tail /dev/zero ;;
memory-child)
  tail /dev/zero
  exit 1
  ;;
stdout-lines) exec yes "a line of output" ;;
stdout-zeros) exec cat /dev/zero ;;
stderr-zeros) exec cat /dev/zero >&2 ;;
stderr-much)
  yes "a line of the log" | head -c 2000000 >&2
  echo "the last line" >&2
  echo fine
  ;;
fill-root) exec dd if=/dev/zero of=/big bs=1M count=4096 ;;
fill-tmp) exec dd if=/dev/zero of=/tmp/big bs=1M count=4096 ;;
fill-inodes) i=0 && while : >"/tmp/$i"; do echo "$i" >&2; i=$((i + 1)); done ;;
fill-volume) exec dd if=/dev/zero of=/data/big bs=1M count=4096 ;;
fill-shm) exec dd if=/dev/zero of=/dev/shm/big bs=1M count=4096 ;;
never-read) echo fine ;;
read-late)
  sleep 1
  cat | wc -c
  ;;
write-first)
  head -c 2000000 /dev/zero
  cat | wc -c
  ;;
close-input)
  exec <&-
  sleep 0.3
  echo fine
  ;;
close-output)
  exec >&- 2>&-
  exec sleep 1000
  ;;
double-fork)
  (setsid sleep 1000 &)
  echo fine
  ;;
leave)
  echo "left by $ZERVERLESS_INVOCATION_ID" >/tmp/left
  echo "left by $ZERVERLESS_INVOCATION_ID" >/dev/shm/left
  ls /tmp /dev/shm
  ;;
look) ls -A /tmp /dev/shm ;;
network) exec nc -w 2 172.17.0.1 80 </dev/null ;;
exit) exit "$INPUT_CODE" ;;
abort) kill -SEGV $$ ;;
environment) env ;;
echo) cat ;;
say) printf '%b' "$INPUT_TEXT" ;;
fail)
  printf 'Traceback: \033[31mred\033[0m\007 \377 end\n' >&2
  exit 3
  ;;
probe)
  grep -E '^(CapEff|CapPrm|CapBnd|CapAmb|NoNewPrivs|Seccomp):' /proc/self/status
  echo "uid: $(id -u) gid: $(id -g) host: $(hostname -i)"
  echo "nofile: $(ulimit -n) core: $(ulimit -c) fsize: $(ulimit -f)"
  echo "net: $(ls /sys/class/net | tr '\n' ' ')"
  cat /sys/fs/cgroup/memory/memory.limit_in_bytes /sys/fs/cgroup/memory.max 2>/dev/null | sed 's/^/memory: /'
  cat /sys/fs/cgroup/memory/memory.memsw.limit_in_bytes 2>/dev/null | sed 's/^/memsw: /'
  cat /sys/fs/cgroup/memory.swap.max 2>/dev/null | sed 's/^/swap: /'
  cat /sys/fs/cgroup/pids/pids.max /sys/fs/cgroup/pids.max 2>/dev/null | sed 's/^/pids: /'
  cat /sys/fs/cgroup/cpu/cpu.cfs_quota_us /sys/fs/cgroup/cpu.max 2>/dev/null | sed 's/^/cpu: /'
  awk '$2=="/" || $2=="/tmp" || $2=="/dev/shm" || $2=="/data" {print "mount:", $2, $3, $4}' /proc/mounts
  ;;
*) echo "what?" >&2 && exit 64 ;;
esac
