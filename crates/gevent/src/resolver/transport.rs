//! The sockets that hickory asks one name server through.
//!
//! Hickory takes a new socket for every query, which for a thousand names at once are more descriptors than a process may
//! have. Here queries share some: to hickory a [`Query`] is a socket of its own, and gets the datagrams that have the id of
//! what it sent. A [`Port`] takes part in few queries, so that a forger has to guess a port beside an id, and is closed
//! with the last of them. Its socket is connected: datagrams from elsewhere never come here, and that no server listens is
//! known at once.

use std::collections::VecDeque;
use std::future::Future;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV6};
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use hickory_resolver::config::{ConnectionConfig, ProtocolConfig};
use hickory_resolver::net::NetError;
use hickory_resolver::net::runtime::{
    DnsUdpSocket, RuntimeProvider, TokioHandle, TokioRuntimeProvider, TokioTime,
};
use hickory_resolver::net::udp::UdpClientStream;
use hickory_resolver::net::xfer::DnsExchange;
use hickory_resolver::{ConnectionProvider, PoolContext};
use rustix::io::Errno;
use rustix::net::SendFlags;
use slab::Slab;
use tokio::net::UdpSocket;
use tokio::task::AbortHandle;

/// How many queries go through one port.
const QUERIES_PER_PORT: usize = 64;
/// Datagrams that wait for one query, at most: more than one are forgeries.
const MOST_WAITING: usize = 16;

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// What waits at a port for one query.
#[derive(Default)]
struct Mailbox {
    id: Option<[u8; 2]>,
    datagrams: VecDeque<Arc<[u8]>>,
    failure: Option<io::ErrorKind>,
    waker: Option<Waker>,
}

struct Shared {
    socket: UdpSocket,
    mailboxes: Mutex<Slab<Mailbox>>,
}

impl Shared {
    /// Hands out what comes, until the port is closed.
    async fn read(self: Arc<Self>) {
        let mut buffer = vec![0; 65536];
        loop {
            match self.socket.recv(&mut buffer).await {
                Ok(length) => self.deliver(&buffer[..length]),
                Err(error) => self.fail(error.kind()),
            }
        }
    }

    fn deliver(&self, datagram: &[u8]) {
        let Some(id) = datagram.first_chunk::<2>() else {
            return;
        };
        let shared: Arc<[u8]> = datagram.into();
        for (_, mailbox) in lock(&self.mailboxes).iter_mut() {
            if mailbox.id.as_ref() == Some(id) && mailbox.datagrams.len() < MOST_WAITING {
                mailbox.datagrams.push_back(shared.clone());
                mailbox.waker.take().into_iter().for_each(Waker::wake);
            }
        }
    }

    fn fail(&self, kind: io::ErrorKind) {
        for (_, mailbox) in lock(&self.mailboxes).iter_mut() {
            mailbox.failure = Some(kind);
            mailbox.waker.take().into_iter().for_each(Waker::wake);
        }
    }
}

/// One local port, connected to a server.
struct Port {
    shared: Arc<Shared>,
    reader: AbortHandle,
}

impl Port {
    fn open(target: SocketAddr) -> io::Result<Self> {
        let any: SocketAddr = match target {
            SocketAddr::V4(_) => (Ipv4Addr::UNSPECIFIED, 0).into(),
            SocketAddr::V6(_) => (Ipv6Addr::UNSPECIFIED, 0).into(),
        };
        let socket = std::net::UdpSocket::bind(any)?;
        socket.connect(target)?;
        socket.set_nonblocking(true)?;
        let shared = Arc::new(Shared {
            socket: UdpSocket::from_std(socket)?,
            mailboxes: Mutex::default(),
        });
        let reader = tokio::spawn(shared.clone().read()).abort_handle();
        Ok(Self { shared, reader })
    }
}

impl Drop for Port {
    fn drop(&mut self) {
        self.reader.abort();
    }
}

/// A query's share in a port: a socket, as far as hickory knows.
pub struct Query {
    port: Arc<Port>,
    key: usize,
    server: SocketAddr,
}

impl Query {
    fn mailbox<R>(&self, use_it: impl FnOnce(&mut Mailbox) -> R) -> io::Result<R> {
        lock(&self.port.shared.mailboxes)
            .get_mut(self.key)
            .map(use_it)
            .ok_or_else(|| io::ErrorKind::NotConnected.into())
    }
}

impl Drop for Query {
    fn drop(&mut self) {
        lock(&self.port.shared.mailboxes).try_remove(self.key);
    }
}

impl DnsUdpSocket for Query {
    type Time = TokioTime;

