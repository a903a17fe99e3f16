"""Every way to be nobody: refused at the door or at the call, with the reason in the log and in the audit log."""
import contextlib
import os
import socket
import unittest

import fleet as f
import identities as i
import wire as w

GOOD = "URI:spiffe://{domain}/admin/{name}"
AGENT = "URI:spiffe://{domain}/region/{region}/site/{site}/agent/{name}"


class BadIdentities(f.FleetTest):
    SITES = (f.FACTORY, f.CORE)

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.domain = w.context(cls.fleet)["trustDomain"]
        ca = tuple(os.path.join(cls.fleet.dir, "coordinator", "ca", name) for name in ("cert.pem", "key.pem"))
        cls.forger = i.Forger(cls.fleet.path("forged"), ca)
        cls.sites = w.sites(cls.fleet)

    # --- the doors
    def control(self, identity):
        return w.control(self.fleet, identity, "GetInfo", w.control_pb2.GetInfoRequest(), w.control_pb2.GetInfoResponse)

    def renew(self, identity):
        with identity.channel(w.context(self.fleet)["coordinator"], w.coordinator_id(self.fleet)) as channel:
            return w.unary(channel, "/bailiwick.agent.v1.AgentSession/Renew", w.session_pb2.RenewRequest(csr_der=b"x"),
                           w.session_pb2.RenewResponse)

    def session(self, identity):
        with identity.channel(w.context(self.fleet)["coordinator"], w.coordinator_id(self.fleet)) as channel:
            call = channel.stream_stream("/bailiwick.agent.v1.AgentSession/Session", request_serializer=lambda m: m.SerializeToString(),
                                         response_deserializer=w.session_pb2.CoordinatorMessage.FromString)
            hello = w.session_pb2.AgentMessage(hello=w.session_pb2.AgentHello(protocol_min=1, protocol_max=1, incarnation=b"i" * 16))
            return next(call(iter([hello]), timeout=10))

    def admin_port(self, identity):
        site = self.sites["factory"]
        with identity.channel(site.admin_endpoint, site.agent) as channel:
            call = channel.unary_stream("/bailiwick.agent.v1.AgentAdmin/Verify", request_serializer=lambda m: m.SerializeToString(),
                                        response_deserializer=w.admin_pb2.WorkEvent.FromString)
            return next(call(w.admin_pb2.VerifyRequest(dataset="x"), timeout=10))

    def name(self, kind, label, **more):
        return kind.format(**dict(domain=self.domain, name=label, region="eu/de", site="core") | more)

    def cases(self):
        """(label, door, identity, code): each has a name of its own, by which its record is found."""
        make, name = self.forger.make, self.name
        stranger = self.forger.stranger()
        leaf = make(name(GOOD, "climber"))
        for door, where in ((self.control, "control"), (self.admin_port, "agent")):
            of = lambda label, kind=GOOD, at=where, **more: name(kind, f"{at}-{label}", **more)  # noqa: E731
            yield "a CA of somebody else", door, make(of("stranger"), ca=stranger), "UNKNOWN_CA", where
            yield "the right CA beside it", door, make(of("beside"), ca=stranger, chain=w.read(self.forger.ca[0])), "UNKNOWN_CA", where
            yield "expired", door, make(of("expired"), start=-7200, end=-60), "EXPIRED", where
            yield "not valid yet", door, make(of("future"), start=3600, end=7200), "NOT_YET_VALID", where
            yield "signed by a leaf", door, make(of("climbed"), ca=leaf.files, chain=leaf.certificate), None, where
            yield "for servers only", door, make(of("server"), usage="serverAuth"), "BAD_CERTIFICATE", where
            yield "two SPIFFE ids", door, make(of("two") + "," + of("two-b")), "NOT_ONE_IDENTITY", where
            yield "SPIFFE and https", door, make(of("web") + ",URI:https://acme.example/"), "NOT_ONE_IDENTITY", where
            yield "no name at all", door, make(""), "NOT_ONE_IDENTITY", where
            yield "a DNS name", door, make("DNS:admin.acme.example"), "NOT_ONE_IDENTITY", where
            yield "a mail address", door, make("email:admin@acme.example"), "NOT_ONE_IDENTITY", where
            yield "another trust domain", door, make(of("foreign", domain="evil.example")), "FOREIGN_DOMAIN", where
            yield "a path that means nothing", door, make(f"URI:spiffe://{self.domain}/{where}/root"), "MALFORMED_IDENTITY", where
            yield "dots in the path", door, make(f"URI:spiffe://{self.domain}/admin/../{where}"), None, where
            yield "an agent where admins go", door, make(of("agent", AGENT)), "WRONG_KIND", where
            yield "the coordinator where admins go", door, make(f"URI:spiffe://{self.domain}/coordinator"), "WRONG_KIND", where
        yield "an admin as an agent", self.session, make(name(GOOD, "session-admin")), "WRONG_KIND", "session"
        yield "an agent of no site", self.session, make(name(AGENT, "ghost", site="ghost")), "UNKNOWN_SITE", "session"
        yield "an agent in a wrong region", self.session, make(name(AGENT, "moved", region="us")), "WRONG_REGION", "session"
        yield "an admin renews", self.renew, make(name(GOOD, "renewing-admin")), "WRONG_KIND", "session"
        yield "a wrong region renews", self.renew, make(name(AGENT, "renewing", region="eu")), "WRONG_REGION", "session"
        yield "no site renews", self.renew, make(name(AGENT, "renewing-ghost", site="ghost")), "UNKNOWN_SITE", "session"
        self.fleet.cli("agent", "revoke", "--admin", "mallory", "--reason", "left", "--yes")
        yield "a revoked admin", self.control, make(name(GOOD, "mallory")), "REVOKED", "control"
        yield "a revoked admin at an agent", self.admin_port, make(name(GOOD, "mallory")), "REVOKED", "agent"

    def test_each_is_refused_and_its_reason_is_recorded(self):
        # The positive cases, which prove that the doors are open to who may.
        self.assertEqual(self.control(self.forger.make(self.name(GOOD, "alice"))).trust_domain, self.domain)
        with self.assertRaises(w.grpc.RpcError) as raised:
            self.admin_port(self.forger.make(self.name(GOOD, "alice")))
        self.assertEqual(raised.exception.code(), w.grpc.StatusCode.NOT_FOUND, "let in: there is no such dataset")

        seen = 0
        for label, door, identity, code, where in self.cases():
            with self.subTest(label, where=where):
                recorder = "factory" if where == "agent" else "coordinator"
                before = i.refusals(self.fleet, recorder)

                def refused():
                    with self.assertRaises(w.grpc.RpcError) as raised:
                        door(identity)
                    return raised.exception.code() in (w.grpc.StatusCode.UNAVAILABLE, w.grpc.StatusCode.UNAUTHENTICATED,
                                                       w.grpc.StatusCode.PERMISSION_DENIED)
                self.assertTrue(refused())
                if code == "REVOKED":  # on its way to the agent
                    f.wait_until(lambda: any(c == "REVOKED" for _, c in i.refusals(self.fleet, recorder)) or (refused() and False),
                                 what="the agent knows the deny list")
                new = {k: v for k, v in i.refusals(self.fleet, recorder).items() if k not in before}
                self.assertEqual(len(new), 1, f"{label}: {new}")
                ((peer, recorded), reason), = new.items()
                self.assertTrue(code is None or recorded == code, f"{label}: {recorded}: {reason}")
                self.assertTrue(reason)
                self.assertIn(reason[:60], self.fleet.log(recorder).replace("\\", ""))
                seen += 1
        self.assertGreaterEqual(seen, 36)

    def test_nothing_is_said_to_who_shows_no_certificate(self):
        nobody = w.grpc.ssl_channel_credentials(w.read(self.forger.ca[0]))
        for endpoint in (w.context(self.fleet)["coordinator"], self.sites["factory"].admin_endpoint):
            for channel in (w.grpc.secure_channel(endpoint, nobody), w.grpc.insecure_channel(endpoint)):
                with channel, self.assertRaises(w.grpc.RpcError) as raised:
                    w.unary(channel, "/bailiwick.control.v1.Control/GetInfo", w.control_pb2.GetInfoRequest(), w.control_pb2.GetInfoResponse)
                self.assertEqual(raised.exception.code(), w.grpc.StatusCode.UNAVAILABLE)
        # It leaves a trace, which does not grow with the knocking.
        for recorder, endpoint in (("coordinator", w.context(self.fleet)["coordinator"]), ("factory", self.sites["factory"].admin_endpoint)):
            with self.subTest(recorder):
                host, port = endpoint.rsplit(":", 1)
                for n in range(300):
                    with socket.create_connection((host, int(port)), timeout=20) as knocking:
                        knocking.sendall(b"GET / HTTP/1.0\r\n\r\n")
                        with contextlib.suppress(OSError):
                            knocking.recv(100)
                known = f.wait_until(lambda r=recorder: (lambda k: k if {("unknown", "NO_CERTIFICATE"), ("unknown", "TLS_FAILED")} <= set(k)
                                                         else None)(i.refusals(self.fleet, r)), what="both are recorded")
                self.assertIn("handshake failed", known["unknown", "TLS_FAILED"])
                self.assertLess(len([r for r in i.records(self.fleet, recorder) if r["subject"] == "peer/unknown"]), 20)

    def test_a_token_that_does_not_count_is_recorded_and_knocking_is_one_record(self):
        join = self.fleet.json("site", "join-token", "core")
        login = self.fleet.json("login-token", "carol")["login"]
        home = self.fleet.path("carol")

        def knock(token):
            parts = ["--coordinator", join["coordinator"], "--ca-sha256", join["caSha256"], "--policy-root-sha256", join["policyRootSha256"]]
            return f.run([f.AGENT, "join", "--data-dir", self.fleet.path("knocker"), *parts, "--token", token]).code
        self.assertEqual(knock(join["token"]), f.OK)
        self.fleet.cli("login", "--token", login, "--to", home)
        before = i.refusals(self.fleet, "coordinator")
        for _ in range(5):
            self.assertNotEqual(knock(join["token"]), f.OK)
            self.assertNotEqual(knock("x" * 43), f.OK)
        new = {k: v for k, v in i.refusals(self.fleet, "coordinator").items() if k not in before}
        self.assertEqual(set(new), {("unknown", "TOKEN_USED"), ("unknown", "TOKEN_UNKNOWN")})
        self.assertIn("the token for core was used already", new["unknown", "TOKEN_USED"])
        self.assertIn("the token for core was used already", self.fleet.log("coordinator"))
        refused = self.fleet.cli("login", "--token", login, "--to", home + "2", expect=None)
        self.assertIn("the token for carol was used already", refused.err)
        kept = [r for r in i.records(self.fleet, "coordinator") if r["kind"] == "peer-refused" and r["detail"]["code"].startswith("TOKEN_")]
        self.assertEqual(len(kept), 2, kept)

    def test_knocking_does_not_fill_the_log(self):
        identity = self.forger.make(self.name(GOOD, "knocker", domain="evil.example"))
        before = len(i.records(self.fleet, "coordinator"))
        for _ in range(60):
            with self.assertRaises(w.grpc.RpcError):
                self.control(identity)
        after = [r for r in i.records(self.fleet, "coordinator")[before:] if "knocker" in r["subject"]]
        self.assertEqual(len(after), 1)


if __name__ == "__main__":
    f.main()
