"""A small HTTP proxy that knows CONNECT alone, as a process of its own: connect_proxy.py HOST:PORT USER:PASSWORD LOG

Each request becomes a line of the log: what was asked for, and the answer's code. With LOG.crossed there, holding HOST:PORT, every
tunnel leads to that place instead: a proxy that lies.
"""
import base64
import os
import socket
import socketserver
import sys
import threading

ADDRESS, CREDENTIALS, LOG = sys.argv[1:]
EXPECTED = b"Basic " + base64.b64encode(CREDENTIALS.encode())
lock = threading.Lock()


def split(address):
    host, port = address.rsplit(":", 1)
    return host.strip("[]"), int(port)


def pour(source, sink):
    try:
        while data := source.recv(64 << 10):
            sink.sendall(data)
    except OSError:
        pass
    for s, how in ((source, socket.SHUT_RD), (sink, socket.SHUT_WR)):
        try:
            s.shutdown(how)
        except OSError:
            pass


class Tunnel(socketserver.StreamRequestHandler):
    rbufsize = 0    # nothing of what follows the request is read along

    def handle(self):
        head = [self.rfile.readline(8192).strip()]
        while line := self.rfile.readline(8192).strip():
            head.append(line)
        code, far = self.answer(head)
        with lock, open(LOG, "a") as log:
            log.write(f"{head[0].decode(errors='replace')} -> {code}\n")
        self.wfile.write(b"HTTP/1.1 %d Said\r\n\r\n" % code)
        if far is not None:
            with far:
                there = threading.Thread(target=pour, args=(self.connection, far))
                there.start()
                pour(far, self.connection)
                there.join()

    def answer(self, head):
        words = head[0].split()
        headers = dict(line.split(b":", 1) for line in head[1:] if b":" in line)
        if len(words) != 3 or words[0] != b"CONNECT":
            return 405, None
        if headers.get(b"Proxy-Authorization", b"").strip() != EXPECTED:
            return 407, None
        target = words[1].decode()
        if os.path.exists(LOG + ".crossed"):
            with open(LOG + ".crossed") as crossed:
                target = crossed.read()
        try:
            return 200, socket.create_connection(split(target), timeout=5)
        except (OSError, ValueError):
            return 502, None


class Proxy(socketserver.ThreadingTCPServer):
    allow_reuse_address, daemon_threads = True, True


with Proxy(split(ADDRESS), Tunnel) as proxy:
    print("listening", flush=True)
    proxy.serve_forever()
