# above PATH: where it really lies (real), and whether root alone can put something else there. Every folder on the way, and every
# link, must be root's or that of whoever runs this; nobody else may write to one, unless what others have put there is theirs alone
# (the sticky bit). No is told by why, and by word: failed or unsafe. What is not there yet will be made by root.
above() {
  todo=${1%/*} of=$1 real=
  set -- /
  while todo=${todo#"${todo%%[!/]*}"} && [ -n "$todo" ]; do
    step=${todo%%/*}
    todo=${todo#"$step"}
    case $step in
      .) continue ;;
      ..) real=${real%/*} && continue ;;
    esac
    if [ -L "$real/$step" ]; then
      [ -d "$real/$step" ] || { why="$real/$step is a link that leads to no folder" word=failed; return 1; }
      set -- "$@" "$real/$step"
      to=$(readlink -- "$real/$step")
      case $to in /*) real= ;; esac
      todo=$to$todo
    elif [ -d "$real/$step" ]; then
      real=$real/$step
      set -- "$@" "$real"
    elif [ -e "$real/$step" ]; then
      why="$real/$step is no folder" word=failed
      return 1
    else
      real=$real/$step$todo todo=
    fi
  done
  real=$real/${of##*/} me=$(id -u) word=unsafe
  told=$(stat -c '%u %A %U %n' -- "$@" 2>&1) || { why=$told word=failed; return 1; }
  while read -r uid mode user path; do
    why=
    case $uid in 0 | "$me") ;; *) why="$path belongs to $user" ;; esac
    case $mode in
      l* | *[tT]) ;;
      ?????w* | ????????w*) why="$path can be written to by others than root" ;;
    esac
    [ -z "$why" ] || {
      why="$why, so that something else could be put in the way of $of: chown root and chmod go-w that folder, or deploy to another place"
      return 1
    }
  done << TOLD
$told
TOLD
  why=
}
