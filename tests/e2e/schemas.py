"""What each command prints with -o json: a JSON Schema (draft 2020-12) for each, and the commands that print none.

Objects have the fields that are named here, all of them unless they are said to be optional, and no others: a program that reads them
may rely on that, and whoever changes an answer changes it here too. test_schemas.py compares the table with the tree of commands and
with what a live fleet answers.
"""

TEXT = {"type": "string"}
COUNT = {"type": "integer", "minimum": 0}
NUMBER = {"type": "number"}
FLAG = {"type": "boolean"}
TIME = {"type": "string", "pattern": r"^(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ)?$"}                # RFC 3339 in UTC; empty: never
MOMENT = {"type": "string", "pattern": r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z$"}
HEX = {"type": "string", "pattern": r"^([0-9a-f]{2})*$"}
SECONDS = {"type": ["integer", "null"], "minimum": 0}
ANYTHING = {}


def one_of(*words):
    return {"enum": list(words)}


def rows(item):
    return {"type": "array", "items": item}


def obj(optional=(), **fields):
    return {"type": "object", "additionalProperties": False, "properties": fields,
            "required": [name for name in fields if name not in optional]}


def doc(optional=(), **fields):
    """A whole answer: the version of its form comes first."""
    return obj(optional, version={"const": 1}, **fields)


def either(*schemas):
    return {"anyOf": list(schemas)}


RESOURCE = obj(apiVersion={"const": "bailiwick/v1"}, kind=TEXT,
               metadata=obj(("labels",), name=TEXT, labels={"type": "object", "additionalProperties": TEXT}),
               spec={"type": "object"})
CHANGE = obj(kind=TEXT, name=TEXT, change=one_of("created", "changed", "unchanged", "deleted"))
EVICTED = obj(dataset=TEXT, site=TEXT, bytes=COUNT, reason=TEXT, rule=TEXT, lastCopy=FLAG, held=FLAG)
STOPPED = obj(transfer=TEXT, dataset=TEXT, version=COUNT, source=TEXT, destination=TEXT, rule=TEXT, sentence=TEXT)
IMPACT = obj(evictions=rows(EVICTED), bytes=COUNT, lastCopies=COUNT, held=COUNT, unlawfulBefore=COUNT, transfersThatStop=rows(STOPPED))
CHANGES = doc(("impact",), changes=rows(CHANGE), applied=FLAG, pending=TEXT, dryRun=FLAG, policyRevision=COUNT, impact=IMPACT)
LAW = doc(applied=FLAG, pending=TEXT, policyRevision=COUNT)
TRIED = doc(dryRun={"const": True}, effects=rows(TEXT), waits=TEXT)
PROPOSED = doc(proposal=TEXT, what=TEXT)

SITE_STATE = obj(name=TEXT, region=TEXT, connected=FLAG, approved=FLAG, agent=TEXT, build=TEXT, endpoint=TEXT, adminEndpoint=TEXT,
                 policyRevision=COUNT, policyError=TEXT, policyStale=TEXT, freeBytes=COUNT, lastSeen=TIME)
DATASET_STATE = obj(name=TEXT, home=TEXT, newest=COUNT, files=COUNT, logicalBytes=COUNT, replicasWanted=COUNT, replicasCurrent=COUNT,
                    replicasOverRpo=COUNT, problem=TEXT)
DATASET = obj(name=TEXT, family=TEXT, home=TEXT, newest=COUNT, versions=COUNT, files=COUNT, logicalBytes=COUNT, committedAt=TIME,
              replicasWanted=COUNT, replicasCurrent=COUNT, problem=TEXT)
VERSION = obj(number=COUNT, committedAt=TIME, files=COUNT, entries=COUNT, logicalBytes=COUNT, identity=HEX, sites=rows(TEXT), message=TEXT)
REPLICA = obj(dataset=TEXT, site=TEXT, role=one_of("home", "replica"),
              state=one_of("current", "behind", "transferring", "denied", "blocked", "empty", "offline", "conflict", "unwanted", "fenced", "erasing",
                           "unconfirmed"),
              version=COUNT, newest=COUNT, current=COUNT, pinned=COUNT, lagSeconds=COUNT, rpoSeconds=SECONDS, rpoBreached=FLAG,
              rpoBreachedSince=TIME, reason=TEXT, versions=rows(COUNT), givenUp=rows(COUNT), partial=rows(COUNT))
TRANSFER = obj(id=TEXT, dataset=TEXT, version=COUNT, source=TEXT, destination=TEXT,
               state=one_of("starting", "running", "done", "failed"), doneBytes=COUNT, totalBytes=COUNT, wireBytes=COUNT,
               rateBytesPerSecond=COUNT, etaSeconds=SECONDS, limit=TEXT, limitSite=TEXT, started=TIME, ended=TIME, code=TEXT, message=TEXT)
EVENT = obj(sequence=COUNT, at=TIME, kind=TEXT, site=TEXT, dataset=TEXT, number=COUNT, message=TEXT)
EVICTION = obj(dataset=TEXT, site=TEXT,
               state=one_of("unconfirmed", "fenced", "repairing", "last-copy", "held", "unjudged", "erasing", "erased"),
               versions=rows(COUNT), rule=TEXT, reason=TEXT, since=TIME, bytes=COUNT, cause=TEXT, receipt=HEX)
RECEIPT = obj(receipt=HEX, dataset=TEXT, datasetId=HEX, site=TEXT, agent=TEXT, versions=rows(obj(number=COUNT, identity=HEX)), bytes=COUNT,
              everything=FLAG, cause=TEXT, rule=TEXT, policyRevision=COUNT, policyDigest=HEX, fencedAt=TIME, erasedAt=TIME, method=TEXT)
HOLD = obj(hold=HEX, dataset=TEXT, number=COUNT, site=TEXT, since=TIME, by=TEXT, reason=TEXT, onlyAt=rows(TEXT))
REDACTION = obj(order=HEX, dataset=TEXT, state=one_of("waiting", "pending", "held", "unconfirmed", "done"), reason=TEXT, by=TEXT,
                issuedAt=TIME, contents=COUNT, chunks=COUNT, overrideLocks=FLAG, missing=TEXT,
                sites=rows(obj(site=TEXT, state=one_of("pending", "held", "unconfirmed", "done"), reason=TEXT, since=TIME, receipt=HEX)))
AGENT = obj(site=TEXT, identity=TEXT, state=one_of("revoked", "expired", "unapproved", "connected", "offline"), connected=FLAG,
            approved=FLAG, lastSeen=TIME, certificateExpires=TIME, renewed=TIME, policyRevision=COUNT, policyCalledCurrent=TIME,
            recoveriesLeft=COUNT, newcomerKey=HEX, revokedAt=TIME, revokedBy=TEXT, revokedReason=TEXT)
RECORD = obj(id=TEXT, sequence=COUNT, at=MOMENT, kind=TEXT, subject=TEXT, detail=ANYTHING)
FINDING = one_of("true", "tampered", "incomplete", "unwitnessed")
VERDICT = doc(finding=FINDING, log=TEXT, records=COUNT, witnessed=COUNT, witnessedAt=TIME, unsigned=COUNT,
              payloadMissing=COUNT, before=COUNT, witnesses=rows(TEXT), problems=rows(TEXT))
RULE_RESULT = obj(rule=TEXT, effect=one_of("permit", "forbid"), guardrail=FLAG, applies=FLAG, error=FLAG, failing=TEXT)
EXPLAINED = obj(action=one_of("transfer", "reside", "transit", "relabel"), permitted=FLAG, reason=TEXT, rule=TEXT, basis=TEXT,
                obligations=TEXT, sentence=TEXT, remedy=TEXT, rules=rows(RULE_RESULT))
COPY_VERDICT = obj(permitted=FLAG, reason=TEXT, action=TEXT, rule=TEXT, obligations=TEXT)
DECISION = obj(datasets=rows(TEXT), purpose=TEXT, pairs=COUNT, fromRegions=rows(TEXT), toRegions=rows(TEXT), to=TEXT, before=COPY_VERDICT,
               after=COPY_VERDICT, **{"from": TEXT})
STEP = obj(kind=one_of("copy", "relabel"), fromRegion=TEXT, to=TEXT, toRegion=TEXT,
           labels={"type": "object", "additionalProperties": TEXT}, purpose=TEXT, at=TIME, rules=rows(TEXT), **{"from": TEXT})
CUT = obj(what=TEXT, reason=TEXT, rule=TEXT, pairs=COUNT, to=TEXT, keepsOutOf=rows(TEXT), **{"from": TEXT})
SUITE = obj(law=TEXT, policy=TEXT, rules=COUNT, rulesWithoutCase=rows(TEXT),
            tests=rows(obj(name=TEXT, kind=one_of("case", "invariant"), passed=FLAG, message=TEXT)))
LINT = obj(severity=one_of("error", "warning"), code=TEXT, resource=TEXT, path=TEXT, file=TEXT, line=COUNT, column=COUNT, message=TEXT)
CHECK = obj(name=TEXT, result=one_of("ok", "warn", "fail"), found=TEXT, remedy=TEXT)
MOVE = obj(at=TIME, version=TEXT, to=TEXT, result=TEXT, rule=TEXT, basis=TEXT, purpose=TEXT, classes=TEXT, record=TEXT, **{"from": TEXT})
SENT = obj(recipient=TEXT, region=TEXT, dataset=TEXT, classes=TEXT, basis=TEXT, rule=TEXT, purpose=TEXT, versions=COUNT, interrupted=COUNT,
           dataBytes=COUNT, sentBytes=COUNT, **{"from": TEXT})
CONTRADICTION = obj(at=TIME, dataset=TEXT, transfer=TEXT, what=TEXT, records=TEXT)


def gone(**identity):
    return obj(state={"const": "gone"}, **identity)


# Once, a list; with -w one thing a line, as it is now or as it went.
GET = either(doc(resources=rows(RESOURCE)), doc(resource=either(RESOURCE, gone(kind=TEXT, name=TEXT))),
             doc(replicas=rows(REPLICA)), doc(replica=either(REPLICA, gone(dataset=TEXT, site=TEXT))),
             doc(versions=rows(VERSION)), doc(committed=either(VERSION, gone(number=COUNT))),
             doc(evictions=rows(EVICTION), more=FLAG), doc(eviction=either(EVICTION, gone(dataset=TEXT, site=TEXT, receipt=TEXT))),
             doc(redactions=rows(REDACTION)), doc(redaction=either(REDACTION, gone(order=HEX))))

SCHEMAS = {
    "agent allow-recoveries": either(doc(site=TEXT, before=COUNT, count=COUNT), PROPOSED, TRIED),
    "agent list": doc(agents=rows(AGENT)),
    "agent revoke": either(doc(revoked=TEXT), TRIED),
    "apply": CHANGES,
    "approve": either(doc(done=TEXT), doc(applied=FLAG, missing=TEXT, policyRevision=COUNT), doc(order=HEX, missing=TEXT), TRIED),
    "audit consistency": VERDICT,
    "audit export": doc(directory=TEXT, site=TEXT, records=COUNT),
    "audit list": doc(records=rows(RECORD)),
    "audit logs": doc(logs=rows(obj(log=TEXT, origin=TEXT, entries=COUNT, cosignedBy=rows(TEXT), problem=TEXT, checkpoint=TEXT))),
    "audit report": either(
        doc(title=TEXT, finding=FINDING, notes=rows(TEXT), contradictions=rows(CONTRADICTION), sites=rows(obj(site=TEXT, how=TEXT)), moves=rows(MOVE),
            removals=rows(obj(at=TIME, site=TEXT, what=TEXT, receipt=TEXT, record=TEXT))),
        doc(title=TEXT, finding=FINDING, notes=rows(TEXT), contradictions=rows(CONTRADICTION), transfers=rows(SENT))),
    "audit verify": VERDICT,
    "ca list": doc(authorities=rows(obj(sha256=HEX, state=TEXT, expires=TIME, signsFrom=TIME))),
    "ca rotate": either(doc(signsFrom=TIME), TRIED),
    "console": doc(link=TEXT),
    "context list": doc(contexts=rows(obj(name=TEXT, directory=TEXT, coordinator=TEXT, trustDomain=TEXT, current=FLAG, problem=TEXT))),
    "context show": doc(context=TEXT, directory=TEXT, coordinator=TEXT, trustDomain=TEXT, credentials=TEXT, policyKeys=rows(TEXT),
                        policyRootSha256=HEX, **{"from": one_of("--context", "BAILIWICK_CONTEXT", "context use", "default")}),
    "context use": either(doc(context=TEXT, directory=TEXT), TRIED),
    "dataset checkout": either(doc(dataset=TEXT, number=COUNT, site=TEXT, directory=TEXT, entries=COUNT, redactedFiles=COUNT), TRIED),
    "dataset commit": either(
        doc(dataset=TEXT, number=COUNT, unchanged=FLAG, files=COUNT, entries=COUNT, logicalBytes=COUNT, newBytes=COUNT,
            skipped=rows(TEXT), skippedCount=COUNT, unsettled=rows(TEXT), unsettledCount=COUNT),
        doc(dryRun={"const": True}, dataset=TEXT, number=COUNT, unchanged=FLAG,
            entries=rows(obj(path=TEXT, change=one_of("added", "removed", "modified", "touched", "mode", "type", "meta"), oldSize=COUNT,
                             newSize=COUNT)),
            added=COUNT, changed=COUNT, removed=COUNT, filesToRead=COUNT, bytesToRead=COUNT,
            skipped=rows(TEXT), skippedCount=COUNT, unsettled=rows(TEXT), unsettledCount=COUNT)),
    "dataset diff": doc(entries=rows(obj(path=TEXT, change=one_of("added", "removed", "modified", "mode", "type", "meta"), oldSize=COUNT,
                                         newSize=COUNT))),
    "dataset hold": either(doc(hold=HEX, dataset=TEXT, number=COUNT, site=TEXT), TRIED),
    "dataset holds": doc(holds=rows(HOLD)),
    "dataset list": doc(datasets=rows(DATASET)),
    "dataset redact": doc(dataset=TEXT, files=COUNT, contents=COUNT, chunks=COUNT, bytes=COUNT, sharedChunks=COUNT, copies=COUNT, dryRun=FLAG,
                          orders=rows(obj(order=HEX, missing=TEXT))),
    "dataset release": either(doc(dataset=TEXT, released=COUNT), PROPOSED, TRIED),
    "dataset rollback": either(doc(dataset=TEXT, number=COUNT, sites=rows(TEXT), offline=rows(TEXT)), TRIED),
    "dataset verify": doc(dataset=TEXT, sites=rows(obj(site=TEXT, versions=COUNT, chunks=COUNT, bytes=COUNT, redactedChunks=COUNT,
                                                       givenUpChunks=COUNT,
                                                       problemCount=COUNT, problems=rows(TEXT)))),
    "dataset versions": doc(versions=rows(VERSION)),
    "delete": CHANGES,
    "describe": doc(resource=RESOURCE),
    "dev status": doc(directory=TEXT, processes=rows(obj(name=TEXT, running=FLAG, pid=COUNT, address=TEXT, log=TEXT))),
    "diff": doc(differences=rows(obj(kind=TEXT, name=TEXT, change=one_of("created", "changed", "deleted"), diff=TEXT))),
    "doctor": doc(ok=FLAG, failed=COUNT, warnings=COUNT, checks=rows(CHECK)),
    "events": either(doc(events=rows(EVENT)), doc(event=EVENT)),
    "eviction list": doc(evictions=rows(EVICTION), more=FLAG),
    "eviction show": doc(verified={"const": True}, eviction=RECEIPT),
    "eviction verify": doc(verified={"const": True}, eviction=RECEIPT),
    "get": GET,
    "login": either(doc(person=TEXT, context=TEXT), TRIED),
    "login-token": either(doc(person=TEXT, login=TEXT), PROPOSED, TRIED),
    "policy approve": either(doc(applied=FLAG, missing=TEXT, policyRevision=COUNT), TRIED),
    "policy can-i": doc(permitted=FLAG, reason=TEXT, rule=TEXT, sentence=TEXT, obligations=TEXT, remedy=TEXT, policyRevision=COUNT),
    "policy check": doc(errors=COUNT, warnings=COUNT, findings=rows(LINT)),
    "policy delegate": either(LAW, TRIED),
    "policy diff": doc(("impact",), decisions=rows(DECISION), impact=IMPACT),
    "policy explain": doc(dataset=TEXT, to=TEXT, permitted=FLAG, policyRevision=COUNT, actions=rows(EXPLAINED), **{"from": TEXT}),
    "policy history": doc(policies=rows(obj(revision=COUNT, sha256=HEX, by=TEXT, summary=TEXT, signedKeyIds=rows(HEX), issuedAt=TIME))),
    "policy keygen": either(doc(file=TEXT, publicKey=HEX, policyRootSha256=HEX), TRIED),
    "policy pending": doc(("impact",), id=HEX, by=TEXT, policyRevision=COUNT, missing=TEXT, outdated=FLAG, signedKeyIds=rows(HEX), changes=TEXT, impact=IMPACT),
    "policy reach": doc(reaches=FLAG, beginsThere=FLAG, path=rows(STEP), cut=rows(CUT), sites=COUNT, siteClasses=COUNT, sitesInRegion=COUNT,
                        relabelRuled=FLAG),
    "policy refresh": either(LAW, TRIED),
    "policy reject": either(doc(dropped=HEX), TRIED),
    "policy rollback": CHANGES,
    "policy rotate": either(LAW, TRIED),
    "policy show": doc(revision=COUNT, sha256=HEX, issuedAt=TIME, rootKeys=COUNT, threshold=COUNT, maxAgeSeconds=COUNT,
                       timestampLifeSeconds=COUNT, classifiers=COUNT, trust=rows(TEXT), resources=rows(RESOURCE)),
    "policy sign": either(doc(file=TEXT, signaturesAdded=COUNT), TRIED),
    "policy test": doc(tests=COUNT, failed=COUNT, rules=COUNT, rulesWithoutCase=COUNT, policies=rows(SUITE)),
    "proposals": doc(proposals=rows(obj(id=TEXT, since=TIME, by=TEXT, what=TEXT))),
    "redaction approve": either(doc(order=HEX, missing=TEXT), TRIED),
    "redaction list": doc(redactions=rows(REDACTION)),
    "redaction show": doc(redaction=REDACTION),
    "redaction verify": doc(order=HEX, verified=FLAG, signedKeyIds=rows(HEX), signaturesNeeded=COUNT, sites=rows(obj(site=TEXT, verified=FLAG, verdict=TEXT))),
    "site approve": either(doc(approved=rows(TEXT), pending=TEXT), TRIED),
    "site join-token": either(doc(site=TEXT, join=TEXT, coordinator=TEXT, token=TEXT, caSha256=HEX, policyRootSha256=HEX), TRIED),
    "status": doc(trustDomain=TEXT, build=TEXT, policyRevision=COUNT, policyExpires=TIME, sites=rows(SITE_STATE), datasets=rows(DATASET_STATE)),
    "transfer list": doc(transfers=rows(TRANSFER)),
    "transfer watch": doc(transfer=TRANSFER),
    "version": doc(build=TEXT),
    "wait dataset": doc(dataset=TEXT, site=TEXT, number=COUNT),
    "wait policy": doc(policyRevision=COUNT, sites=rows(TEXT)),
    "wait site": doc(site=TEXT, state=one_of("connected", "approved")),
    "whoami": doc(identity=TEXT, roles=rows(one_of("viewer", "operator", "policy-admin", "auditor")), bound=FLAG, certificateExpires=TIME),
    "why": doc(satisfied=FLAG, code=TEXT, sentence=TEXT, rule=TEXT, number=COUNT, lagSeconds=COUNT, rpoSeconds=SECONDS, rpoBreached=FLAG),
    "withdraw": either(doc(withdrawn=TEXT), TRIED),
}

# Of the services' own commands: those that have -o or --json.
SERVICES = {
    "bailiwick-agent certificate": doc(identity=TEXT, notBefore=TIME, notAfter=TIME, renewAt=TIME, enrolmentKey=HEX, connected=FLAG),
    "bailiwick-agent doctor": doc(ok=FLAG, failed=COUNT, warnings=COUNT, checks=rows(CHECK)),
    "bailiwick-agent key list": doc(keys=rows(obj(id=HEX, created=TIME, datasets=COUNT, usable=FLAG))),
    "bailiwick-agent status": doc(site=TEXT, written=TIME, connected=FLAG, onItsOwn=FLAG, awaySince=TIME, policyRevision=COUNT,
                                  policyCalledCurrent=TIME, stale=TEXT, coordinator=TEXT, endpoint=TEXT, replicasProblem=TEXT,
                                  standing=rows(obj(dataset=TEXT, site=TEXT, until=TIME, running=FLAG, arrived=COUNT, problem=TEXT))),
    "bailiwick-coordinator doctor": doc(ok=FLAG, failed=COUNT, warnings=COUNT, checks=rows(CHECK)),
}

# What prints something else, or nothing, whatever -o says.
NO_JSON = {
    "audit prove": "a proof, in its own format",
    "audit trust": "a trust file, in its own format",
    "completion": "a script of a shell",
    "help": "text",
    "dev down": "says nothing, but what it would do",
    "dev kill": "says nothing",
    "dev start": "says nothing",
    "dev stop": "says nothing",
    "dev up": "tells its steps as it goes",
}
