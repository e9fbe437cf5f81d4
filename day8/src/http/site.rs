//! The host's queues, in a browser.
//!
//! | request | answer |
//! |---|---|
//! | `GET /` | a page that shows all of this |
//! | `GET /hello` | a few bytes, always the same |
//! | `GET /stream?lines=N` | N lines, in chunks |
//! | `GET /queues` | the host's queues, as `fanout ls --json` prints them |
//! | `GET /queues/NAME/events` | what goes through a queue from now on, as server-sent events; with `?from=oldest`, also what it still holds |
//! | `POST /queues/NAME` | publishes the body as one record, if the service was started so |
//!
//! # Who may ask
//!
//! A page of another site cannot read answers from here. It could send requests, though, and it could have its own name
//! point to this host (DNS rebinding), so that the browser takes this service for a part of that site. So a request has to
//! name this host by its address, as `localhost`, or by a [name that was allowed](SiteOptions::host). And where a browser
//! says which site a request comes from, it has to be this one before anything is published or watched.

mod events;
mod guard;
mod offload;
mod publish;

use core::cell::Cell;
use core::fmt;

use common::QueueName;
use day7::listing;

use super::target::decoded;
use super::{Answered, Handler, Head, HttpError, Refusal, Request, Responder, Status};
use guard::Doorkeeper;
use offload::offload;
use publish::Publisher;

/// What the site shows, and to whom.
#[derive(Clone, Debug)]
pub struct SiteOptions {
    allows_publish: bool,
    hosts: Vec<String>,
    capacity: u64,
    most_queues: usize,
}

impl Default for SiteOptions {
    fn default() -> Self {
        Self::new()
    }
}

impl SiteOptions {
    /// Only reading; only for requests to an address or to `localhost`.
    pub fn new() -> Self {
        Self { allows_publish: false, hosts: Vec::new(), capacity: 1 << 20, most_queues: 64 }
    }

    /// Whether requests may publish.
    #[must_use]
    pub fn allow_publish(mut self, allows: bool) -> Self {
        self.allows_publish = allows;
        self
    }

    /// Also serves requests to this host, which is a name.
    #[must_use]
    pub fn host(mut self, name: impl Into<String>) -> Self {
        self.hosts.push(name.into());
        self
    }

    /// How many bytes a queue holds that a request creates.
    #[must_use]
    pub fn capacity(mut self, bytes: u64) -> Self {
        self.capacity = bytes;
        self
    }

    /// How many queues requests may create.
    #[must_use]
    pub fn most_queues(mut self, count: usize) -> Self {
        self.most_queues = count;
        self
    }
}

/// Shows the host's queues, and publishes.
pub struct Site {
    options: SiteOptions,
    page: String,
    publisher: Publisher,
    doorkeeper: Doorkeeper,
    /// How many things are done on threads of their own now.
    offloaded: Cell<usize>,
}

impl fmt::Debug for Site {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Site").field("options", &self.options).finish_non_exhaustive()
    }
}

/// What a target leads to.
#[derive(Debug, PartialEq, Eq)]
enum Place {
    Page,
    Hello,
    Stream,
    Queues,
    Queue(QueueName),
    Events(QueueName),
    Everything,
}

impl Place {
    fn find(path: &str) -> Result<Self, Refused> {
        match path {
            "/" => return Ok(Self::Page),
            "/hello" => return Ok(Self::Hello),
            "/stream" => return Ok(Self::Stream),
            "/queues" => return Ok(Self::Queues),
            "*" => return Ok(Self::Everything),
            _ => {}
        }
        let nothing = || Refused::new(Status::NOT_FOUND, "nothing is here; try /");
        let rest = path.strip_prefix("/queues/").ok_or_else(nothing)?;
        let (name, what) =
            rest.split_once('/').map_or((rest, None), |(name, what)| (name, Some(what)));
        let name = decoded(name)
            .ok_or_else(|| Refused::new(Status::BAD_REQUEST, "a queue's name is text in UTF-8"))?;
        // A name has no slash here, so that each queue has one place; and what is refused can lead nowhere else.
        if name.starts_with('/') {
            return Err(Refused::new(
                Status::BAD_REQUEST,
                "a queue's name is given without a slash",
            ));
        }
        let name = QueueName::new(&name)
            .map_err(|error| Refused { status: Status::BAD_REQUEST, why: error.to_string() })?;
        match what {
            None => Ok(Self::Queue(name)),
            Some("events") => Ok(Self::Events(name)),
            Some(_) => Err(nothing()),
        }
    }

