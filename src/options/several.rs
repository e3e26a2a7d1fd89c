//! One call about several services.

use crate::base::error::{Error, Result};
use crate::kernel::socket::Side;
use crate::options::args::Common;
use crate::report::{Format, Service};

/// The `--profile` of each service that the call is about; one, without any where ports tell it.
pub fn each(common: &mut Common) -> Result<Vec<Vec<String>>> {
    let profiles = std::mem::take(&mut common.profile);
    if profiles.len() < 2 {
        return Ok(vec![profiles]);
    }
    if common.output != Some(Format::Prometheus) {
        return Err(Error::Usage(
            "several --profile need -o prometheus; with other outputs run the check once for each".into(),
        ));
    }
    if !common.port.is_empty() || !common.unix.is_empty() {
        return Err(Error::Usage("several --profile have ports of their own: leave out -p and --unix".into()));
    }
    if let Some(twice) = (1..profiles.len()).find(|at| profiles[..*at].contains(&profiles[*at])) {
        return Err(Error::Usage(format!("--profile {} is given twice; once is enough", profiles[twice])));
    }
    Ok(profiles.into_iter().map(|profile| vec![profile]).collect())
}

/// What a profile's service is called until its file has been read, or where it can't be.
pub fn service(common: &Common, profile: &[String]) -> Option<Service> {
    let side = common.side.unwrap_or(Side::Both);
    profile.first().map(|name| Service { profile: name.clone(), ports: Vec::new(), side })
}
