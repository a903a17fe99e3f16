// Writes the seeds of the targets, made by the real encoders: fuzz_seeds tests/fuzz/seeds. What is there of the same
// name is replaced; run it when a format has changed.
#include <filesystem>
#include <fstream>
#include <iostream>

#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "bailiwick/agent/v1/audit.pb.h"
#include "bailiwick/store/v1/store.pb.h"
#include "common/audit/note.h"
#include "common/audit/proof.h"
#include "common/audit/record.h"
#include "common/config/fleet_fixture.h"
#include "common/config/time_zones.h"
#include "common/config/world.h"
#include "common/crypto/digest.h"
#include "common/identity/certificates.h"
#include "common/rpc/codec.h"
#include "common/rpc/invitation.h"
#include "common/rpc/provenance.h"
#include "common/rpc/receipt.h"
#include "common/rpc/redaction.h"
#include "common/store/data_key.h"
#include "common/store/dataset_store.h"
#include "common/store/index_runs.h"
#include "common/store/key_files.h"
#include "common/store/manifest.h"
#include "common/store/pack.h"
#include "common/store/pack_seal.h"
#include "common/store/version.h"
#include "services/agent/home/scan_cache.h"
#include "services/agent/home/scan_cache_changes.h"
#include "services/agent/home/source_memory.h"
#include "services/agent/replica/slot_state.h"
#include "services/agent/transfer/frame.h"
#include "tests/fuzz/law.h"
#include "tests/fuzz/memory_files.h"

