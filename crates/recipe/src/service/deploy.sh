# Brings a new tree to where a service runs from, and the old one back. Arguments: deploy or revert, key, source, destination,
# the unit file in the tree or nothing, the unit file that it becomes, the number of patterns, patterns, and paths that are kept.
#
# All of a run lies in DESTINATION.reveille/KEY: new is the tree that is made, before tells what the destination was, by its
# inode, and what the new tree is. The switch exchanges the two at once, so that the old tree lies at new, and then at old.
# A destination that is a link is made to point to new, and what it pointed to stays where it is. What has happened is never
# guessed: the inodes say it, for a link those of where it leads, since a folder above it may have been moved, and its text with it.
set -fu
umask 022
trap '' HUP PIPE
verb=$1 key=$2 source=$3 dest=$4 file=$5 target=$6 patterns=$7
shift 7
# A link above it is followed once: what it leads to later is another place.
safe=no
if above "$dest"; then safe=yes; fi
refused=$why as=$word
[ $as = failed ] || dest=$real
parent=${dest%/*}
store=$dest.reveille
at=$store/$key
changed=no unit=no kind= was= new= staged=no
end() { printf 'REVEILLE deploy=%s changed=%s .\n' "$1" "$changed"; exit 0; }
give() { changed=no; printf '%s\n' "$why" >&2; end "$1"; }
fail() {
  # A tree that was never to be switched to is in the way of the next one only.
  [ $staged = no ] || rm -rf -- "$at"
  rmdir -- "$store" 2> /dev/null
  give failed
}
# Root moves and removes things there: nobody else may have put it there, least of all as a link to elsewhere.
ours() { [ -d "$1" ] && [ ! -L "$1" ] && [ -O "$1" ]; }
own() {
  ours "$1" && return 0
  why="$1 is no folder of ours: somebody else has put it there; look at it, and take it away"
  give foreign
}
ino() { stat -c %i -- "$1" 2> /dev/null || echo none; }
before() {
  while IFS= read -r line; do
    case $line in
      'kind '*) kind=${line#* } ;;
      'was '*) was=${line#* } ;;
      'new '*) new=${line#* } ;;
      'changed '*) changed=${line#* } ;;
      'unit '*) unit=${line#* } ;;
    esac
  done < "$at/before"
  [ -n "$kind" ] && [ -n "$new" ] || { why="$at/before cannot be read"; give failed; }
  case $was in /*) whence=$was ;; *) whence=$parent/$was ;; esac
}
# leads TREE: whether the destination is a link to it, by whichever names.
leads() { [ -L "$dest" ] && [ "$dest" -ef "$1" ]; }
is_new() { leads "$at/new" && [ "$(ino "$at/new")" = "$new" ]; }
is_old() { [ "$(readlink -- "$dest")" = "$was" ] || leads "$whence"; }
# needs FOLDER: whether the link came from something in it. Where that cannot be told it may have.
needs() {
  [ $kind = link ] || return 1
  step=$(readlink -f -- "$whence") && [ -e "$step" ] || return 0
  # What it goes through; a tree that was moved, with a link to it left behind; and where it really ends.
  case $was in "$1"/*) return 0 ;; esac
  [ ! "$1/new" -ef "$step" ] || return 0
  while [ -n "$step" ]; do
    [ ! "$step" -ef "$1" ] || return 0
    step=${step%/*}
  done
  return 1
}
# The destination is what this deploy has made of it, and not what a later one has.
newest() { if [ $kind = link ]; then is_new; else [ "$(ino "$dest")" = "$new" ]; fi; }
foreign() { why="$dest is neither the old nor the new tree any more: somebody else has changed it; see $at"; give foreign; }
# exchange A B: at once where the system can; whoever asked looks at what came of it.
exchange() {
  if mv --help 2> /dev/null | grep -q -e --exchange; then
    mv --exchange -T -- "$1" "$2" 2> /dev/null && return 0
  fi
  case $(uname -m) in
    x86_64) number=316 ;;
    aarch64) number=276 ;;
    *) return 1 ;;
  esac
  # renameat2 from and to the working folder (-100), 2: exchange.
  perl -e 'exit(syscall($ARGV[0] + 0, -100, $ARGV[1], -100, $ARGV[2], 2) == 0 ? 0 : 1)' "$number" "$1" "$2" 2> /dev/null
}
# A second look, when all of the way is there: somebody else may have made what was missing at the first.
still() {
  above "$dest" || return 1
  [ "$real" = "$dest" ] || { why="$dest leads elsewhere now: to $real" word=failed; return 1; }
}
lock() {
  why=$({ : >> "$store/lock"; } 2>&1) || fail
  exec 9>> "$store/lock"
  # What a killed run has started holds it, too, until it has ended.
  if command -v flock > /dev/null 2>&1; then
    flock -w 10 9 || { why="another deploy of $dest is still at work"; give busy; }
  fi
}

if [ "$verb" = revert ]; then
  if is "$at"; then
    own "$store"
  else
    # Nothing was deployed. What cannot be noted here cannot be deployed here either.
    [ $safe = yes ] && [ -d "$parent" ] && [ -w "$parent" ] && still || end none
    if is "$store"; then ours "$store" || end none; else mkdir -- "$store" 2> /dev/null || end none; fi
    (: >> "$store/lock") 2> /dev/null || end none
  fi
  lock
  if is "$at"; then own "$at"; fi
  if [ ! -e "$at/before" ]; then
    run rm -rf -- "$at"
    # A deploy that was only slow, or comes over another connection, does not come after it. On a full disk neither can be had.
    fail() { end none; }
    run mkdir -- "$at"
    put "$at/reverted" no
    end none
  fi
  before
  changed=no
  # What others have done since is not looked at.
  [ ! -e "$at/reverted" ] || kind=over
  case $kind in
    same) ;;
    tree)
      # Killed in the middle of a switch.
      if [ "$(ino "$dest")" = "$new" ] && [ "$(ino "$at/new")" = "$was" ]; then run mv -T -- "$at/new" "$at/old"; fi
      if [ "$(ino "$dest")" = "$new" ] && [ "$(ino "$at/old")" = "$was" ]; then
        exchange "$dest" "$at/old"
        if [ "$(ino "$dest")" = "$new" ]; then run mv -T -- "$dest" "$at/failed"; fi
      fi
      if ! is "$dest" && [ "$(ino "$at/old")" = "$was" ]; then run mv -T -- "$at/old" "$dest"; fi
      [ "$(ino "$dest")" = "$was" ] || foreign
      if [ "$(ino "$at/old")" = "$new" ]; then run mv -T -- "$at/old" "$at/failed"; fi
      ;;
    link)
      if [ "$(readlink -- "$dest")" = "$at/new" ] || is_new; then
        # Whether it was ever switched cannot be told from the link alone once it is back.
        put "$at/back" yes
        run rm -f -- "$at/link"
        run ln -s -- "$was" "$at/link"
        run mv -fT -- "$at/link" "$dest"
      fi
      is_old || foreign
      if [ -e "$at/back" ] && [ "$(ino "$at/new")" = "$new" ]; then run mv -T -- "$at/new" "$at/failed"; fi
      ;;
    none)
      if [ "$(ino "$dest")" = "$new" ]; then run mv -T -- "$dest" "$at/failed"; fi
      is "$dest" && foreign
      ;;
  esac
  if [ "$(ino "$at/failed")" = "$new" ]; then
    changed=yes
    printf 'note %s\n' "the tree that was taken back lies at $at/failed"
  fi
  [ $kind = over ] || put "$at/reverted" "$changed"
  run rm -rf -- "$at/new" "$at/unit" "$at/link"
  durable "$store"
  end done
fi

if [ -e "$at/reverted" ]; then why="this deploy was taken back"; give reverted; fi
if [ ! -e "$at/before" ]; then
  [ $safe = yes ] || { why=$refused; give $as; }
  command -v rsync > /dev/null 2>&1 || { why="there is no rsync on this host: install it"; give toolless; }
  [ -e "$source" ] || { why="$source is not there"; give missing; }
  [ -d "$source" ] || { why="$source is no folder"; give failed; }
  [ -r "$source" ] && [ -x "$source" ] || { why="$source cannot be read"; give failed; }
  if [ -n "$file" ] && [ ! -f "$source/$file" ]; then why="$source/$file, the unit file, is not there"; give missing; fi
  if is "$dest" && [ ! -L "$dest" ] && [ ! -d "$dest" ]; then why="$dest is no folder"; give failed; fi
  if [ -d "$dest" ]; then
    real=$(readlink -f -- "$dest") && real=${real:-$dest}
    while read -r _ _ _ _ mount _; do
      # As the kernel writes blanks and backslashes.
      case $mount in
        *\\*) mount=$(printf '%b' "$(printf '%s\n' "$mount" | sed 's/\\134/\\\\/g')") ;;
      esac
      case $mount in
        "$real" | "$real"/*) why="$mount is mounted: a tree with a file system of its own cannot be switched"; give mounted ;;
      esac
    done < /proc/self/mountinfo
  fi
fi
why=$(mkdir -p -- "$store" 2>&1) || fail
[ $safe = no ] || still || give "$word"
own "$store"
lock
if [ -e "$at/reverted" ]; then why="this deploy was taken back"; give reverted; fi
[ ! -e "$at" ] || own "$at"
if [ ! -e "$at/before" ]; then
  staged=yes
  run rm -rf -- "$at"
  run mkdir -- "$at"
  if [ -L "$dest" ]; then
    kind=link was=$(readlink -- "$dest")
  elif [ -d "$dest" ]; then
    kind=tree was=$(ino "$dest")
  else
    kind=none was=-
  fi
  # The old tree under other names, and then the new one over it, as rsync would do it in place: each file that comes from the
  # source is a new one (-I), so that nothing of the old tree is ever written to.
  old=no
  if [ -d "$dest/." ]; then
    old=yes
    why=$(cp -al -- "$dest/." "$at/new" 2>&1) || {
      run rm -rf -- "$at/new"
      run cp -a --reflink=auto -- "$dest/." "$at/new"
    }
  fi
  # The positional parameters become the filters: patterns first, then what is kept, where there is something to keep.
  n=$# i=0
  while [ $i -lt "$n" ]; do
    i=$((i + 1)) word=$1
    shift
    if [ $i -le "$patterns" ]; then
      set -- "$@" "--exclude=$word"
    elif is "$dest/$word"; then
      # Not a pattern, whatever characters it has.
      case $word in *[*?[]*) word=$(printf '%s\n' "$word" | sed 's/[][\\*?]/\\&/g') ;; esac
      set -- "$@" "--exclude=/$word"
    fi
  done
  run rsync -a -I --delete "$@" -- "$source/" "$at/new/"
  new=$(ino "$at/new")
  [ "$new" != none ] || { why="$at/new is not there"; fail; }
  if [ $old = no ] || [ $kind = none ]; then
    changed=yes
  else
    # Times alone are no difference.
    differs=$(rsync -rlpgoDcni --delete -- "$at/new/" "$dest/" 2>&1) || { why=$differs; fail; }
    if [ -n "$differs" ]; then changed=yes; else kind=same; fi
  fi
  if [ -n "$file" ]; then
    real=$(readlink -f -- "$at/new/$file") && root=$(readlink -f -- "$at/new")
    case $real in "$root"/*) ;; *) why="$file leads out of the tree"; fail ;; esac
    [ -f "$real" ] || { why="$file, the unit file, is not in the new tree"; fail; }
    run cp -- "$real" "$at/unit"
    run chmod 644 "$at/unit"
    if ! cmp -s -- "$at/unit" "$target"; then unit=yes changed=yes; fi
  fi
  if [ $kind = same ]; then run rm -rf -- "$at/new"; fi
  # All of it is on disk before anything is switched to it.
  sync -f -- "$at" 2> /dev/null || sync
  put "$at/before" "kind $kind
was $was
new $new
changed $changed
unit $unit"
  staged=no
fi
before
[ -e "$at/done" ] || case $kind in
  same) ;;
  tree)
    if [ "$(ino "$dest")" = "$was" ] && [ "$(ino "$at/new")" = "$new" ]; then
      exchange "$dest" "$at/new"
      # Not at once, then: for a moment there is none.
      if [ "$(ino "$dest")" = "$was" ]; then run mv -T -- "$dest" "$at/old"; fi
    fi
    if ! is "$dest" && [ "$(ino "$at/new")" = "$new" ] && [ "$(ino "$at/old")" = "$was" ]; then
      why=$(mv -T -- "$at/new" "$dest" 2>&1) || {
        mv -T -- "$at/old" "$dest"
        fail
      }
    fi
    [ "$(ino "$dest")" = "$new" ] || foreign
    if [ "$(ino "$at/new")" = "$was" ]; then run mv -T -- "$at/new" "$at/old"; fi
    ;;
  link)
    if is_old && [ "$(ino "$at/new")" = "$new" ]; then
      run rm -f -- "$at/link"
      run ln -s -- "$at/new" "$at/link"
      run mv -fT -- "$at/link" "$dest"
    fi
    is_new || foreign
    ;;
  none)
    if ! is "$dest" && [ "$(ino "$at/new")" = "$new" ]; then run mv -T -- "$at/new" "$dest"; fi
    [ "$(ino "$dest")" = "$new" ] || foreign
    ;;
esac
if [ ! -e "$at/done" ]; then
  if [ $unit = yes ]; then
    run cp -- "$at/unit" "$target.reveille"
    durable "$target.reveille"
    run mv -fT -- "$target.reveille" "$target"
    why=$(systemctl daemon-reload 2>&1) || { why="systemctl daemon-reload: $why"; fail; }
  fi
  put "$at/done" yes
fi
# The newest old tree is kept, and no older one: only what is over, and what nothing points into.
if [ $kind != same ] && newest; then
  set +f
  for other in "$store"/*; do
    [ -d "$other" ] && [ ! -L "$other" ] && [ "$other" != "$at" ] || continue
    # Only what a deploy has made.
    case ${other##*/} in ????????-????-????-????-????????????) ;; *) continue ;; esac
    [ -e "$other/before" ] || [ -e "$other/reverted" ] || continue
    ! needs "$other" || continue
    if [ -e "$other/before" ] && [ ! -e "$other/done" ] && [ ! -e "$other/reverted" ]; then
      printf 'note %s\n' "$other is of a run that has not ended, and is left as it is"
      continue
    fi
    rm -rf -- "$other"
  done
fi
durable "$store"
case $kind in
  tree) printf 'note %s\n' "the old tree is kept at $at/old" ;;
  link) printf 'note %s\n' "$dest points to $at/new; it pointed to $was" ;;
  none) printf 'note %s\n' "$dest is there for the first time" ;;
  same) printf 'note %s\n' "$dest holds this tree already" ;;
esac
if [ $unit = yes ]; then printf 'note %s\n' "$target was replaced"; fi
end done
