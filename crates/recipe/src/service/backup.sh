# Copies a unit file and its drop-ins beside them. Arguments: key, unit, its unit file, the folder of units, and where the file
# lies that the present run was started from if its own was replaced since; it is not taken away, since it stays that of this run.
# The sidecar, which comes last, says whose copy it is; a copy without one is not whole.
set -fu
umask 022
trap '' HUP PIPE
key=$1 unit=$2 from=$3 units=$4 copied=$3
b=$units/$unit.backup d=$units/$unit.d.backup
of=$b.of
end() { printf 'REVEILLE backup=%s .\n' "$1"; exit 0; }
# What a killed run has left half made.
clean() {
  set --
  for half in "$b.new" "$d.new" "$of.new" "$of.making" "$b.previous.new" "$d.previous.new" "$of.previous.new"; do
    if is "$half"; then set -- "$@" "$half"; fi
  done
  [ $# -eq 0 ] || rm -rf -- "$@"
}
fail() { clean; printf '%s\n' "$why" >&2; end failed; }
damaged() { printf '%s\n' "$b is not what was copied there any more" >&2; end damaged; }
if load "$of" && [ "$k" = "$key" ]; then
  holds "$b" "$u" && holds "$d" "$s" || damaged
  printf 'note %s\n' "$b was there already"
  end same
fi
if is "$5"; then copied=$5; fi
is "$copied" || { why="$copied: no such file"; fail; }
clean 2> /dev/null || why=$(clean 2>&1) || fail
run cp -a -- "$copied" "$b.new"
if is "$units/$unit.d"; then run cp -a -- "$units/$unit.d" "$d.new"; fi
sum "$b.new"
one=$sum
sum "$d.new"
two=$sum there=no
[ ${#one} -eq 64 ] && [ -n "$two" ] || { why="$b.new cannot be read"; fail; }
if is "$units/$unit"; then there=yes; fi
keep "$of.new" "key $key
from $from
unit $one
drop-ins $two
there $there
whole"
tree_durable "$d.new"
durable "$b.new" "$of.new"
# What lies here from an earlier run, or from a person, is not lost. Without its own sidecar it is half of ours.
same=no
if is "$b" || is "$d"; then
  whose=
  if ! load "$of"; then
    is "$of" || whose="a backup of somebody else"
  elif [ "$u $s" = "$one $two" ] && holds "$b" "$u" && holds "$d" "$s"; then
    # It is what ours is: its sidecar is true until ours takes its place.
    same=yes
  elif ! cmp -s -- "$of" "$of.previous" || ! holds "$b.previous" "$u" || ! holds "$d.previous" "$s"; then
    whose="the backup of $k"
  else
    printf 'note %s\n' "the backup of $k is kept as $b.previous"
  fi
  if [ -n "$whose" ]; then
    for part in "$b" "$d" "$of"; do
      if is "$part"; then run cp -a -- "$part" "$part.previous.new"; fi
    done
    tree_durable "$d.previous.new"
    for part in "$b" "$of"; do
      if is "$part"; then durable "$part.previous.new"; fi
    done
    run rm -f -- "$of.previous"
    kept=$d.previous
    if is "$b.previous.new"; then run mv -fT -- "$b.previous.new" "$b.previous" && kept=$b.previous; fi
    run rm -rf -- "$d.previous"
    if is "$d.previous.new"; then run mv -T -- "$d.previous.new" "$d.previous"; fi
    if is "$of.previous.new"; then run mv -fT -- "$of.previous.new" "$of.previous"; fi
    printf 'note %s\n' "$whose is kept as $kept"
  fi
fi
# From here on its own sidecar is not whole, whatever comes between.
if [ $same = yes ]; then
  :
elif is "$of"; then
  keep "$of.making" "key $key"
  run mv -fT -- "$of.making" "$of"
else
  keep "$of" "key $key"
fi
if is "$b.restored"; then run rm -f -- "$b.restored"; fi
run mv -fT -- "$b.new" "$b"
if [ $same = yes ]; then
  run rm -rf -- "$d.new"
else
  if is "$d"; then run rm -rf -- "$d"; fi
  if is "$d.new"; then run mv -T -- "$d.new" "$d"; fi
fi
run mv -fT -- "$of.new" "$of"
durable "$units"
printf 'note %s\n' "$copied was copied to $b"
end done
