# Runs one program to its end, whoever watches. Arguments: its folder of claim, the limit in seconds, the working folder, the
# program with its arguments.
set -fu
umask 077
trap '' HUP PIPE
at=$1 limit=$2
# A stream longer than this is begun anew: what it is written to is memory.
most=16777216
cd -- "$3" || exit 1
shift 3
stat=
read -r stat < "/proc/$$/stat" || exit 1
began() { shift 19; start=$1; }
began ${stat##*\) }
printf '%s %s\n' "$$" "$start" > "$at/runner.part" && mv -f -- "$at/runner.part" "$at/runner" || exit 1
: > "$at/out" && : > "$at/err" || exit 1
# A name without a path is looked for in the folder first.
case $1 in
  */*) ;;
  *) if [ -f "./$1" ] && [ -x "./$1" ]; then name=./$1; shift; set -- "$name" "$@"; fi ;;
esac
umask 022
trap - HUP PIPE
(exec setsid "$@" < /dev/null >> "$at/out" 2>> "$at/err") &
child=$!
trap '' HUP PIPE
(
  tick=0
  while [ $tick -lt "$limit" ]; do
    sleep 1
    tick=$((tick + 1))
    kill -0 "$child" 2> /dev/null || exit 0
    for stream in out err; do
      size=$(wc -c < "$at/$stream")
      if [ "$size" -gt $most ]; then
        # In a shell of its own: one that cannot write for a special builtin ends, and this one is the watch.
        (: > "$at/$stream") && printf '%s\n' "$size" >> "$at/$stream.lost"
      fi
    done
  done
  # Told by how this ends, for which nothing has to be written.
  trap '' TERM
  kill -s KILL -- "-$child" && exit 3
) &
watch=$!
code=0
wait "$child" || code=$?
kill "$watch" 2> /dev/null
late=no watched=0
wait "$watch" || watched=$?
[ $watched -ne 3 ] || late=yes
lost() {
  sum=0
  if [ -e "$at/$1.lost" ]; then while read -r n; do sum=$((sum + n)); done < "$at/$1.lost"; fi
  echo "$sum"
}
printf '%s %s %s %s\n' "$code" "$late" "$(lost out)" "$(lost err)" > "$at/exit.part" && mv -f -- "$at/exit.part" "$at/exit"
