//! Stands between a client and the server, and loses replies.

use std::sync::{
    Arc,
    atomic::{AtomicBool, AtomicU32, Ordering},
};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
};

/// A proxy to a server on a loopback port. It cuts the connection instead of passing on the reply to a command of this name.
pub(crate) struct Proxy {
    pub(crate) port: u16,
    /// Whether the next reply is to be lost.
    pub(crate) lose: Arc<AtomicBool>,
    pub(crate) lost: Arc<AtomicU32>,
}

impl Proxy {
    pub(crate) async fn start(server: u16, command: &'static str) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let proxy = Self { port, lose: Arc::default(), lost: Arc::default() };
        let (lose, lost) = (Arc::clone(&proxy.lose), Arc::clone(&proxy.lost));
        actix_rt::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                let link = Link { command, lose: Arc::clone(&lose), lost: Arc::clone(&lost) };
                actix_rt::spawn(async move { link.pass(client, server).await });
            }
        });
        proxy
    }
}

struct Link {
    command: &'static str,
    lose: Arc<AtomicBool>,
    lost: Arc<AtomicU32>,
}

impl Link {
    /// One request, one reply, and so on: the driver does not send two at once.
    async fn pass(self, mut client: TcpStream, server: u16) -> Option<()> {
        let mut server = TcpStream::connect(("127.0.0.1", server)).await.ok()?;
        loop {
            let request = message(&mut client).await?;
            server.write_all(&request).await.ok()?;
            let reply = message(&mut server).await?;
            if command(&request) == Some(self.command.as_bytes()) && self.lose.swap(false, Ordering::SeqCst) {
                self.lost.fetch_add(1, Ordering::SeqCst);
                return None;
            }
            client.write_all(&reply).await.ok()?;
        }
    }
}

/// A whole message: its length comes first.
async fn message(from: &mut TcpStream) -> Option<Vec<u8>> {
    let mut message = vec![0; 4];
    from.read_exact(&mut message).await.ok()?;
    let length = u32::from_le_bytes(message[..4].try_into().ok()?);
    message.resize(usize::try_from(length).ok()?, 0);
    from.read_exact(&mut message[4..]).await.ok()?;
    Some(message)
}

/// The name of the command in an `OP_MSG`: after the header of 16 bytes, the flags, the kind of the section, the document's length and the type
/// of its first element.
fn command(message: &[u8]) -> Option<&[u8]> {
    let name = message.get(26..)?;
    name.split(|byte| *byte == 0).next()
}