    fn takes(&self, method: &str) -> bool {
        match method {
            "GET" | "HEAD" => !matches!(self, Self::Queue(_) | Self::Everything),
            "POST" => matches!(self, Self::Queue(_)),
            "OPTIONS" => *self == Self::Everything,
            _ => false,
        }
    }

    fn methods(&self) -> &'static str {
        match self {
            Self::Queue(_) => "POST",
            Self::Everything => "OPTIONS",
            _ => "GET, HEAD",
        }
    }
}

/// What a client is told that does not get what it asked for. The connection goes on.
#[derive(Debug)]
struct Refused {
    status: Status,
    why: String,
}

impl Refused {
    fn new(status: Status, why: &str) -> Self {
        Self { status, why: why.to_owned() }
    }

    async fn tell(self, responder: Responder<'_>) -> Result<Answered, HttpError> {
        responder.text(self.status, &self.why).await
    }
}

/// The methods that there are. One that is not among them could mean anything.
const METHODS: [&str; 8] = ["GET", "HEAD", "POST", "PUT", "DELETE", "PATCH", "OPTIONS", "TRACE"];

impl Handler for Site {
    async fn handle(
        &self,
        request: Request<'_>,
        responder: Responder<'_>,
    ) -> Result<Answered, HttpError> {
        let head = request.head();
        let place = match self.admit(head) {
            Ok(place) => place,
            Err(refused) => return refused.tell(responder).await,
        };
        let method = head.method();
        if !place.takes(method) {
            return wrong_method(method, &place, responder).await;
        }
        match place {
            Place::Hello => hello(responder).await,
            Place::Page => self.page(responder).await,
            Place::Stream => stream(head.query(), responder).await,
            Place::Queues => self.queues(responder).await,
            Place::Queue(name) => self.publish(name, request, responder).await,
            Place::Events(name) => self.events(name, head, responder).await,
            Place::Everything => {
                responder
                    .status(Status::NO_CONTENT)
                    .header("Allow", "GET, HEAD, POST, OPTIONS")
                    .send(b"")
                    .await
            }
        }
    }
}

async fn wrong_method(
    method: &str,
    place: &Place,
    responder: Responder<'_>,
) -> Result<Answered, HttpError> {
    if !METHODS.contains(&method) {
        return responder.text(Status::NOT_IMPLEMENTED, "there is no such method").await;
    }
    let text = format!("expected {}\n", place.methods());
    let response = responder.status(Status::METHOD_NOT_ALLOWED).header("Allow", place.methods());
    response.header("Content-Type", TEXT).send(text.as_bytes()).await
}

const TEXT: &str = "text/plain; charset=utf-8";

async fn hello(responder: Responder<'_>) -> Result<Answered, HttpError> {
    responder.status(Status::OK).header("Content-Type", TEXT).send(b"hello\n").await
}

/// As many lines as the query says.
async fn stream(query: Option<&str>, responder: Responder<'_>) -> Result<Answered, HttpError> {
    let lines = parameter(query, "lines").map_or(Ok(10), str::parse::<u64>);
    let Ok(lines) = lines else {
        return responder.text(Status::BAD_REQUEST, "expected ?lines= and a number").await;
    };
    let mut stream = responder.status(Status::OK).header("Content-Type", TEXT).stream().await?;
    if stream.is_wanted() {
        for line in 1..=lines {
            stream.write(format!("line {line}\n").as_bytes()).await?;
        }
    }
    stream.finish().await
}

/// What a query says of this name.
fn parameter<'a>(query: Option<&'a str>, name: &str) -> Option<&'a str> {
    let pairs = query?.split('&').filter_map(|pair| pair.split_once('='));
    pairs.filter(|(found, _)| *found == name).map(|(_, value)| value).next()
}

/// The page may load nothing from elsewhere, and run nothing but what stands in it.
const POLICY: &str = "default-src 'none'; script-src 'unsafe-inline'; style-src 'unsafe-inline'; \
                      connect-src 'self'; img-src data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

impl Site {
    /// A site with these options.
    pub fn new(options: SiteOptions) -> Self {
        let publishes = if options.allows_publish { "yes" } else { "no" };
        let page = include_str!("site/page.html").replace("{publishes}", publishes);
        let publisher = Publisher::new(options.capacity, options.most_queues);
        let doorkeeper = Doorkeeper::default();
        Self { options, page, publisher, doorkeeper, offloaded: Cell::new(0) }
    }

