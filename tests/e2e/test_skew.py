"""Builds of different ages talk: a newer peer offers a higher protocol and sends fields and messages that this build does not know;
what both speak is used, what only one knows is passed over, and where nothing is common it is said."""
import os
import queue

import fleet as f
import wire as w
from hostile import HostilePeer

UNKNOWN_FIELD = b"\xfa\x3f\x07newer-1"        # field 1023, length-delimited: of no message here


def newer(message):
    """The message as a newer build would write it: with a field that this one does not know."""
    return type(message).FromString(message.SerializeToString() + UNKNOWN_FIELD)


class Session:
    """An agent's stream to the coordinator, spoken by hand."""

    def __init__(self, fleet, site):
        self._outbox = queue.Queue()
        self._channel = w.agent(fleet, site).channel(w.context(fleet)["coordinator"], w.coordinator_id(fleet))
        call = self._channel.stream_stream("/bailiwick.agent.v1.AgentSession/Session",
                                           request_serializer=lambda m: m.SerializeToString(),
                                           response_deserializer=w.session_pb2.CoordinatorMessage.FromString)
        self.call = call(iter(self._outbox.get, None), timeout=60)

    def send(self, message):
        self._outbox.put(message)

    def close(self):
        self.call.cancel()
        self._channel.close()


class Skew(HostilePeer):
    def session(self, minimum, maximum):
        session = Session(self.fleet, "core")
        self.addCleanup(session.close)
        hello = w.session_pb2.AgentHello(protocol_min=minimum, protocol_max=maximum, build="another", incarnation=os.urandom(16))
        session.send(newer(w.session_pb2.AgentMessage(hello=newer(hello))))
        return session

    def test_a_newer_receiver_gets_what_both_understand(self):
        flow = self.flow()
        flow.send(hello=newer(self.hello(self.grant(), minimum=1, maximum=2)))
        reply = flow.next()
        self.assertEqual(reply.hello_reply.protocol, 1, reply)
        flow.send(want=newer(w.transfer_pb2.Want(want_id=1, fetch_root=True)))
        data = flow.next()
        self.assertGreater(len(data.data.payload), 0)

    def test_a_newer_source_that_dials_is_understood(self):
        flow = self.flow(site="factory", to="core")
        hello = self.hello(self.grant(), role=w.transfer_pb2.ROLE_SOURCE, site="factory", minimum=1, maximum=9)
        flow.send(hello=newer(hello))
        self.assertEqual(flow.next().hello_reply.protocol, 1)

    def test_no_common_transfer_protocol(self):
        for minimum, maximum in ((2, 3), (0, 0)):
            with self.subTest(minimum=minimum):
                goodbye = self.ask(self.hello(self.grant(), minimum=minimum, maximum=maximum), ["BAD_REQUEST"])
                self.assertRegex(goodbye.message, r"protocol 1 to 1")

    def test_sessions_of_other_builds(self):
        self.fleet.dev("stop", "core")
        try:
            session = self.session(1, 2)
            welcome = next(session.call)
            self.assertEqual(welcome.welcome.protocol, 1, welcome)
            # A message of a kind that only newer agents have, then one that is known: the session goes on.
            session.send(w.session_pb2.AgentMessage.FromString(UNKNOWN_FIELD))
            session.send(w.session_pb2.AgentMessage(heartbeat=w.session_pb2.Heartbeat(free_bytes=12345)))
            kinds = {message.WhichOneof("kind") for message in (next(session.call) for _ in range(3))}
            self.assertEqual(kinds, {"trust", "policy", "assignments"})
            f.wait_until(lambda: w.sites(self.fleet)["core"].free_bytes == 12345, what="the heartbeat of another build counts")
            session.close()
            with self.assertRaises(w.grpc.RpcError) as raised:
                next(self.session(2, 3).call)
            self.assertEqual(raised.exception.code(), w.grpc.StatusCode.FAILED_PRECONDITION)
            self.assertRegex(raised.exception.details(), r"protocol 1 to 1, the agent 2 to 3")
        finally:
            self.fleet.dev("start", "core")


if __name__ == "__main__":
    f.main()
