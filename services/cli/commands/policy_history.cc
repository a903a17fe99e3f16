// policy history, show, rollback: the law of before.
#include <iostream>

#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "common/base/status.h"
#include "services/cli/commands/command.h"
#include "services/cli/commands/dry_run.h"
#include "services/cli/commands/named.h"
#include "services/cli/commands/policy_impact.h"
#include "services/cli/commands/views.h"
#include "services/cli/commands/yes_flag.h"
#include "services/cli/core/change.h"
#include "services/cli/core/pending.h"

namespace bailiwick::cli {
namespace {

absl::StatusOr<control::v1::ListPoliciesResponse> ListOf(Admin& admin, uint32_t limit) {
  control::v1::ListPoliciesRequest request;
  request.set_limit(limit);
  control::v1::ListPoliciesResponse response;
  BW_RETURN_IF_ERROR(admin.Check(admin.control().ListPolicies(Admin::Call().get(), request, &response)));
  return response;
}

absl::Status History(const Globals& globals, uint32_t limit) {
  BW_ASSIGN_OR_RETURN(auto admin, Connect(globals));
  if (!globals.table()) {
    BW_ASSIGN_OR_RETURN(Fields fields, PolicyHistoryView(*admin, limit));
    PrintJson(globals.format(), std::move(fields));
    return absl::OkStatus();
  }
  BW_ASSIGN_OR_RETURN(auto response, ListOf(*admin, limit));
  Rows rows;
  for (const auto& p : response.policies()) {
    const std::string digest(absl::BytesToHexString(p.sha256()));
    rows.push_back({absl::StrCat(p.revision()), TimeText(p.issued_at()), p.by(), absl::StrCat(p.signed_key_ids_size()),
                    digest.substr(0, 12), p.summary()});
  }
  PrintTable({"REVISION", "SIGNED AT", "APPLIED BY", "SIGNATURES", "SHA256", "CHANGED"}, rows);
  return absl::OkStatus();
}

absl::Status Show(const Globals& globals, uint64_t revision) {
  BW_RETURN_IF_ERROR(NeedsNoName(globals, "policy show"));
  BW_ASSIGN_OR_RETURN(auto admin, Connect(globals));
  BW_ASSIGN_OR_RETURN(Admin::Policy policy, admin->ReadPolicy(revision));
  const policy::World& world = policy.bundle.world;
  if (world.revision == 0) return absl::NotFoundError("no policy was applied yet; run: bailiwick apply -f FILE");
  const std::vector<std::string> trust = absl::StrSplit(DescribeTrust(policy.bundle), '\n', absl::SkipEmpty());
  if (globals.format() == Format::kJson) {
    std::vector<Json> resources;
    for (const auto& [key, resource] : policy.bundle.resources) resources.push_back(FromJson(config::ToJson(resource)));
    PrintJson(globals.format(), {{"revision", Number(world.revision)},
                                 {"sha256", Text(absl::BytesToHexString(world.digest))},
                                 {"issuedAt", Text(TimeText(policy.bundle.message.issued_at()))},
                                 {"rootKeys", Number(world.root_keys.size())},
                                 {"threshold", Number(world.root_threshold)},
                                 {"maxAgeSeconds", Number(policy.bundle.message.max_age().seconds())},
                                 {"timestampLifeSeconds", Number(policy.bundle.message.timestamp_life().seconds())},
                                 {"classifiers", Number(world.classifiers.size())},
                                 {"trust", Texts(trust)},
                                 {"resources", List(std::move(resources))}});
    return absl::OkStatus();
  }
  std::cout << "# policy revision " << world.revision << ", signed at " << TimeText(policy.bundle.message.issued_at())
            << " by " << policy.envelope.signatures.size() << " of " << world.root_keys.size() << " keys, "
            << world.root_threshold << " needed\n# sha256 " << std::string(absl::BytesToHexString(world.digest))
            << "\n";
  for (const std::string& line : trust) std::cout << "# " << FormatMessage(line) << "\n";
  bool first = true;
  for (const auto& [key, resource] : policy.bundle.resources) {
    std::cout << (first ? "" : "---\n") << config::ToYaml(resource);
    first = false;
  }
  return absl::OkStatus();
}

// The sovereignty policies of a revision, signed as a new one. Regions, sites and keys stay as they are now.
absl::Status Rollback(const Globals& globals, uint64_t revision, std::optional<uint64_t> evictions, bool yes,
                      bool dry_run) {
  if (revision == 0) {
    return absl::InvalidArgumentError("revisions of the law begin with 1; see: bailiwick policy history");
  }
  BW_ASSIGN_OR_RETURN(auto admin, Connect(globals));
  BW_ASSIGN_OR_RETURN(Admin::Policy old, admin->ReadPolicy(revision));
  BW_ASSIGN_OR_RETURN(config::Bundle now, admin->ReadBundle());
  CatalogChange change;
  for (const auto& [key, resource] : old.bundle.resources) {
    if (!resource.has_sovereignty_policy()) continue;
    config::Located located;
    located.resource = resource;
    change.upserts.push_back(std::move(located));
  }
  for (const auto& [key, resource] : now.resources) {
    if (!resource.has_sovereignty_policy() || old.bundle.resources.count(key) != 0) continue;
    change.deletes.emplace_back();
    change.deletes.back().set_kind(key.first);
    change.deletes.back().set_name(key.second);
  }
  std::optional<ImpactReport> impact;
  if (dry_run || evictions.has_value()) {
    BW_ASSIGN_OR_RETURN(impact, ImpactOf(*admin, change));
  }
  std::optional<uint64_t> expected = evictions;
  if (evictions.has_value()) {
    BW_RETURN_IF_ERROR(
        ExpectEvictions(impact, *evictions, absl::StrCat("bailiwick policy rollback ", revision, " --dry-run")));
  } else if (!yes && !dry_run) {
    BW_ASSIGN_OR_RETURN(expected, ConfirmEvictions(globals, *admin, change, "Roll back?", "not rolled back"));
  }
  BW_ASSIGN_OR_RETURN(ChangeReport report, ApplyChange(*admin, change, ExtentOf(dry_run), expected));
  SayBeside(report);
  for (const auto& line : report.lines) {
    if (globals.table()) std::cout << line.kind << "/" << line.name << " " << line.change << "\n";
  }
  if (!globals.table()) {
    PrintJson(globals.format(), FieldsOf(report, dry_run, impact));
  } else if (dry_run) {
    PrintTried(report, impact);
  } else if (!report.pending.empty()) {
    std::cout << NotInEffect(*admin, report.pending) << "\n";
  } else {
    std::cout << (!report.applied ? "the policies are already as they were then\n"
                                  : absl::StrCat("policy revision ", report.policy_revision,
                                                 " has the policies of revision ", revision, "\n"));
  }
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<Fields> PolicyHistoryView(Admin& admin, uint32_t limit) {
  BW_ASSIGN_OR_RETURN(auto response, ListOf(admin, limit));
  std::vector<Json> list;
  for (const auto& p : response.policies()) {
    std::vector<Json> signers;
    for (const auto& id : p.signed_key_ids()) signers.push_back(Text(absl::BytesToHexString(id)));
    list.push_back(Object({{"revision", Number(p.revision())},
                           {"sha256", Text(absl::BytesToHexString(p.sha256()))},
                           {"by", Text(p.by())},
                           {"summary", Text(p.summary())},
                           {"signedKeyIds", List(std::move(signers))},
                           {"issuedAt", Text(TimeText(p.issued_at()))}}));
  }
  return Fields{{"policies", List(std::move(list))}};
}

void RegisterPolicyHistory(CLI::App& app, Globals& globals) {
  CLI::App* policy = app.get_subcommand("policy");
  {
    auto* c = policy->add_subcommand("history", "revisions of the law, newest first");
    auto limit = std::make_shared<uint32_t>(20);
    c->add_option("-n,--limit", *limit, "how many (default 20, at most 1000)");
    c->footer("Example:\n  bailiwick policy history");
    OnRun(c, globals, [&globals, limit] { return History(globals, *limit); });
  }
  {
    auto* c = policy->add_subcommand("show", "the law of one revision, verified, as YAML");
    auto revision = std::make_shared<uint64_t>(0);
    c->add_option("REV", *revision, "revision (default: the newest)");
    c->footer("Example:\n  bailiwick policy show 3");
    OnRun(c, globals, [&globals, revision] { return Show(globals, *revision); });
  }
  {
    auto* c = policy->add_subcommand("rollback", "sign the sovereignty policies of an earlier revision as a new one");
    auto revision = std::make_shared<uint64_t>(0);
    c->add_option("REV", *revision, "revision to take the policies of")->required();
    auto evictions = ExpectEvictionsFlag(c);
    auto yes = YesFlag(c);
    auto dry_run = DryRunFlag(c);
    c->footer(
        "Regions, sites and keys stay as they are. At a terminal it asks before copies are erased; without one it does "
        "not:\n--expect-evictions is for scripts.\nExamples:\n  bailiwick policy rollback 3\n"
        "  bailiwick policy rollback 3 --expect-evictions 0");
    OnRun(c, globals, [&globals, revision, evictions, yes, dry_run] {
      return Rollback(globals, *revision, *evictions, *yes, *dry_run);
    });
  }
}

}  // namespace bailiwick::cli
