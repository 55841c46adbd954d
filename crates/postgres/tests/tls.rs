//! Encrypted connections: what is asked for is had, or the run ends by name.

use actix_batch_pipeline::prelude::*;
use actix_batch_postgres::Postgres;
use serde::Serialize;

#[cfg(feature = "tls")]
mod support;

#[derive(Debug, Clone, Serialize)]
struct Row {
    id: i64,
}

async fn run(url: &str) -> Result<Report, RunError> {
    let rows = from_iter("rows", || (0..3).map(|id| Row { id }));
    Pipeline::named("rows").read(rows).write(Postgres::append("rows").connect(url)).fresh(true).run().await
}

#[cfg(not(feature = "tls"))]
#[actix_rt::test]
async fn encryption_that_is_asked_for_is_refused_without_the_feature() {
    for mode in ["require", "verify-ca", "verify-full"] {
        let refused =
            run(&format!("postgres://me:secret@127.0.0.1:1/db?sslmode={mode}")).await.unwrap_err().to_string();
        assert!(refused.contains(&format!("sslmode={mode} needs the feature `tls`")), "{refused}");
        assert!(!refused.contains("secret"), "{refused}");
    }
}

#[cfg(feature = "tls")]
mod encrypted {
    use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
    use tempfile::TempDir;

    use super::{
        run,
        support::{Server, numbers},
    };

    /// Each row notes whether it has come encrypted.
    const TABLE: &str = "CREATE TABLE rows (id bigint NOT NULL, ssl bool); \
        CREATE FUNCTION note() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN \
            SELECT ssl FROM pg_stat_ssl WHERE pid = pg_backend_pid() INTO NEW.ssl; RETURN NEW; END $$; \
        CREATE TRIGGER note BEFORE INSERT ON rows FOR EACH ROW EXECUTE FUNCTION note()";
    const OPTIONS: &str = "-c ssl=on -c ssl_cert_file=server.crt -c ssl_key_file=server.key";

