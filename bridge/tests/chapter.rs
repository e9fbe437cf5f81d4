//! Executes what README.md and TUTORIAL.md show of the bridge: their blocks labelled `bridge`, with real servers.

mod kit;

use std::path::Path;

use testing::documents::{Programs, Stage, check_file};

#[test]
fn the_chapter_tells_the_truth() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    let server = kit::nats_server();
    let mut programs = Programs::build(root, &["-p", "fanout"]);
    programs.add("fanout-bridge", Path::new(env!("CARGO_BIN_EXE_fanout-bridge")));
    programs.add("nats-server", &server);
    for name in ["README.md", "TUTORIAL.md"] {
        let checked = check_file(root, name, &programs, Stage::Bridge);
        assert!(name == "README.md" || checked.commands > 0, "{name}: no command was executed");
    }
}
