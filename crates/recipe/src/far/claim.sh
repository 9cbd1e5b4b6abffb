# Compare, claim, order: at most one order for one command, whatever is repeated, cut off or run twice at once (G2).
# Arguments: command, expected boot, verb, yes to ignore inhibitors, the folders of claims on this boot and of durable claims,
# /proc, and the folder that is there when systemd runs. The verb look orders nothing, and sees to it that no copy that is late
# orders anything after it has answered "absent".
set -fu
umask 077
# The order must not be lost with the connection.
trap '' HUP PIPE
id=$1 expect=$2 verb=$3 ignore=$4 run=$5 var=$6 proc=$7 systemd=$8
boot=- how=- why=
end() { printf 'REVEILLE claim=%s boot=%s with=%s .\n' "$1" "$boot" "$how"; exit 0; }
bid=$(cat "$proc/sys/kernel/random/boot_id") && stat=$(cat "$proc/1/stat") || end unreadable
set -- ${stat##*\) }
[ $# -ge 50 ] && [ ${#bid} -eq 36 ] || end unreadable
ticks=${20}
boot=$bid/$ticks
claim=$var/$id go=$run/$id.go lock=$run/open-$bid-$ticks
# put FILE TEXT: 0 it is ours, 1 it was there before, 2 it cannot be written, and why says the reason. Whole or not at all.
put() {
  draft=$1.$$
  if why=$({ printf '%s\n' "$2" > "$draft"; } 2>&1) && [ "$(cat "$draft" 2>&1)" = "$2" ] && why=$(ln "$draft" "$1" 2>&1); then
    rm -f "$draft"
    return 0
  fi
  rm -f "$draft"
  [ -e "$1" ] && return 1
  why="$1: ${why:-it does not keep what is written}"
  return 2
}
# What is full or may not be written, and how full it is.
unwritable() {
  printf '%s\n' "$why" >&2
  df -Pk "$run" "$var" 2> /dev/null | while read -r fs size used free part at; do
    [ "$fs" = Filesystem ] || printf '%s has %s KiB left of %s\n' "$at" "$free" "$size" >&2
  done
  end unwritable
}
known() {
  if [ -e "$claim.end" ]; then cat "$claim.end" >&2; end closed; fi
  was=
  read -r was < "$claim"
  case $was in
    "$boot") end open ;;
    ????????-????-????-????-????????????/*) end ended ;;
    *) end damaged ;;
  esac
}
[ -e "$claim" ] && known
[ "$boot" = "$expect" ] || end differs
if [ "$verb" = look ]; then
  why=$(mkdir -p "$run" 2>&1) || unwritable
  # A copy that comes here later finds this instead of its turn; one that was faster has its claim on disk by now.
  put "$go" closed || [ $? -eq 1 ] || unwritable
  [ -e "$claim" ] && known
  end absent
fi
if [ -d "$systemd" ]; then
  command -v systemctl > /dev/null 2>&1 && how=systemctl
elif command -v shutdown > /dev/null 2>&1; then
  how=shutdown
elif command -v "$verb" > /dev/null 2>&1; then
  how=$verb
fi
[ "$how" != - ] || end toolless
why=$(mkdir -p "$run" "$var" 2>&1) || unwritable
# A claim of an own copy that was told "absent" is none.
[ -e "$go" ] && [ ! -e "$claim" ] && { printf 'expired it was looked for before, and was not there\n' >&2; end closed; }
put "$claim" "$boot" || { [ $? -eq 1 ] && known; unwritable; }
give_up() { rm -f "$claim"; unwritable; }
# Whether the host is on its way down, or that cannot be told.
falls() {
  [ "$how" = systemctl ] || return 0
  case $(systemctl is-system-running 2> /dev/null) in
    initializing | starting | running | degraded | maintenance) ;;
    *) return 0 ;;
  esac
  jobs=$(systemctl list-jobs --no-legend 2> /dev/null) || return 0
  case $jobs in *reboot.target* | *poweroff.target* | *halt.target* | *kexec.target* | *shutdown.target*) return 0 ;; esac
  return 1
}
# When this script began: with its process id that says later whether it is still at work.
began() {
  at=-
  read -r at 2> /dev/null < "/proc/$$/stat" || return 0
  set -- ${at##*\) }
  at=${20}
}
# Whether the script of another command is still at its order.
ordering() {
  word= pid= start= stat=
  read -r word pid start 2> /dev/null < "$run/$1.go" || return 1
  [ "$word" = order ] && [ -n "$pid" ] && read -r stat 2> /dev/null < "/proc/$pid/stat" || return 1
  set -- ${stat##*\) }
  [ "$1" != Z ] && [ "${20}" = "$start" ]
}
mark="$id since $(date -u +%Y-%m-%dT%H:%M:%SZ)"
put "$lock" "$mark" || {
  [ $? -eq 1 ] || give_up
  other= since= when=
  read -r other since when < "$lock"
  # Whoever gave that order is long gone and nothing came of it: it is over, and says so to whoever asks.
  if [ -n "$(find "$lock" -mmin +30 2> /dev/null)" ] && ! falls && ! ordering "$other"; then
    # A script that hangs before its order must not give it when it wakes.
    put "$run/$other.go" closed || [ $? -eq 1 ] || give_up
    put "$var/$other.end" "not_begun nothing came of it in half an hour; another command was let through" || [ $? -eq 1 ] || give_up
    rm -f "$lock"
    put "$lock" "$mark" || { [ $? -eq 1 ] || give_up; }
  fi
  holder=
  read -r holder since when < "$lock"
  if [ "$holder" != "$id" ]; then
    text="refused command $holder is still open on this host since ${when:-an unknown time}: it is over by itself half an hour after that"
    put "$claim.end" "$text; if nobody waits for it any more: rm $lock" || { [ $? -eq 1 ] || give_up; }
    known
  fi
}
sync "$claim" "$var" 2> /dev/null || sync
find "$var" -type f -mtime +90 ! -name "$id*" -exec rm -f {} + 2> /dev/null
# who: what blocks. Asked by us before systemd 248, where root goes past inhibitors unasked, and when we came in by sudo, where
# our own login counts as somebody else's: it has no terminal, and a colleague's of the same name has one. What cannot be asked
# blocks.
who() {
  locks=$(systemd-inhibit --list 2>&1) || { printf 'inhibitors cannot be listed: %s\n' "$locks"; return 0; }
  printf '%s\n' "$locks" | grep shutdown | grep -w block
  logins=$(loginctl list-sessions --no-legend 2>&1) || { printf 'sessions cannot be listed: %s\n' "$logins"; return 0; }
  printf '%s\n' "$logins" | while read -r session uid user _; do
    case $uid in '' | 0) continue ;; esac
    kind=$(loginctl show-session "$session" -p Class -p Type -p TTY 2> /dev/null) || continue
    case $kind in *Class=user*) ;; *) continue ;; esac
    case $kind in *Type=x11* | *Type=wayland* | *Type=tty* | *Type=mir*) ;; *) continue ;; esac
    if [ "$uid" = "$own" ]; then case $kind in *TTY=[a-z]*) ;; *) continue ;; esac; fi
    printf 'user %s is logged in\n' "$user"
  done
  return 0
}
own=${SUDO_UID:-0} mode= held=
if [ $how = systemctl ]; then
  # Asked before anything is decided: a bus that hangs must not keep an order that was given up alive.
  systemctl --help 2> /dev/null | grep -q -e --check-inhibitors && mode=no
  if [ "$ignore" != yes ]; then
    if [ "$own" = 0 ] && [ -n "$mode" ]; then mode=yes; else held=$(who); fi
  fi
fi
if [ -n "$held" ]; then
  printf 'REVEILLE claim=won boot=%s with=%s .\n' "$boot" "$how"
  printf 'Operation inhibited by: %s\n' "$held" >&2
  printf 'REVEILLE order=1 .\n'
  exit 0
fi
began
# From here on it counts as ordered, unless it was closed before.
put "$go" "order $$ $at" || { [ $? -eq 1 ] && known; rm -f "$lock"; give_up; }
printf 'REVEILLE claim=won boot=%s with=%s .\n' "$boot" "$how"
code=0
case $how in
  systemctl) systemctl "$verb" ${mode:+--check-inhibitors=$mode} --no-ask-password || code=$? ;;
  shutdown)
    if [ "$verb" = reboot ]; then shutdown -r now || code=$?; else shutdown -h now || code=$?; fi
    ;;
  *) "$verb" || code=$? ;;
esac
printf 'REVEILLE order=%s .\n' "$code"
