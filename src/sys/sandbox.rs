//! Landlock: which paths a process can still reach (landlock(7)). With seccomp, the bounds of a process.

use std::path::PathBuf;

use landlock::{
    ABI, Access as _, AccessFs, Ruleset, RulesetAttr, RulesetCreatedAttr, RulesetError, RulesetStatus,
    path_beneath_rules,
};

use super::seccomp::{Calls, allow_only};

/// What a process needs.
#[derive(Clone, Debug, Default)]
pub struct Bounds {
    pub reach: Reach,
    pub calls: Calls,
}

/// What the kernel has granted of the bounds, or why it has not.
#[derive(Debug)]
pub struct Confined {
    pub landlock: Result<Confinement, RulesetError>,
    pub seccomp: Result<(), seccompiler::Error>,
}

/// From now on this thread, and all that it starts, stays within the bounds. Before the process has a second thread.
pub fn confine(bounds: &Bounds) -> Confined {
    // In this order: the filter does not let Landlock through.
    Confined { landlock: confine_to(&bounds.reach), seccomp: allow_only(bounds.calls) }
}

/// Paths with everything beneath them; those that do not exist are left out.
#[derive(Clone, Debug, Default)]
pub struct Reach {
    pub read: Vec<PathBuf>,
    pub write: Vec<PathBuf>,
}

/// What the kernel has granted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Confinement {
    Full,
    /// An older kernel knows some of the rules only.
    Partial,
    /// The kernel is without Landlock, or it is switched off.
    None,
}

impl Confinement {
    pub fn as_str(self) -> &'static str {
        match self {
            Confinement::Full => "full",
            Confinement::Partial => "partial",
            Confinement::None => "none",
        }
    }
}

/// From now on this thread, and all that it starts, can open nothing but what is in reach. Open files stay open, and
/// sockets can be connected to.
///
/// # Errors
/// When the kernel has Landlock, but refuses.
fn confine_to(reach: &Reach) -> Result<Confinement, RulesetError> {
    let abi = ABI::V5;
    let status = Ruleset::default()
        .handle_access(AccessFs::from_all(abi))?
        .create()?
        .add_rules(path_beneath_rules(&reach.read, AccessFs::from_read(abi)))?
        .add_rules(path_beneath_rules(&reach.write, AccessFs::from_all(abi)))?
        .restrict_self()?;
    Ok(match status.ruleset {
        RulesetStatus::FullyEnforced => Confinement::Full,
        RulesetStatus::PartiallyEnforced => Confinement::Partial,
        RulesetStatus::NotEnforced => Confinement::None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    #[test]
    fn what_is_out_of_reach_cannot_be_opened() {
        let [read, write, neither] = [(); 3].map(|()| tempfile::tempdir().unwrap());
        for directory in [&read, &write, &neither] {
            fs::write(directory.path().join("file"), "text").unwrap();
        }
        let reach =
            Reach { read: vec![read.path().into()], write: vec![write.path().into(), "/no/such".into()] };
        let paths = [&read, &write, &neither].map(|directory| directory.path().join("file"));
        // Confinement is of the thread.
        let seen = std::thread::spawn(move || {
            let confinement = confine_to(&reach).unwrap();
            (confinement, paths.map(|path| (fs::read(&path).is_ok(), fs::write(&path, "new").is_ok())))
        });
        let (confinement, seen) = seen.join().unwrap();
        match confinement {
            Confinement::None => assert_eq!(seen, [(true, true); 3]),
            _ => assert_eq!(seen, [(true, false), (true, true), (false, false)]),
        }
    }
}
