"""What strangers and hostile peers can do to the ports: old TLS, floods, endless headers, connections that never say anything. Each
time the same is shown to work for who behaves, and the fleet goes on."""
import contextlib
import json
import os
import resource
import socket
import time
import unittest

import fleet as f
import http2 as h
import wire as w

JOIN = "/bailiwick.enroll.v1.Enroll/Join"
GET_INFO = "/bailiwick.control.v1.Control/GetInfo"
VERIFY = "/bailiwick.agent.v1.AgentAdmin/Verify"
EXCHANGE = "/bailiwick.transfer.v1.Transfer/Exchange"
PLACES = 64               # of an agent, for transfers
HALF_OPEN = 1500          # more than the 1,024 descriptors that a process has by default
HANDSHAKE_SECONDS = 15
HEADERS_MIB = 100         # what 44 MB of headers may leave behind
STRANGERS = 1500          # each with all the streams it gets, and a message begun on every one: some 400 MB
STRANGERS_MIB = 256       # what they may have of it
IDLE_SECONDS, AGE_SECONDS = 20, 60 * 1.1 + 10   # of a connection at the join port: without a request; with one that never ends


class Doors(f.FleetTest):
    SITES = (f.FACTORY, f.CORE)
    SETUP = f.documents(f.LAW, f.replication_yaml(to="[{site: core}]"))

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        fleet = cls.fleet
        cls.credentials = os.path.join(fleet.dir, w.context(fleet)["credentials"])
        coordinator = json.loads(f.read(os.path.join(fleet.dir, "coordinator", "endpoints.json")))
        agent = json.loads(f.read(os.path.join(fleet.data("core"), "endpoints.json")))
        # name: (endpoint, credentials with which one comes in, a method)
        cls.doors = {"control": (coordinator["control"], cls.credentials, GET_INFO), "join": (coordinator["join"], None, JOIN),
                     "agent": (agent["transfer"], cls.credentials, VERIFY)}

    def pid(self, name):
        processes = json.loads(self.fleet.dev("status", "-o", "json").out)["processes"]
        return next(p["pid"] for p in processes if p["name"] == name)

    def rss_mib(self, name):
        status = f.read(f"/proc/{self.pid(name)}/status").decode()
        return int(status.split("VmRSS:")[1].split()[0]) >> 10

    def goes_on(self, seconds=10):
        """Admins and agents are served, soon."""
        started = time.monotonic()
        self.fleet.cli("get", "sites")
        self.fleet.cli("dataset", "verify", "nothing", "--site", "core", expect=f.NOT_FOUND)
        self.assertLess(time.monotonic() - started, seconds)

    def test_tls_1_3_and_nothing_below(self):
        for name, (endpoint, _, _) in self.doors.items():
            pair = ["-cert", f"{self.credentials}/cert.pem", "-key", f"{self.credentials}/key.pem"]
            with self.subTest(name):
                new = f.run(["openssl", "s_client", "-connect", endpoint, "-alpn", "h2", "-tls1_3", *pair])
                self.assertIn("New, TLSv1.3, Cipher is TLS_", new.out)
                for old in (["-tls1_2"], ["-no_tls1_3"], ["-tls1_2", "-cipher", "ALL:@SECLEVEL=0"]):
                    refused = f.run(["openssl", "s_client", "-connect", endpoint, "-alpn", "h2", *old, *pair])
                    self.assertNotEqual(refused.code, 0, refused)
                    self.assertIn("Cipher is (NONE)", refused.out)

    def test_a_message_that_is_too_large(self):
        admin = w.admin(self.fleet)
        site = w.sites(self.fleet)["core"]
        calls = {
            "control": (admin, w.context(self.fleet)["coordinator"], w.coordinator_id(self.fleet), GET_INFO, 5 << 20),
            "agent": (admin, site.admin_endpoint, site.agent, "/bailiwick.agent.v1.AgentAdmin/Commit", 21 << 20),
        }
        for name, (identity, endpoint, server, method, size) in calls.items():
            with self.subTest(name), identity.channel(endpoint, server) as channel:
                call = channel.unary_unary(method, request_serializer=None, response_deserializer=None)
                with self.assertRaises(w.grpc.RpcError) as raised:
                    call(b"\0" * size, timeout=30)
                self.assertEqual(raised.exception.code(), w.grpc.StatusCode.RESOURCE_EXHAUSTED)
        with h.Connection(self.doors["join"][0]) as connection:
            message = b"\0" + (100 << 10).to_bytes(4, "big") + b"x" * (100 << 10)
            connection.send(h.HEADERS, h.END_HEADERS, 1, h.request(JOIN))
            for at in range(0, len(message), 16 << 10):
                connection.send(h.DATA, 0, 1, message[at:at + (16 << 10)])
            answer = connection.until(lambda kind, flags, *_: kind == h.HEADERS and flags & h.END_STREAM)
            # By who is first: the transport, which sees the length, or the method, which gets no message then.
            self.assertRegex(answer[3], rb"larger than max|Couldn't initialize byte buffer reader")
        self.goes_on()

    def test_headers_that_never_end(self):
        """They are read, and kept no further than a request may have of them."""
        for name, (endpoint, folder, method) in self.doors.items():
            with self.subTest(name):
                before = self.rss_mib("core" if name == "agent" else "coordinator")
                with h.Connection(endpoint, folder) as connection, contextlib.suppress(OSError):
                    connection.send(h.HEADERS, 0, 1, h.request(method))
                    many = b"".join(h.literal(f"x-{n}", "y" * 100) for n in range(100))
                    for _ in range(4000):    # 44 MB of headers of one request
                        connection.send(h.CONTINUATION, 0, 1, many)
                self.assertLess(self.rss_mib("core" if name == "agent" else "coordinator") - before, HEADERS_MIB)
        self.goes_on()

    def test_a_flood_of_pings(self):
        for name, (endpoint, folder, _) in self.doors.items():
            with self.subTest(name), h.Connection(endpoint, folder) as connection:
                with contextlib.suppress(OSError):
                    for _ in range(500):
                        connection.send(h.PING, 0, 0, b"are you?")
                self.assertEqual(connection.goodbye(), h.ENHANCE_YOUR_CALM)
        self.goes_on()

    def test_streams_without_end(self):
        for name, (endpoint, folder, method) in self.doors.items():
            with self.subTest(name), h.Connection(endpoint, folder) as connection:
                limit = connection.settings[h.MAX_CONCURRENT_STREAMS]
                self.assertEqual(limit, 8 if name == "join" else 1024)
                with contextlib.suppress(OSError):
                    for n in range(3 * limit):
                        connection.send(h.HEADERS, h.END_HEADERS, 2 * n + 1, h.request(method))
                self.assertIsNone(connection.until(lambda *_: False), "the connection was ended")
        self.goes_on()

    def test_streams_that_are_reset_at_once(self):
        """What was called rapid reset: work for the server, none for who asks. Others are served meanwhile."""
        for _ in range(2):
            with h.Connection(self.doors["join"][0]) as connection, contextlib.suppress(OSError):
                for n in range(0, 20_000):
                    connection.socket.sendall(h.frame(h.HEADERS, h.END_HEADERS, 2 * n + 1, h.request(JOIN)) +
                                              h.frame(h.RST_STREAM, 0, 2 * n + 1, h.CANCEL.to_bytes(4, "big")))
            self.goes_on(seconds=30)

    def test_transfers_beyond_the_last_place_that_are_reset_at_once(self):
        """A connection has more streams than transfers have places; who is refused one may be gone by then."""
        endpoint, folder, _ = self.doors["agent"]
        with h.Connection(endpoint, folder) as connection:
            for n in range(200):
                request = h.frame(h.HEADERS, h.END_HEADERS, 2 * n + 1, h.request(EXCHANGE))
                reset = h.frame(h.RST_STREAM, 0, 2 * n + 1, h.CANCEL.to_bytes(4, "big"))
                connection.socket.sendall(request + (reset if n >= PLACES else b""))
            connection.send(h.PING, 0, 0, b"are you?")
            self.assertIsNotNone(connection.until(lambda kind, flags, *_: kind == h.PING and flags & h.ACK))
        self.goes_on()

    def test_connections_that_never_say_a_word(self):
        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
        self.addCleanup(resource.setrlimit, resource.RLIMIT_NOFILE, (soft, hard))
        source = f.make_tree(self.fleet.path("busy"), files=40)
        self.fleet.apply(f.dataset_yaml("busy", source))
        silent = []
        self.addCleanup(lambda: [s.close() for s in silent])
        for endpoint, _, _ in self.doors.values():
            host, port = endpoint.rsplit(":", 1)
            for n in range(HALF_OPEN):
                silent.append(socket.create_connection((host, int(port)), timeout=30))
                if n % 2:
                    silent[-1].sendall(b"\x16\x03\x01")   # the beginning of a hello
        # While they stand there, data moves.
        self.fleet.commit("busy")
        self.fleet.wait_version("busy", 1, "core")
        self.goes_on(seconds=30)
        deadline = time.monotonic() + HANDSHAKE_SECONDS + 30
        for s in silent:
            s.settimeout(max(0.1, deadline - time.monotonic()))
            with contextlib.suppress(ConnectionError):
                self.assertEqual(s.recv(1), b"", "the server ended it")

    def test_strangers_get_so_much_memory_and_no_more(self):
        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
        self.addCleanup(resource.setrlimit, resource.RLIMIT_NOFILE, (soft, hard))
        before = self.rss_mib("coordinator")
        begun = b"\0" + (60 << 10).to_bytes(4, "big") + b"x" * (7 << 10)
        with contextlib.ExitStack() as inside:
            refused = 0
            for _ in range(STRANGERS):
                try:
                    connection = inside.enter_context(h.Connection(self.doors["join"][0]))
                    for n in range(8):
                        connection.send(h.HEADERS, h.END_HEADERS, 2 * n + 1, h.request(JOIN))
                        connection.send(h.DATA, 0, 2 * n + 1, begun)
                except OSError:
                    refused += 1
            self.assertGreater(refused, STRANGERS // 10)
            self.assertLess(self.rss_mib("coordinator") - before, STRANGERS_MIB)
            self.goes_on()   # agents and people come in elsewhere
        def joins():
            with contextlib.suppress(OSError), h.Connection(self.doors["join"][0]) as connection:
                return connection.settings
        f.wait_until(joins, what="the join port has room again")

    def test_who_takes_all_descriptors_does_not_close_the_door_for_good(self):
        for name, process in (("control", "coordinator"), ("join", "coordinator"), ("agent", "core")):
            with self.subTest(name):
                pid, (host, port) = self.pid(process), self.doors[name][0].rsplit(":", 1)
                used = lambda: len(os.listdir(f"/proc/{pid}/fd"))  # noqa: E731, B023
                before, at_rest = resource.prlimit(pid, resource.RLIMIT_NOFILE), used()
                self.addCleanup(resource.prlimit, pid, resource.RLIMIT_NOFILE, before)
                few = at_rest + 80
                resource.prlimit(pid, resource.RLIMIT_NOFILE, (few, before[1]))
                knocks = [socket.create_connection((host, int(port)), timeout=30) for _ in range(2 * few)]
                f.wait_until(lambda: used() >= few * 3 // 4 - 2, what="the connections took what they get")
                self.assertLessEqual(used(), few * 3 // 4 + 4, "the rest is for files")
                for knock in knocks:
                    knock.close()
                f.wait_until(lambda: used() < at_rest + 20, what="they are gone")
                self.goes_on(seconds=30)
                # Nor does a process that has none at all, for whatever reason, leave its port.
                resource.prlimit(pid, resource.RLIMIT_NOFILE, (3, before[1]))
                hello = f.run(["timeout", "3", "openssl", "s_client", "-connect", self.doors[name][0]])
                self.assertNotIn("Server certificate", hello.out)
                resource.prlimit(pid, resource.RLIMIT_NOFILE, before)
                hello = f.run(["timeout", "20", "openssl", "s_client", "-connect", self.doors[name][0], "-alpn", "h2"])
                self.assertIn("Server certificate", hello.out)
                self.goes_on(seconds=30)

    def test_who_joins_too_often_waits_and_nobody_else(self):
        channel = w.grpc.insecure_channel   # only to say that none without TLS is there
        with channel(self.doors["join"][0]) as plain, self.assertRaises(w.grpc.RpcError):
            w.unary(plain, JOIN, w.enroll_pb2.JoinRequest(token="x"), w.enroll_pb2.JoinResponse)
        anybody = w.Identity(None, None, w.admin(self.fleet).ca)
        with anybody.channel(self.doors["join"][0], w.coordinator_id(self.fleet)) as channel:
            def answer(method):
                with self.assertRaises(w.grpc.RpcError) as raised:
                    channel.unary_unary(method, request_serializer=None, response_deserializer=None)(b"", timeout=30)
                return raised.exception.code()
            busy = w.grpc.StatusCode.RESOURCE_EXHAUSTED   # for some seconds, with what a flood has left behind
            f.wait_until(lambda: answer(GET_INFO) != busy, what="the port has its threads back")
            for other in (GET_INFO, VERIFY, "/bailiwick.agent.v1.AgentSession/Renew", "/bailiwick.transfer.v1.Transfer/Exchange"):
                self.assertEqual(answer(other), w.grpc.StatusCode.UNIMPLEMENTED, other)
        codes = set()
        deadline = time.monotonic() + 30
        while "limited" not in codes and time.monotonic() < deadline:
            with h.Connection(self.doors["join"][0]) as connection:
                for n in range(8):
                    connection.send(h.HEADERS, h.END_HEADERS, 2 * n + 1, h.request(JOIN))
                    connection.send(h.DATA, h.END_STREAM, 2 * n + 1, b"\0\0\0\0\0")
                for _ in range(8):
                    answer = connection.until(lambda kind, flags, *_: kind == h.HEADERS and flags & h.END_STREAM)
                    codes.add("limited" if b"too many attempts" in answer[3] else "refused")
        self.assertIn("limited", codes)
        self.goes_on()


class Patience(f.FleetTest):
    """At the door without certificates nobody stays: neither who says nothing after the greeting, nor who drips."""
    SITES = (f.FACTORY,)

    def test_who_asks_nothing_and_who_never_ends_a_request(self):
        join = json.loads(f.read(os.path.join(self.fleet.dir, "coordinator", "endpoints.json")))["join"]
        with h.Connection(join, timeout=1) as silent, h.Connection(join, timeout=1) as dripping:
            dripping.send(h.HEADERS, h.END_HEADERS, 1, h.request(JOIN))
            dripping.send(h.DATA, 0, 1, b"\0" + (60 << 10).to_bytes(4, "big"))
            started, ended = time.monotonic(), {}
            while len(ended) < 2 and time.monotonic() - started < AGE_SECONDS + 30:
                for connection in {silent, dripping} - set(ended):
                    try:
                        if connection is dripping:
                            connection.send(h.DATA, 0, 1, b"x")
                        gone = connection.frame() is None
                    except TimeoutError:
                        continue   # nothing to hear within a second
                    except OSError:
                        gone = True
                    if gone:
                        ended[connection] = time.monotonic() - started
        self.assertLess(ended.get(silent, 1e9), IDLE_SECONDS + 15)
        self.assertLess(ended.get(dripping, 1e9), AGE_SECONDS + 15)
        self.fleet.cli("get", "sites")


if __name__ == "__main__":
    f.main()
