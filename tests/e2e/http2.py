"""HTTP/2 by hand (RFC 9113), for clients that do what no library lets one do: floods of frames, streams without end, headers that
never stop. Frames are read and written one by one; header blocks are literals that no table remembers (RFC 7541, 6.2.2)."""
import socket
import ssl
import struct
import time

DATA, HEADERS, RST_STREAM, SETTINGS, PING, GOAWAY, CONTINUATION = 0, 1, 3, 4, 6, 7, 9
END_STREAM, END_HEADERS, ACK = 1, 4, 1
REFUSED_STREAM, CANCEL, ENHANCE_YOUR_CALM = 7, 8, 11
MAX_CONCURRENT_STREAMS = 3


def _text(data):
    assert len(data) < 127
    return bytes([len(data)]) + data


def literal(name, value):
    return b"\0" + _text(name.encode()) + _text(value.encode())


def request(path):
    return b"".join(literal(n, v) for n, v in ((":method", "POST"), (":scheme", "https"), (":path", path), (":authority", "x"),
                                               ("te", "trailers"), ("content-type", "application/grpc")))


class Connection:
    """After TLS, with or without a certificate; the server's settings are in `settings`."""

    def __init__(self, endpoint, folder=None, timeout=10):
        """`folder` holds cert.pem and key.pem of the client."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE   # what is tested is the server
        context.set_alpn_protocols(["h2"])
        if folder:
            context.load_cert_chain(f"{folder}/cert.pem", f"{folder}/key.pem")
        host, port = endpoint.rsplit(":", 1)
        self.socket = socket.create_connection((host, int(port)), timeout=timeout)
        self.buffer, self.settings = b"", {}
        try:
            self.socket = context.wrap_socket(self.socket)
            self.socket.sendall(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n")
            self.send(SETTINGS, 0, 0)
            while not self.settings:
                if self.frame() is None:
                    raise ConnectionError("ended before its settings came")
        except OSError:
            self.socket.close()
            raise

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.socket.close()

    def send(self, kind, flags, stream, payload=b""):
        self.socket.sendall(frame(kind, flags, stream, payload))

    def frame(self):
        """(kind, flags, stream, payload); None at the end of the connection."""
        while len(self.buffer) < 9 or len(self.buffer) < 9 + int.from_bytes(self.buffer[:3], "big"):
            try:
                more = self.socket.recv(1 << 16)
            except (ConnectionError, ssl.SSLError):
                more = b""
            if not more:
                return None
            self.buffer += more
        size = int.from_bytes(self.buffer[:3], "big")
        kind, flags, stream = self.buffer[3], self.buffer[4], int.from_bytes(self.buffer[5:9], "big") & 0x7fffffff
        payload, self.buffer = self.buffer[9:9 + size], self.buffer[9 + size:]
        if kind == SETTINGS and not flags & ACK:
            self.settings = {k: v for k, v in struct.iter_unpack(">HI", payload)} or {0: 0}
            self.send(SETTINGS, ACK, 0)
        return kind, flags, stream, payload

    def until(self, wanted, timeout=30):
        """Frames up to the first that `wanted` holds for; that one, or None when the connection ended before."""
        deadline = time.monotonic() + timeout
        while time.monotonic() < deadline:
            frame = self.frame()
            if frame is None or wanted(*frame):
                return frame
        raise AssertionError(f"not seen within {timeout} s")

    def goodbye(self, timeout=30):
        """The error code of the server's GOAWAY; None when it ended the connection without one."""
        frame = self.until(lambda kind, *_: kind == GOAWAY, timeout)
        return frame and int.from_bytes(frame[3][4:8], "big")


def frame(kind, flags, stream, payload=b""):
    return len(payload).to_bytes(3, "big") + bytes([kind, flags]) + stream.to_bytes(4, "big") + payload
