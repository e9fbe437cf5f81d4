//! nginx: one worker, nothing logged, everything that it writes in a temporary folder.

use std::fs;

use anyhow::Context;

use crate::Effort;
use crate::server::{Folder, Server, free_address, installed};

/// Starts it. `/hello` is answered from its configuration, `/file` from a small file.
pub(crate) fn start(effort: &Effort, body: &str) -> anyhow::Result<Server> {
    let mut command = installed("nginx")?;
    let folder = Folder::new("nginx")?;
    let address = free_address()?;
    let path = folder.path().to_str().context("the temporary folder's name is no text")?;
    let write = |name: &str, text: &str| {
        let path = folder.path().join(name);
        fs::write(&path, text).with_context(|| format!("writing {}", path.display()))
    };
    write("file", body)?;
    write("nginx.conf", &configuration(path, &address.to_string(), body))?;
    command.args(["-p", path, "-e", &format!("{path}/error.log")]);
    command.args(["-c", &format!("{path}/nginx.conf")]);
    Server::silent(effort, command, address, folder)
}

/// As nginx is fastest: no log, a file that stays open, and clients that may ask as often as they like.
fn configuration(folder: &str, address: &str, body: &str) -> String {
    format!(
        r#"
daemon off;
worker_processes 1;
pid {folder}/nginx.pid;
error_log {folder}/error.log;
events {{ worker_connections 4096; }}
http {{
    access_log off;
    default_type text/plain;
    keepalive_requests 1000000000;
    keepalive_timeout 600s;
    sendfile on;
    open_file_cache max=16 inactive=600s;
    open_file_cache_valid 600s;
    client_body_temp_path {folder}/body;
    proxy_temp_path {folder}/proxy;
    fastcgi_temp_path {folder}/fastcgi;
    uwsgi_temp_path {folder}/uwsgi;
    scgi_temp_path {folder}/scgi;
    server {{
        listen {address} backlog=4096;
        root {folder};
        location = /hello {{ return 200 "{body}"; }}
        location = /file {{ }}
    }}
}}
"#
    )
}