namespace bailiwick::fuzz {
namespace {

std::filesystem::path directory;

void Seed(const std::string& target, const std::string& name, std::string_view bytes) {
  std::filesystem::create_directories(directory / target);
  std::ofstream(directory / target / name, std::ios::binary) << bytes;
}

template <typename T>
std::string Raw(T value) {
  return std::string(reinterpret_cast<const char*>(&value), sizeof value);
}

const DatasetId kDataset = *DatasetId::From("0123456789abcdef");
const Digest kDigest = *Digest::From(Digest::kSha256, std::string(32, 'v'));

void Texts() {
  int n = 0;
  for (const char* text : {"spiffe://acme/region/eu/de/site/core/agent/a1", "spiffe://acme/admin/ada",
                           "spiffe://acme/coordinator", "32KiB", "1 MiB", "1h30m", "250ms", "2026-07-01T08:00:00+02:00",
                           "2026-07-01T06:00:00Z", "2026-07-01", "mon-wed,fri", "22:00-06:00", "Europe/Berlin"}) {
    Seed("text", absl::StrCat(n++), text);
  }
  Seed("line", "words", "file \"a\\b\"\n\x1b[31m\xff\xc3\xa9 \xe2\x80\xa8 end");
  Seed("patterns", "many",
       Chunked("a/b/c.txt") + Chunked("*.txt") + Chunked("!/a/**/c.*") + Chunked("[!a-z[:digit:]]?/") +
           Chunked("**/b/") + Chunked("# comment") + Chunked("\\#x\\ "));
  Seed("settings", "all",
       "# settings\nname: \"the box\"\ndataDir: /srv/x\nlisten: \"[::1]:7443\"\nevery: 1h30m\nlevel: debug\n");
  const std::string style =
      "# whom to believe\nlog LOG0\nlog LOG1\nwitness a WIT0\nwitness b WIT1 https://b.example\nwitness c WIT2\n";
  Seed("trust", "group", style + "group two any a b\ngroup all all two c\nquorum all\n");
  Seed("trust", "none", "log LOG0\nquorum none\n");
}

void Ways() {
  int n = 0;
  for (const char* address :
       {"core.example:7443", "[2001:db8::7]:7443", "[fe80::1%eth0]:1", "10.0.0.1:0", "[::]:7440"}) {
    Seed("address", absl::StrCat(n++),
         Chunked(address) + Chunked("http://proxy.example:3128/") +
             Chunked("plant.example, .line.example,*.x, 10.0.0.0/8,2001:db8::/33,*") + Chunked("robot:s3cr:et\n"));
  }
  Seed("context", "all",
       absl::StrCat("coordinator: \"[::1]:7440\"\ntrustDomain: acme.example\ncredentials: admin\npolicyKeys: [a.pem, "
                    "'/k/b.pem']\npolicyRootSha256: ",
                    std::string(64, 'a'),
                    "\nproxy: proxy.example:3128\nproxyCredentials: secret\nnoProxy: 10.0.0.0/8\n"));
  enroll::v1::JoinString join;
  join.set_join_address("[2001:db8::1]:7441");
  join.set_ca_sha256(std::string(32, 'c'));
  join.set_policy_root_sha256(std::string(32, 'p'));
  join.set_token("token");
  join.set_site("core");
  Seed("invitation", "text", std::string(1, '\0') + rpc::EncodeJoinString(join));
  Seed("invitation", "join", "\1" + join.SerializeAsString());
  Seed("invitation", "login", "\2" + join.SerializeAsString());
  Seed("http", "get", "GET /api/fleet?token=a%20b&c=+ HTTP/1.1\r\nHost: 127.0.0.1:1\r\nCookie: a=b; c=d\r\n\r\n");
  Seed("http", "post",
       "POST /a HTTP/1.1\r\nHost: x\r\nOrigin: http://x\r\nSec-Fetch-Site: same-origin\r\nContent-Length: "
       "5\r\n\r\nhello");
  Seed("http", "chunked",
       "POST /a HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n3;x=y\r\nabc\r\n0\r\nT: u\r\n\r\n");
  Seed("http", "old", "HEAD /metrics HTTP/1.0\r\n\r\n");
}

void Files() {
  store::ChunkLocation at{
      .pack = 7, .offset = 32 + 60, .stored_length = 5, .raw_length = 5, .checksum = store::PackChecksum("hello")};
  const Digest digest = crypto::Sha256("hello");
  const std::string record = store::EncodeRecordHeader(digest, at) + "hello";
  Seed("pack", "plain", "\1" + record + record);
  const std::string sidecar = store::EncodeSidecar(7, 32 + record.size(), {{digest, at}});
  Seed("pack", "sidecar", "\2" + sidecar.substr(0, sidecar.size() - 8));
  const store::DatasetCipher cipher(*crypto::SecretKey::From(std::string(32, 's')), DatasetId());
  std::string sealed = store::EncodeSealedHeader(DatasetId(), 7, std::string(16, 'n'));
  at.offset = sealed.size() + store::kRecordHeaderBytes;
  cipher.ForPack(7, std::string(16, 'n'))->AppendRecord(digest, at, "hello", &sealed);
  Seed("pack", "sealed", std::string(1, '\0') + sealed);
  Seed("pack", "sealed-sidecar", std::string(1, '\0') + cipher.SealSidecar(7, 999, {{digest, at}}, {}));

  MemoryFiles runs;
  if (auto writer = store::IndexRunWriter::Create(&runs, "run", store::IndexFilter::BytesFor(2)); writer.ok()) {
    (*writer)->Add({{digest, DatasetId()}, {at}}).IgnoreError();
    (*writer)->Finish().IgnoreError();
  }
  Seed("index_run", "run", std::string(1, '\0') + *runs.Find("run"));
  runs.Put("index/run-1", *runs.Find("run"));
  if (auto index = store::IndexRuns::Open(&runs, "index", 1 << 20); index.ok())
    (*index)->Drop(DatasetId()).IgnoreError();
  Seed("index_run", "list", "\1" + *runs.Find("index/RUNS"));
  std::string entries = "\2\3";
  for (char c : {'a', 'b', 'c'}) entries += std::string(Digest::kSize, c) + "\1\7\2";
  Seed("index_run", "changed", entries + "\7");

  MemoryFiles files;
  store::KeyFiles keys(&files, os::Random::System(), "keys");
  Seed("key_files", "text", std::string(1, '\0') + *keys.Export(keys.Generate(Now())->id));
  Seed("key_files", "pem", std::string(1, '\0') + Key().ToPem());
  Seed("key_files", "data", absl::StrCat("\1\1\1", std::string(32, 'i'), std::string(crypto::kWrappedKeySize, 'w')));

  std::string slot =
      agent::EncodeSlotState({.version = 7, .identity = digest, .manifest = kDigest, .style = {.writable = true}});
  Seed("slot_state", "whole", std::string(1, '\0') + slot);
  Seed("slot_state", "body", "\1" + slot.substr(0, slot.rfind("sha256 ")));

  const agent::SourceMemory source{.path = "/data/a", .link = true, .mounts = {"", "b", "c/d"}};
  agent::KeepSourceMemory(&files, "dataset", source).IgnoreError();
  Seed("source_memory", "link", *files.Find("dataset/source"));

  auto writer = *agent::ScanCacheWriter::Create(&files, "cache");
  for (const char* path : {"a", "a/b", "a/c", "m"})
    writer->Add({.path = path, .size = 3, .mtime_ns = 5, .inode = 9}).IgnoreError();
  writer->Finish(*Digest::From(1, std::string(32, 'r'))).IgnoreError();
  const std::string cache = *files.Find("cache");
  agent::ScanCacheChanges changes;
  changes.Set("a/b", agent::ScanRecord{.path = "a/b", .size = 4});
  changes.DropBelow("a/c");
  changes.Save(&files, "cache", *Digest::From(1, std::string(32, 'r')), *Digest::From(1, std::string(32, 'r')));
  const std::string changed = *files.Find("cache.changes");
  Seed("scan_cache", "whole", std::string(1, '\0') + Chunked(cache) + Chunked(changed));
  Seed("scan_cache", "parts",
       "\3" + Chunked(cache.substr(49 + 12, cache.size() - 49 - 24)) +
           Chunked(changed.substr(41 + 4 + 66, changed.size() - 41 - 4 - 66 - 36)));
}

void Manifests() {
  std::string nodes, walk;
  std::vector<std::string> all;
  store::ManifestBuilder builder([&](const Digest&, std::string_view encoded) {
    all.emplace_back(encoded);
    return absl::OkStatus();
  });
  for (int i = 0; i < 400; ++i) {
    store::Entry entry{
        .path = absl::StrCat("d", i / 50 + 10, "/f", i % 50 + 10), .mode = 0644, .mtime_ns = i, .size = 10};
    entry.chunks = {{kDigest, 10}};
    if (i == 3) entry = {.path = entry.path, .type = store::EntryType::kSymlink, .target = "elsewhere"};
    if (i == 4) entry.holes = {{10, 100}}, entry.size = 110, entry.owner = {1, 2};
    if (i == 5) entry.chunks.assign(100, {kDigest, 10}), entry.size = 1000;
    builder.Add(std::move(entry)).IgnoreError();
  }
  builder.Finish().IgnoreError();
  std::reverse(all.begin(), all.end());
  for (const std::string& node : all) {
    if (node.size() < 3000) Seed("manifest", absl::StrCat("node", node.size()), Chunked(node));
    nodes += Chunked(node);
  }
  Seed("manifest", "tree", nodes);
  store::Node small{.entries = {{.path = "a", .size = 10, .chunks = {{kDigest, 10}}},
                                {.path = "b", .size = 2000, .chunks = {{kDigest, 2000}}, .list_height = 1}}};
  store::Node list{.kind = store::NodeKind::kList, .height = 1, .references = {{kDigest, 1500}, {kDigest, 500}}};
  store::Node top{.kind = store::NodeKind::kInner, .height = 1, .inner = {{"a", kDigest, 2, 2010}}};
  const std::string three =
      Chunked(store::EncodeNode(top)) + Chunked(store::EncodeNode(small)) + Chunked(store::EncodeNode(list));
  Seed("manifest", "small", three);
  for (char step = 0; step < 16; ++step)
    walk += std::string(2, '\0') + "\1\1" + std::string("\4\1\2\6\6\10\2\2\2\12\12\1\5\2", 14);
  Seed("receive", "walk", "\2" + three + "\1" + walk);
}

void Messages() {
  transfer::v1::Frame frame;
  frame.mutable_want()->set_want_id(3);
  frame.mutable_want()->add_node_path(0);
  auto* span = frame.mutable_want()->add_spans();
  span->set_first(1);
  span->set_count(100);
  Seed("frame", "want", "\7" + frame.SerializeAsString());
  transfer::v1::Want want = frame.want();
  Seed("want", "children", want.SerializeAsString());
  want.Clear();
  want.set_fetch_root(true);
  Seed("want", "root", want.SerializeAsString());
  agent::DataFrame data(3);
  auto held = std::make_shared<std::string>("some bytes of a chunk");
  data.Add({.raw_length = 21, .bytes = *held, .buffer = held});
  data.AddAbsent();
  data.Add({.raw_length = 21, .bytes = *held, .buffer = held});
  grpc::Slice whole;
  data.Encode(true).DumpToSingleSlice(&whole).ok();
  Seed("frame", "data", "\7" + std::string(reinterpret_cast<const char*>(whole.begin()), whole.size()));
  const store::StoredChunk chunk = store::EncodeChunk(std::string(3000, 'x') + std::string(2000, 'y'));
  Seed("chunk", "zstd", "\1\1" + Raw(static_cast<uint16_t>(5000)) + chunk.bytes);
  Seed("chunk", "raw", std::string("\0\1\5\0hello", 9));

  store::VersionRecord version{.dataset_id = kDataset,
                               .dataset = "planner",
                               .home_site = "home",
                               .number = 7,
                               .parent = kDigest,
                               .manifest_root = kDigest,
                               .entries = 5,
                               .files = 4,
                               .committed_at = Now(),
                               .message = "hello"};
  Seed("version", "record", store::EncodeVersionRecord(version));
  policy::Grant grant{.grant_id = std::string(16, 'g'),
                      .transfer_id = "t1",
                      .dataset_id = kDataset,
                      .dataset = "planner",
                      .version = kDigest,
                      .manifest_root = kDigest,
                      .source = UriOf("home"),
                      .destination = UriOf("far"),
                      .source_region = "eu/home",
                      .destination_region = "eu/far",
                      .action = "transfer",
                      .purpose = "care",
                      .policy_revision = 9,
                      .policy_digest = std::string(32, 'd'),
                      .not_before = Now() - absl::Minutes(1),
                      .not_after = Now() + absl::Minutes(4)};
  Seed("grant", "coordinators", std::string(1, '\0') + rpc::EncodeGrant(grant));
  Seed("grant", "sources", "\1" + rpc::EncodeGrant(grant));
  grant.version = *Digest::From(1, std::string(32, 'v'));
  const rpc::HopStatement hop = rpc::NextHop({}, grant, TheWorld(), Now());
  const crypto::Envelope binding = rpc::SignBinding(UriOf("far"), std::string(32, 'c'), Key());
  Seed("statements", "hops", "\2" + Chunked(rpc::SignHop(hop, Key()).payload));
  Seed("statements", "binding", "\4" + binding.payload);
  Seed("statements", "storage",
       "\3" +
           rpc::SignStorage({.grant_id = "grant", .spiffe_id = UriOf("far"), .encrypted_volume = true}, Key()).payload);
  const rpc::ErasureReceipt receipt{.receipt_id = std::string(16, 'r'),
                                    .dataset_id = kDataset,
                                    .dataset = "planner",
                                    .site = "far",
                                    .agent = UriOf("far"),
                                    .versions = {{7, kDigest}},
                                    .bytes = 9,
                                    .everything = true,
                                    .cause = "unlawful",
                                    .fenced_at = Now(),
                                    .erased_at = Now(),
                                    .method = "overwritten",
                                    .chunks = 3};
  Seed("statements", "receipt", std::string(1, '\0') + rpc::EncodeReceipt(receipt));
  const rpc::RedactionOrder order{.order_id = std::string(16, 'o'),
                                  .trust_domain = "acme",
                                  .dataset_id = kDataset,
                                  .dataset = "planner",
                                  .contents = {kDigest},
                                  .chunks = {kDigest, kDigest},
                                  .reason = "asked for",
                                  .issued_at = Now()};
  Seed("statements", "redaction", "\1" + rpc::EncodeRedaction(order));
  transfer::v1::Hello hello;
  rpc::SetBindings({rpc::SignBinding(UriOf("far"), std::string(32, 'c'), Key('x'))}, &hello);
  rpc::ToProto(Signed(crypto::kGrantType, rpc::EncodeGrant(grant)), hello.mutable_grant());
  Seed("statements", "hello", "\5" + hello.SerializeAsString());
}

constexpr char kLaw[] = R"(---
apiVersion: bailiwick/v1
kind: SovereigntyPolicy
metadata: {name: law}
spec:
  sets: {near: {regions: [eu/de], expires: "2027-01-01"}}
  rules:
    - {id: stay, effect: permit, actions: [transfer, reside], to: {in: [eu]}, data: {matchLabels: {class: x}}, basis: residency}
    - {id: hours, effect: permit, actions: [reside, transit], from: {in: ["set:near"]}, purposes: [care],
       when: {notBefore: "2026-01-01T00:00:00Z", daily: [{days: mon-fri, hours: "08:00-18:00", tz: Europe/Berlin}]},
       obligations: [{maxRetention: 30d}, {maxHops: 2}, {encryptAtRest: {keyRegion: eu}}]}
    - {id: out, effect: forbid, actions: [transfer], to: {notIn: [eu]}}
  tests:
    - {name: stays, data: {class: x}, from: eu, to: eu/de, expect: permit}
    - {name: never, never: {data: {class: x}, reach: eu}}
---
apiVersion: bailiwick/v1
kind: Dataset
metadata: {name: planner, labels: {class: x}}
spec: {home: {site: factory, path: /srv/planner}, include: ["*.bin"], commit: {every: 5m, quiet: 10s}}
---
apiVersion: bailiwick/v1
kind: ReplicationPolicy
metadata: {name: everywhere}
spec: {select: {matchLabels: {class: x}}, to: [{region: eu}], rpo: 1h}
---
apiVersion: bailiwick/v1
kind: BandwidthPolicy
metadata: {name: nights}
spec:
  caps:
  - {site: factory, limit: 4MiB}
  - {from: eu, to: eu/de, limit: 50MiB, daily: [{days: mon-fri, hours: "08:00-18:00", tz: Europe/Berlin}]}
)";

int Law() {
  const std::string law = absl::StrCat(config::kFleet, kLaw);
  auto resources = config::ParseYaml(law, "law.yaml");
  if (!resources.ok()) {
    std::cerr << resources.status() << "\n";
    return 1;
  }
  Seed("yaml", "law", law);
  config::Catalog catalog;
  int n = 0;
  for (const auto& located : *resources) {
    catalog[{config::KindOf(located.resource), located.resource.metadata().name()}] = located.resource;
    Seed("yaml", absl::StrCat(n++), config::ToYaml(located.resource));
  }
  resource::v1::PolicyBundle bundle;
  bundle.set_format(1);
  bundle.set_revision(9);
  bundle.set_trust_domain("acme");
  bundle.mutable_issued_at()->set_seconds(absl::ToUnixSeconds(Now()));
  bundle.mutable_max_age()->set_seconds(86400);
  config::AddLaw(catalog, &bundle);
  config::TimeZones zones = config::CompileTimeZones(config::ZonesOf(catalog), Now());
  for (auto& [name, zone] : zones) zone.transitions.resize(1);
  config::AddTimeZones(zones, &bundle);
  auto* key = bundle.add_enrolment_keys();
  key->set_site("factory");
  key->set_agent("a1");
  key->set_ed25519(Key().public_key());
  bundle.add_grant_keys()->set_ed25519(Key().public_key());
  auto* classifier = bundle.add_classifiers();
  classifier->mutable_key()->set_ed25519(Key('c').public_key());
  classifier->add_datasets("tele*");
  Seed("bundle", "law", bundle.SerializeAsString());
  Seed("bundle", "root",
       config::EncodePolicyRoot({.keys = {Key().public_key(), Key('b').public_key()}, .threshold = 2, .number = 3}));
  Seed("bundle", "timestamp", config::SignTimestamp(TheWorld(), Now(), Key()).payload);
  resource::v1::Classification record;
  record.set_format(1);
  record.set_dataset_id(kDataset.str());
  record.set_dataset("telemetry");
  (*record.mutable_labels())["class"] = "a";
  record.set_revision(3);
  record.set_home_site("home");
  Seed("classification", "site", "\1" + record.SerializeAsString());
  record.clear_home_site();
  (*record.mutable_home_selector()->mutable_match_labels())["tier"] = "robot";
  Seed("classification", "family", std::string(1, '\0') + record.SerializeAsString());
  return 0;
}

void Certificates() {
  auto der = [](const std::string& pem) {
    const std::vector<std::string> lines = absl::StrSplit(pem, '\n');
    std::string body, out;
    for (const std::string& line : lines) absl::StrAppend(&body, line.substr(0, line.find('-')));
    absl::Base64Unescape(body, &out);
    return out;
  };
  auto ca = *identity::NewAuthority("acme", Now(), absl::Hours(1000));
  auto key = *identity::NewTlsKey();
  auto leaf =
      *identity::IssueCertificate(ca, key.csr_der, *identity::ParseSpiffeId(UriOf("home")), Now(), absl::Hours(24));
  Seed("certificate", "chain", "\2" + Chunked(der(leaf)) + Chunked(der(ca.certificate_pem)));
  Seed("certificate", "request", "\1" + key.csr_der);
  Seed("certificate", "pem", std::string(1, '\0') + leaf + ca.certificate_pem);
}

void Audit() {
  const std::string salt(audit::kSaltBytes, 's');
  const audit::Encoded record =
      audit::Encode({7, Now(), "grant-accepted", "planner \"x\"", "{\"n\":[1,{\"a\":null}]}"}, salt);
  const std::string line = record.line.substr(0, record.line.size() - 1);
  Seed("record", "whole", std::string(1, '\0') + line);
  Seed("record", "body", "\1" + line.substr(0, line.rfind(",\"salt\"")));
  Seed("record", "entry", std::string(1, '\0') + record.entry);
  Seed("record", "json", std::string(1, '\0') + " { \"a\" : [1, -2.5e+7, true, null, \"\\u00e9\\n\"], \"b\" : {} } ");
  Seed("mirror", "two", std::string("\0\12\0\0\0\0\0\0\0\0\0\0\1\0\0\12\12\0\0\0\0\0\0\0\0\0\0\1\0\0", 30));
  agent::v1::AuditReport report;
  report.add_proof(std::string(32, 'p'));
  report.set_first_root(std::string(32, 'r'));
  report.add_first_proof(std::string(32, 'q'));
  Seed("mirror", "proof", std::string("\0\2\0\0\0", 5) + Chunked(report.SerializeAsString()));
  const audit::Checkpoint checkpoint{.origin = "log", .size = 8, .root = kDigest};
  audit::Note note{.text = checkpoint.Text()};
  note.signatures = {audit::SignNote(note.text, "log", Key()), audit::Cosign(note.text, "wit0", Key('0'), Now())};
  Seed("note", "checkpoint", checkpoint.Text());
  Seed("note", "signed", note.Encode());
  Seed("note", "vkey", audit::NoteKey{"log", audit::NoteKey::Type::kLog, Key().public_key()}.ToVkey());
  const audit::RecordProof proof{
      .line = line, .sequence = 7, .hashes = {kDigest, kDigest, kDigest}, .checkpoint = note.Encode()};
  Seed("proof", "record", Raw(uint64_t{7}) + Raw(uint64_t{8}) + proof.Encode());
  Seed("proof", "hashes", Raw(uint64_t{5}) + Raw(uint64_t{8}) + std::string(96, 'h'));
  Seed("audit_log", "flip", std::string("\0\1\1\7\0", 5));
  Seed("audit_log", "cut", std::string("\0\1\xc8\7\0\2\1\5\0", 9));
  Seed("audit_log", "grow", std::string("\0\1\xff\7\0", 5) + std::string(31, 'x'));
  // A chain of an older build.
  std::string body =
      "{\"seq\":1,\"at\":\"2026-01-01T00:00:00Z\",\"kind\":\"a\",\"subject\":\"b\",\"detail\":{},\"prev\":\"" +
      std::string(64, '0') + "\"";
  const std::string hash = crypto::Sha256(absl::StrCat(absl::string_view("bailiwick-audit-v1\0", 19),
                                                       std::string(32, '\0'), body.substr(0, body.size() - 1), "\""))
                               .Hex();
  Seed("audit_log", "before", absl::StrCat("\1", std::string(32, '\0'), body, ",\"hash\":\"", hash, "\"}\n"));
}

}  // namespace
}  // namespace bailiwick::fuzz

int main(int argc, char** argv) {
  if (argc != 2) {
    std::cerr << "usage: fuzz_seeds DIRECTORY\n";
    return 2;
  }
  using namespace bailiwick::fuzz;
  directory = argv[1];
  Texts();
  Ways();
  Files();
  Manifests();
  Messages();
  Certificates();
  Audit();
  return Law();
}