    fn authority(name: &str) -> CertifiedIssuer<'static, KeyPair> {
        let mut parameters = CertificateParams::new([]).unwrap();
        parameters.distinguished_name.push(rcgen::DnType::CommonName, name);
        parameters.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        CertifiedIssuer::self_signed(parameters, KeyPair::generate().unwrap()).unwrap()
    }

    /// The certificate of a host and its key.
    fn of_host(host: &str, authority: &CertifiedIssuer<'static, KeyPair>) -> [String; 2] {
        let key = KeyPair::generate().unwrap();
        let certificate = CertificateParams::new([host.to_owned()]).unwrap().signed_by(&key, authority).unwrap();
        [certificate.pem(), key.serialize_pem()]
    }

    fn start([certificate, key]: &[String; 2]) -> Option<Server> {
        Server::start_with(OPTIONS, &[("server.crt", certificate), ("server.key", key)])
    }

    /// What a run says that fails, or how many rows have come encrypted and how many have not.
    async fn counted(url: &str, more: &str) -> Result<[i64; 2], String> {
        run(&format!("{url}?{more}")).await.map_err(|error| error.to_string())?;
        let counts = "SELECT count(*) FROM rows WHERE ssl UNION ALL SELECT count(*) FROM rows WHERE NOT ssl";
        let counts = numbers(url, counts).await;
        numbers(url, "DELETE FROM rows RETURNING id").await;
        Ok([counts[0], counts[1]])
    }

    #[actix_rt::test]
    async fn a_server_is_trusted_by_its_authority_and_its_name_and_no_other() {
        let (own, other, folder) = (authority("own"), authority("other"), TempDir::new().unwrap());
        let file = |name: &str, pem: String| {
            let path = folder.path().join(name);
            std::fs::write(&path, pem).unwrap();
            format!("sslrootcert={}", path.display())
        };
        let (root, stranger) = (file("own.pem", own.pem()), file("other.pem", other.pem()));
        let Some(server) = start(&of_host("127.0.0.1", &own)) else { return };
        let url = server.database(TABLE).await;
        for encrypted in
            ["", "sslmode=require", &format!("sslmode=verify-ca&{root}"), &format!("sslmode=verify-full&{root}")]
        {
            assert_eq!(counted(&url, encrypted).await, Ok([3, 0]), "{encrypted}");
        }
        assert_eq!(counted(&url, "sslmode=disable").await, Ok([0, 3]));
        // A root that is given is asked by every mode.
        for mode in ["prefer", "require", "verify-ca", "verify-full"] {
            let refused = counted(&url, &format!("sslmode={mode}&{stranger}")).await.unwrap_err();
            assert!(refused.contains("UnknownIssuer"), "{mode}: {refused}");
        }
        let by_the_system = counted(&url, "sslmode=verify-full").await.unwrap_err();
        assert!(by_the_system.contains("UnknownIssuer") || by_the_system.contains("trusted"), "{by_the_system}");
        let missing = counted(&url, "sslmode=verify-ca&sslrootcert=/nowhere.pem").await.unwrap_err();
        assert!(missing.contains("/nowhere.pem cannot be read"), "{missing}");
    }

    #[actix_rt::test]
    async fn a_certificate_of_another_host_or_one_that_signed_itself_is_trusted_as_far_as_was_asked() {
        let own = authority("db.example");
        let folder = TempDir::new().unwrap();
        let path = folder.path().join("root.pem");
        std::fs::write(&path, own.pem()).unwrap();
        let root = format!("sslrootcert={}", path.display());
        let itself = [own.pem(), own.key().serialize_pem()];
        for shown in [of_host("db.example", &own), itself] {
            let Some(server) = start(&shown) else { return };
            let url = server.database(TABLE).await;
            assert_eq!(counted(&url, &format!("sslmode=verify-ca&{root}")).await, Ok([3, 0]));
            let refused = counted(&url, &format!("sslmode=verify-full&{root}")).await.unwrap_err();
            assert!(refused.contains("not valid for name"), "{refused}");
        }
    }

    #[actix_rt::test]
    async fn a_server_that_asks_for_a_certificate_gets_the_one_that_is_given() {
        let (own, other, folder) = (authority("own"), authority("other"), TempDir::new().unwrap());
        // The server takes the certificate's name for the user's.
        let client = |authority: &CertifiedIssuer<'static, KeyPair>| {
            let (key, mut parameters) = (KeyPair::generate().unwrap(), CertificateParams::new([]).unwrap());
            parameters.distinguished_name.push(rcgen::DnType::CommonName, "postgres");
            [parameters.signed_by(&key, authority).unwrap().pem(), key.serialize_pem()]
        };
        let files = |name: &str, [certificate, key]: [String; 2]| {
            let path = |kind: &str| folder.path().join(format!("{name}.{kind}"));
            std::fs::write(path("crt"), certificate).unwrap();
            std::fs::write(path("key"), key).unwrap();
            format!("sslmode=require&sslcert={}&sslkey={}", path("crt").display(), path("key").display())
        };
        let (known, stranger) = (files("known", client(&own)), files("stranger", client(&other)));
        let [certificate, key] = of_host("127.0.0.1", &own);
        let options = format!("{OPTIONS} -c ssl_ca_file=root.crt");
        // The tests' own connections are not encrypted.
        let access = "hostnossl all all 127.0.0.1/32 trust\nhostssl all all 127.0.0.1/32 cert\n";
        let root = own.pem();
        let there = [("server.crt", &*certificate), ("server.key", &key), ("root.crt", &root), ("pg_hba.conf", access)];
        let Some(server) = Server::start_with(&options, &there) else { return };
        let url = server.database(TABLE).await;
        assert_eq!(counted(&url, &known).await, Ok([3, 0]));
        let without = counted(&url, "sslmode=require").await.unwrap_err();
        assert!(without.contains("requires a valid client certificate"), "{without}");
        assert!(counted(&url, &stranger).await.is_err(), "a certificate of another authority");
        let missing = counted(&url, "sslmode=require&sslcert=/nowhere.crt&sslkey=/nowhere.key").await.unwrap_err();
        assert!(missing.contains("the key in /nowhere.key cannot be read"), "{missing}");
    }

    #[actix_rt::test]
    async fn a_server_without_encryption_is_refused_where_it_is_asked_for() {
        let Some(server) = Server::start() else { return };
        let url = server.database(TABLE).await;
        assert_eq!(counted(&url, "sslmode=prefer").await, Ok([0, 3]));
        let refused = counted(&url, "sslmode=require").await.unwrap_err();
        assert!(refused.contains("does not support TLS"), "{refused}");
    }
}
