# Puts a unit file and its drop-ins back as they were. Arguments: key, unit, the folder of units.
set -fu
umask 022
trap '' HUP PIPE
key=$1 unit=$2 units=$3
b=$units/$unit.backup d=$units/$unit.d.backup
of=$b.of drops=$units/$unit.d changed=no
end() { printf 'REVEILLE restore=%s changed=%s .\n' "$1" "$changed"; exit 0; }
fail() { rm -rf -- "$target.reveille" "$drops.reveille"; printf '%s\n' "$why" >&2; end failed; }
load "$of" && [ "$k" = "$key" ] || end none
holds "$b" "$u" && holds "$d" "$s" || {
  printf '%s\n' "$b is not what was copied there any more" >&2
  end damaged
}
# A unit file that lies elsewhere belongs to a package: only what came to lie over it here is taken away.
target=$f
[ "${f%/*}" = "$units" ] || target=$units/$unit
# Noted before it begins, so that a repeat knows that something was changed.
mark() { [ $changed = yes ] || put "$b.restored" "$key"; changed=yes; }
if [ "$target" = "$f" ]; then
  if ! holds "$target" "$u"; then
    mark
    run rm -rf -- "$target.reveille"
    run cp -a -- "$b" "$target.reveille"
    durable "$target.reveille"
    run mv -fT -- "$target.reveille" "$target"
    printf 'note %s\n' "$target was put back"
  fi
elif [ "$t" = no ] && is "$target"; then
  mark
  run rm -f -- "$target"
  printf 'note %s\n' "$target was taken away: $f counts again"
fi
if ! holds "$drops" "$s"; then
  mark
  run rm -rf -- "$drops.reveille" "$drops.reveille-old"
  if is "$d"; then run cp -a -- "$d" "$drops.reveille"; fi
  if is "$drops"; then run mv -T -- "$drops" "$drops.reveille-old"; fi
  if is "$drops.reveille"; then run mv -T -- "$drops.reveille" "$drops"; fi
  printf 'note %s\n' "the drop-ins in $drops were put back"
fi
# One that a killed run left.
rm -rf -- "$drops.reveille-old"
if [ $changed = no ] && [ -f "$b.restored" ] && [ "$(cat "$b.restored")" = "$key" ]; then changed=yes; fi
if [ $changed = yes ]; then durable "$units"; fi
end done
