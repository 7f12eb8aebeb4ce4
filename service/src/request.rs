//! The rules of HTTP that hyper leaves to us, checked before any handler sees a request.
//!
//! RFC 9112 section 3.2: exactly one `Host`, and a target that names an authority must name the same one.
//! Methods are those that some route could have; anything else (`TRACE`, made-up ones) never gets in.

use std::net::{IpAddr, SocketAddr};

use http::uri::Authority;
use http::{HeaderMap, Method, Request, Version, header};

use crate::http::Refusal;

/// Why a request is refused: the kind and a sentence for the client.
pub(crate) type Refused = (Refusal, &'static str);

/// Checks one request. `hosts_allowed` empty means any host name.
pub(crate) fn check<B>(request: &Request<B>, hosts_allowed: &[String]) -> Result<(), Refused> {
    method(request.method())?;
    let host = host(request.headers(), request.version())?;
    if let Some(target) = request.uri().authority() {
        let scheme = request.uri().scheme_str();
        if !matches!(scheme, Some("http" | "https")) {
            return Err((Refusal::Invalid, "the target is no http address"));
        }
        if !host
            .as_ref()
            .is_some_and(|host| same_authority(host, target))
        {
            return Err((
                Refusal::Invalid,
                "the target and Host name different servers",
            ));
        }
    }
    if !hosts_allowed.is_empty() && !host.is_some_and(|host| is_allowed(&host, hosts_allowed)) {
        return Err((Refusal::Invalid, "this server does not go by that name"));
    }
    Ok(())
}

fn method(method: &Method) -> Result<(), Refused> {
    match *method {
        Method::GET
        | Method::HEAD
        | Method::POST
        | Method::OPTIONS
        | Method::PUT
        | Method::PATCH
        | Method::DELETE => Ok(()),
        _ => Err((Refusal::Method, "no such method here")),
    }
}

fn host(headers: &HeaderMap, version: Version) -> Result<Option<Authority>, Refused> {
    let mut hosts = headers.get_all(header::HOST).iter();
    let Some(first) = hosts.next() else {
        // HTTP/1.0 knows no Host; health probes of old proxies speak it.
        if version == Version::HTTP_10 {
            return Ok(None);
        }
        return Err((Refusal::Invalid, "a request needs a Host"));
    };
    if hosts.next().is_some() {
        return Err((Refusal::Invalid, "a request has one Host"));
    }
    let host: Option<Authority> = first.to_str().ok().and_then(|text| text.parse().ok());
    match host {
        Some(host) if !host.as_str().contains('@') => Ok(Some(host)),
        _ => Err((Refusal::Invalid, "Host is malformed")),
    }
}

fn same_authority(host: &Authority, target: &Authority) -> bool {
    host.host().eq_ignore_ascii_case(target.host())
        && host.port_u16().unwrap_or(80) == target.port_u16().unwrap_or(80)
}

fn is_allowed(host: &Authority, allowed: &[String]) -> bool {
    let name = host.host().trim_start_matches('[').trim_end_matches(']');
    allowed.iter().any(|entry| entry.eq_ignore_ascii_case(name))
}

/// Whose request this is: the peer, or the client that a trusted proxy names in the last entry of
/// `X-Forwarded-For`. Earlier entries are what the client itself claimed. The port is then unknown, 0.
pub(crate) fn client_address(
    peer: SocketAddr,
    headers: &HeaderMap,
    trusted: &[IpAddr],
) -> SocketAddr {
    if !trusted.contains(&peer.ip().to_canonical()) {
        return peer;
    }
    headers
        .get_all("x-forwarded-for")
        .iter()
        .next_back()
        .and_then(|value| value.to_str().ok())
        .and_then(|value| value.rsplit(',').next())
        .and_then(|entry| entry.trim().parse::<IpAddr>().ok())
        .map_or(peer, |ip| SocketAddr::new(ip.to_canonical(), 0))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(target: &str, hosts: &[&str]) -> Request<()> {
        let mut request = Request::builder().uri(target);
        for host in hosts {
            request = request.header("host", *host);
        }
        request.body(()).unwrap()
    }

    #[test]
    fn exactly_one_host_is_needed() {
        assert!(check(&request("/", &["a:8080"]), &[]).is_ok());
        assert!(check(&request("/", &[]), &[]).is_err());
        assert!(check(&request("/", &["a", "a"]), &[]).is_err());
        assert!(check(&request("/", &["user@a"]), &[]).is_err());
        assert!(check(&request("/", &["a b"]), &[]).is_err());
    }

    #[test]
    fn an_absolute_target_names_the_same_server_as_host() {
        assert!(check(&request("http://a/x", &["A"]), &[]).is_ok());
        assert!(check(&request("http://a:80/x", &["a"]), &[]).is_ok());
        assert!(check(&request("http://evil/x", &["a"]), &[]).is_err());
        assert!(check(&request("ftp://a/x", &["a"]), &[]).is_err());
    }

    #[test]
    fn old_probes_without_host_are_served_unless_names_are_pinned() {
        let mut old = request("/health", &[]);
        *old.version_mut() = Version::HTTP_10;
        assert!(check(&old, &[]).is_ok());
        assert!(check(&old, &["localhost".to_owned()]).is_err());
    }

    #[test]
    fn a_pinned_listener_answers_to_its_own_names_only() {
        let allowed = [
            "localhost".to_owned(),
            "127.0.0.1".to_owned(),
            "::1".to_owned(),
        ];
        for name in ["localhost:8080", "LOCALHOST", "127.0.0.1:1", "[::1]:8080"] {
            assert!(check(&request("/", &[name]), &allowed).is_ok(), "{name}");
        }
        assert!(check(&request("/", &["rebound.example"]), &allowed).is_err());
    }

    #[test]
    fn only_a_trusted_proxy_may_say_who_the_client_is() {
        let proxy = "10.0.0.1:5000".parse().unwrap();
        let stranger = "192.0.2.1:5000".parse().unwrap();
        let trusted = ["10.0.0.1".parse().unwrap()];
        let mut headers = HeaderMap::new();
        assert_eq!(client_address(proxy, &headers, &trusted), proxy);
        let forged = "1.1.1.1, 198.51.100.7";
        headers.insert("x-forwarded-for", forged.parse().unwrap());
        let client = client_address(proxy, &headers, &trusted);
        assert_eq!(client.ip().to_string(), "198.51.100.7");
        assert_eq!(client_address(stranger, &headers, &trusted), stranger);
        headers.insert("x-forwarded-for", "unknown".parse().unwrap());
        assert_eq!(client_address(proxy, &headers, &trusted), proxy);
    }

    #[test]
    fn methods_that_no_route_has_do_not_get_in() {
        let mut trace = request("/", &["a"]);
        *trace.method_mut() = Method::TRACE;
        assert!(check(&trace, &[]).is_err());
        *trace.method_mut() = Method::from_bytes(b"BREW").unwrap();
        assert!(check(&trace, &[]).is_err());
    }
}
