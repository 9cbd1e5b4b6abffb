#!/bin/sh
# An example of a drain by command: the Kubernetes node of a host. Needs a kubectl that may drain nodes.
#   kubernetes.sh state|drain|undrain NODE
set -eu
verb=$1 node=$2

case $verb in
state)
    # A node that a person cordoned takes no new work, but what runs there must still be moved away: it is "in" until it is drained.
    said=$(kubectl get node "$node" -o 'jsonpath={.metadata.annotations.reveille-drained}/{.spec.unschedulable}')
    case $said in
    yes/true) echo "$node drained out" ;;
    */true) echo "$node cordoned in" ;;
    yes/*)
        # A person has uncordoned it since: the mark says nothing any more, also not when it is cordoned again.
        kubectl annotate node "$node" reveille-drained- >&2
        echo "$node schedulable in"
        ;;
    *) echo "$node schedulable in" ;;
    esac
    ;;
drain)
    set -- --ignore-daemonsets --delete-emptydir-data "--timeout=${REVEILLE_GRACE_SECS}s"
    if [ "${REVEILLE_FORCE:-}" = 1 ]; then
        # Past disruption budgets, and pods that nobody makes anew.
        set -- "$@" --force --disable-eviction
    fi
    kubectl drain "$node" "$@" >&2
    kubectl annotate node "$node" --overwrite reveille-drained=yes >&2
    ;;
undrain)
    # The mark goes first: a node that takes work must never be marked as drained.
    kubectl annotate node "$node" reveille-drained- >&2
    case $REVEILLE_PRIOR in
    *" cordoned "*) ;; # a person's cordon stays
    *) kubectl uncordon "$node" >&2 ;;
    esac
    ;;
*)
    echo "usage: $0 state|drain|undrain NODE" >&2
    exit 2
    ;;
esac
