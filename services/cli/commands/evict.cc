// eviction ..., get evictions, dataset hold, holds, release: what may no longer lie where it is, and what must stay.
#include <algorithm>
#include <iostream>

#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "common/base/status.h"
#include "common/base/units.h"
#include "common/base/utc_text.h"
#include "common/rpc/codec.h"
#include "common/rpc/receipt.h"
#include "services/cli/commands/command.h"
#include "services/cli/commands/dry_run.h"
#include "services/cli/commands/listing.h"
#include "services/cli/commands/views.h"
#include "services/cli/commands/yes_flag.h"

namespace bailiwick::cli {
namespace {

constexpr uint32_t kMostAtOnce = 1000;  // erasures between two looks that a watch tells of

std::string Numbers(const google::protobuf::RepeatedField<uint64_t>& versions) {
  return versions.empty() ? "-" : absl::StrJoin(versions, ",");
}

Json JsonOf(const control::v1::Eviction& e) {
  std::vector<Json> versions;
  for (uint64_t v : e.versions()) versions.push_back(Number(v));
  return Object({{"dataset", Text(e.dataset())},
                 {"site", Text(e.site())},
                 {"state", Text(e.state())},
                 {"versions", List(std::move(versions))},
                 {"rule", Text(e.rule())},
                 {"reason", Text(e.reason())},
                 {"since", Text(TimeText(e.since()))},
                 {"bytes", Number(e.bytes())},
                 {"cause", Text(e.cause())},
                 {"receipt", Text(e.receipt_id())}});
}

struct Look {
  std::string dataset, site;
  uint32_t limit = kErasuresShown;  // of what was erased; 0: all
  std::string after = {};           // a receipt: of what was erased, only what came after it; empty: all
};

struct Found {
  std::vector<control::v1::Eviction> evictions;
  bool more = false;  // was erased
};

// Page by page: all that was ever erased is more than an answer holds. A coordinator that knows no pages gives it at
// once.
absl::StatusOr<Found> Ask(Admin& admin, const Look& look) {
  control::v1::ListEvictionsRequest request;
  request.set_dataset(look.dataset);
  request.set_site(look.site);
  Found found;
  uint32_t erased = 0;
  while (true) {
    const uint32_t left = look.limit == 0 ? 0 : look.limit - erased;
    request.set_limit(look.after.empty() ? left : std::min(left, kErasuresShown));  // seldom more came since
    control::v1::ListEvictionsResponse page;
    BW_RETURN_IF_ERROR(admin.Check(admin.control().ListEvictions(Admin::Call().get(), request, &page)));
    for (auto& eviction : *page.mutable_evictions()) {
      if (!eviction.receipt_id().empty()) {
        found.more = look.limit != 0 && erased == look.limit;
        if (found.more || eviction.receipt_id() == look.after) return found;
        ++erased;
      }
      found.evictions.push_back(std::move(eviction));
    }
    found.more = page.next() != 0;
    if (!found.more || (look.limit != 0 && erased == look.limit)) return found;
    request.set_before(page.next());
  }
}

std::string Hex(const Digest& digest) { return digest.Hex(); }

Json JsonOf(const rpc::ErasureReceipt& r) {
  std::vector<Json> versions;
  for (const auto& v : r.versions)
    versions.push_back(Object({{"number", Number(v.number)}, {"identity", Text(Hex(v.identity))}}));
  return Object({{"receipt", Text(absl::BytesToHexString(r.receipt_id))},
                 {"dataset", Text(r.dataset)},
                 {"datasetId", Text(r.dataset_id.Hex())},
                 {"site", Text(r.site)},
                 {"agent", Text(r.agent)},
                 {"versions", List(std::move(versions))},
                 {"bytes", Number(r.bytes)},
                 {"everything", Bool(r.everything)},
                 {"cause", Text(r.cause)},
                 {"rule", Text(r.rule)},
                 {"policyRevision", Number(r.policy_revision)},
                 {"policyDigest", Text(absl::BytesToHexString(r.policy_digest))},
                 {"fencedAt", Text(r.fenced_at.has_value() ? UtcText(*r.fenced_at) : "")},
                 {"erasedAt", Text(UtcText(r.erased_at))},
                 {"method", Text(r.method)}});
}

// The receipt as its signature proves it, by the policy that this context trusts.
absl::StatusOr<rpc::ErasureReceipt> Verified(Admin& admin, const std::string& id) {
  control::v1::ListEvictionsRequest request;
  request.set_receipt_id(id);
  control::v1::ListEvictionsResponse response;
  BW_RETURN_IF_ERROR(admin.Check(admin.control().ListEvictions(Admin::Call().get(), request, &response)));
  BW_ASSIGN_OR_RETURN(config::Bundle bundle, admin.ReadBundle());
  if (response.evictions_size() != 1) return absl::NotFoundError(absl::StrCat("no receipt ", id, " is known"));
  BW_ASSIGN_OR_RETURN(rpc::ErasureReceipt receipt,
                      rpc::OpenReceipt(rpc::FromProto(response.evictions(0).receipt()), bundle.world));
  const std::string its = absl::BytesToHexString(receipt.receipt_id);
  if (its != id) return absl::DataLossError(absl::StrCat("the coordinator answered with another receipt, ", its));
  return receipt;
}

absl::Status ShowReceipt(const Globals& globals, const std::string& id, bool proof_only) {
  BW_ASSIGN_OR_RETURN(auto admin, Connect(globals));
  BW_ASSIGN_OR_RETURN(rpc::ErasureReceipt receipt, Verified(*admin, id));
  if (!globals.table()) {
    PrintJson(globals.format(), {{"verified", Bool(true)}, {"eviction", JsonOf(receipt)}});
    return absl::OkStatus();
  }
  if (proof_only) {
    std::cout << "receipt " << id << " is signed by " << receipt.agent << " with the key that the policy pins for it\n";
    return absl::OkStatus();
  }
  std::cout << "Receipt:   " << id << " (signature verified)\nDataset:   " << receipt.dataset
            << "\nSite:      " << receipt.site << "\nAgent:     " << receipt.agent << "\nCause:     " << receipt.cause
            << (receipt.rule.empty() ? "" : ", rule ") << receipt.rule << ", policy revision "
            << receipt.policy_revision << "\nErased:    " << UtcText(receipt.erased_at) << ", "
            << FormatBytes(receipt.bytes) << ", " << receipt.method
            << (receipt.everything ? "; nothing of the dataset is left there\n"
                                   : "; other content of the dataset stays\n");
  for (const auto& v : receipt.versions) std::cout << "  version " << v.number << "  " << Hex(v.identity) << "\n";
  return absl::OkStatus();
}

absl::Status HoldVersions(const Globals& globals, const std::string& name, uint64_t number, const std::string& site,
                          const std::string& reason, bool dry_run) {
  BW_ASSIGN_OR_RETURN(auto admin, Connect(globals));
  BW_RETURN_IF_ERROR(FindDataset(*admin, name).status());
  control::v1::DryRunRequest act;
  control::v1::HoldRequest& request = *act.mutable_hold();
  request.set_dataset(name);
  request.set_number(number);
  request.set_site(site);
  request.set_reason(reason);
  if (dry_run) return TryAct(globals, *admin, act);
  control::v1::HoldResponse response;
  BW_RETURN_IF_ERROR(admin->Check(admin->control().Hold(Admin::Call().get(), request, &response)));
  const std::string id = absl::BytesToHexString(response.hold().hold_id());
  if (!globals.table()) {
    PrintJson(globals.format(),
              {{"hold", Text(id)}, {"dataset", Text(name)}, {"number", Number(number)}, {"site", Text(site)}});
    return absl::OkStatus();
  }
  std::cout << (number == 0 ? "every version" : absl::StrCat("version ", number)) << " of " << name
            << (site.empty() ? " at every site" : absl::StrCat(" at ", site))
            << " is held until: bailiwick dataset release " << name << " --hold " << id << "\n";
  return absl::OkStatus();
}

absl::StatusOr<control::v1::ListHoldsResponse> Holds(Admin& admin, const std::string& name) {
  control::v1::ListHoldsRequest request;
  request.set_dataset(name);
  control::v1::ListHoldsResponse response;
  BW_RETURN_IF_ERROR(admin.Check(admin.control().ListHolds(Admin::Call().get(), request, &response)));
  return response;
}

absl::Status ListHolds(const Globals& globals, const std::string& name) {
  BW_ASSIGN_OR_RETURN(auto admin, Connect(globals));
  if (!globals.table()) {
    BW_ASSIGN_OR_RETURN(Fields fields, HoldsView(*admin, name));
    PrintJson(globals.format(), std::move(fields));
    return absl::OkStatus();
  }
  BW_ASSIGN_OR_RETURN(const auto response, Holds(*admin, name));
  Rows rows;
  for (const auto& row : response.holds()) {
    const auto& hold = row.hold();
    const std::string where = row.only_at_size() != 0
                                  ? absl::StrCat("known only at ", absl::StrJoin(row.only_at(), ", "))
                                  : (hold.site().empty() ? "all" : hold.site());
    rows.push_back({absl::BytesToHexString(hold.hold_id()), row.dataset(),
                    hold.number() == 0 ? "all" : absl::StrCat(hold.number()), where, TimeText(hold.since()), hold.by(),
                    hold.reason()});
  }
  PrintTable({"HOLD", "DATASET", "VERSION", "SITE", "SINCE", "BY", "REASON"}, rows);
  return absl::OkStatus();
}

absl::Status ReleaseHolds(const Globals& globals, const std::string& name, const std::string& hold,
                          const std::string& site, bool all, bool yes, bool dry_run) {
  if (hold.empty() == !all)
    return absl::InvalidArgumentError("say which hold with --hold ID (bailiwick dataset holds), or --all");
  if (hold.empty() && !site.empty()) return absl::InvalidArgumentError("--site goes with --hold ID");
  BW_ASSIGN_OR_RETURN(auto admin, Connect(globals));
  control::v1::DryRunRequest act;
  control::v1::ReleaseRequest& request = *act.mutable_release();
  request.set_dataset(name);
  if (!hold.empty()) request.add_hold_ids(hold);
  request.set_site(site);
  if (dry_run) return TryAct(globals, *admin, act);
  if (all) {
    BW_RETURN_IF_ERROR(
        Confirm(globals, yes, absl::StrCat("Release every hold of ", name, "?"), "nothing was released"));
  }
  control::v1::ReleaseResponse response;
  BW_RETURN_IF_ERROR(admin->Check(admin->control().Release(Admin::Call().get(), request, &response)));
  if (response.has_proposal()) return SayProposed(globals, response.proposal());
  if (!globals.table()) {
    PrintJson(globals.format(), {{"dataset", Text(name)}, {"released", Number(response.released())}});
  } else {
    std::cout << response.released() << (response.released() == 1 ? " hold of " : " holds of ") << name
              << " released\n";
  }
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<Fields> HoldsView(Admin& admin, const std::string& dataset) {
  BW_ASSIGN_OR_RETURN(const auto response, Holds(admin, dataset));
  std::vector<Json> json;
  for (const auto& row : response.holds()) {
    const auto& hold = row.hold();
    std::vector<Json> only_at;
    for (const std::string& site : row.only_at()) only_at.push_back(Text(site));
    json.push_back(Object({{"hold", Text(absl::BytesToHexString(hold.hold_id()))},
                           {"dataset", Text(row.dataset())},
                           {"number", Number(hold.number())},
                           {"site", Text(hold.site())},
                           {"since", Text(TimeText(hold.since()))},
                           {"by", Text(hold.by())},
                           {"reason", Text(hold.reason())},
                           {"onlyAt", List(std::move(only_at))}}));
  }
  return Fields{{"holds", List(std::move(json))}};
}

absl::StatusOr<Fields> EvictionsView(Admin& admin, const std::string& dataset, const std::string& site) {
  BW_ASSIGN_OR_RETURN(const Found found, Ask(admin, {dataset, site}));
  std::vector<Json> json;
  for (const auto& e : found.evictions) json.push_back(JsonOf(e));
  return Fields{{"evictions", List(std::move(json))}, {"more", Bool(found.more)}};
}

absl::Status GetEvictions(const Globals& globals, const std::string& dataset, const std::string& site, bool watch,
                          uint32_t limit) {
  BW_ASSIGN_OR_RETURN(auto admin, Connect(globals));
  Look look{dataset, site, limit};
  bool more = false;
  BW_RETURN_IF_ERROR(ShowListing(globals, watch, [&]() -> absl::StatusOr<Listing> {
    BW_ASSIGN_OR_RETURN(const Found found, Ask(*admin, look));
    more = found.more;
    Listing listing{
        "eviction", "evictions", {"DATASET", "SITE", "STATE", "VERSIONS", "SIZE", "SINCE", "RECEIPT", "REASON"}, 2, {}};
    listing.beside = {{"more", Bool(more)}};
    for (const auto& e : found.evictions) {
      listing.items.push_back(
          {.identity = {{"dataset", Text(e.dataset())}, {"site", Text(e.site())}, {"receipt", Text(e.receipt_id())}},
           .row = {e.dataset(), e.site(), e.state(), Numbers(e.versions()), FormatBytes(e.bytes()), TimeText(e.since()),
                   e.receipt_id().empty() ? "-" : e.receipt_id(), e.cause().empty() ? e.reason() : e.cause()},
           .json = JsonOf(e),
           .essence = "",
           .name = e.receipt_id(),
           .nameless = e.receipt_id().empty(),
           .past = !e.receipt_id().empty()});
    }
    // Whoever watches is told next of what came after this look.
    const auto newest = std::find_if(found.evictions.begin(), found.evictions.end(),
                                     [](const control::v1::Eviction& e) { return !e.receipt_id().empty(); });
    if (newest != found.evictions.end()) {
      look.after = newest->receipt_id();
      look.limit = kMostAtOnce;
    }
    return listing;
  }));
  if (more) {
    std::cerr << "bailiwick: of what was erased only the newest " << limit
              << " are listed; bailiwick eviction list --limit 0 lists all\n";
  }
  return absl::OkStatus();
}

void RegisterEvictions(CLI::App& app, Globals& globals) {
  auto* eviction =
      app.add_subcommand("eviction", "copies that may no longer lie where they are, and receipts of erasures");
  eviction->require_subcommand(1);
  eviction->footer("Example:\n  bailiwick eviction list");
  {
    auto* c = eviction->add_subcommand("list", "what is fenced, what is unconfirmed, what was erased");
    auto dataset = std::make_shared<std::string>(), site = std::make_shared<std::string>();
    auto limit = std::make_shared<uint32_t>(kErasuresShown);
    c->add_option("--dataset", *dataset, "of this dataset only")->type_name("DATASET");
    c->add_option("--site", *site, "at this site only")->type_name("SITE");
    c->add_option("--limit", *limit, "the newest n of what was erased (default 100; 0: all)");
    c->footer(
        "With -o name: the receipts, of what was erased.\nExamples:\n  bailiwick eviction list --site cloud-us\n"
        "  bailiwick eviction list -o name | xargs -n1 bailiwick eviction verify");
    OnRun(c, globals,
          [&globals, dataset, site, limit] { return GetEvictions(globals, *dataset, *site, false, *limit); });
  }
  for (const bool proof_only : {false, true}) {
    auto* c = proof_only ? eviction->add_subcommand("verify",
                                                    "check a receipt's signature against the key that the policy pins")
                         : eviction->add_subcommand("show", "one receipt, verified");
    auto id = std::make_shared<std::string>();
    c->add_option("RECEIPT", *id, "from: bailiwick eviction list")->required();
    c->footer(absl::StrCat("Example:\n  bailiwick eviction ", proof_only ? "verify" : "show",
                           " 5f2b9c0d1e3a4b5c6d7e8f9001122334"));
    OnRun(c, globals, [&globals, id, proof_only] { return ShowReceipt(globals, *id, proof_only); });
  }
}

void RegisterHolds(CLI::App& dataset, Globals& globals) {
  {
    auto* c = dataset.add_subcommand("hold", "keep versions whatever retention and law say, until released");
    auto name = std::make_shared<std::string>(), number = std::make_shared<std::string>("0"),
         site = std::make_shared<std::string>(), reason = std::make_shared<std::string>();
    c->add_option("NAME", *name, "dataset")->type_name("DATASET")->required();
    c->add_option("--version", *number, "one version (default: all, also those to come)");
    c->add_option("--site", *site, "at one site (default: everywhere)")->type_name("SITE");
    c->add_option("--reason", *reason, "for who finds it later")->required();
    auto dry_run = DryRunFlag(c);
    c->footer(
        "An unlawful copy that is held is fenced, not erased.\nExample:\n"
        "  bailiwick dataset hold planner --version 3 --reason 'case 4711'");
    OnRun(c, globals, [&globals, name, number, site, reason, dry_run]() -> absl::Status {
      BW_ASSIGN_OR_RETURN(uint64_t n, ParseVersion(*number, 0));
      return HoldVersions(globals, *name, n, *site, *reason, *dry_run);
    });
  }
  {
    auto* c = dataset.add_subcommand("holds", "what is held, why and by whom");
    auto name = std::make_shared<std::string>();
    c->add_option("NAME", *name, "one dataset (default: all)")->type_name("DATASET");
    c->footer(
        "A hold that is known only at a site was set after the backup that the coordinator was restored from. It\n"
        "counts there alone: hold the dataset anew, or release it.\nExample:\n  bailiwick dataset holds");
    OnRun(c, globals, [&globals, name] { return ListHolds(globals, *name); });
  }
  {
    auto* c = dataset.add_subcommand("release", "let held versions go where retention or law say so");
    auto name = std::make_shared<std::string>(), hold = std::make_shared<std::string>(),
         site = std::make_shared<std::string>();
    auto all = std::make_shared<bool>(false);
    c->add_option("NAME", *name, "dataset")->type_name("DATASET")->required();
    c->add_option("--hold", *hold, "from: bailiwick dataset holds");
    c->add_option("--site", *site, "where sites know different holds of that id alone: this one's")->type_name("SITE");
    c->add_flag("--all", *all, "every hold of the dataset, but those known only at sites");
    auto yes = YesFlag(c);
    auto dry_run = DryRunFlag(c);
    c->footer("Example:\n  bailiwick dataset release planner --all");
    OnRun(c, globals, [&globals, name, hold, site, all, yes, dry_run] {
      return ReleaseHolds(globals, *name, *hold, *site, *all, *yes, *dry_run);
    });
  }
}

}  // namespace bailiwick::cli
