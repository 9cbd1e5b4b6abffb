//! Paths on hosts: which of them can be meant, and which may be replaced whole. Whoever reads a manifest, plans a deploy or performs
//! one asks here.

/// Without doubled and trailing `/`.
///
/// # Errors
/// Why it is no absolute path.
pub fn absolute(path: &str) -> Result<String, String> {
    if !path.starts_with('/') {
        return Err(format!("{path:?} is no absolute path: it has to begin with /"));
    }
    Ok(format!("/{}", parts(path)?.join("/")))
}

/// Without doubled and trailing `/`.
///
/// # Errors
/// Why it is no path that stays in its folder.
pub fn relative(path: &str) -> Result<String, String> {
    if path.starts_with('/') {
        return Err(format!("{path:?} is an absolute path: write it from the folder on, without the / before it"));
    }
    let parts = parts(path)?;
    if parts.is_empty() { Err(format!("{path:?} is the folder itself: name something in it")) } else { Ok(parts.join("/")) }
}

fn parts(path: &str) -> Result<Vec<&str>, String> {
    if path.contains(char::is_control) {
        return Err(format!("{path:?} holds a control character"));
    }
    let up = |part: &&str| *part == ".." || *part == ".";
    match path.split('/').find(up) {
        Some(part) => Err(format!("{path:?} holds {part:?}: write the path without it")),
        None => Ok(path.split('/').filter(|part| !part.is_empty()).collect()),
    }
}

/// Trees in which nothing is an application's own.
const SYSTEMS: [&str; 30] = [
    "/bin",
    "/boot",
    "/dev",
    "/etc/cron.d",
    "/etc/init.d",
    "/etc/pam.d",
    "/etc/reveille",
    "/etc/ssh",
    "/etc/sudoers.d",
    "/etc/systemd",
    "/lib",
    "/lib32",
    "/lib64",
    "/libx32",
    "/proc",
    "/root/.ssh",
    "/run",
    "/sbin",
    "/sys",
    "/usr/bin",
    "/usr/lib",
    "/usr/lib32",
    "/usr/lib64",
    "/usr/libexec",
    "/usr/sbin",
    "/var/lib/dpkg",
    "/var/lib/reveille",
    "/var/lib/reveille-agent",
    "/var/lib/rpm",
    "/var/lib/systemd",
];

/// Folders that hold what is several people's; what lies in them can be one application's own.
const SHARED: [&str; 24] = [
    "/",
    "/dev/shm",
    "/etc",
    "/home",
    "/media",
    "/mnt",
    "/opt",
    "/root",
    "/srv",
    "/tmp",
    "/usr",
    "/usr/include",
    "/usr/local",
    "/usr/local/bin",
    "/usr/local/etc",
    "/usr/local/lib",
    "/usr/local/sbin",
    "/usr/local/share",
    "/usr/share",
    "/usr/src",
    "/var",
    "/var/lib",
    "/var/www",
    "/var/www/html",
];

/// Whether a deploy may replace an absolute path whole.
///
/// # Errors
/// Why not.
pub fn replaceable(path: &str) -> Result<(), String> {
    // What lies at the top is the system's own, and beside it no stage can lie.
    let at_the_top = path.matches('/').count() < 2;
    // Below /dev, but memory and no device.
    let of_system = SYSTEMS.iter().any(|tree| within(path, tree)) && !within(path, "/dev/shm");
    let home = path.strip_prefix("/home/").is_some_and(|rest| !rest.contains('/'));
    let of_all = SHARED.contains(&path) || path.strip_prefix("/var/").is_some_and(|rest| !rest.contains('/'));
    if of_system || of_all || home || at_the_top {
        return Err(format!(
            "{path:?} holds more than one service, and a deploy replaces all of it: name the service's own folder, as in \"/srv/sso-api\""
        ));
    }
    Ok(())
}

/// Whether a path is a folder or lies in it; both are clean.
pub fn within(path: &str, folder: &str) -> bool {
    folder == "/" || path.strip_prefix(folder).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

/// A pattern as rsync's `--exclude` takes it.
///
/// # Errors
/// Why it would not do what it says.
pub fn pattern(pattern: &str) -> Result<String, String> {
    if pattern.starts_with('/') {
        return Err(format!("{pattern:?} is an absolute path: write it from the source on, without the / before it"));
    }
    if pattern.split('/').any(|part| part == "..") {
        return Err(format!("{pattern:?} leads out of the source: write it without \"..\""));
    }
    if pattern.is_empty() || pattern.contains(char::is_control) {
        return Err(format!("{pattern:?} is no pattern"));
    }
    // In rsync's own lists these begin rules of another kind.
    if pattern.starts_with(['!', ';', '#']) || ["+ ", "- ", "+_", "-_"].iter().any(|rule| pattern.starts_with(rule)) {
        return Err(format!("{pattern:?} would be a rule to rsync, and no pattern: write ? for its first character"));
    }
    Ok(pattern.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_folder_of_its_own_can_be_replaced() {
        for path in
            ["/", "/etc", "/usr/bin/x", "/var/lib", "/var/anything", "/home/ann", "/run/x", "/etc/systemd/system", "/opt", "/app"]
        {
            assert!(replaceable(path).is_err(), "{path}");
        }
        for path in ["/srv/x", "/opt/x", "/var/www/x", "/var/lib/x", "/home/ann/x", "/usr/local/lib/x", "/runner/x", "/etc/x"] {
            assert_eq!(replaceable(path), Ok(()), "{path}");
        }
    }

    #[test]
    fn a_pattern_is_no_rule() {
        for good in ["node_modules", "*.log", "-x", "a/b/", "[ab]"] {
            assert_eq!(pattern(good), Ok(good.to_owned()));
        }
        for bad in ["/a", "..", "a/../b", "- a", "+ a", "!", "# a", ";a"] {
            assert!(pattern(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn a_clean_path_has_no_second_spelling() {
        assert_eq!(absolute("//srv///x/"), Ok("/srv/x".to_owned()));
        assert_eq!(absolute("/"), Ok("/".to_owned()));
        assert_eq!(relative("a//b/"), Ok("a/b".to_owned()));
        for bad in ["", "a", "./a", "/a/../b", "/a/./b", "~/a"] {
            assert!(absolute(bad).is_err(), "{bad:?}");
        }
        for bad in ["", "/a", "../a", "a/..", ".", "./a"] {
            assert!(relative(bad).is_err(), "{bad:?}");
        }
        assert!(within("/a/b", "/a") && within("/a", "/a") && within("/a", "/") && !within("/ab", "/a"));
    }
}
