# Runs a migration, once for each claim: whoever asks again is told how it ended. Arguments: the folder of claims, the name of
# this claim, the limit in seconds, how many bytes of each stream are told, the script that runs it, the working folder, and the
# program with its arguments.
set -fu
umask 077
trap '' HUP PIPE
claims=$1 at=$1/$2 limit=$3 most=$4 runner=$5 folder=$6
shift 6
exit=- late=no out=0 err=0
end() { printf 'REVEILLE migrate=%s exit=%s late=%s out=%s err=%s .\n' "$1" "$exit" "$late" "$out" "$err"; [ "$1" = ended ] || exit 0; }
fail() { printf '%s\n' "$why" >&2; end "$1"; }
size() { wc -c < "$1" | tr -d ' '; }
if [ ! -d "$at" ]; then
  [ -d "$folder" ] || { why="$folder is no folder"; fail missing; }
  command -v setsid > /dev/null 2>&1 || { why="there is no setsid on this host: install util-linux"; fail toolless; }
  why=$(mkdir -p -- "$claims" 2>&1) || fail unwritable
  if why=$(mkdir -- "$at" 2>&1); then
    # A session of its own: it goes on when whoever asked for it is gone.
    (exec setsid sh -c "$runner" reveille "$at" "$limit" "$folder" "$@" < /dev/null > /dev/null 2>&1) &
  else
    [ -d "$at" ] || fail unwritable
  fi
fi
# Whether the runner is still at work; by its start, too: process ids come again.
alive() {
  pid= start= stat=
  read -r pid start 2> /dev/null < "$at/runner" || return 1
  read -r stat 2> /dev/null < "/proc/$pid/stat" || return 1
  set -- ${stat##*\) }
  [ "$1" != Z ] && [ "${20}" = "$start" ]
}
# Ten looks a second; the runner keeps the limit, and this is the limit of the waiting.
looks=$(((limit + 10) * 10)) begun=50
while [ ! -e "$at/exit" ]; do
  if ! alive; then
    # Just begun, or just ended; or lost.
    begun=$((begun - 1))
    if [ $begun -le 0 ]; then
      why="the migration was begun, and its end was not seen: look at $at"
      fail unknown
    fi
  fi
  looks=$((looks - 1))
  [ $looks -gt 0 ] || { why="the migration has not ended: look at $at"; fail unknown; }
  sleep 0.1
done
read -r exit late lost_out lost_err < "$at/exit" || { why="$at/exit cannot be read"; fail unknown; }
out=$(($(size "$at/out") + lost_out)) err=$(($(size "$at/err") + lost_err))
end ended
tail -c "$most" < "$at/out"
printf '\nREVEILLE end .\n'
tail -c "$most" < "$at/err" >&2
