//! Stands between a client and the server, and loses replies.

use std::sync::{
    Arc,
    atomic::{AtomicBool, AtomicU32, Ordering},
};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
};

/// A proxy to a server on a loopback port. It cuts the connection instead of passing on the reply to this command on this collection.
pub(crate) struct Proxy {
    pub(crate) port: u16,
    /// Whether the next reply is to be lost.
    pub(crate) lose: Arc<AtomicBool>,
    pub(crate) losses: Arc<AtomicU32>,
}

impl Proxy {
    pub(crate) async fn start(server: u16, command: (&'static str, &'static str)) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let proxy = Self { port, lose: Arc::default(), losses: Arc::default() };
        let (lose, losses) = (Arc::clone(&proxy.lose), Arc::clone(&proxy.losses));
        actix_rt::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                let link = Link { command, lose: Arc::clone(&lose), losses: Arc::clone(&losses) };
                actix_rt::spawn(async move { link.pass(client, server).await });
            }
        });
        proxy
    }
}

struct Link {
    command: (&'static str, &'static str),
    lose: Arc<AtomicBool>,
    losses: Arc<AtomicU32>,
}

impl Link {
    /// One request, one reply, and so on: the driver does not send two at once.
    async fn pass(self, mut client: TcpStream, server: u16) -> Option<()> {
        let mut server = TcpStream::connect(("127.0.0.1", server)).await.ok()?;
        loop {
            let request = message(&mut client).await?;
            server.write_all(&request).await.ok()?;
            let reply = message(&mut server).await?;
            if is(&request, self.command) && self.lose.swap(false, Ordering::SeqCst) {
                self.losses.fetch_add(1, Ordering::SeqCst);
                return None;
            }
            client.write_all(&reply).await.ok()?;
        }
    }
}

/// A whole message: its length comes first.
pub(crate) async fn message(from: &mut TcpStream) -> Option<Vec<u8>> {
    let mut message = vec![0; 4];
    from.read_exact(&mut message).await.ok()?;
    let length = u32::from_le_bytes(message[..4].try_into().ok()?);
    message.resize(usize::try_from(length).ok()?, 0);
    from.read_exact(&mut message[4..]).await.ok()?;
    Some(message)
}

/// Whether an `OP_MSG` holds this command. After the header of 16 bytes, the flags, the kind of the section, the document's length and the type of
/// its first element, that element is the command's name, with the collection as its value.
fn is(message: &[u8], (command, collection): (&str, &str)) -> bool {
    let Some(mut parts) = message.get(26..).map(|element| element.split(|byte| *byte == 0)) else { return false };
    // The value begins with its length, which is less than 256, so that three zeros follow.
    let (name, value) = (parts.next(), parts.nth(3));
    name == Some(command.as_bytes()) && value == Some(collection.as_bytes())
}
