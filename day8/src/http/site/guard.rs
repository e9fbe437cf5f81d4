//! Which requests are let in.

use core::cell::RefCell;

use super::Refused;
use crate::http::{Authority, Head, Status};

/// Remembers the host that it let in last: most requests name the same one.
#[derive(Default)]
pub(super) struct Doorkeeper(RefCell<String>);

impl Doorkeeper {
    /// The request is for this host, as far as a browser could be led to believe something else.
    pub(super) fn host(&self, head: Head<'_>, allowed: &[String]) -> Result<(), Refused> {
        // Without a Host, it is HTTP/1.0, which no browser speaks.
        let Some(authority) = head.host() else { return Ok(()) };
        if !authority.host().is_empty() && *self.0.borrow() == authority.host() {
            return Ok(());
        }
        if !is_own(authority, allowed) {
            let why = "expected a request to localhost or to an address: another name has to be allowed with --host";
            return Err(Refused::new(Status::MISDIRECTED_REQUEST, why));
        }
        authority.host().clone_into(&mut self.0.borrow_mut());
        Ok(())
    }
}

/// An address belongs to no site that could have its name point elsewhere.
fn is_own(authority: Authority<'_>, allowed: &[String]) -> bool {
    let host = authority.host();
    host.eq_ignore_ascii_case("localhost")
        || authority.address().is_some()
        || allowed.iter().any(|name| name.eq_ignore_ascii_case(host))
}

/// If a browser says where the request comes from, it is this site.
pub(super) fn origin(head: Head<'_>) -> Result<(), Refused> {
    let foreign = || Refused::new(Status::FORBIDDEN, "the request comes from another site");
    // Browsers say so also where they send no Origin. "none" is the user.
    if let Some(site) = head.header("Sec-Fetch-Site")
        && site != b"same-origin"
        && site != b"none"
    {
        return Err(foreign());
    }
    let mut origins = head.headers().filter(|(name, _)| name.eq_ignore_ascii_case("Origin"));
    let Some((_, origin)) = origins.next() else { return Ok(()) };
    let own = head.host().map(|authority| format!("http://{}", authority.as_str()));
    let is_own = own.is_some_and(|own| own.as_bytes().eq_ignore_ascii_case(origin));
    if is_own && origins.next().is_none() { Ok(()) } else { Err(foreign()) }
}
