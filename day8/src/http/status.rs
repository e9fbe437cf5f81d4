//! Status codes.

use core::fmt;

/// A status code with its reason: the first line of an answer.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Status {
    code: u16,
    line: &'static str,
}

macro_rules! statuses {
    ($($name:ident = $code:literal $reason:literal;)*) => {
        impl Status {$(
            #[doc = concat!($code, " ", $reason, ".")]
            pub const $name: Self =
                Self { code: $code, line: concat!("HTTP/1.1 ", $code, " ", $reason, "\r\n") };
        )*}
    };
}

statuses! {
    OK = 200 "OK";
    CREATED = 201 "Created";
    ACCEPTED = 202 "Accepted";
    NO_CONTENT = 204 "No Content";
    NOT_MODIFIED = 304 "Not Modified";
    BAD_REQUEST = 400 "Bad Request";
    FORBIDDEN = 403 "Forbidden";
    NOT_FOUND = 404 "Not Found";
    METHOD_NOT_ALLOWED = 405 "Method Not Allowed";
    REQUEST_TIMEOUT = 408 "Request Timeout";
    CONFLICT = 409 "Conflict";
    CONTENT_TOO_LARGE = 413 "Content Too Large";
    URI_TOO_LONG = 414 "URI Too Long";
    EXPECTATION_FAILED = 417 "Expectation Failed";
    MISDIRECTED_REQUEST = 421 "Misdirected Request";
    HEADERS_TOO_LARGE = 431 "Request Header Fields Too Large";
    INTERNAL_SERVER_ERROR = 500 "Internal Server Error";
    NOT_IMPLEMENTED = 501 "Not Implemented";
    SERVICE_UNAVAILABLE = 503 "Service Unavailable";
    VERSION_NOT_SUPPORTED = 505 "HTTP Version Not Supported";
    INSUFFICIENT_STORAGE = 507 "Insufficient Storage";
}

impl Status {
    /// The number.
    pub const fn code(self) -> u16 {
        self.code
    }

    /// The number and the reason, such as `404 Not Found`.
    pub fn text(self) -> &'static str {
        self.line["HTTP/1.1 ".len()..].trim_end()
    }

    /// The first line of the answer, with its end.
    pub(crate) const fn line(self) -> &'static str {
        self.line
    }

    /// Whether an answer with this status never has a body, and no length either.
    pub(crate) const fn is_bare(self) -> bool {
        matches!(self.code, 204 | 304)
    }
}

impl fmt::Display for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.text())
    }
}

impl fmt::Debug for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.text())
    }
}