    fn poll_recv_from(
        &self,
        context: &mut Context<'_>,
        buffer: &mut [u8],
    ) -> Poll<io::Result<(usize, SocketAddr)>> {
        let came = self.mailbox(|mailbox| {
            if let Some(datagram) = mailbox.datagrams.pop_front() {
                return Some(Ok(datagram));
            }
            if let Some(kind) = mailbox.failure.take() {
                return Some(Err(kind));
            }
            mailbox.waker = Some(context.waker().clone());
            None
        })?;
        match came {
            None => Poll::Pending,
            Some(Err(kind)) => Poll::Ready(Err(kind.into())),
            Some(Ok(datagram)) => {
                // Like a socket, it cuts off what the caller has no room for.
                let length = datagram.len().min(buffer.len());
                buffer[..length].copy_from_slice(&datagram[..length]);
                Poll::Ready(Ok((length, self.server)))
            }
        }
    }

    fn poll_send_to(
        &self,
        _context: &mut Context<'_>,
        datagram: &[u8],
        _server: SocketAddr,
    ) -> Poll<io::Result<usize>> {
        self.mailbox(|mailbox| mailbox.id = datagram.first_chunk().copied())?;
        // Not through tokio, which remembers one task at a time that waits to send: the others would wait for ever.
        match rustix::net::send(&self.port.shared.socket, datagram, SendFlags::empty()) {
            // There is no room: it is lost, as datagrams may be.
            Ok(_) | Err(Errno::AGAIN) => Poll::Ready(Ok(datagram.len())),
            Err(error) => Poll::Ready(Err(error.into())),
        }
    }
}

#[derive(Default)]
struct Ports {
    latest: Weak<Port>,
    uses: usize,
}

/// Makes hickory's sockets for one server.
#[derive(Clone)]
pub struct Transport {
    scope: u32,
    ports: Arc<Mutex<Ports>>,
    tokio: TokioRuntimeProvider,
}

impl Transport {
    /// For a server that is reached through the interface with the number `scope`, where that is not 0.
    pub fn new(scope: u32) -> Self {
        Self {
            scope,
            ports: Arc::default(),
            tokio: TokioRuntimeProvider::new(),
        }
    }

    /// The server's address with the interface, which hickory cannot keep.
    fn target(&self, server: SocketAddr) -> SocketAddr {
        match server {
            SocketAddr::V6(address) => {
                SocketAddrV6::new(*address.ip(), address.port(), 0, self.scope).into()
            }
            SocketAddr::V4(_) => server,
        }
    }

    fn port(&self, server: SocketAddr) -> io::Result<Arc<Port>> {
        let mut ports = lock(&self.ports);
        if ports.uses < QUERIES_PER_PORT
            && let Some(port) = ports.latest.upgrade()
        {
            ports.uses += 1;
            return Ok(port);
        }
        let port = Arc::new(Port::open(self.target(server))?);
        *ports = Ports {
            latest: Arc::downgrade(&port),
            uses: 1,
        };
        Ok(port)
    }
}

type Opening<T> = Pin<Box<dyn Send + Future<Output = io::Result<T>>>>;

impl RuntimeProvider for Transport {
    type Handle = TokioHandle;
    type Timer = TokioTime;
    type Udp = Query;
    type Tcp = <TokioRuntimeProvider as RuntimeProvider>::Tcp;

    fn create_handle(&self) -> TokioHandle {
        self.tokio.create_handle()
    }

    fn connect_tcp(
        &self,
        server: SocketAddr,
        local: Option<SocketAddr>,
        timeout: Option<Duration>,
    ) -> Opening<Self::Tcp> {
        self.tokio.connect_tcp(self.target(server), local, timeout)
    }

    fn bind_udp(&self, _local: SocketAddr, server: SocketAddr) -> Opening<Query> {
        let opened = self.port(server).map(|port| {
            let key = lock(&port.shared.mailboxes).insert(Mailbox::default());
            Query { port, key, server }
        });
        Box::pin(std::future::ready(opened))
    }
}

/// Connects hickory to one server. Unlike hickory's own, it sends a datagram once: how often to ask is for the caller.
#[derive(Clone)]
pub struct Connector(pub Transport);

type Connecting = Pin<Box<dyn Future<Output = Result<DnsExchange<Transport>, NetError>> + Send>>;

impl ConnectionProvider for Connector {
    type Conn = DnsExchange<Transport>;
    type FutureConn = Connecting;
    type RuntimeProvider = Transport;

    fn new_connection(
        &self,
        ip: IpAddr,
        config: &ConnectionConfig,
        context: &PoolContext,
    ) -> Result<Connecting, NetError> {
        let ProtocolConfig::Udp = config.protocol else {
            return self.0.new_connection(ip, config, context);
        };
        let server = SocketAddr::new(ip, config.port);
        let stream = UdpClientStream::builder(server, self.0.clone())
            .with_timeout(Some(context.options.timeout))
            .with_os_port_selection(true)
            .with_max_retries(1);
        // It is made where it is used: in a task of the runtime.
        Ok(Box::pin(async move { Ok(stream.exchange()) }))
    }

    fn runtime_provider(&self) -> &Transport {
        &self.0
    }
}
