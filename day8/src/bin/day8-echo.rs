//! Says each line back, with its number.

use std::process::ExitCode;

use clap::Parser;
use day8::echo::echo;
use day8::programs::{ServiceArgs, run};
use yardstick::report;

/// Say each line back, with its number
#[derive(Parser)]
struct Arguments {
    #[command(flatten)]
    service: ServiceArgs,
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    report::exit(run(&arguments.service, "127.0.0.1:7007", || Ok(echo)))
}
