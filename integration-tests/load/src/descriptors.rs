//! Limit of open descriptors, of this process and of those that it starts.

use nix::sys::resource::{Resource, getrlimit, setrlimit};
use thiserror::Error;

/// The operating system allows fewer descriptors than a scenario needs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error(
    "{needed} open descriptors are needed in one process, and {most} are allowed: \
     raise the hard limit (`ulimit -Hn`), or ask for fewer clients"
)]
pub(crate) struct TooFewDescriptorsError {
    needed: u64,
    most: u64,
}

/// Raises the limit, if it is lower than this.
pub(crate) fn allow(needed: u64) -> Result<(), TooFewDescriptorsError> {
    let (soft, hard) = getrlimit(Resource::RLIMIT_NOFILE).unwrap_or_default();
    if needed <= soft {
        return Ok(());
    }
    // Only an administrator gets more than the hard limit.
    let raised = setrlimit(Resource::RLIMIT_NOFILE, needed, hard.max(needed));
    raised.map_err(|_| TooFewDescriptorsError { needed, most: hard })
}

/// Returns how many of these are allowed.
pub(crate) fn at_most(wanted: u64) -> u64 {
    allow(wanted).map_or_else(|error| error.most, |()| wanted)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_limit_is_raised_as_far_as_the_system_allows() {
        let (soft, hard) = getrlimit(Resource::RLIMIT_NOFILE).unwrap();

        assert_eq!(allow(soft), Ok(()));
        if soft < hard {
            assert_eq!(allow(soft + 1), Ok(()));
            assert_eq!(getrlimit(Resource::RLIMIT_NOFILE).unwrap(), (soft + 1, hard));
        }
        // More than any kernel has (fs.nr_open).
        let error = allow(u64::MAX - 1).unwrap_err();
        assert_eq!(error, TooFewDescriptorsError { needed: u64::MAX - 1, most: hard });
        assert_eq!(at_most(u64::MAX - 1), hard);
        assert_eq!(at_most(soft), soft);
    }
}
