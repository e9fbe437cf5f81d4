//! Certificates of the test's own, made by `openssl`.

use std::path::Path;
use std::process::Command;

use testing::run;

fn openssl(folder: &Path, arguments: &[&str]) {
    let output = run(Command::new("openssl").args(arguments).current_dir(folder));
    assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
}

/// An authority (`ca.pem`), and what it signed for a server called localhost (`server.pem`, `server.key`) and for a
/// client (`client.pem`, `client.key`).
pub(crate) fn make(folder: &Path) {
    let key = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes"];
    let request = ["req", "-x509", "-subj", "/CN=test authority", "-days", "2"];
    let out = ["-keyout", "ca.key", "-out", "ca.pem"];
    openssl(folder, &[&request[..], &key[..], &out[..]].concat());
    for (who, extension) in
        [("server", "subjectAltName=DNS:localhost"), ("client", "extendedKeyUsage=clientAuth")]
    {
        let (key_file, signed) = (format!("{who}.key"), format!("{who}.pem"));
        let (subject, asked) = (format!("/CN={who}"), format!("{who}.csr"));
        let request = ["req", "-subj", &subject, "-keyout", &key_file, "-out", &asked];
        openssl(folder, &[&request[..], &key[..]].concat());
        std::fs::write(folder.join("extension"), extension).unwrap();
        let sign =
            ["x509", "-req", "-CA", "ca.pem", "-CAkey", "ca.key", "-CAcreateserial", "-days", "2"];
        let files = ["-extfile", "extension", "-in", &asked, "-out", &signed];
        openssl(folder, &[&sign[..], &files[..]].concat());
    }
}
