#!/bin/bash
# The lab's images. Runs as root in mount and pid namespaces of its own, in an empty directory ($PWD) that the caller
# publishes when this script ends with 0. SOURCES: the machine's own list of Debian mirrors; CODENAME: its release.
# The text of this file is part of the images' key: any change makes new images.
set -euo pipefail

trim=(--dpkgopt='path-exclude=/usr/share/man/*' --dpkgopt='path-exclude=/usr/share/doc/*'
      --dpkgopt='path-exclude=/usr/share/locale/*' --dpkgopt='path-exclude=/usr/share/i18n/*' --dpkgopt='force-unsafe-io')

# Built in memory: half the time. The mount goes when the namespace goes, however this script ends.
mkdir tmp
mount -t tmpfs -o mode=1777 tmpfs tmp
TMPDIR=$PWD/tmp mmdebstrap --quiet --mode=root --variant=minbase "${trim[@]}" --aptopt='APT::Install-Recommends "false"' \
  --include=systemd,systemd-sysv,dbus,libpam-systemd,openssh-server,sudo,iproute2,procps,iputils-ping,ca-certificates \
  "$CODENAME" tmp/base.tar "$SOURCES"
mkdir base
tar -C base -xf tmp/base.tar
umount tmp
rmdir tmp

# One key pair lets the tests in everywhere; one host key serves all hosts, until a scenario gives one of them another.
ssh-keygen -q -t ed25519 -N '' -C lab -f id_ed25519
install -d -m700 base/root/.ssh
install -m600 id_ed25519.pub base/root/.ssh/authorized_keys
rm -f base/etc/ssh/ssh_host_*
ssh-keygen -q -t ed25519 -N '' -C lab -f base/etc/ssh/ssh_host_ed25519_key

: > base/etc/machine-id
rm -f base/var/lib/dbus/machine-id base/etc/hostname base/etc/resolv.conf
mkdir -p base/var/log/journal base/etc/lab

# systemd-sysctl must stay masked: a container with a writable /proc/sys would set the outer machine's. The ask-password
# paths, and a manager for every user who logs in, cost inotify instances, of which all hosts together have 128.
for unit in systemd-sysctl.service systemd-modules-load.service systemd-ask-password-console.path \
  systemd-ask-password-wall.path user@.service systemd-update-utmp.service systemd-update-utmp-runlevel.service \
  systemd-networkd.service systemd-resolved.service systemd-timesyncd.service apt-daily.timer \
  apt-daily-upgrade.timer dpkg-db-backup.timer e2scrub_all.timer e2scrub_reap.service fstrim.timer \
  getty.target console-getty.service; do
  ln -sf /dev/null base/etc/systemd/system/$unit
done
ln -sf /lib/systemd/system/multi-user.target base/etc/systemd/system/default.target

cat > base/usr/local/sbin/lab-net <<'U'
#!/bin/sh
set -e
ip=$(cat /etc/lab/ip)
for d in host0 eth0; do [ -e /sys/class/net/$d ] && nic=$d; done
# One hardware address for each address: a later host with the same one is found at once, by whoever knew the earlier.
ip link set "$nic" address "02:77:00:00:01:$(printf %02x "${ip##*.}")"
if [ -e /etc/lab/bridge ]; then
  # Pin the address: a bridge takes the lowest of its ports', so each child that joins would change it.
  ip link add br0 address "$(cat /sys/class/net/$nic/address)" type bridge
  ip link set "$nic" master br0 up
  nic=br0
fi
ip link set lo up
ip addr add "$ip/24" dev "$nic"
ip link set "$nic" up
ip route add default via 10.77.0.1
U
chmod 755 base/usr/local/sbin/lab-net
cat > base/etc/systemd/system/lab-net.service <<'U'
[Unit]
DefaultDependencies=no
Before=network.target
After=local-fs.target
ConditionPathExists=/etc/lab/ip
[Service]
Type=oneshot
RemainAfterExit=yes
ExecStart=/usr/local/sbin/lab-net
[Install]
WantedBy=sysinit.target
U
mkdir -p base/etc/systemd/system/sysinit.target.wants
ln -sf ../lab-net.service base/etc/systemd/system/sysinit.target.wants/

# What LXD imports as the image of its children.
printf 'architecture: x86_64\ncreation_date: 1700000000\nproperties: {os: debian, release: %s}\n' "$CODENAME" > metadata.yaml
tar -cf lxd-meta.tar metadata.yaml
rm metadata.yaml
mksquashfs base lxd-root.squashfs -comp lz4 -quiet -noappend -no-progress > /dev/null

# No boot.autostart here: the tests decide it child by child.
cat > lxd-preseed.yaml <<'U'
config: {images.auto_update_interval: "0"}
storage_pools: [{name: default, driver: dir}]
profiles:
- name: default
  config: {security.privileged: "true"}
  devices:
    root: {path: /, pool: default, type: disk}
    eth0: {name: eth0, nictype: bridged, parent: br0, type: nic}
U

# What some hosts have beyond the base, each as an overlay layer: its name, and its packages. They are installed as on a host whose
# services must not start yet.
export DEBIAN_FRONTEND=noninteractive
layer() {
  name=$1
  shift
  mkdir -p "$name" merged work
  mount -t overlay overlay -o "lowerdir=base,upperdir=$name,workdir=work" merged
  cp --remove-destination /etc/resolv.conf merged/etc/resolv.conf
  rm -f merged/etc/apt/sources.list merged/etc/apt/sources.list.d/*
  mkdir -p merged/etc/apt/sources.list.d
  case $SOURCES in
    *.sources) cp "$SOURCES" merged/etc/apt/sources.list.d/ ;;
    *) cp "$SOURCES" merged/etc/apt/sources.list ;;
  esac
  printf '#!/bin/sh\nexit 101\n' > merged/usr/sbin/policy-rc.d
  chmod +x merged/usr/sbin/policy-rc.d
  mount -t proc proc merged/proc
  mount --rbind /dev merged/dev
  mount -t tmpfs tmpfs merged/tmp
  mount -t tmpfs tmpfs merged/var/cache/apt
  mount -t tmpfs tmpfs merged/var/lib/apt/lists
  chroot merged apt-get -qq update
  chroot merged apt-get -qq -y --no-install-recommends -o Dpkg::Options::=--force-unsafe-io install "$@" > /dev/null
  umount -R merged/proc merged/dev merged/tmp merged/var/cache/apt merged/var/lib/apt/lists
  rm -f merged/usr/sbin/policy-rc.d merged/etc/sysctl.d/*inotify* merged/etc/resolv.conf
  umount merged
  rmdir merged
  rm -rf work
}

# Parents of containers.
layer parent lxd lxd-client squashfs-tools rsync attr uidmap
# Hosts with a platform of services: what stands below it, and what deploys and checks need. Nothing of it starts by itself.
layer platform postgresql redis-server rsync curl
for unit in postgresql.service redis-server.service; do
  rm -f platform/etc/systemd/system/multi-user.target.wants/$unit
done
