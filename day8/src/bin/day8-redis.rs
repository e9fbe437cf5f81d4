//! Keys, values and channels, for clients that speak Redis's protocol.

use std::process::ExitCode;

use clap::Parser;
use common::QueueName;
use day8::programs::{ServiceArgs, run};
use day8::redis::{Redis, RedisOptions};
use yardstick::report;

/// Keep keys and values in memory, and pass messages on, for clients that speak Redis's protocol
#[derive(Parser)]
struct Arguments {
    #[command(flatten)]
    service: ServiceArgs,
    /// How many bytes keys and values may have; 0: as many as there are
    #[arg(long, value_name = "BYTES", default_value_t = 1 << 30)]
    memory: usize,
    /// How many bytes one argument of a request may have
    #[arg(long, value_name = "BYTES", default_value_t = 64 << 20)]
    longest: usize,
    /// How many bytes of messages may wait for a subscriber that does not read
    #[arg(long, value_name = "BYTES", default_value_t = 32 << 20)]
    subscriber: usize,
    /// The topic space whose topics the channels are; without it, they are those of this service only
    #[arg(long, value_name = "NAME")]
    topics: Option<QueueName>,
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let mut options = RedisOptions::new()
        .memory(arguments.memory)
        .longest_argument(arguments.longest)
        .subscriber_limit(arguments.subscriber);
    if let Some(space) = arguments.topics {
        options = options.topics(space);
    }
    report::exit(run(&arguments.service, "127.0.0.1:6379", || Ok(Redis::new(&options)?)))
}
