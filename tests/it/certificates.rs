//! Certificates for the tests, made when a test asks for them: none stands in the project, none expires there.
//!
//! All stand as PEM files in a folder: `ca.pem` signs `broker.pem` (key and certificate, for 127.0.0.1 and
//! localhost), `expired.pem` (until yesterday), `elsewhere.pem` (for another host) and the client's `client.pem`
//! with `client.key`. `stranger.pem` is a CA that nobody trusts, and signed `stranger-client.pem` and its key.

use std::path::{Path, PathBuf};

use openssl::asn1::Asn1Time;
use openssl::bn::BigNum;
use openssl::ec::{EcGroup, EcKey};
use openssl::hash::MessageDigest;
use openssl::nid::Nid;
use openssl::pkey::{PKey, Private};
use openssl::x509::extension::{BasicConstraints, KeyUsage, SubjectAlternativeName};
use openssl::x509::{X509, X509Builder, X509NameBuilder};

pub struct Certificates {
    folder: tempfile::TempDir,
}

/// A key and the certificate of it.
struct Pair {
    key: PKey<Private>,
    certificate: X509,
}

impl Certificates {
    pub fn make() -> Certificates {
        let folder = tempfile::tempdir().unwrap();
        let write = |name: &str, parts: &[Vec<u8>]| std::fs::write(folder.path().join(name), parts.concat()).unwrap();
        let (ca, stranger) = (authority("Test CA"), authority("Stranger"));
        write("ca.pem", &[ca.pem()]);
        write("stranger.pem", &[stranger.pem()]);
        for (name, host, until_day) in
            [("broker", "localhost", 2), ("expired", "localhost", -1), ("elsewhere", "elsewhere.example", 2)]
        {
            let broker = signed(name, &[host], until_day, &ca);
            write(&format!("{name}.pem"), &[broker.key_pem(), broker.pem()]);
        }
        for (name, signer) in [("client", &ca), ("stranger-client", &stranger)] {
            let client = signed(name, &[], 2, signer);
            write(&format!("{name}.pem"), &[client.pem()]);
            write(&format!("{name}.key"), &[client.key_pem()]);
        }
        Certificates { folder }
    }

    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.folder().join(name)
    }

    pub fn text(&self, name: &str) -> String {
        std::fs::read_to_string(self.path(name)).unwrap()
    }
}

impl Pair {
    fn pem(&self) -> Vec<u8> {
        self.certificate.to_pem().unwrap()
    }

    fn key_pem(&self) -> Vec<u8> {
        self.key.private_key_to_pem_pkcs8().unwrap()
    }
}

fn authority(name: &str) -> Pair {
    let (key, mut builder) = begun(name, 3);
    builder.append_extension(BasicConstraints::new().critical().ca().build().unwrap()).unwrap();
    builder.append_extension(KeyUsage::new().critical().key_cert_sign().crl_sign().build().unwrap()).unwrap();
    let subject = named(name);
    builder.set_issuer_name(&subject).unwrap();
    builder.sign(&key, MessageDigest::sha256()).unwrap();
    Pair { certificate: builder.build(), key }
}

/// `hosts`: with any of them it is a server's, also for 127.0.0.1 if one of them is localhost.
fn signed(name: &str, hosts: &[&str], until_day: i64, by: &Pair) -> Pair {
    let (key, mut builder) = begun(name, until_day);
    if !hosts.is_empty() {
        let mut names = SubjectAlternativeName::new();
        for host in hosts {
            names.dns(host);
            if *host == "localhost" {
                names.ip("127.0.0.1");
            }
        }
        let names = names.build(&builder.x509v3_context(Some(&by.certificate), None)).unwrap();
        builder.append_extension(names).unwrap();
    }
    builder.set_issuer_name(by.certificate.subject_name()).unwrap();
    builder.sign(&by.key, MessageDigest::sha256()).unwrap();
    Pair { certificate: builder.build(), key }
}

/// Valid from five days ago on.
fn begun(name: &str, until_day: i64) -> (PKey<Private>, X509Builder) {
    let group = EcGroup::from_curve_name(Nid::X9_62_PRIME256V1).unwrap();
    let key = PKey::from_ec_key(EcKey::generate(&group).unwrap()).unwrap();
    let day = |day: i64| {
        let now = std::time::UNIX_EPOCH.elapsed().unwrap().as_secs() as i64;
        Asn1Time::from_unix(now + day * 86_400).unwrap()
    };
    let mut serial = BigNum::new().unwrap();
    serial.rand(120, openssl::bn::MsbOption::MAYBE_ZERO, false).unwrap();
    let mut builder = X509::builder().unwrap();
    builder.set_version(2).unwrap();
    builder.set_serial_number(&serial.to_asn1_integer().unwrap()).unwrap();
    builder.set_subject_name(&named(name)).unwrap();
    builder.set_pubkey(&key).unwrap();
    builder.set_not_before(&day(-5)).unwrap();
    builder.set_not_after(&day(until_day)).unwrap();
    (key, builder)
}

fn named(name: &str) -> openssl::x509::X509Name {
    let mut builder = X509NameBuilder::new().unwrap();
    builder.append_entry_by_text("CN", name).unwrap();
    builder.build()
}
