#!/bin/sh
# An example of a drain by command: the Nomad client of a host. Needs a nomad of version 1.5 or newer with the right node:write.
#   nomad.sh state|drain|undrain NAME
set -eu
verb=$1 name=$2

set -- $(nomad node status -t '{{range .}}{{if eq .Name "'"$name"'"}}{{.ID}} {{.SchedulingEligibility}} {{.Drain}} {{end}}{{end}}')
if [ $# -ne 3 ]; then
    echo "$name is not the name of just one client" >&2
    exit 1
fi
id=$1 eligibility=$2 draining=$3

case $verb in
state)
    mark=$(nomad node meta read -node-id "$id" -t '{{index .Meta "reveille_drained"}}')
    # One that a person made ineligible takes no new work, but what runs there must still be moved away: "in" until it is drained.
    if [ "$draining" = true ]; then
        echo "$name draining in"
    elif [ "$mark" = yes ] && [ "$eligibility" = ineligible ]; then
        echo "$name drained out"
    else
        # A person has made it eligible since: the mark says nothing any more, also not when it is made ineligible again.
        [ "$mark" != yes ] || nomad node meta apply -node-id "$id" -unset reveille_drained >&2
        echo "$name $eligibility in"
    fi
    ;;
drain)
    # Without a deadline of its own: what happens at the end of the time is said by on_drain_timeout.
    if [ "${REVEILLE_FORCE:-}" = 1 ]; then
        nomad node drain -enable -yes -force "$id" >&2
    else
        nomad node drain -enable -yes -no-deadline "$id" >&2
    fi
    nomad node meta apply -node-id "$id" reveille_drained=yes >&2
    ;;
undrain)
    # The mark goes first: a client that takes work must never be marked as drained.
    nomad node meta apply -node-id "$id" -unset reveille_drained >&2
    if [ "$draining" = true ]; then
        nomad node drain -disable -yes -keep-ineligible "$id" >&2
    fi
    case $REVEILLE_PRIOR in
    *" ineligible "*) ;; # a person's word stays
    *) nomad node eligibility -enable "$id" >&2 ;;
    esac
    ;;
*)
    echo "usage: $0 state|drain|undrain NAME" >&2
    exit 2
    ;;
esac
