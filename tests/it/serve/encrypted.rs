//! TLS of `runner serve`, on certificates that are made here.

use std::process::{Command, Stdio};

use super::*;
use crate::certificates::Certificates;
use crate::runner::{Ended, run};

/// A server that speaks TLS on both of its faces, its files in the folder.
fn start(folder: &Folder, certificates: &Certificates, more: &[&str]) -> Server {
    // Key and certificate stand in one file.
    folder.write("server.pem", &certificates.text("broker.pem"));
    let tls = ["--registry", "127.0.0.1:0", "--tls-cert", "server.pem", "--tls-key", "server.pem"];
    Server::start(folder.path(), &[&tls, more].concat())
}

/// A client that trusts this CA only.
fn client(certificates: &Certificates, ca: &str) -> Client {
    let ca = reqwest::Certificate::from_pem(certificates.text(ca).as_bytes()).unwrap();
    Client::builder().tls_certs_only([ca]).timeout(PATIENCE).build().unwrap()
}

fn get(folder: &Folder, server: &Server, more: &[&str]) -> Ended {
    run(&[&["get", "--server", &server.api], more].concat(), folder.path())
}

#[test]
fn both_faces_speak_tls_and_nothing_else() {
    let (folder, certificates) = (Folder::new(), Certificates::make());
    let server = start(&folder, &certificates, &[]);
    let (api, registry) = (server.api.clone(), server.registry.clone().unwrap());
    assert!(api.starts_with("https://127.0.0.1:") && registry.starts_with("https://127.0.0.1:"), "{api} {registry}");
    let trusting = client(&certificates, "ca.pem");
    for url in
        [format!("{api}/health"), format!("{api}/connectors"), format!("{api}/metrics"), format!("{registry}/subjects")]
    {
        assert_eq!(trusting.get(&url).send().unwrap().status(), 200, "{url}");
        assert!(client(&certificates, "stranger.pem").get(&url).send().unwrap_err().is_connect(), "{url}");
        let plain = url.replace("https://", "http://");
        assert!(Client::new().get(&plain).send().is_err(), "{plain}");
    }
    // Somebody who connects and says nothing holds nobody up.
    let at = api.strip_prefix("https://").unwrap();
    let silent: Vec<_> = (0..20).map(|_| std::net::TcpStream::connect(at).unwrap()).collect();
    assert_eq!(trusting.get(format!("{api}/health")).send().unwrap().status(), 200);
    drop(silent);

    let ca = certificates.path("ca.pem").display().to_string();
    folder.write("a.yaml", &numbers("a", ""));
    let applied = run(&["apply", "--server", &api, "--ca", &ca, "a.yaml"], folder.path()).with_code(0);
    assert!(applied.stdout.contains("a: submitted"), "{}", applied.stdout);
    assert!(get(&folder, &server, &["--ca", &ca]).with_code(0).stdout.contains("running"));
    let strange = get(&folder, &server, &[]).with_code(1);
    assert!(
        strange.stderr.contains("certificate verify failed") && strange.stderr.contains("--ca FILE"),
        "{}",
        strange.stderr
    );
    let nothing = get(&folder, &server, &["--ca", "none.pem"]).with_code(1);
    assert!(nothing.stderr.contains("`none.pem` cannot be read"), "{}", nothing.stderr);
    folder.write("ca.pem", "no certificate\n");
    let nothing = get(&folder, &server, &["--ca", "ca.pem"]).with_code(1);
    assert!(nothing.stderr.contains("no certificate in `ca.pem`"), "{}", nothing.stderr);
    // A connector is where it can be asked for.
    let config = json!({ "connector.class": "FileStreamSource", "file": "none.txt", "topic": "t" });
    let posted =
        trusting.post(format!("{api}/connectors")).json(&json!({ "name": "c", "config": config })).send().unwrap();
    assert_eq!(posted.headers()["location"], format!("{api}/connectors/c"));
    server.runner.signal(libc::SIGTERM);
    server.runner.wait().with_code(0);
}

