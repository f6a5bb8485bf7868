//! Checks of a provider's fields.

use tollgate_catalog::Catalog;
use tollgate_policy::Dialect;
use tollgate_store::ProviderRecord;

use super::{MAX_CREDENTIALS, MAX_URL_CHARS};
use crate::error::Problems;
use crate::parts::{CredentialBody, name};
use crate::secrets::host_of;

pub(super) fn dialect(text: &str) -> Result<Dialect, String> {
    if let Some(dialect) = Dialect::from_name(text) {
        return Ok(dialect);
    }
    Err(format!("`{}` is no dialect: write one of {}", text.escape_debug(), known()))
}

fn known() -> String {
    Dialect::ALL.map(Dialect::name).join(", ")
}

/// The URL as given, or the vendor's of that name, without a trailing slash.
pub(super) fn base_url(dialect: Dialect, provider: &str, given: Option<&str>) -> Result<String, String> {
    if dialect == Dialect::Demo {
        return match given {
            None | Some("") => Ok(String::new()),
            Some(_) => Err("the demo provider answers by itself: leave base_url out".to_owned()),
        };
    }
    let Some(given) = given else {
        let catalog = Catalog::embedded().map_err(|error| error.to_string())?;
        let vendor = catalog.vendor(provider).filter(|vendor| !vendor.base_url.is_empty());
        // a key must not travel to another vendor than its own, whatever the dialect's default is
        if let Some(other) = vendor.filter(|vendor| vendor.dialect != dialect.name()) {
            let (name, speaks) = (&other.name, &other.dialect);
            return Err(format!(
                "is missing: {name} speaks {speaks}; write that dialect, or where {name} speaks this one"
            ));
        }
        let base_url = vendor.map(|vendor| vendor.base_url.as_str()).or(dialect.default_base_url());
        return base_url.map(str::to_owned).ok_or_else(|| match dialect {
            Dialect::Bedrock | Dialect::Vertex => {
                "is missing: write it, or a `region` like us-east-1".to_owned()
            }
            _ => format!("is missing: {} has no one place", dialect.name()),
        });
    };
    // Before anything repeats the text: these parts may be secrets.
    if given.contains('@') {
        return Err("must have no user or password: put the secret under `credentials`".to_owned());
    }
    if given.contains(['?', '#']) {
        return Err("must have no query and no fragment: put a secret under `credentials`".to_owned());
    }
    let refused = || format!("`{}` is not a URL like https://api.openai.com/v1", given.escape_debug());
    let rest =
        given.strip_prefix("https://").or_else(|| given.strip_prefix("http://")).ok_or_else(refused)?;
    let is_visible = given.bytes().all(|byte| byte.is_ascii_graphic());
    if rest.is_empty()
        || rest.starts_with(['/', ':'])
        || !is_visible
        || given.contains('\\')
        || given.len() > MAX_URL_CHARS
    {
        return Err(refused());
    }
    let is_valid = given
        .parse::<tonic::transport::Uri>()
        .is_ok_and(|uri| uri.host().is_some_and(|host| !host.is_empty()));
    if is_valid { Ok(given.trim_end_matches('/').to_owned()) } else { Err(refused()) }
}

pub(super) fn check_credentials(credentials: &[CredentialBody], path: &str, problems: &mut Problems) {
    if credentials.len() > MAX_CREDENTIALS {
        problems.add(path, format!("has more than {MAX_CREDENTIALS} entries"));
    }
    for (index, credential) in credentials.iter().enumerate() {
        credential.check(&format!("{path}[{index}]"), problems);
        if credentials[..index].iter().any(|other| other.name == credential.name) {
            problems.add(format!("{path}[{index}].name"), format!("`{}` stands here twice", credential.name));
        }
    }
}

pub(super) fn check_region(region: Option<&str>, path: &str, problems: &mut Problems) {
    if let Some(region) = region {
        problems.take(path, name(region));
    }
}

pub(super) fn check_concurrency(most: Option<u32>, path: &str, problems: &mut Problems) {
    if most == Some(0) {
        problems.add(path, "must be at least 1");
    }
}

/// A credential must not be sent to another host than the one it was given for.
pub(super) fn check_host_change(
    record: &ProviderRecord,
    url: &str,
    credentials: Option<&[CredentialBody]>,
    problems: &mut Problems,
) {
    if host_of(url) == host_of(&record.base_url) {
        return;
    }
    let keeps_one = match credentials {
        None => !record.credentials.is_empty(),
        Some(wanted) => wanted.iter().any(|credential| credential.secret.is_none()),
    };
    if keeps_one {
        problems.add("credentials", "the host changes: give every secret again, they are bound to the host");
    }
}