    async fn page(&self, responder: Responder<'_>) -> Result<Answered, HttpError> {
        let response = responder
            .status(Status::OK)
            .header("Content-Type", "text/html; charset=utf-8")
            .header("Content-Security-Policy", POLICY)
            .header("X-Content-Type-Options", "nosniff")
            .header("Referrer-Policy", "no-referrer")
            .header("Cache-Control", "no-store");
        response.send(self.page.as_bytes()).await
    }

    /// The host's queues. Servers of tasks are asked, which may take a while, so another thread does it.
    async fn queues(&self, responder: Responder<'_>) -> Result<Answered, HttpError> {
        let listed = offload(&self.offloaded, || {
            let listing = listing::list().map_err(|error| format!("reading /dev/shm: {error}"))?;
            let json = serde_json::to_vec_pretty(&listing.entries);
            json.map_err(|error| error.to_string())
        });
        match listed.await {
            Ok(Ok(mut json)) => {
                json.push(b'\n');
                let response = responder
                    .status(Status::OK)
                    .header("Content-Type", "application/json")
                    .header("X-Content-Type-Options", "nosniff")
                    .header("Cache-Control", "no-store");
                response.send(&json).await
            }
            Ok(Err(why)) => responder.text(Status::INTERNAL_SERVER_ERROR, &why).await,
            Err(refused) => refused.tell(responder).await,
        }
    }

    async fn publish(
        &self,
        name: QueueName,
        request: Request<'_>,
        mut responder: Responder<'_>,
    ) -> Result<Answered, HttpError> {
        let mut record = Vec::new();
        let most = self.publisher.largest();
        request.body(&mut responder).await?.read_to_end(&mut record, most).await?;
        match self.publisher.publish(name, &record) {
            Ok(is_new) => {
                let status = if is_new { Status::CREATED } else { Status::ACCEPTED };
                responder.text(status, "published").await
            }
            Err(refused) => refused.tell(responder).await,
        }
    }

    /// Where the request leads, if this client may go there.
    fn admit(&self, head: Head<'_>) -> Result<Place, Refused> {
        self.doorkeeper.host(head, &self.options.hosts)?;
        let place = Place::find(head.path())?;
        if matches!(place, Place::Queue(_) | Place::Events(_)) {
            guard::origin(head)?;
        }
        // Said before the body is read: the client need not send it.
        if matches!(place, Place::Queue(_))
            && head.method() == "POST"
            && !self.options.allows_publish
        {
            let why = "this service publishes nothing: start it with --allow-publish";
            return Err(Refused::new(Status::FORBIDDEN, why));
        }
        Ok(place)
    }
}

impl From<Refusal> for Refused {
    fn from(Refusal { status, why }: Refusal) -> Self {
        Self::new(status, why)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_lead_to_queues_and_nowhere_else() {
        let queue = |name: &str| Place::Queue(name.parse().unwrap());
        assert_eq!(Place::find("/queues/a").unwrap(), queue("/a"));
        assert_eq!(Place::find("/queues/a%20b").unwrap(), queue("/a b"));
        assert_eq!(Place::find("/queues/a+b").unwrap(), queue("/a+b"));
        assert_eq!(Place::find("/queues/%2e%2e%2e").unwrap(), queue("/..."));
        assert_eq!(Place::find("/queues/a/events").unwrap(), Place::Events("/a".parse().unwrap()));
        for (path, status) in [
            ("/queues/", 400),
            ("/queues/..", 400),
            ("/queues/.", 400),
            ("/queues/%2e%2e", 400),
            ("/queues/..%2fetc", 400),
            ("/queues/%2fa", 400),
            ("/queues/a%2fb", 400),
            ("/queues/a%00", 400),
            ("/queues/a%0a", 400),
            ("/queues/%ff", 400),
            ("/queues//events", 400),
            ("/queues/../events", 400),
            ("/queues/a/", 404),
            ("/queues/a/b", 404),
            ("/queues/a/events/", 404),
            ("/queuesa", 404),
            ("/nothing", 404),
            ("//", 404),
        ] {
            assert_eq!(Place::find(path).unwrap_err().status.code(), status, "{path}");
        }
        let long = format!("/queues/{}", "n".repeat(QueueName::MAX + 1));
        assert_eq!(Place::find(&long).unwrap_err().status.code(), 400);
    }

    #[test]
    fn a_query_has_names() {
        assert_eq!(parameter(Some("a=1&lines=5&lines=6"), "lines"), Some("5"));
        assert_eq!(parameter(Some("line"), "lines"), None);
        assert_eq!(parameter(None, "lines"), None);
    }
}
