//! A module's vendor, version and dates, as owned data for answers.

use serde::{Deserialize, Serialize};
use time::OffsetDateTime;

use super::{Identity, LinkTime, VersionInfo};

/// Data that a module's image states about itself. It is not proof: a driver can claim any
/// name.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Maker {
    /// `CompanyName` of the version resource.
    pub company: Option<String>,
    /// `ProductName`.
    pub product: Option<String>,
    /// `FileVersion`, otherwise the four fixed numbers.
    pub file_version: Option<String>,
    /// `FileDescription`.
    pub file_description: Option<String>,
    /// Link time in seconds since 1970 (UTC), if the time stamp is a date.
    pub linked: Option<i64>,
    /// The meaning of the time stamp, if it is not a date.
    pub stamp_note: Option<String>,
    /// The reason why company and version are unknown, or a note that they were found by a
    /// scan.
    pub note: Option<String>,
}

impl Maker {
    /// Extracts the data of an image.
    pub fn of(identity: &Identity) -> Maker {
        let info = identity.version.info();
        let stamp_note = match identity.linked {
            Some(LinkTime::Hash(hash)) => Some(format!("build id {hash:08X} (a hash, not a date)")),
            Some(LinkTime::Unknown(stamp)) => Some(format!("link time or build hash {stamp:08X}")),
            Some(LinkTime::Date(_)) | None => None,
        };
        Maker {
            company: info.and_then(|i| i.company.clone()),
            product: info.and_then(|i| i.product.clone()),
            file_version: info.and_then(VersionInfo::file_version),
            file_description: info.and_then(|i| i.file_description.clone()),
            linked: identity.link_date().map(i64::from),
            stamp_note,
            note: identity.version_note(),
        }
    }
}

/// The driver behind a module name: the file with version and vendor, or the time it was
/// unloaded.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ModuleIdentity {
    /// The file's name, or the module's name if that is not in the dump.
    pub file: String,
    /// `FileVersion`.
    pub file_version: Option<String>,
    /// `CompanyName`.
    pub company: Option<String>,
    /// Link time in seconds since 1970 (UTC).
    pub linked: Option<i64>,
    /// No longer loaded.
    pub unloaded: bool,
    /// Unload time in seconds since 1970 (UTC).
    pub unloaded_at: Option<i64>,
}

impl ModuleIdentity {
    /// One phrase: `amdacpbus2.sys 6.0.0.79, Advanced Micro Devices, 2021-03-02`, or
    /// `abc3flt.sys (unloaded 2026-03-02T04:11:07Z)`.
    pub fn phrase(&self) -> String {
        let mut out = self.file.clone();
        if let Some(version) = &self.file_version {
            out += &format!(" {version}");
        }
        if let Some(company) = &self.company {
            out += &format!(", {company}");
        }
        if let Some(day) = self.linked.and_then(day) {
            out += match (&self.file_version, &self.company) {
                (None, None) => ", linked ",
                _ => ", ",
            };
            out += &day;
        }
        match (self.unloaded, self.unloaded_at.and_then(moment)) {
            (true, Some(when)) => out += &format!(" (unloaded {when})"),
            (true, None) => out += " (unloaded)",
            (false, _) => {}
        }
        out
    }

    /// True when it contains more than the module's name.
    pub fn is_telling(&self) -> bool {
        self.unloaded
            || self.file_version.is_some()
            || self.company.is_some()
            || self.linked.is_some()
    }
}

fn day(seconds: i64) -> Option<String> {
    let time = OffsetDateTime::from_unix_timestamp(seconds).ok()?;
    Some(time.date().to_string())
}

fn moment(seconds: i64) -> Option<String> {
    let time = OffsetDateTime::from_unix_timestamp(seconds).ok()?;
    let (hour, minute, second) = time.to_hms();
    Some(format!(
        "{}T{hour:02}:{minute:02}:{second:02}Z",
        time.date()
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_phrase_has_file_version_vendor_and_date() {
        let mut driver = ModuleIdentity {
            file: "amdacpbus2.sys".into(),
            file_version: Some("6.0.0.79".into()),
            company: Some("Advanced Micro Devices".into()),
            linked: Some(1_614_643_200),
            ..ModuleIdentity::default()
        };
        assert_eq!(
            driver.phrase(),
            "amdacpbus2.sys 6.0.0.79, Advanced Micro Devices, 2021-03-02"
        );
        (driver.file_version, driver.company) = (None, None);
        assert_eq!(driver.phrase(), "amdacpbus2.sys, linked 2021-03-02");
        driver.linked = Some(i64::MAX);
        assert_eq!(driver.phrase(), "amdacpbus2.sys");
        (driver.unloaded, driver.unloaded_at) = (true, Some(1_772_424_667));
        assert_eq!(
            driver.phrase(),
            "amdacpbus2.sys (unloaded 2026-03-02T04:11:07Z)"
        );
    }
}
