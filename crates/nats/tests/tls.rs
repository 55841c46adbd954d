//! Encrypted connections to a real server, whose certificates are made for the test.

use std::path::{Path, PathBuf};

use actix_batch_nats::{JetStream, NatsSubject};
use actix_batch_pipeline::prelude::*;
use async_nats::{
    ConnectOptions,
    jetstream::{self, Context},
};
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use tempfile::TempDir;

use support::{NatsServer, Shelf, numbers};

mod support;

/// An authority, and certificates of a server and a client that it has signed.
struct Certificates(TempDir);

impl Certificates {
    fn make() -> Self {
        let certificates = Self(tempfile::tempdir().unwrap());
        let mut params = CertificateParams::new([]).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let authority = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
        std::fs::write(certificates.path("ca.pem"), authority.pem()).unwrap();
        for name in ["server", "client"] {
            let key = KeyPair::generate().unwrap();
            let params = CertificateParams::new(["127.0.0.1".to_owned()]).unwrap();
            let certificate = params.signed_by(&key, &authority).unwrap();
            std::fs::write(certificates.path(&format!("{name}.pem")), certificate.pem()).unwrap();
            std::fs::write(certificates.path(&format!("{name}.key")), key.serialize_pem()).unwrap();
        }
        certificates
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn text(&self, name: &str) -> String {
        self.path(name).to_str().unwrap().to_owned()
    }

    /// A server with its certificate. With `verify` it asks for one of the client.
    fn server(&self, verify: bool) -> Option<NatsServer> {
        let (certificate, key, authority) = (self.text("server.pem"), self.text("server.key"), self.text("ca.pem"));
        let mut arguments = vec!["--tls", "--tlscert", &certificate, "--tlskey", &key];
        if verify {
            arguments.extend(["--tlsverify", "--tlscacert", &authority]);
        }
        NatsServer::start_with(&arguments)
    }

    async fn context(&self, server: &NatsServer) -> Context {
        let options = ConnectOptions::new().add_root_certificates(self.path("ca.pem"));
        let options = options.add_client_certificate(self.path("client.pem"), self.path("client.key"));
        jetstream::new(options.connect(server.tls_url()).await.unwrap())
    }
}

fn sink(url: String, authority: &Path) -> NatsSubject {
    NatsSubject::publish("numbers.out").connect(url).root_certificates(authority)
}

async fn publish(sink: NatsSubject) -> Result<Report, RunError> {
    Pipeline::named("out").read(from_iter("numbers", || 0..100_u64)).write(sink).run().await
}

#[actix_rt::test]
async fn records_go_out_and_in_over_tls() {
    let certificates = Certificates::make();
    let Some(server) = certificates.server(false) else { return };
    numbers(&certificates.context(&server).await).await;
    let authority = certificates.path("ca.pem");
    // The server says that it wants TLS, whatever the URL says.
    for url in [server.tls_url(), server.url()] {
        assert_eq!(publish(sink(url, &authority)).await.unwrap().written, 100);
    }
    let shelf = Shelf::default();
    let source = JetStream::consumer("NUMBERS", "reader").connect(server.tls_url()).root_certificates(&authority);
    Pipeline::named("in").read(source.stop_at_end(true)).write(shelf.clone()).run().await.unwrap();
    assert_eq!(shelf.records(), (0..100).collect::<Vec<_>>());
}

#[actix_rt::test]
async fn a_server_that_waits_for_the_handshake_is_reached_if_that_is_said() {
    let certificates = Certificates::make();
    let (certificate, key, file) =
        (certificates.text("server.pem"), certificates.text("server.key"), certificates.path("server.conf"));
    let tls = format!("tls {{ cert_file: \"{certificate}\", key_file: \"{key}\", handshake_first: true }}");
    std::fs::write(&file, tls).unwrap();
    let Some(server) = NatsServer::start_newer(file.to_str().unwrap()) else { return };
    let authority = certificates.path("ca.pem");
    let options = ConnectOptions::new().add_root_certificates(authority.clone()).tls_first();
    numbers(&jetstream::new(options.connect(server.tls_url()).await.unwrap())).await;
    let sink = sink(server.tls_url(), &authority).handshake_first(true);
    assert_eq!(publish(sink).await.unwrap().written, 100);
    let shelf = Shelf::default();
    let source = JetStream::consumer("NUMBERS", "reader").connect(server.tls_url()).root_certificates(&authority);
    let source = source.handshake_first(true).stop_at_end(true);
    Pipeline::named("in").read(source).write(shelf.clone()).run().await.unwrap();
    assert_eq!(shelf.records(), (0..100).collect::<Vec<_>>());
}

#[actix_rt::test]
async fn a_server_that_does_not_wait_for_the_handshake_is_refused_if_that_is_said() {
    let certificates = Certificates::make();
    let Some(server) = certificates.server(false) else { return };
    numbers(&certificates.context(&server).await).await;
    let sink = sink(server.tls_url(), &certificates.path("ca.pem")).handshake_first(true);
    let refused = publish(sink).await.unwrap_err().to_string();
    assert!(refused.contains("127.0.0.1"), "{refused}");
}

#[actix_rt::test]
async fn a_server_that_verifies_its_clients_gets_a_certificate_and_refuses_those_without() {
    let certificates = Certificates::make();
    let Some(server) = certificates.server(true) else { return };
    numbers(&certificates.context(&server).await).await;
    let without = sink(server.tls_url(), &certificates.path("ca.pem"));
    let with = without.clone().client_certificate(certificates.path("client.pem"), certificates.path("client.key"));
    assert_eq!(publish(with).await.unwrap().written, 100);
    let error = publish(without).await.unwrap_err().to_string();
    assert!(error.to_lowercase().contains("certificate"), "{error}");
}

#[actix_rt::test]
async fn a_certificate_that_is_not_trusted_ends_the_run_at_its_beginning() {
    let certificates = Certificates::make();
    let Some(server) = certificates.server(false) else { return };
    let others = Certificates::make();
    let error = publish(sink(server.tls_url(), &others.path("ca.pem"))).await.unwrap_err().to_string();
    assert!(error.contains("invalid peer certificate"), "{error}");
    let nowhere = certificates.path("nowhere.pem");
    let source = JetStream::<u64>::consumer("NUMBERS", "reader").connect(server.tls_url()).root_certificates(&nowhere);
    let error = Pipeline::named("in").read(source).write(Shelf::default()).run().await.unwrap_err().to_string();
    assert!(error.contains("nowhere.pem cannot be read"), "{error}");
}

#[actix_rt::test]
async fn with_root_certificates_nothing_is_sent_without_encryption() {
    let Some(server) = NatsServer::start() else { return };
    numbers(&server.context().await).await;
    let certificates = Certificates::make();
    let error = publish(sink(server.url(), &certificates.path("ca.pem"))).await.unwrap_err().to_string();
    assert!(error.contains("corrupt message"), "{error}");
}