#[test]
fn only_clients_with_a_certificate_of_their_ca_are_let_in() {
    let (folder, certificates) = (Folder::new(), Certificates::make());
    let ca = certificates.path("ca.pem").display().to_string();
    let server = start(&folder, &certificates, &["--tls-client-ca", &ca]);
    assert!(client(&certificates, "ca.pem").get(format!("{}/health", server.api)).send().is_err());
    let shown = |who: &str| {
        let [certificate, key] =
            ["pem", "key"].map(|end| certificates.path(&format!("{who}.{end}")).display().to_string());
        get(&folder, &server, &["--ca", &ca, "--client-cert", &certificate, "--client-key", &key])
    };
    shown("client").with_code(0);
    shown("stranger-client").with_code(1);
    let half = get(&folder, &server, &["--ca", &ca, "--client-cert", "client.pem"]).with_code(1);
    assert!(half.stderr.contains("--client-key"), "{}", half.stderr);
    // Sessions are resumed, as curl does within one run.
    let [certificate, key] = ["client.pem", "client.key"].map(|name| certificates.path(name).display().to_string());
    let url = format!("{}/ready", server.api);
    let mut curl = Command::new("curl");
    curl.args(["-sS", "--cacert", &ca, "--cert", &certificate, "--key", &key, "-H", "Connection: close", &url, &url]);
    let output = curl.stdin(Stdio::null()).output().unwrap();
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    assert_eq!(said.matches("\"ready\"").count(), 2, "{said}{}", String::from_utf8_lossy(&output.stderr));
}

#[test]
fn a_renewed_certificate_is_used_and_a_broken_one_is_not() {
    let (folder, certificates, others) = (Folder::new(), Certificates::make(), Certificates::make());
    let server = start(&folder, &certificates, &[]);
    let answers = |of: &Certificates| client(of, "ca.pem").get(format!("{}/health", server.api)).send().is_ok();
    assert!(answers(&certificates) && !answers(&others));
    folder.write("server.pem", "half a certificate");
    let deadline = Instant::now() + PATIENCE;
    while !server.runner.stderr().contains("the certificate from before goes on") {
        assert!(answers(&certificates));
        assert!(Instant::now() < deadline, "{}", server.runner.stderr());
        std::thread::sleep(Duration::from_millis(200));
    }
    folder.write("server.pem", &others.text("broker.pem"));
    while !answers(&others) {
        assert!(Instant::now() < deadline, "{}", server.runner.stderr());
        std::thread::sleep(Duration::from_millis(200));
    }
    assert!(!answers(&certificates));
}

#[test]
fn files_that_cannot_be_used_are_named_before_anything_starts() {
    let (folder, certificates) = (Folder::new(), Certificates::make());
    for name in ["broker.pem", "client.pem", "client.key", "ca.pem"] {
        folder.write(name, &certificates.text(name));
    }
    folder.write("empty.pem", "");
    let key = openssl::pkey::PKey::private_key_from_pem(certificates.text("client.key").as_bytes()).unwrap();
    let locked = key.private_key_to_pem_pkcs8_passphrase(openssl::symm::Cipher::aes_256_cbc(), b"secret").unwrap();
    folder.write("locked.key", &String::from_utf8(locked).unwrap());
    let refused = |arguments: &[&str]| {
        let serve = ["serve", "--listen", "127.0.0.1:0", "--state-dir", "state"];
        run(&[&serve, arguments].concat(), folder.path()).with_code(1).stderr
    };
    let tls = |certificate: &str, key: &str| refused(&["--tls-cert", certificate, "--tls-key", key]);
    for (said, parts) in [
        (tls("none.pem", "broker.pem"), ["`none.pem` cannot be read", "No such file"]),
        (tls("broker.pem", "none.pem"), ["`none.pem` cannot be read", "No such file"]),
        (tls("empty.pem", "broker.pem"), ["no certificate in `empty.pem`", ""]),
        (tls("broker.pem", "ca.pem"), ["the key in `ca.pem` cannot be read", "PEM"]),
        (tls("broker.pem", "client.key"), ["`client.key` is not that of the first certificate in `broker.pem`", ""]),
        (tls("client.pem", "locked.key"), ["`locked.key` cannot be read: it has a password", "openssl pkey"]),
        (
            refused(&["--tls-cert", "broker.pem", "--tls-key", "broker.pem", "--tls-client-ca", "empty.pem"]),
            ["no certificate in `empty.pem`", ""],
        ),
    ] {
        assert!(parts.iter().all(|part| said.contains(part)), "{parts:?} in {said}");
    }
    assert!(!folder.path().join("state").exists());
    let alone = run(&["serve", "--tls-cert", "broker.pem"], folder.path()).with_code(2).stderr;
    assert!(alone.contains("--tls-key"), "{alone}");
}
