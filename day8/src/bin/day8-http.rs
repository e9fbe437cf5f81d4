//! Shows this host's queues in a browser.

use std::process::ExitCode;

use anyhow::ensure;
use clap::Parser;
use day8::Address;
use day8::http::site::{Site, SiteOptions};
use day8::http::{Http, HttpOptions};
use day8::programs::{ServiceArgs, run};
use yardstick::report;

/// Show this host's queues in a browser
#[derive(Parser)]
struct Arguments {
    #[command(flatten)]
    service: ServiceArgs,
    /// Let requests publish, into queues that this service makes
    #[arg(long)]
    allow_publish: bool,
    /// Listen where other hosts can reach this one, too: they see all queues, and nobody asks who they are
    #[arg(long)]
    allow_remote: bool,
    /// Also serve requests to this host, by its name; addresses and localhost are always served
    #[arg(long, value_name = "NAME")]
    host: Vec<String>,
    /// How many bytes a queue holds that a request makes
    #[arg(long, value_name = "BYTES", default_value_t = 1 << 20)]
    capacity: u64,
    /// The most bytes that the headers of a request may have
    #[arg(long, value_name = "BYTES", default_value_t = 16 << 10)]
    most_headers: usize,
    /// The most bytes that the body of a request may have
    #[arg(long, value_name = "BYTES", default_value_t = 1 << 20)]
    most_body: u64,
}

fn main() -> ExitCode {
    report::exit(serve(&Arguments::parse()))
}

fn serve(arguments: &Arguments) -> anyhow::Result<()> {
    for address in &arguments.service.listen {
        let is_local = !matches!(address, Address::Tcp(tcp) if !tcp.ip().is_loopback());
        ensure!(
            is_local || arguments.allow_remote,
            "other hosts could reach {address}, see all queues, and publish if that is allowed: listen on 127.0.0.1, or \
             say --allow-remote"
        );
    }
    let options =
        SiteOptions::new().allow_publish(arguments.allow_publish).capacity(arguments.capacity);
    let options = arguments.host.iter().fold(options, SiteOptions::host);
    let http = HttpOptions::new().most_head(arguments.most_headers).most_body(arguments.most_body);
    run(&arguments.service, "127.0.0.1:8008", || Ok(Http::new(Site::new(options), http)))
}
