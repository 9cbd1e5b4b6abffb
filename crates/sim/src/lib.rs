//! A fleet, its network, disks and clocks on a seed, around the production engine, driver and agent machine.
