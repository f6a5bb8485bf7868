//! Where a webhook may lead to, as far as its URL tells; what its name resolves to is checked at every attempt.

use std::net::IpAddr;

use tollgate_domain::{is_loopback_address, is_public_address};
use url::{Host, Url};

/// Longest URL of a webhook.
const MAX_URL_CHARS: usize = 2_048;

/// The URL in its normal form: `https`, or `http` to this machine; to a public address unless `may_be_private`, which
/// allows private addresses by either. Errors do not repeat it, because its path may be a secret.
pub(crate) fn checked_url(text: &str, may_be_private: bool) -> Result<String, String> {
    if text.len() > MAX_URL_CHARS {
        return Err(format!("is longer than {MAX_URL_CHARS} characters"));
    }
    let url = Url::parse(text).map_err(|_| "is no URL like https://example.com/hook".to_owned())?;
    if !url.username().is_empty() || url.password().is_some() {
        return Err("must have no user or password: receivers know us by the signature".to_owned());
    }
    if url.fragment().is_some() {
        return Err("must have no fragment: it is never sent".to_owned());
    }
    let host =
        url.host().ok_or_else(|| "has no host: write a URL like https://example.com/hook".to_owned())?;
    let address = match host {
        Host::Domain(_) => None,
        Host::Ipv4(v4) => Some(IpAddr::V4(v4)),
        Host::Ipv6(v6) => Some(IpAddr::V6(v6)),
    };
    let is_local_name = matches!(host, Host::Domain(name) if name.trim_end_matches('.') == "localhost");
    let is_loopback = is_local_name || address.is_some_and(is_loopback_address);
    match url.scheme() {
        "https" => {}
        "http" if is_loopback || may_be_private => {}
        "http" => return Err("must begin with https://: http:// is for this machine only".to_owned()),
        _ => return Err("must begin with https://".to_owned()),
    }
    let is_open = is_loopback || may_be_private || address.is_none_or(is_public_address);
    if !is_open {
        return Err(
            "leads to a private address: start the control plane with --webhooks-allow-private-addresses if it may"
                .to_owned(),
        );
    }
    Ok(url.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_by_scheme_and_address() {
        for (good, normal) in [
            ("https://example.com/hook?x=1", "https://example.com/hook?x=1"),
            ("HTTPS://EXAMPLE.com", "https://example.com/"),
            ("https://8.8.8.8:8443/", "https://8.8.8.8:8443/"),
            ("https://[2606:4700::1111]/h", "https://[2606:4700::1111]/h"),
            ("http://localhost:9000/h", "http://localhost:9000/h"),
            ("http://127.0.0.1:9000/", "http://127.0.0.1:9000/"),
            ("http://[::1]:9000/", "http://[::1]:9000/"),
            ("https://localhost/", "https://localhost/"),
        ] {
            assert_eq!(checked_url(good, false).as_deref(), Ok(normal), "{good}");
        }
        for bad in [
            "",
            "example.com",
            "/hook",
            "ftp://example.com/",
            "file:///etc/passwd",
            "http://example.com/",
            "http://8.8.8.8/",
            "https://user@example.com/",
            "https://user:pw@example.com/",
            "https://example.com/#x",
            "https://",
            "http://localhost.example.com/",
            "http://127.0.0.1.nip.io/",
            "http://0.0.0.0/",
        ] {
            assert!(checked_url(bad, false).is_err(), "{bad}");
        }
        // each of these is a private address in some spelling
        for private in [
            "https://10.0.0.1/",
            "https://10.1/",
            "https://0xa.0.0.1/",
            "https://0x0a000001/",
            "https://167772161/",
            "https://012.0.0.1/",
            "https://192.168.1.1/",
            "https://172.16.0.1/",
            "https://169.254.169.254/latest/meta-data",
            "https://2852039166/",
            "https://0xa9fea9fe/",
            "https://0251.0376.0251.0376/",
            "https://169.254.43518/",
            "https://100.64.0.1/",
            "https://0.0.0.0/",
            "https://0/",
            "https://[::]/",
            "https://[::ffff:10.0.0.1]/",
            "https://[::ffff:a9fe:a9fe]/",
            "https://[fd00::1]/",
            "https://[fe80::1]/",
            "https://[64:ff9b::a9fe:a9fe]/",
            "https://[2002:a9fe:a9fe::]/",
            "https://１０.0.0.1/",
            "https://10。0。0。1/",
        ] {
            assert!(checked_url(private, false).is_err(), "{private}");
            assert!(checked_url(private, true).is_ok(), "{private}");
        }
        // as spelled, these are this machine's own
        for own in ["http://2130706433/", "http://0x7f.1/", "http://127.1/", "http://[::ffff:127.0.0.1]/"] {
            assert!(checked_url(own, false).is_ok(), "{own}");
        }
        let secret = "https://10.0.0.1/services/CANARY";
        assert!(!checked_url(secret, false).unwrap_err().contains("CANARY"));
        assert!(checked_url("http://hooks.internal/", true).is_ok());
        assert!(checked_url(&format!("https://example.com/{}", "a".repeat(MAX_URL_CHARS)), false).is_err());
    }
}
