# Compare, claim, order: at most one order for one command, whatever is repeated, cut off or run twice at once (G2).
# Arguments: command, expected boot, verb, yes to ignore inhibitors, the folders of claims on this boot and of durable claims,
# /proc, and the folder that is there when systemd runs.
set -fu
umask 077
# The order must not be lost with the connection.
trap '' HUP PIPE
id=$1 expect=$2 verb=$3 ignore=$4 run=$5 var=$6 proc=$7 systemd=$8
boot=- how=-
end() { printf 'REVEILLE claim=%s boot=%s with=%s .\n' "$1" "$boot" "$how"; exit 0; }
bid=$(cat "$proc/sys/kernel/random/boot_id") && stat=$(cat "$proc/1/stat") || end unreadable
set -- ${stat##*\) }
[ $# -ge 50 ] && [ ${#bid} -eq 36 ] || end unreadable
ticks=${20}
boot=$bid/$ticks
claim=$var/$id go=$run/$id.go lock=$run/open-$bid-$ticks
# put FILE TEXT: 0 it is ours, 1 it was there before, 2 it cannot be written. Whole or not at all.
put() {
  draft=$1.$$
  if printf '%s\n' "$2" 2>/dev/null > "$draft" && [ "$(cat "$draft")" = "$2" ] && ln "$draft" "$1" 2>/dev/null; then
    rm -f "$draft"
    return 0
  fi
  rm -f "$draft"
  [ -e "$1" ] && return 1
  return 2
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
[ "$verb" = look ] && end absent
if [ -d "$systemd" ]; then
  command -v systemctl > /dev/null 2>&1 && how=systemctl
elif command -v shutdown > /dev/null 2>&1; then
  how=shutdown
elif command -v "$verb" > /dev/null 2>&1; then
  how=$verb
fi
[ "$how" != - ] || end toolless
mkdir -p "$run" "$var" || end unwritable
put "$claim" "$boot" || { [ $? -eq 1 ] && known; end unwritable; }
give_up() { rm -f "$claim" "$lock"; end unwritable; }
put "$lock" "$id" || {
  [ $? -eq 1 ] || give_up
  other=
  read -r other < "$lock"
  put "$claim.end" "refused command $other is still open on this host" || { rm -f "$claim"; end unwritable; }
  known
}
sync "$claim" "$var" 2> /dev/null || sync
# From here on it counts as ordered, unless it was closed before.
put "$go" order || { [ $? -eq 1 ] && known; give_up; }
find "$var" -type f -mtime +90 ! -name "$id*" -exec rm -f {} + 2> /dev/null
printf 'REVEILLE claim=won boot=%s with=%s .\n' "$boot" "$how"
# who: what blocks. Asked by us before systemd 248, where root goes past inhibitors unasked, and when we came in by sudo, where
# our own login counts as somebody else's. What cannot be asked blocks.
who() {
  locks=$(systemd-inhibit --list 2>&1) || { printf 'inhibitors cannot be listed: %s\n' "$locks"; return 0; }
  printf '%s\n' "$locks" | grep shutdown | grep -w block
  logins=$(loginctl list-sessions --no-legend 2>&1) || { printf 'sessions cannot be listed: %s\n' "$logins"; return 0; }
  printf '%s\n' "$logins" | while read -r session uid user _; do
    case $uid in '' | 0 | "$own") continue ;; esac
    kind=$(loginctl show-session "$session" -p Class -p Type 2> /dev/null) || continue
    case $kind in *Class=user*) ;; *) continue ;; esac
    case $kind in *Type=x11* | *Type=wayland* | *Type=tty* | *Type=mir*) printf 'user %s is logged in\n' "$user" ;; esac
  done
  return 0
}
check=yes
[ "$ignore" = yes ] && check=no
code=0
case $how in
  systemctl)
    own=${SUDO_UID:-0}
    if [ "$own" = 0 ] && systemctl --help 2> /dev/null | grep -q -e --check-inhibitors; then
      systemctl "$verb" --check-inhibitors=$check --no-ask-password || code=$?
    elif [ $check = yes ] && held=$(who) && [ -n "$held" ]; then
      printf 'Operation inhibited by: %s\n' "$held" >&2
      code=1
    elif systemctl --help 2> /dev/null | grep -q -e --check-inhibitors; then
      systemctl "$verb" --check-inhibitors=no --no-ask-password || code=$?
    else
      systemctl "$verb" --no-ask-password || code=$?
    fi
    ;;
  shutdown)
    if [ "$verb" = reboot ]; then shutdown -r now || code=$?; else shutdown -h now || code=$?; fi
    ;;
  *) "$verb" || code=$? ;;
esac
printf 'REVEILLE order=%s .\n' "$code"
