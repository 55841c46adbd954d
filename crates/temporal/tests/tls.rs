//! A server behind TLS that asks for certificates, with a namespace of its own: a runner and a worker reach it by the same description.
#![cfg(feature = "tls")]

use std::sync::Arc;

use actix_batch_temporal::{ClusterError, TemporalRunner, TemporalServer, TemporalWorker};
use rcgen::{CertifiedKey, KeyPair, generate_simple_self_signed};
use support::{NAMESPACE, Place, Server, Worker};
use tokio::{
    io::copy_bidirectional,
    net::{TcpListener, TcpStream},
};
use tokio_rustls::{
    TlsAcceptor,
    rustls::{
        RootCertStore, ServerConfig, crypto::ring::default_provider, pki_types::PrivateKeyDer,
        server::WebPkiClientVerifier,
    },
};

mod support;

const NAME: &str = "temporal.test";

/// Ends TLS before a server, for clients with this certificate. Returns its URL.
async fn tls_before(server: &Server, own: &CertifiedKey<KeyPair>, client: &CertifiedKey<KeyPair>) -> String {
    let mut roots = RootCertStore::empty();
    roots.add(client.cert.der().clone()).unwrap();
    let provider = Arc::new(default_provider());
    let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), Arc::clone(&provider)).build().unwrap();
    let key = PrivateKeyDer::try_from(own.signing_key.serialize_der()).unwrap();
    let config = ServerConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
    let config = config.with_client_cert_verifier(verifier).with_single_cert(vec![own.cert.der().clone()], key);
    let mut config = config.unwrap();
    config.alpn_protocols = vec![b"h2".to_vec()];
    let (acceptor, target) = (TlsAcceptor::from(Arc::new(config)), server.address());
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    actix_rt::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let (acceptor, target) = (acceptor.clone(), target.clone());
            actix_rt::spawn(async move {
                let Ok(mut outside) = acceptor.accept(stream).await else { return };
                let mut inside = TcpStream::connect(target).await.unwrap();
                // Either end may go first.
                let _ = copy_bidirectional(&mut outside, &mut inside).await;
            });
        }
    });
    format!("https://127.0.0.1:{port}")
}

#[actix_rt::test]
async fn a_run_over_tls_with_certificates_and_a_namespace_copies_every_record_once() {
    let Some(server) = Server::start().await else { return };
    let (own, client) =
        (generate_simple_self_signed([NAME.to_owned()]), generate_simple_self_signed(["us".to_owned()]));
    let (own, client) = (own.unwrap(), client.unwrap());
    let url = tls_before(&server, &own, &client).await;
    let stranger = TemporalServer::new(url).namespace(NAMESPACE).root_certificate(own.cert.pem()).server_name(NAME);
    let known = stranger.clone().client_certificate(client.cert.pem(), client.signing_key.serialize_pem());
    let place = Place::new(2_000);
    let _worker = Worker::run(TemporalWorker::new(known.clone()).slots(2));
    let runner = TemporalRunner::connect(known).await.unwrap();
    let report = runner.start(&place.copy(0)).run_as("tls").await.unwrap().report().await.unwrap();
    assert_eq!(report.totals.records, 2_000);
    assert_eq!(place.counts(), (1_980, 1_980, 20));
    let elsewhere = server.runner().await.run("tls").report().await.unwrap_err();
    assert!(elsewhere.to_string().contains("not found"), "the namespace `default` knows the run: {elsewhere}");
    let refused = TemporalRunner::connect(stranger).await.unwrap_err();
    assert!(matches!(refused, ClusterError::Unreachable { .. }), "{refused}");
}
