//! The scenarios, each a named story. `cargo xtask lab test NAME` runs those whose name contains NAME.

mod control_host;
mod evidence;
mod failures;
mod fleet_lock;
mod kills;
mod lab_itself;
mod limits;
mod rolling_faults;
mod rolling_fleet;
mod rolling_people;
mod safe_reboot;
mod service_faults;
mod services;
mod services_library;
mod services_spread;
mod services_units;

use crate::world::Scenario;

/// All of them, in the order in which they begin: the long ones first, so that none of them is left alone at the end.
#[must_use]
pub fn all() -> Vec<Scenario> {
    [
        services::SCENARIOS,
        service_faults::SCENARIOS,
        services_spread::SCENARIOS,
        rolling_fleet::SCENARIOS,
        control_host::SCENARIOS,
        kills::SCENARIOS,
        rolling_faults::SCENARIOS,
        rolling_people::SCENARIOS,
        services_library::SCENARIOS,
        services_units::SCENARIOS,
        fleet_lock::SCENARIOS,
        limits::SCENARIOS,
        failures::SCENARIOS,
        safe_reboot::SCENARIOS,
        lab_itself::SCENARIOS,
    ]
    .concat()
}
