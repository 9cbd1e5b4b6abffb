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
clean() {
  rm -rf -- "$b.new" "$d.new" "$of.new" "$of.new.part" "$of.making" "$of.making.part" "$b.previous.new" "$d.previous.new" \
    "$of.previous.new"
}
fail() { clean; printf '%s\n' "$why" >&2; end failed; }
damaged() { printf '%s\n' "$b is not what was copied there any more" >&2; end damaged; }
if load "$of" && [ "$k" = "$key" ]; then
  [ "$(sum "$b")" = "$u" ] && [ "$(sum "$d")" = "$s" ] || damaged
  printf 'note %s\n' "$b was there already"
  end same
fi
if is "$5"; then copied=$5; fi
is "$copied" || { why="$copied: no such file"; fail; }
why=$(clean 2>&1) || fail
run cp -a -- "$copied" "$b.new"
if is "$units/$unit.d"; then run cp -a -- "$units/$unit.d" "$d.new"; fi
one=$(sum "$b.new") two=$(sum "$d.new") there=no
[ ${#one} -eq 64 ] && [ -n "$two" ] || { why="$b.new cannot be read"; fail; }
if is "$units/$unit"; then there=yes; fi
put "$of.new" "key $key
from $from
unit $one
drop-ins $two
there $there
whole"
put "$of.making" "key $key"
durable "$b.new"
# What lies here from an earlier run, or from a person, is not lost. Without its own sidecar it is half of ours.
if is "$b"; then
  keep=no
  if load "$of"; then
    whose="the backup of $k" keep=yes
    if cmp -s -- "$of" "$of.previous" && [ "$(sum "$b.previous")" = "$u" ] && [ "$(sum "$d.previous")" = "$s" ]; then keep=kept; fi
  elif ! is "$of"; then
    whose="a backup of somebody else" keep=yes
  fi
  if [ $keep = yes ]; then
    run cp -a -- "$b" "$b.previous.new"
    if is "$d"; then run cp -a -- "$d" "$d.previous.new"; fi
    if is "$of"; then run cp -a -- "$of" "$of.previous.new"; fi
    run rm -f -- "$of.previous"
    run mv -fT -- "$b.previous.new" "$b.previous"
    run rm -rf -- "$d.previous"
    if is "$d.previous.new"; then run mv -T -- "$d.previous.new" "$d.previous"; fi
    if is "$of.previous.new"; then run mv -fT -- "$of.previous.new" "$of.previous"; fi
  fi
  [ $keep = no ] || printf 'note %s\n' "$whose is kept as $b.previous"
fi
run mv -fT -- "$of.making" "$of"
run rm -f -- "$b.restored"
run mv -fT -- "$b.new" "$b"
run rm -rf -- "$d"
if is "$d.new"; then run mv -T -- "$d.new" "$d"; fi
run mv -fT -- "$of.new" "$of"
durable "$units"
printf 'note %s\n' "$copied was copied to $b"
end done
