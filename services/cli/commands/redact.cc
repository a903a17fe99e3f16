// dataset redact, redaction ..., get redactions: contents of files that go from every version at every site.
#include <algorithm>
#include <iostream>
#include <set>

#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "common/base/status.h"
#include "common/base/units.h"
#include "common/os/random.h"
#include "common/rpc/codec.h"
#include "common/rpc/receipt.h"
#include "common/rpc/redaction.h"
#include "services/cli/commands/command.h"
#include "services/cli/commands/dry_run.h"
#include "services/cli/commands/listing.h"
#include "services/cli/commands/progress.h"
#include "services/cli/commands/views.h"
#include "services/cli/commands/yes_flag.h"
#include "services/cli/core/change.h"

namespace bailiwick::cli {
namespace {

constexpr absl::Duration kSearch = absl::Hours(24);  // reads the manifests of every version

struct RedactFlags {
  std::string dataset, reason;
  std::vector<std::string> paths;
  bool override_locks = false, copies = false, yes = false;
};

struct Found {
  std::set<Digest> contents, chunks;
  uint64_t files = 0, bytes = 0, shared = 0, copies = 0;
  std::vector<std::string> copy_paths;
  std::vector<std::string> sites;
};

absl::Status Collect(const google::protobuf::RepeatedPtrField<std::string>& from, std::set<Digest>* to) {
  for (const std::string& bytes : from) {
    BW_ASSIGN_OR_RETURN(Digest digest, Digest::From(Digest::kSha256, bytes));
    to->insert(digest);
  }
  return absl::OkStatus();
}

absl::Status AskSite(Admin& admin, const RedactFlags& flags, const control::v1::DatasetStatus& dataset,
                     const std::string& site, Found* found) {
  BW_ASSIGN_OR_RETURN(SiteAgent agent, AgentOf(admin, site));
  agent::v1::FindContentRequest request;
  request.set_dataset(flags.dataset);
  request.set_dataset_id(dataset.dataset_id());
  for (const std::string& path : flags.paths) request.add_paths(path);
  auto call = Admin::Call(kSearch);
  auto stream = agent->FindContent(call.get(), request);
  agent::v1::FoundContent part;
  bool whole = false;
  Progress progress(absl::StrCat("searching ", flags.dataset, " at ", site), "manifests");
  while (stream->Read(&part)) {
    if (part.to_search() != 0) progress.Update(part.searched(), part.to_search());
    BW_RETURN_IF_ERROR(Collect(part.contents(), &found->contents));
    BW_RETURN_IF_ERROR(Collect(part.chunks(), &found->chunks));
    if (!part.last()) continue;
    whole = true;
    found->files = std::max(found->files, part.files());
    found->bytes = std::max(found->bytes, part.bytes());
    found->shared = std::max(found->shared, part.shared());
    found->copies = std::max(found->copies, part.copies());
    if (found->copy_paths.empty()) found->copy_paths.assign(part.copy_paths().begin(), part.copy_paths().end());
  }
  absl::Status status = agent.Check(stream->Finish());
  if (status.ok() && !whole)
    status = absl::InternalError(absl::StrCat("site ", site, " ended the answer before its end"));
  if (status.ok()) found->sites.push_back(site);
  return status;
}

// The home knows its versions; a site that keeps others as well is asked too, so that none is forgotten.
absl::StatusOr<Found> FindAll(Admin& admin, const RedactFlags& flags) {
  BW_ASSIGN_OR_RETURN(control::v1::DatasetStatus dataset, FindDataset(admin, flags.dataset));
  BW_ASSIGN_OR_RETURN(auto replicas, Replicas(admin, flags.dataset));
  std::set<uint64_t> covered;
  for (const auto& replica : replicas) {
    if (replica.site() == dataset.home_site()) covered.insert(replica.versions().begin(), replica.versions().end());
  }
  Found found;
  absl::Status at_home = AskSite(admin, flags, dataset, dataset.home_site(), &found);
  if (!at_home.ok() && !absl::IsNotFound(at_home)) return at_home;
  for (const auto& replica : replicas) {
    const bool more = std::any_of(replica.versions().begin(), replica.versions().end(),
                                  [&](uint64_t version) { return covered.count(version) == 0; });
    if (replica.site() == dataset.home_site() || !more) continue;
    absl::Status asked = AskSite(admin, flags, dataset, replica.site(), &found);
    if (!asked.ok() && !absl::IsNotFound(asked))
      return Annotate(asked, "that site keeps versions which the home does not");
    covered.insert(replica.versions().begin(), replica.versions().end());
  }
  if (found.contents.empty()) return at_home.ok() ? absl::NotFoundError("nothing to redact was found") : at_home;
  return found;
}

// As many orders as it takes: each holds a bounded number of digests.
std::vector<rpc::RedactionOrder> MakeOrders(const Found& found, const rpc::RedactionOrder& base) {
  std::vector<rpc::RedactionOrder> orders;
  auto content = found.contents.begin();
  auto chunk = found.chunks.begin();
  while (content != found.contents.end() || chunk != found.chunks.end()) {
    rpc::RedactionOrder order = base;
    order.order_id = os::Random::System()->Bytes(16);
    for (; content != found.contents.end() && order.contents.size() < rpc::kMaxRedactedContents; ++content) {
      order.contents.push_back(*content);
    }
    for (; chunk != found.chunks.end() && order.chunks.size() < rpc::kMaxRedactedChunks; ++chunk) {
      order.chunks.push_back(*chunk);
    }
    orders.push_back(std::move(order));
  }
  return orders;
}

// The coordinator checks the order, which nobody has signed: it could not be given.
absl::Status TryOrder(Admin& admin, const rpc::RedactionOrder& order) {
  control::v1::DryRunRequest act;
  rpc::ToProto(crypto::Envelope{std::string(crypto::kRedactionType), rpc::EncodeRedaction(order), {}},
               act.mutable_redact()->mutable_order());
  return admin.Try(act).status();
}

absl::StatusOr<std::string> Submit(Admin& admin, const crypto::Envelope& envelope) {
  control::v1::RedactRequest request;
  rpc::ToProto(envelope, request.mutable_order());
  control::v1::RedactResponse response;
  BW_RETURN_IF_ERROR(admin.Check(admin.control().Redact(Admin::Call().get(), request, &response)));
  return response.missing();
}

// Keys of the context that are in the root and have not signed yet.
absl::StatusOr<int> AddSignatures(Admin& admin, const policy::World& world, crypto::Envelope* envelope) {
  BW_ASSIGN_OR_RETURN(auto keys, PolicyKeys(admin.context()));
  int added = 0;
  for (const auto& key : keys) {
    const auto& root = world.root_keys;
    if (std::find(root.begin(), root.end(), key.public_key()) == root.end()) continue;
    if (!crypto::ValidSigners(*envelope, crypto::kRedactionType, {key.public_key()}).empty()) continue;
    crypto::AddSignature(*envelope, key);
    ++added;
  }
  if (added == 0) {
    return absl::FailedPreconditionError(
        "none of the context's policyKeys can sign this: they are not in the policy root, or have signed already");
  }
  return added;
}

absl::Status Redact(const Globals& globals, const RedactFlags& flags, bool dry_run) {
  BW_ASSIGN_OR_RETURN(auto admin, Connect(globals));
  BW_ASSIGN_OR_RETURN(control::v1::DatasetStatus dataset, FindDataset(*admin, flags.dataset));
  BW_ASSIGN_OR_RETURN(config::Bundle bundle, admin->ReadBundle());
  BW_ASSIGN_OR_RETURN(Found found, FindAll(*admin, flags));
  if (found.copies != 0 && !flags.copies) {
    std::vector<std::string> paths;
    for (const std::string& path : found.copy_paths) paths.push_back(Printable(path));
    return absl::FailedPreconditionError(
        absl::StrCat(found.copies, found.copies == 1 ? " other path has" : " other paths have",
                     " the very same content and would be redacted as well; if that is meant: --copies (",
                     absl::StrJoin(paths, ", "), ")"));
  }
  const std::string what = absl::StrCat(found.files, found.files == 1 ? " file, " : " files, ", found.contents.size(),
                                        found.contents.size() == 1 ? " content, " : " contents, ", found.chunks.size(),
                                        " chunks (", FormatBytes(found.bytes), ") to erase");
  if (globals.table()) {
    std::cout << flags.dataset << ": " << what << "\n";
    if (found.shared != 0)
      std::cout
          << found.shared
          << " chunks are content of other files too: they stay, the redacted files cannot be read all the same\n";
  }
  std::vector<Json> json;
  rpc::RedactionOrder base;
  base.trust_domain = bundle.world.trust_domain;
  BW_ASSIGN_OR_RETURN(base.dataset_id, DatasetId::From(dataset.dataset_id()));
  base.dataset = flags.dataset;
  base.reason = flags.reason;
  base.issued_at = os::Clock::System()->Now();
  base.override_locks = flags.override_locks;
  const std::vector<rpc::RedactionOrder> orders = MakeOrders(found, base);
  absl::Status waits_already;
  if (dry_run) {
    for (const rpc::RedactionOrder& order : orders) {
      BW_RETURN_IF_ERROR(TryOrder(*admin, order));
      crypto::Envelope envelope{std::string(crypto::kRedactionType), rpc::EncodeRedaction(order), {}};
      BW_RETURN_IF_ERROR(AddSignatures(*admin, bundle.world, &envelope).status());
      const std::string missing = rpc::MissingSignatures(envelope, bundle.world);
      if (globals.table() && !missing.empty()) std::cout << "not at once: " << missing << "\n";
    }
    if (globals.table()) std::cout << "dry run: nothing was changed\n";
  } else {
    BW_RETURN_IF_ERROR(
        Confirm(globals, flags.yes, "Erase this from every version at every site, for good?", "not redacted"));
    for (const rpc::RedactionOrder& order : orders) {
      crypto::Envelope envelope{std::string(crypto::kRedactionType), rpc::EncodeRedaction(order), {}};
      BW_RETURN_IF_ERROR(AddSignatures(*admin, bundle.world, &envelope).status());
      auto submitted = Submit(*admin, envelope);
      if (absl::IsAlreadyExists(submitted.status())) {  // the others are given all the same
        waits_already = submitted.status();
        continue;
      }
      BW_ASSIGN_OR_RETURN(const std::string missing, std::move(submitted));
      const std::string id = absl::BytesToHexString(order.order_id);
      json.push_back(Object({{"order", Text(id)}, {"missing", Text(missing)}}));
      if (!globals.table()) continue;
      std::cout << "order " << id
                << (missing.empty() ? " is given; see: bailiwick redaction show " + id
                                    : " waits: " + missing + "; the others run: bailiwick redaction approve " + id)
                << "\n";
    }
  }
  if (!globals.table()) {
    PrintJson(globals.format(), {{"dataset", Text(flags.dataset)},
                                 {"files", Number(found.files)},
                                 {"contents", Number(found.contents.size())},
                                 {"chunks", Number(found.chunks.size())},
                                 {"bytes", Number(found.bytes)},
                                 {"sharedChunks", Number(found.shared)},
                                 {"copies", Number(found.copies)},
                                 {"dryRun", Bool(dry_run)},
                                 {"orders", List(std::move(json))}});
  }
  return waits_already;
}

absl::StatusOr<std::vector<control::v1::Redaction>> Ask(Admin& admin, const std::string& dataset,
                                                        const std::string& id = "") {
  control::v1::ListRedactionsRequest request;
  request.set_dataset(dataset);
  request.set_order_id(id);
  control::v1::ListRedactionsResponse response;
  BW_RETURN_IF_ERROR(admin.Check(admin.control().ListRedactions(Admin::Call().get(), request, &response)));
  return std::vector<control::v1::Redaction>(response.redactions().begin(), response.redactions().end());
}

Json JsonOf(const control::v1::Redaction& r) {
  std::vector<Json> sites;
  for (const auto& site : r.sites()) {
    sites.push_back(Object({{"site", Text(site.site())},
                            {"state", Text(site.state())},
                            {"reason", Text(site.reason())},
                            {"since", Text(TimeText(site.since()))},
                            {"receipt", Text(site.receipt_id())}}));
  }
  return Object({{"order", Text(r.order_id())},
                 {"dataset", Text(r.dataset())},
                 {"state", Text(r.state())},
                 {"reason", Text(r.reason())},
                 {"by", Text(r.by())},
                 {"issuedAt", Text(TimeText(r.issued_at()))},
                 {"contents", Number(r.contents())},
                 {"chunks", Number(r.chunks())},
                 {"overrideLocks", Bool(r.override_locks())},
                 {"missing", Text(r.missing())},
                 {"sites", List(std::move(sites))}});
}

absl::Status Show(const Globals& globals, const std::string& id) {
  BW_ASSIGN_OR_RETURN(auto admin, Connect(globals));
  BW_ASSIGN_OR_RETURN(auto redactions, Ask(*admin, "", id));
  const control::v1::Redaction& r = redactions.front();
  if (!globals.table()) {
    PrintJson(globals.format(), {{"redaction", JsonOf(r)}});
    return absl::OkStatus();
  }
  std::cout << "Order:    " << r.order_id() << "\nDataset:  " << r.dataset() << "\nState:    " << r.state()
            << (r.missing().empty() ? "" : ", " + r.missing()) << "\nReason:   " << r.reason()
            << "\nBy:       " << r.by() << ", " << TimeText(r.issued_at()) << "\nErases:   " << r.chunks()
            << " chunks of " << r.contents() << " contents"
            << (r.override_locks() ? ", from held versions where the policy lets it" : "") << "\n";
  Rows rows;
  for (const auto& site : r.sites()) {
    rows.push_back({site.site(), site.state(), TimeText(site.since()),
                    site.receipt_id().empty() ? "-" : site.receipt_id(), site.reason()});
  }
  PrintTable({"SITE", "STATE", "SINCE", "RECEIPT", "REASON"}, rows);
  return absl::OkStatus();
}

// The order by the policy root, each receipt by the key that the policy pins: exit code 1 when one is not what it
// should be.
absl::StatusOr<int> Verify(const Globals& globals, const std::string& id) {
  BW_ASSIGN_OR_RETURN(auto admin, Connect(globals));
  BW_ASSIGN_OR_RETURN(auto redactions, Ask(*admin, "", id));
  BW_ASSIGN_OR_RETURN(config::Bundle bundle, admin->ReadBundle());
  const crypto::Envelope envelope = rpc::FromProto(redactions.front().order());
  if (const std::string missing = rpc::MissingSignatures(envelope, bundle.world); !missing.empty()) {
    return absl::FailedPreconditionError(absl::StrCat("the order waits: ", missing));
  }
  BW_ASSIGN_OR_RETURN(rpc::RedactionOrder order, rpc::OpenRedaction(envelope, bundle.world));
  if (absl::BytesToHexString(order.order_id) != id) {
    return absl::PermissionDeniedError("the coordinator showed another order than the one asked for");
  }
  std::vector<std::string> signers;
  for (const std::string& key : crypto::ValidSigners(envelope, crypto::kRedactionType, bundle.world.root_keys)) {
    signers.push_back(std::string(absl::BytesToHexString(crypto::KeyId(key))));
  }
  if (globals.table()) {
    std::cout << "order: signed by " << signers.size() << " of " << bundle.world.root_keys.size()
              << " keys of the policy root, " << bundle.world.root_threshold << " needed; by keys with id "
              << absl::StrJoin(signers, ", ") << "\n";
  }
  bool good = true;
  std::vector<Json> json;
  for (const auto& site : redactions.front().sites()) {
    absl::Status status;
    if (site.has_receipt()) {
      auto receipt = rpc::OpenReceipt(rpc::FromProto(site.receipt()), bundle.world);
      status = receipt.status();
      if (receipt.ok() && (receipt->order_id != order.order_id || receipt->site != site.site())) {
        status = absl::PermissionDeniedError("the receipt is of another order or site");
      }
      good = good && status.ok();
    }
    const std::string verdict = !status.ok()         ? std::string(status.message())
                                : site.has_receipt() ? "receipt verified"
                                                     : absl::StrCat("no receipt: ", site.state());
    json.push_back(Object({{"site", Text(site.site())},
                           {"verified", Bool(site.has_receipt() && status.ok())},
                           {"verdict", Text(verdict)}}));
    if (globals.table()) std::cout << site.site() << ": " << verdict << "\n";
  }
  if (!globals.table()) {
    PrintJson(globals.format(), {{"order", Text(id)},
                                 {"verified", Bool(good)},
                                 {"signedKeyIds", Texts(signers)},
                                 {"signaturesNeeded", Number(bundle.world.root_threshold)},
                                 {"sites", List(std::move(json))}});
  }
  return good ? 0 : 1;
}

// Order and paths go together: nothing else is erased by it.
absl::Status CheckWithin(Admin& admin, const rpc::RedactionOrder& order, const std::vector<std::string>& paths) {
  RedactFlags flags;
  flags.dataset = order.dataset;
  flags.paths = paths;
  BW_ASSIGN_OR_RETURN(const Found found, FindAll(admin, flags));
  size_t beyond = 0;
  for (const Digest& content : order.contents) beyond += found.contents.count(content) == 0;
  for (const Digest& chunk : order.chunks) beyond += found.chunks.count(chunk) == 0;
  if (beyond == 0) return absl::OkStatus();
  return absl::FailedPreconditionError(absl::StrCat("not signed: of what the order erases ", beyond,
                                                    " contents and chunks are in none of the paths given"));
}

}  // namespace

absl::Status ApproveRedaction(const Globals& globals, const std::string& id, const std::vector<std::string>& paths,
                              bool yes, bool dry_run) {
  BW_ASSIGN_OR_RETURN(auto admin, Connect(globals));
  BW_ASSIGN_OR_RETURN(auto redactions, Ask(*admin, "", id));
  crypto::Envelope envelope = rpc::FromProto(redactions.front().order());
  BW_ASSIGN_OR_RETURN(rpc::RedactionOrder order,
                      rpc::ReadRedaction(envelope));  // what is signed, not what is said of it
  BW_ASSIGN_OR_RETURN(config::Bundle bundle, admin->ReadBundle());
  if (absl::BytesToHexString(order.order_id) != id || order.trust_domain != bundle.world.trust_domain) {
    return absl::PermissionDeniedError("the coordinator showed another order than the one asked for");
  }
  if (globals.table()) {
    std::cout << "redaction of " << order.chunks.size() << " chunks of " << order.contents.size() << " contents of "
              << order.dataset << (order.override_locks ? ", also from held versions" : "") << ": "
              << FormatMessage(order.reason) << "\n";
  }
  if (!paths.empty()) {
    BW_RETURN_IF_ERROR(CheckWithin(*admin, order, paths));
    if (globals.table()) std::cout << "all that it erases is content of the paths given\n";
  }
  if (dry_run) {
    BW_RETURN_IF_ERROR(TryOrder(*admin, order));
    return SayTried(globals, {"this context's signature on the order"}, "");
  }
  BW_RETURN_IF_ERROR(Confirm(globals, yes, "Sign this order?", "not signed"));
  // Signed by enough, and waiting all the same: the law asks for fewer than it did, and what it needs is a yes.
  const bool lacks = !rpc::MissingSignatures(envelope, bundle.world).empty();
  if (lacks) BW_RETURN_IF_ERROR(AddSignatures(*admin, bundle.world, &envelope).status());
  BW_ASSIGN_OR_RETURN(std::string missing, Submit(*admin, envelope));
  if (!globals.table()) {
    PrintJson(globals.format(), {{"order", Text(id)}, {"missing", Text(missing)}});
  } else {
    std::cout << (lacks ? "signed; " : "approved; ") << (missing.empty() ? "the order is given" : missing) << "\n";
  }
  return absl::OkStatus();
}

absl::StatusOr<Fields> RedactionsView(Admin& admin, const std::string& dataset) {
  BW_ASSIGN_OR_RETURN(const auto redactions, Ask(admin, dataset));
  std::vector<Json> json;
  for (const auto& r : redactions) json.push_back(JsonOf(r));
  return Fields{{"redactions", List(std::move(json))}};
}

absl::Status GetRedactions(const Globals& globals, const std::string& dataset, bool watch) {
  BW_ASSIGN_OR_RETURN(auto admin, Connect(globals));
  return ShowListing(globals, watch, [&]() -> absl::StatusOr<Listing> {
    BW_ASSIGN_OR_RETURN(auto redactions, Ask(*admin, dataset));
    Listing listing{
        "redaction", "redactions", {"ORDER", "DATASET", "STATE", "SITES", "CHUNKS", "ISSUED", "REASON"}, 1, {}};
    for (const auto& r : redactions) {
      int done = 0;
      for (const auto& site : r.sites()) done += site.state() == "done";
      listing.items.push_back(
          {.identity = {{"order", Text(r.order_id())}},
           .row = {r.order_id(), r.dataset(), r.state(), absl::StrCat(done, "/", r.sites_size()),
                   absl::StrCat(r.chunks()), TimeText(r.issued_at()), r.missing().empty() ? r.reason() : r.missing()},
           .json = JsonOf(r),
           .essence = "",
           .name = ""});
    }
    return listing;
  });
}

void RegisterRedactions(CLI::App& app, Globals& globals) {
  {
    auto* c = app.get_subcommand("dataset")->add_subcommand(
        "redact", "erase what files hold from every version at every site; their names and digests stay");
    auto flags = std::make_shared<RedactFlags>();
    c->add_option("NAME", flags->dataset, "dataset")->type_name("DATASET")->required();
    c->add_option("PATH", flags->paths, "file, or directory for all below it, as in the dataset")->required();
    c->add_option("--reason", flags->reason, "for the audit; everybody sees it, so name no file and no person")
        ->required();
    c->add_flag("--override-locks", flags->override_locks,
                "from held versions too, where a policy says redaction.overridesLocks");
    c->add_flag("--copies", flags->copies, "also other paths that have the very same content");
    auto dry_run = DryRunFlag(c);
    c->add_flag("--yes", flags->yes, "do not ask");
    c->footer(
        "Signed with the context's policyKeys; a coordinator cannot order it. It cannot be taken back.\nExample:\n"
        "  bailiwick dataset redact charts patients/4711.json --reason 'erasure request 12'");
    OnRun(c, globals, [&globals, flags, dry_run] { return Redact(globals, *flags, *dry_run); });
  }
  auto* redaction = app.add_subcommand("redaction", "orders to redact, and what became of them");
  redaction->require_subcommand(1);
  redaction->footer("Example:\n  bailiwick redaction list");
  {
    auto* c = redaction->add_subcommand("list", "orders, newest first");
    auto dataset = std::make_shared<std::string>();
    c->add_option("--dataset", *dataset, "of this dataset only")->type_name("DATASET");
    c->footer("Example:\n  bailiwick redaction list --dataset charts");
    OnRun(c, globals, [&globals, dataset] { return GetRedactions(globals, *dataset, false); });
  }
  {
    auto* c = redaction->add_subcommand("show", "one order, and where it is carried out");
    auto id = std::make_shared<std::string>();
    c->add_option("ORDER", *id, "from: bailiwick redaction list")->required();
    c->footer("Example:\n  bailiwick redaction show 5f2b9c0d1e3a4b5c6d7e8f9001122334");
    OnRun(c, globals, [&globals, id] { return Show(globals, *id); });
  }
  {
    auto* c = redaction->add_subcommand(
        "verify", "check who of the policy root signed an order, and its receipts; exit code 1 when one is wrong");
    auto id = std::make_shared<std::string>();
    c->add_option("ORDER", *id, "from: bailiwick redaction list")->required();
    c->footer("Example:\n  bailiwick redaction verify 5f2b9c0d1e3a4b5c6d7e8f9001122334");
    OnRunCode(c, globals, [&globals, id] { return Verify(globals, *id); });
  }
  {
    auto* c = redaction->add_subcommand("approve", "add this context's signature to an order that waits for it");
    auto id = std::make_shared<std::string>();
    auto paths = std::make_shared<std::vector<std::string>>();
    auto yes = YesFlag(c);
    c->add_option("ORDER", *id, "from: bailiwick redaction list")->required();
    c->add_option(
        "--path", *paths,
        "file or directory that it is said to be about: not signed if it erases anything else. An order names "
        "no files, so ask who gave it");
    auto dry_run = DryRunFlag(c);
    c->footer(
        "Drop one that should not be: bailiwick withdraw ORDER\nExample:\n"
        "  bailiwick redaction approve 5f2b9c0d1e3a4b5c6d7e8f9001122334 --path patients/4711.json");
    OnRun(c, globals,
          [&globals, id, paths, yes, dry_run] { return ApproveRedaction(globals, *id, *paths, *yes, *dry_run); });
  }
}

}  // namespace bailiwick::cli
