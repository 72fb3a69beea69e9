"""Between a program and the service: TLS with a certificate of the test's own, an HTTP proxy, a SOCKS5 proxy.

The service has a public name that no resolver knows, so whoever reaches it came through a proxy.
"""

import base64
import datetime
import ipaddress
import socket
import ssl
from collections.abc import AsyncGenerator
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

import anyio
from anyio.abc import AnyByteStream, ByteStream, Listener, SocketStream
from anyio.streams.buffered import BufferedByteReceiveStream
from anyio.streams.tls import TLSListener
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

NAME = "api.avm.test"
USER, PASSWORD = "me", "hunter2secret"


@dataclass
class Gateways:
    """Where they listen, and what was asked of the SOCKS5 one: (kind of address, host)."""

    authority: Path
    http_port: int = 0
    socks_port: int = 0
    strict_port: int = 0
    service_port: int = 443
    asked: list[tuple[str, str]] = field(default_factory=list)

    @property
    def url(self) -> str:
        return f"https://{NAME}"


def certificates(folder: Path) -> tuple[Path, Path]:
    """Write an authority, and a chain with its key for NAME; return both paths."""
    now = datetime.datetime.now(datetime.UTC)

    def built(subject: str, issuer: str, key: ec.EllipticCurvePrivateKey, signer: ec.EllipticCurvePrivateKey):
        names = [x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, text)]) for text in (subject, issuer)]
        return (
            x509.CertificateBuilder()
            .subject_name(names[0])
            .issuer_name(names[1])
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - datetime.timedelta(days=1))
            .not_valid_after(now + datetime.timedelta(days=2))
            .add_extension(x509.BasicConstraints(ca=subject == issuer, path_length=None), critical=True)
            .add_extension(x509.SubjectAlternativeName([x509.DNSName(subject)]), critical=False)
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
            .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(signer.public_key()), critical=False)
            .sign(signer, hashes.SHA256())
        )

    root, leaf = (ec.generate_private_key(ec.SECP256R1()) for _ in range(2))
    authority, chain = folder / "authority.pem", folder / "service.pem"
    pem = serialization.Encoding.PEM
    authority.write_bytes(built("Test Authority", "Test Authority", root, root).public_bytes(pem))
    private = leaf.private_bytes(pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    chain.write_bytes(built(NAME, "Test Authority", leaf, root).public_bytes(pem) + private)
    return authority, chain


class _Secure(TLSListener):
    """Says nothing of handshakes that fail: some rows are about them."""

    def __init__(self, listener: Listener[SocketStream], context: ssl.SSLContext) -> None:
        super().__init__(listener, context, standard_compatible=False)

    @staticmethod
    async def handle_handshake_error(exc: BaseException, stream: AnyByteStream) -> None:
        await anyio.aclose_forcefully(stream)
        if not isinstance(exc, Exception):
            raise exc


async def _pumped(one: ByteStream, other: ByteStream) -> None:
    """Pass bytes both ways until either side ends."""

    async def pump(source: ByteStream, sink: ByteStream) -> None:
        with suppress(anyio.BrokenResourceError, anyio.ClosedResourceError, anyio.EndOfStream, ssl.SSLError, OSError):
            async for data in source:
                await sink.send(data)
        group.cancel_scope.cancel()

    async with anyio.create_task_group() as group:
        group.start_soon(pump, one, other)
        group.start_soon(pump, other, one)
    for stream in (one, other):
        with suppress(Exception):
            await anyio.aclose_forcefully(stream)


@asynccontextmanager
async def gateways(folder: Path, service: str) -> AsyncGenerator[Gateways]:
    """TLS before the service at this address, and two proxies that know it as NAME."""
    host, _, port = service.removeprefix("http://").partition(":")
    authority, chain = certificates(folder)
    made = Gateways(authority)
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(chain)

    async def secured(stream: ByteStream) -> None:
        async with await anyio.connect_tcp(host, int(port)) as upstream:
            await _pumped(stream, upstream)

    async def onward(stream: SocketStream, name: str, agreed: bytes, refused: bytes) -> None:
        if name != NAME:
            await stream.send(refused)
            return
        async with await anyio.connect_tcp("127.0.0.1", made.service_port) as upstream:
            await stream.send(agreed)
            await _pumped(stream, upstream)

    async def http_proxy(stream: SocketStream) -> None:
        async with stream:
            head = await BufferedByteReceiveStream(stream).receive_until(b"\r\n\r\n", 65536)
            target = head.split(b" ")[1].decode()
            if b"proxy-authorization" in head.lower():
                printed = head.lower().partition(b"proxy-authorization: basic ")[2]
                length = len(printed.split(b"\r\n")[0])
                at = head.lower().index(b"proxy-authorization: basic ") + len(b"proxy-authorization: basic ")
                assert base64.b64decode(head[at : at + length]).decode() == f"{USER}:{PASSWORD}"
            refused = b"HTTP/1.1 502 No\r\nContent-Length: 0\r\n\r\n"
            await onward(stream, target.rpartition(":")[0], b"HTTP/1.1 200 OK\r\n\r\n", refused)

    def socks_proxy(strict: bool):
        async def serve(stream: SocketStream) -> None:
            async with stream:
                received = BufferedByteReceiveStream(stream)
                _, count = await received.receive_exactly(2)
                offered = await received.receive_exactly(count)
                if strict:
                    if 2 not in offered:
                        await stream.send(b"\x05\xff")
                        return
                    await stream.send(b"\x05\x02")
                    _, length = await received.receive_exactly(2)
                    user = await received.receive_exactly(length)
                    word = await received.receive_exactly((await received.receive_exactly(1))[0])
                    good = (user.decode(), word.decode()) == (USER, PASSWORD)
                    await stream.send(b"\x01\x00" if good else b"\x01\x01")
                    if not good:
                        return
                else:
                    await stream.send(b"\x05\x00")
                _, _, _, kind = await received.receive_exactly(4)
                if kind == 3:
                    name = (await received.receive_exactly((await received.receive_exactly(1))[0])).decode()
                else:
                    name = str(ipaddress.ip_address(await received.receive_exactly(4 if kind == 1 else 16)))
                await received.receive_exactly(2)
                made.asked.append(({1: "IPv4", 3: "name", 4: "IPv6"}[kind], name))
                bound = b"\x00\x01\x7f\x00\x00\x01\x00\x00"
                await onward(stream, name, b"\x05\x00" + bound, b"\x05\x04" + bound)

        return serve

    async def serving(listener, handler) -> None:
        async def quietly(stream) -> None:
            with suppress(anyio.BrokenResourceError, anyio.EndOfStream, anyio.IncompleteRead, ssl.SSLError, OSError):
                await handler(stream)

        await listener.serve(quietly)

    async with AsyncExitStack() as stack, anyio.create_task_group() as group:
        for name, handler in {
            "service_port": secured,
            "http_port": http_proxy,
            "socks_port": socks_proxy(strict=False),
            "strict_port": socks_proxy(strict=True),
        }.items():
            listener = await anyio.create_tcp_listener(local_host="127.0.0.1", family=socket.AF_INET)
            stack.push_async_callback(listener.aclose)
            setattr(made, name, listener.extra(anyio.abc.SocketAttribute.local_port))
            secure = name == "service_port"
            group.start_soon(serving, _Secure(listener, context) if secure else listener, handler)
        yield made
        group.cancel_scope.cancel()
